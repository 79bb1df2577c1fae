"""Where two data sets differ: which clips only one has, why the other lacks them, and which files are others."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from preprocess.card.clips import CARD_CLIPS_NAME, CardClip, read_clips
from preprocess.card.content import CARD_NAME, Card
from preprocess.card.making import make_card
from preprocess.errors import InvalidInput
from preprocess.outcomes import MANIFEST_NAME
from preprocess.wanted import LIST_INFO_NAME, hash_keys

_FORMAT = "kineflow-card-diff"
_VERSION = 1
_KINDS = ("only_a", "only_b", "other_class", "other_bytes")
Place = tuple[str, str | None]
"""Split and label; without the label in the sums of a split."""
Usable = Mapping[Place, tuple[int, str | None]]
"""Where a data set has usable clips: how many, and the hash of their keys."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two data sets."""

    name: str
    """As it was asked for."""
    card: Card
    clips: Mapping[str, CardClip] | None
    """By key; None where the card came without its `card.clips.gz`."""

    @classmethod
    def open(cls, path: Path) -> "Side":
        """A folder with a manifest as it is now; else the card in the folder, or the file `path`; else the list alone.

        Raises:
            InvalidInput: neither, damaged, or a `card.clips.gz` of another card.
        """
        file = path / CARD_NAME if path.is_dir() else path
        if (path / MANIFEST_NAME).is_file() or (not file.is_file() and (path / LIST_INFO_NAME).is_file()):
            made = make_card(path)
            return cls(name=str(path), card=made.card, clips={clip.key: clip for clip in made.clips})
        if not file.is_file():
            raise InvalidInput(
                f"{path} is no {CARD_NAME} and no folder with one, with a {MANIFEST_NAME} or a {LIST_INFO_NAME}"
            )
        card = Card.read(file)
        beside = file.with_name(CARD_CLIPS_NAME)
        if not beside.is_file():
            return cls(name=str(path), card=card, clips=None)
        clips = {clip.key: clip for clip in read_clips(beside)}
        if hash_keys(clip.key for clip in clips.values() if clip.is_usable) != card.identity.usable:
            raise InvalidInput(f"{beside} belongs to another card than {file}; copy both anew, or leave it out")
        return cls(name=str(path), card=card, clips=clips)


@dataclass(frozen=True, kw_only=True)
class Some:
    """Clips of one kind."""

    clips: int
    first: tuple[str, ...]
    """The first keys, sorted."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """The usable clips of one split, or of one class in it, in A and in B."""

    split: str
    label: str | None
    """None in the sums of a split, and for clips without a label."""
    usable_a: int
    usable_b: int
    only_a: int | None
    """None, as the next ones, where it is not known which clips both have."""
    only_b: int | None
    other_class: int | None
    other_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class Clips:
    """What a comparison clip by clip finds, among the usable ones where nothing else is said."""

    in_both: int
    only_a: Some
    only_b: Some
    other_class: Some
    """In both, but in another split or class."""
    other_bytes: Some
    """In both, but another file."""
    unhashed: int
    """In both, but of a file that one side never hashed."""
    wanted_only_by_a: Some
    """Asked for by the list of A alone, usable or not."""
    wanted_only_by_b: Some
    b_lacks: dict[str, int]
    """What B says of the clips that only A has: outcome and cause, or `not wanted`."""
    a_lacks: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How A and B compare."""

    a: str
    b: str
    levels: dict[str, bool | None]
    """`lists`, `wanted`, `usable`, `labels` and `files` to whether they are the same; None where that is not known."""
    counts: dict[str, tuple[int, int]]
    """Of `lists`, `wanted` and `usable`, in A and in B."""
    clips: Clips | None
    """None where a card came without its clips."""
    splits: tuple[Change, ...]
    """Those that differ, largest difference first."""
    classes: tuple[Change, ...]

    @property
    def is_same(self) -> bool:
        """No level is known to differ."""
        return False not in self.levels.values()

    def to_json(self) -> str:
        """For programs."""
        document = {"format": _FORMAT, "version": _VERSION, "same": self.is_same, **asdict(self)}
        return json.dumps(document, indent=1, sort_keys=True) + "\n"


class _Tallies:
    """By class and by split, how many clips of each kind."""

    def __init__(self) -> None:
        self.classes: dict[str, Counter[Place]] = {kind: Counter() for kind in _KINDS}
        self.splits: dict[str, Counter[Place]] = {kind: Counter() for kind in _KINDS}

    def add(self, kind: str, clips: Iterable[CardClip]) -> None:
        """One more; `clips` are what A and B have of it, counted once in a place that they share."""
        self.classes[kind].update({_place(clip) for clip in clips})
        self.splits[kind].update({(clip.split, None) for clip in clips})


def compare(a: Side, b: Side, *, keys: int = 5) -> Difference:
    """Hold A against B, by their hashes and, where both have them, clip by clip.

    Args:
        a: one data set.
        b: the other one.
        keys: how many clips of each kind to name.
    """
    clips = by_split = by_class = None
    if a.clips is not None and b.clips is not None:
        tallies = _Tallies()
        clips = _compare_clips(a.clips, b.clips, tallies, keys=keys)
        by_split, by_class = tallies.splits, tallies.classes
    return Difference(
        a=a.name,
        b=b.name,
        levels=_levels(a.card, b.card, clips),
        counts={
            "lists": (len(a.card.lists), len(b.card.lists)),
            "wanted": (a.card.rows.wanted, b.card.rows.wanted),
            "usable": (a.card.usable, b.card.usable),
        },
        clips=clips,
        splits=_changes(_usable_of_splits(a.card), _usable_of_splits(b.card), by_split),
        classes=_changes(_usable_of_classes(a.card), _usable_of_classes(b.card), by_class),
    )


def _levels(a: Card, b: Card, clips: Clips | None) -> dict[str, bool | None]:
    lists = sorted(entry.sha256 for entry in a.lists) == sorted(entry.sha256 for entry in b.lists)
    usable = a.identity.usable == b.identity.usable
    labels: bool | None = a.identity.labels == b.identity.labels if usable else None
    files: bool | None = None
    if usable and a.identity.files and b.identity.files:
        files = a.identity.files == b.identity.files
    elif clips and clips.other_bytes.clips:
        files = False
    elif clips and clips.in_both and not clips.unhashed:
        files = True
    if not usable and clips and clips.in_both:
        labels = not clips.other_class.clips
    return {
        "lists": lists if a.from_list and b.from_list else None,
        "wanted": a.identity.wanted == b.identity.wanted,
        "usable": usable,
        "labels": labels,
        "files": files,
    }


def _compare_clips(a: Mapping[str, CardClip], b: Mapping[str, CardClip], tallies: _Tallies, *, keys: int) -> Clips:
    named: dict[str, list[str]] = {kind: [] for kind in (*_KINDS, "wanted_only_by_a", "wanted_only_by_b")}
    lacks: dict[str, Counter[str]] = {"only_a": Counter(), "only_b": Counter()}
    in_both = unhashed = 0

    def found(kind: str, *clips: CardClip) -> None:
        tallies.add(kind, clips)
        named[kind].append(clips[0].key)

    for key in sorted(a.keys() | b.keys()):
        mine, other = a.get(key), b.get(key)
        if (by_a := _is_wanted(mine)) != _is_wanted(other):
            named["wanted_only_by_a" if by_a else "wanted_only_by_b"].append(key)
        if mine is not None and mine.is_usable:
            if other is None or not other.is_usable:
                found("only_a", mine)
                lacks["only_a"][_why(other)] += 1
                continue
            in_both += 1
            if _place(mine) != _place(other):
                found("other_class", mine, other)
            if not (mine.detail and other.detail):
                unhashed += 1
            elif mine.detail != other.detail:
                found("other_bytes", mine)
        elif other is not None and other.is_usable:
            found("only_b", other)
            lacks["only_b"][_why(mine)] += 1
    some = {kind: Some(clips=len(of_kind), first=tuple(of_kind[:keys])) for kind, of_kind in named.items()}
    return Clips(
        in_both=in_both, unhashed=unhashed, b_lacks=_most(lacks["only_a"]), a_lacks=_most(lacks["only_b"]), **some
    )


def _place(clip: CardClip) -> Place:
    return clip.split, clip.label


def _is_wanted(clip: CardClip | None) -> bool:
    return clip is not None and clip.is_wanted


def _why(clip: CardClip | None) -> str:
    if clip is None:
        return "not wanted"
    return f"{clip.status} ({clip.detail})" if clip.detail else clip.status


def _most(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda count: (-count[1], count[0])))


def _usable_of_splits(card: Card) -> Usable:
    hashes = card.identity.usable_by_split
    return {(split, None): (count.usable, hashes.get(split)) for split, count in card.splits.items() if count.usable}


def _usable_of_classes(card: Card) -> Usable:
    return {
        (split, entry.label): (count.usable, count.keys)
        for entry in card.classes
        for split, count in entry.splits.items()
        if count.usable
    }


def _changes(a: Usable, b: Usable, tallies: Mapping[str, Counter[Place]] | None) -> tuple[Change, ...]:
    """The places that differ, largest difference first."""
    changes = []
    for place in a.keys() | b.keys():
        (usable_a, hash_a), (usable_b, hash_b) = a.get(place, (0, None)), b.get(place, (0, None))
        counts: dict[str, int | None] = {kind: tallies[kind][place] if tallies else None for kind in _KINDS}
        change = Change(split=place[0], label=place[1], usable_a=usable_a, usable_b=usable_b, **counts)
        # without the clips, the hashes still tell other clips of the same number
        if _size(change) or hash_a != hash_b:
            changes.append(change)
    return tuple(sorted(changes, key=lambda change: (-_size(change), change.split, change.label or "")))


def _size(change: Change) -> int:
    if change.only_a is None:
        return abs(change.usable_a - change.usable_b)
    return sum(getattr(change, kind) for kind in _KINDS)
