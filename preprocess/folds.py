"""The official splits of UCF-101 and HMDB-51: which videos train and which test, in each of three folds."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from preprocess.annotations import RefusedRow
from preprocess.errors import InvalidInput
from preprocess.labels import canonical, label_table

FOLDS = (1, 2, 3)
FOLD_LISTS = {fold: f"fold{fold}.csv" for fold in FOLDS}
"""Name of the list that `preprocess index` makes of each."""
EXTRA = "extra"
"""Split of a video that a fold leaves out."""

_HMDB51_SPLITS = {"0": EXTRA, "1": "train", "2": "test"}
_SHOWN = 3  # file names in a message
_RAW_LENGTH = 200  # of a refused line that is kept


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedVideo:
    """A video that the official splits name."""

    key: str
    """Its file name without the suffix: no two videos of a data set share one."""
    label: str
    """As the data set's label table spells it."""
    splits: tuple[str, ...]
    """`train`, `test` or `extra` in each of `FOLDS`."""


@dataclass(frozen=True, kw_only=True)
class Folds:
    """The splits of a data set, read whole."""

    videos: tuple[ListedVideo, ...]
    """Sorted by key."""
    refused: tuple[RefusedRow, ...]
    """Lines that name no video, or contradict an earlier line."""


@dataclass(frozen=True, kw_only=True)
class _SplitFile:
    name: str
    fold: int
    parse: Callable[[str], tuple[str, str, str]]
    """From a line to file name, label and split; ValueError where it has none."""


def read_folds(folder: Path, *, dataset: str) -> Folds:
    """Read the official split files of a data set, as they are published.

    Args:
        folder: of UCF-101's `classInd.txt`, `trainlist01.txt`, `testlist01.txt` and so on, or of HMDB-51's
            `CLASS_test_split1.txt` and so on.
        dataset: a key of `SPLIT_FILES`.

    Raises:
        InvalidInput: no such data set, or a file is missing or cannot be read.
    """
    if dataset not in SPLIT_FILES:
        raise InvalidInput(f"data set {dataset!r} has no official splits here; use one of {', '.join(SPLIT_FILES)}")
    labels: dict[str, str] = {}
    splits: dict[str, dict[int, str]] = {}
    refused: list[RefusedRow] = []
    for file in SPLIT_FILES[dataset](folder):
        for line, text in _lines(folder / file.name):
            try:
                name, label, split = file.parse(text)
                key = _key(name)
                if labels.setdefault(key, label) != label:
                    raise ValueError(f"{key} is {labels[key]} in an earlier line, {label} here")
                if (earlier := splits.setdefault(key, {}).setdefault(file.fold, split)) != split:
                    raise ValueError(f"{key} is in {earlier} of fold {file.fold} by an earlier line, in {split} here")
            except ValueError as error:
                row = (text[:_RAW_LENGTH],)
                refused.append(RefusedRow(line=line, reason=str(error), row=row, list_name=file.name))
    videos = [
        ListedVideo(key=key, label=labels[key], splits=tuple(splits[key].get(fold, EXTRA) for fold in FOLDS))
        for key in sorted(splits)
    ]
    return Folds(videos=tuple(videos), refused=tuple(refused))


def _ucf101_files(folder: Path) -> list[_SplitFile]:
    names = {(fold, split): f"{split}list{fold:02d}.txt" for fold in FOLDS for split in ("train", "test")}
    _require(folder, ["classInd.txt", *names.values()])
    numbers = dict(_ucf101_class(text) for _, text in _lines(folder / "classInd.txt"))
    return [
        _SplitFile(name=name, fold=fold, parse=partial(_ucf101_line, split=split, numbers=numbers))
        for (fold, split), name in names.items()
    ]


def _ucf101_class(text: str) -> tuple[str, int]:
    """A line `1 ApplyEyeMakeup`."""
    number, _, name = text.partition(" ")
    label = canonical(name, label_table("ucf101"))
    if label is None or not re.fullmatch("[0-9]{1,9}", number):
        raise InvalidInput(f"classInd.txt has the line {text[:60]!r}, expected the number and name of a UCF-101 class")
    return label, int(number)


def _ucf101_line(text: str, *, split: str, numbers: dict[str, int]) -> tuple[str, str, str]:
    """`Class/v_Class_g08_c01.avi 1` in a training list, where 1 is the number of the class; no number for testing."""
    found = re.fullmatch(r"([^/ ]+)/([^/ ]+)(?: +([0-9]+))?", text)
    label = canonical(found[1], label_table("ucf101")) if found else None
    if found is None or label is None:
        raise ValueError("not a line CLASS/VIDEO.avi with a class of UCF-101")
    if found[3] is not None and int(found[3]) != numbers.get(label):
        raise ValueError(f"{label} has the number {numbers.get(label)} in classInd.txt, {found[3]} here")
    return found[2], label, split


def _hmdb51_files(folder: Path) -> list[_SplitFile]:
    files = [
        _SplitFile(name=f"{label}_test_split{fold}.txt", fold=fold, parse=partial(_hmdb51_line, label=label))
        for label in label_table("hmdb51")
        for fold in FOLDS
    ]
    _require(folder, [file.name for file in files])
    return files


def _hmdb51_line(text: str, *, label: str) -> tuple[str, str, str]:
    """`NAME.avi 1` in the file of a class and fold: 1 for training, 2 for testing, 0 for neither."""
    found = re.fullmatch(r"([^/]+?) +([012])", text)
    if found is None:
        raise ValueError("not a line VIDEO.avi with 0, 1 or 2 behind")
    return found[1], label, _HMDB51_SPLITS[found[2]]


SPLIT_FILES: dict[str, Callable[[Path], list[_SplitFile]]] = {"ucf101": _ucf101_files, "hmdb51": _hmdb51_files}
"""Data set to its split files in a folder, each with what reads a line of it."""


def _key(name: str) -> str:
    path = PurePosixPath(name)
    if not name.isprintable() or not re.fullmatch(r"\.\w+", path.suffix):
        raise ValueError(f"{name[:60]!r} is not the file name of a video")
    return path.stem


def _require(folder: Path, names: list[str]) -> None:
    try:
        present = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise InvalidInput(f"folder of splits {folder} cannot be read: {error.strerror}") from error
    if missing := [name for name in names if name not in present]:
        shown = ", ".join([*missing[:_SHOWN], *(["..."] if len(missing) > _SHOWN else [])])
        raise InvalidInput(f"folder of splits {folder} lacks {len(missing)} of {len(names)} files: {shown}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, stripped; without empty ones."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for line, text in enumerate(file, start=1):
                if stripped := text.strip():
                    yield line, stripped
    except OSError as error:
        raise InvalidInput(f"split file {path} cannot be read: {error.strerror}") from error
