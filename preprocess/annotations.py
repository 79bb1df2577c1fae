"""Annotation lists to clips: every row becomes a `Clip` or a `RefusedRow`, so that the counts always add up."""

import hashlib
import logging
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from preprocess.collector import collector_paused
from preprocess.errors import InvalidInput
from preprocess.kinetics_csv import LINE_LENGTH, SPLITS, Columns, split_line
from preprocess.labels import KINETICS, canonical, dataset_of, label_table, nearest

AUTO = "auto"
"""In place of a data set's name: the one whose label table fits, if any does."""

_NEAR_MISS = 10  # a list of which at most every tenth label does not fit a table is worth a word
_SHOWN = 3  # refused rows or labels in a message
_RAW_FIELDS, _RAW_LENGTH = 20, 200  # of a refused row that are kept

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Some seconds of one video, with what is seen in them."""

    youtube_id: str
    """11 characters of [0-9A-Za-z_-]; may start with a dash."""
    time_start: int
    """Whole seconds from the video's start."""
    time_end: int
    split: str
    """`train`, `val` or `test`."""
    label: str | None
    """None where the list has no labels (published test lists)."""
    line: int
    """Of the list, from 1."""
    list_name: str = ""
    """File name of the list."""
    key: str = field(init=False, repr=False, compare=False)
    """The name of the clip everywhere, such as `SOX5yA1l24A_000001_000009`; one video may give several clips."""

    def __post_init__(self) -> None:
        # kept, not made anew each time: it is what everything is sorted, looked up and hashed by
        start, end = str(self.time_start).zfill(6), str(self.time_end).zfill(6)  # half the time of `:06d`
        object.__setattr__(self, "key", f"{self.youtube_id}_{start}_{end}")


@dataclass(frozen=True, kw_only=True, slots=True)
class RefusedRow:
    """A row that is not a clip."""

    line: int
    """Of the list, from 1."""
    reason: str
    row: tuple[str, ...]
    """The raw fields, long ones cut; one field when the line could not be taken apart."""
    list_name: str = ""
    """File name of the list."""


@dataclass(frozen=True, kw_only=True)
class ListSource:
    """One annotation list as it was given."""

    name: str
    """File name, without its folder."""
    sha256: str
    """Of the file's bytes."""
    rows: int
    """Clips and refused rows together."""


@dataclass(frozen=True, kw_only=True)
class ClipList:
    """One or several lists, read whole: `len(clips) + len(refused)` is the number of their rows."""

    clips: tuple[Clip, ...]
    refused: tuple[RefusedRow, ...]
    sources: tuple[ListSource, ...] = ()
    dataset: str | None = None
    """Label table that the labels were matched to, such as `kinetics400`; None for a list of one's own."""


def read_kinetics(path: Path, *, unlabelled: bool = False) -> ClipList:
    """Read a Kinetics list: `label,youtube_id,time_start,time_end,split[,is_cc]`, in any published spelling.

    Test lists may lack `label`; a list without `split` takes it from the word train, val or test in its file name.
    Labels stay as they are; `read_lists` matches them to a label table.

    Args:
        path: of the list; its suffix does not matter.
        unlabelled: an empty label means that the clip has none; otherwise it refuses the row.

    Raises:
        InvalidInput: not a file, not text, empty, or a header without the needed columns.
    """
    return _read(path, name=path.name, seen={}, unlabelled=unlabelled)


@collector_paused()
def read_lists(paths: Sequence[Path], *, dataset: str | None = AUTO) -> ClipList:
    """Read several lists as one, such as those of train, val and test.

    A clip that stands in two places, in one list or in two, in one split or in two, is taken from the first; the
    other row is refused and says where the first one stands.

    Args:
        paths: read in this order.
        dataset: whose label table the labels are matched to. A row whose label it does not have is refused. `auto`
            is the table of Kinetics that has all labels of the lists, the smallest if several do; if none does, the
            labels stay as they are. None: they stay as they are.

    Raises:
        InvalidInput: as `read_kinetics`; a list given twice; no rows in any; no such data set.
    """
    if dataset not in {None, AUTO}:
        label_table(dataset)  # a wrong name is told before the lists are read
    if len({path.resolve() for path in paths}) < len(paths):
        raise InvalidInput(f"a list is given twice among {', '.join(map(str, paths))}")
    names = [path.name for path in paths]
    shown = [str(path) if names.count(path.name) > 1 else path.name for path in paths]
    seen: dict[str, Clip] = {}
    lists = [_read(path, name=name, seen=seen) for path, name in zip(paths, shown, strict=True)]
    del seen
    clips = [clip for one in lists for clip in one.clips]
    refused = [row for one in lists for row in one.refused]
    if not clips and not refused:
        raise InvalidInput(f"no rows in {', '.join(map(str, paths))}, only the line of column names")
    labels = {clip.label for clip in clips if clip.label is not None}
    if dataset == AUTO:
        dataset = dataset_of(labels, among=KINETICS)
        if dataset is None:
            _warn_of_near_miss(labels)
    if dataset is not None:
        clips, strange = _match_labels(clips, labels, dataset)
        refused = sorted([*refused, *strange], key=lambda row: (shown.index(row.list_name), row.line))
    sources = tuple(source for one in lists for source in one.sources)
    return ClipList(clips=tuple(clips), refused=tuple(refused), sources=sources, dataset=dataset)


def require_clean(refused: Sequence[RefusedRow]) -> None:
    """Stop for refused rows: what `--strict` does before the first download.

    Raises:
        InvalidInput: there are any; names their number and the first few.
    """
    if refused:
        first = "; ".join(f"{row.list_name}, line {row.line}: {row.reason}" for row in refused[:_SHOWN])
        more = "; and so on" if len(refused) > _SHOWN else ""
        raise InvalidInput(f"{len(refused)} rows are refused: {first}{more}. Mend the lists, or do without --strict")


def select(
    clips: Iterable[Clip],
    *,
    splits: Iterable[str] = (),
    classes: Iterable[str] = (),
    limit: int | None = None,
    seed: int = 0,
) -> list[Clip]:
    """The clips of the given splits and classes (all, when empty); of these, `limit` drawn with `seed`, in list order.

    Classes may be spelled as loosely as labels in lists, see `preprocess.labels`.

    Raises:
        InvalidInput: an unknown split, splits or a class that no clip has, or a limit below 1.
    """
    wanted_splits = {_known_split(split) for split in splits}
    clips = list(clips)
    chosen = [clip for clip in clips if not wanted_splits or clip.split in wanted_splits]
    if clips and not chosen:
        there = ", ".join(sorted({clip.split for clip in clips}))
        raise InvalidInput(f"no clip is in the split {', '.join(sorted(wanted_splits))}; the lists have {there}")
    if wanted_classes := set(classes):
        present = sorted({clip.label for clip in chosen if clip.label is not None})
        found = {name: canonical(name, present) for name in wanted_classes}
        if missing := sorted(name for name, label in found.items() if label is None):
            hints = [f"{name!r}{_like(name, present)}" for name in missing]
            raise InvalidInput(f"no clip has the class {', '.join(hints)}")
        labels = set(found.values())
        chosen = [clip for clip in chosen if clip.label in labels]
    if limit is not None:
        if limit < 1:
            raise InvalidInput(f"limit must be at least 1, got {limit}")
        if limit < len(chosen):
            picked = random.Random(seed).sample(range(len(chosen)), limit)  # noqa: S311 a draw, not a secret
            chosen = [chosen[i] for i in sorted(picked)]
    return chosen


def _read(path: Path, *, name: str, seen: dict[str, Clip], unlabelled: bool = False) -> ClipList:
    """Read a list whose clips are not to be in `seen`, by key, and add them to it."""
    clips: list[Clip] = []
    refused: list[RefusedRow] = []
    try:
        if not path.is_file():
            raise InvalidInput(f"list {path} does not exist or is not a file")
        with path.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
        # surrogateescape: one latin-1 label refuses its row, not the whole list
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            columns = Columns.of_header(file.readline(LINE_LENGTH + 1), path=path, unlabelled=unlabelled)
            for line, text in enumerate(file, start=2):
                if text.isspace():
                    continue
                fields = [text.rstrip("\n")]
                try:
                    fields = split_line(text)
                    youtube_id, start, end, split, label = columns.row(fields)
                    clip = Clip(
                        youtube_id=youtube_id,
                        time_start=start,
                        time_end=end,
                        split=split,
                        label=label,
                        line=line,
                        list_name=name,
                    )
                    first = seen.setdefault(clip.key, clip)
                    if first is not clip:
                        raise ValueError(_repetition(clip, first))
                except ValueError as error:
                    row = tuple(field[:_RAW_LENGTH] for field in fields[:_RAW_FIELDS])
                    refused.append(RefusedRow(line=line, reason=str(error), row=row, list_name=name))
                else:
                    clips.append(clip)
    except OSError as error:
        raise InvalidInput(f"list {path} cannot be read: {error.strerror}") from error
    source = ListSource(name=name, sha256=digest, rows=len(clips) + len(refused))
    return ClipList(clips=tuple(clips), refused=tuple(refused), sources=(source,))


def _repetition(clip: Clip, first: Clip) -> str:
    place = f"line {first.line}" if first.list_name == clip.list_name else f"{first.list_name}, line {first.line}"
    differences = [
        f"{name} {theirs!r} there and {ours!r} here"
        for name, theirs, ours in (("split", first.split, clip.split), ("label", first.label, clip.label))
        if theirs != ours
    ]
    return ": ".join([f"clip {clip.key} already stands in {place}", *([", ".join(differences)] if differences else [])])


def _match_labels(clips: list[Clip], labels: set[str], dataset: str) -> tuple[list[Clip], list[RefusedRow]]:
    """The clips, with labels as `dataset` spells them, and those whose label it does not have."""
    table = label_table(dataset)
    spelled: dict[str | None, str | None] = {label: canonical(label, table) for label in labels}
    if all(label == name for label, name in spelled.items()):
        return clips, []
    reasons = {
        label: f"label {label!r} is no class of {dataset}{_like(label, table)}"
        for label in labels
        if spelled[label] is None
    }
    matched: list[Clip] = []
    refused: list[RefusedRow] = []
    for clip in clips:
        name = spelled.get(clip.label)
        if name == clip.label:
            matched.append(clip)
        elif name is not None:
            matched.append(replace(clip, label=name))
        else:
            assert clip.label is not None
            row = (clip.label, clip.youtube_id, str(clip.time_start), str(clip.time_end), clip.split)
            refused.append(RefusedRow(line=clip.line, reason=reasons[clip.label], row=row, list_name=clip.list_name))
    return matched, refused


def _warn_of_near_miss(labels: set[str]) -> None:
    for dataset in KINETICS:
        table = label_table(dataset)
        strange = sorted(label for label in labels if canonical(label, table) is None)
        if strange and _NEAR_MISS * len(strange) <= len(labels):
            logger.warning(
                "%d of %d labels are no classes of %s, such as %r; all labels are taken as they are. "
                "With --dataset %s the others are matched to its classes, and rows with these refused",
                len(strange),
                len(labels),
                dataset,
                strange[0],
                dataset,
            )
            return


def _like(label: str, table: Sequence[str]) -> str:
    near = ", ".join(map(repr, nearest(label, table)))
    return f" (nearest: {near})" if near else ""


def _known_split(split: str) -> str:
    if split.lower() not in SPLITS:
        raise InvalidInput(f"split {split!r} is unknown; use train, val or test")
    return SPLITS[split.lower()]
