"""From a folder of clips to its card: `list.json` says what was wanted, the manifest what became of it.

Counts what the manifest says, as `preprocess flow` does, and opens no clip.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

from preprocess.annotations import Clip, RefusedRow
from preprocess.card.clips import CARD_CLIPS_NAME, DONE, UNLISTED, CardClip, short_hash, write_clips
from preprocess.card.content import (
    CARD_NAME,
    CARD_PAGE_NAME,
    Card,
    ClassCount,
    ClassSplit,
    Content,
    Identity,
    MissingCount,
    RefusedCount,
    Rows,
    Share,
    SplitCount,
    Stretches,
    Unlisted,
    ordered_splits,
    short,
)
from preprocess.card.page import card_page
from preprocess.errors import InvalidInput
from preprocess.outcomes import MANIFEST_NAME, NOT_TRIED, ManifestEntry, Outcome, read_manifest
from preprocess.paths import publish
from preprocess.wanted import LIST_INFO_NAME, Wanted, hash_keys

_TOP = 5  # values of a property that the card names
# what differs between two rows refused for the same reason: quoted values, keys and numbers
_VALUES = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[\w-]{11}_\d{6}_\d{6}|[+-]?\d[\d.]*")
_REPEATED = re.compile(r"\*(?:, \*)+")


@dataclass(frozen=True, kw_only=True)
class MadeCard:
    """A card, and the clips that it was counted from."""

    card: Card
    clips: tuple[CardClip, ...]

    def write(self, folder: Path) -> None:
        """Publish `card.clips.gz`, `card.md` and, last, `card.json`."""
        publish(folder / CARD_CLIPS_NAME, write_clips(self.clips))
        publish(folder / CARD_PAGE_NAME, card_page(self.card).encode())
        publish(folder / CARD_NAME, self.card.to_json().encode())


def make_card(folder: Path) -> MadeCard:
    """The card of a folder of clips as it is now.

    Raises:
        InvalidInput: no manifest and no list, a manifest with impossible values, or a list that does not fit its
            rows.
    """
    wanted = Wanted.read(folder)
    if wanted is None and not (folder / MANIFEST_NAME).is_file():
        raise InvalidInput(
            f"{folder} has no {MANIFEST_NAME}, from which the card is made; `preprocess download` writes one"
        )
    entries = read_manifest(folder)
    if wanted is None and not entries:
        raise InvalidInput(f"{folder / MANIFEST_NAME} names no clip; `preprocess download` adds a line for each")
    for entry in entries.values():
        _check(entry)
    asked: Mapping[str, Clip | ManifestEntry] = entries if wanted is None else {clip.key: clip for clip in wanted.clips}
    clips = tuple(sorted(_pair(asked, entries), key=attrgetter("key")))
    usable = [entries[clip.key] for clip in clips if clip.is_usable]
    unlisted = len(clips) - len(asked)
    card = Card(
        dataset=wanted.dataset if wanted else None,
        from_list=wanted is not None,
        lists=wanted.sources if wanted else (),
        identity=_identity(clips, usable),
        rows=_rows(folder, wanted, len(asked)),
        splits=_count_splits(asked.values(), clips),
        classes=_count_classes(asked.values(), usable),
        missing=_count_missing(clips, entries),
        refused=_count_refused(wanted.refused if wanted else ()),
        unlisted=Unlisted(usable=unlisted, missing=len(entries.keys() - asked.keys()) - unlisted),
        moved=sum(_is_moved(clip, asked.get(clip.key)) for clip in clips),
        content=_content(usable),
    )
    assert card.adds_up, "a row of the lists is in no count of the card, or in two"
    return MadeCard(card=card, clips=clips)


def _check(entry: ManifestEntry) -> None:
    """A manifest written by hand may hold anything."""
    label = "" if entry.label is None else entry.label
    texts = (entry.key, entry.split, label, entry.cause, entry.source, entry.sha256)
    numbers = (
        *(entry.bytes, entry.frame_count, entry.width, entry.height),
        *(entry.duration_s, entry.fps, entry.frozen_s, entry.black_s),
    )
    try:
        is_sound = "".join(texts).isprintable() and isinstance(entry.reason, str)
        is_sound = is_sound and min(numbers) >= 0 and max(numbers) < math.inf and not math.isnan(sum(numbers))
    except (TypeError, OverflowError):  # the latter of an integer that no float holds
        is_sound = False
    if not is_sound:
        raise InvalidInput(
            f"the manifest's entry of {str(entry.key)[:80]!r} holds a text that is not printable or a number that is "
            "negative or no number; correct or delete its line"
        )


def _pair(asked: Mapping[str, Clip | ManifestEntry], entries: Mapping[str, ManifestEntry]) -> Iterator[CardClip]:
    """Every wanted clip with what became of it, and the usable clips that nobody asked for."""
    for key, clip in asked.items():
        entry = entries.get(key)
        if entry is not None and entry.outcome is Outcome.DONE:
            yield _usable(entry, status=DONE)
        else:
            status, cause = (entry.outcome.value, entry.cause) if entry else (NOT_TRIED, "")
            yield CardClip(key=key, split=clip.split, label=clip.label, status=status, detail=cause)
    for key, entry in entries.items():
        if entry.outcome is Outcome.DONE and key not in asked:
            yield _usable(entry, status=UNLISTED)


def _usable(entry: ManifestEntry, *, status: str) -> CardClip:
    return CardClip(key=entry.key, split=entry.split, label=entry.label, status=status, detail=short_hash(entry.sha256))


def _identity(clips: Iterable[CardClip], usable: Sequence[ManifestEntry]) -> Identity:
    by_split: defaultdict[str, list[str]] = defaultdict(list)
    for entry in usable:
        by_split[entry.split].append(entry.key)
    is_hashed = all(entry.sha256 for entry in usable)
    return Identity(
        wanted=hash_keys(clip.key for clip in clips if clip.is_wanted),
        usable=hash_keys(entry.key for entry in usable),
        usable_by_split={split: hash_keys(keys) for split, keys in by_split.items()},
        labels=hash_keys(f"{entry.key}\t{entry.split}\t{entry.label or ''}" for entry in usable),
        files=hash_keys(f"{entry.key} {entry.sha256}" for entry in usable) if is_hashed else None,
    )


def _rows(folder: Path, wanted: Wanted | None, asked: int) -> Rows:
    if wanted is None:
        return Rows(listed=asked, refused=0, not_selected=0, wanted=asked)
    listed = sum(source.rows for source in wanted.sources)
    not_selected = listed - len(wanted.refused) - asked
    if not_selected < 0:
        raise InvalidInput(
            f"{folder / LIST_INFO_NAME} counts {listed} rows, fewer than its {len(wanted.refused)} refused ones and "
            f"the {asked} clips of the list beside it; run `preprocess download` again to rebuild both"
        )
    return Rows(listed=listed, refused=len(wanted.refused), not_selected=not_selected, wanted=asked)


def _count_splits(asked: Iterable[Clip | ManifestEntry], clips: Iterable[CardClip]) -> dict[str, SplitCount]:
    wanted = Counter(clip.split for clip in asked)
    counts = Counter((clip.split, clip.is_usable) for clip in clips)
    return {
        split: SplitCount(wanted=wanted[split], usable=counts[split, True], missing=counts[split, False])
        for split in ordered_splits(wanted.keys() | {split for split, _ in counts})
    }


def _count_classes(asked: Iterable[Clip | ManifestEntry], usable: Iterable[ManifestEntry]) -> tuple[ClassCount, ...]:
    wanted = Counter((clip.label, clip.split) for clip in asked)
    keys: defaultdict[tuple[str | None, str], list[str]] = defaultdict(list)
    for entry in usable:
        keys[entry.label, entry.split].append(entry.key)
    splits: defaultdict[str | None, dict[str, ClassSplit]] = defaultdict(dict)
    for label, split in wanted.keys() | keys.keys():
        here = keys[label, split]
        splits[label][split] = ClassSplit(wanted=wanted[label, split], usable=len(here), keys=short(hash_keys(here)))
    return tuple(
        ClassCount(label=label, splits={split: splits[label][split] for split in ordered_splits(splits[label])})
        for label in sorted(splits, key=lambda label: (label is None, label or ""))
    )


def _count_missing(clips: Iterable[CardClip], entries: Mapping[str, ManifestEntry]) -> tuple[MissingCount, ...]:
    kinds: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for clip in clips:
        if not clip.is_usable:
            kinds[clip.status, clip.detail].append(clip.key)
    return tuple(
        MissingCount(
            outcome=outcome,
            cause=cause,
            clips=len(keys),
            example_key=keys[0],
            example=entries[keys[0]].reason if keys[0] in entries else "",
        )
        for (outcome, cause), keys in sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    )


def _count_refused(refused: Iterable[RefusedRow]) -> tuple[RefusedCount, ...]:
    kinds: defaultdict[str, list[RefusedRow]] = defaultdict(list)
    for row in refused:
        kinds[_REPEATED.sub("*", _VALUES.sub("*", row.reason))].append(row)
    return tuple(
        RefusedCount(rows=len(rows), example=rows[0].reason, example_line=rows[0].line, example_list=rows[0].list_name)
        for _, rows in sorted(kinds.items(), key=lambda kind: (-len(kind[1]), kind[0]))
    )


def _is_moved(clip: CardClip, asked: Clip | ManifestEntry | None) -> bool:
    return asked is not None and (clip.split, clip.label) != (asked.split, asked.label)


def _content(usable: Sequence[ManifestEntry]) -> Content:
    return Content(
        # fsum: the order of the lines must not show in the last digit
        seconds=round(math.fsum(entry.duration_s for entry in usable), 3),
        frames=sum(entry.frame_count for entry in usable),
        bytes=sum(entry.bytes for entry in usable),
        frame_sizes=_most_frequent(f"{entry.width}x{entry.height}" for entry in usable),
        frame_rates=_most_frequent(f"{entry.fps:.2f}".rstrip("0").rstrip(".") for entry in usable),
        sources=_most_frequent(entry.source or "not known" for entry in usable),
        frozen=_stretches(entry.frozen_s for entry in usable),
        black=_stretches(entry.black_s for entry in usable),
    )


def _most_frequent(values: Iterable[str]) -> tuple[Share, ...]:
    counts = sorted(Counter(values).items(), key=lambda count: (-count[1], count[0]))
    rest = sum(clips for _, clips in counts[_TOP:])
    shares = [Share(value=value, clips=clips) for value, clips in counts[:_TOP]]
    return (*shares, *([Share(value="other", clips=rest)] if rest else []))


def _stretches(seconds: Iterable[float]) -> Stretches:
    found = [value for value in seconds if value > 0]
    return Stretches(clips=len(found), seconds=round(math.fsum(found), 3))
