"""Split files in the form in which UCF-101 and HMDB-51 publish them, with made-up videos."""

from pathlib import Path

from preprocess.labels import label_table


def write_ucf101_splits(folder: Path, **lists: list[str]) -> Path:
    """The seven files; `lists` gives the lines of some of them by name, the others are empty."""
    folder.mkdir(parents=True, exist_ok=True)
    classes = [f"{number} {name}" for number, name in enumerate(label_table("ucf101"), start=1)]
    names = [f"{split}list0{fold}" for split in ("train", "test") for fold in (1, 2, 3)]
    files = {"classInd": classes, **{name: [] for name in names}, **lists}
    for name, lines in files.items():
        (folder / f"{name}.txt").write_bytes("".join(f"{line}\r\n" for line in lines).encode())
    return folder


def write_hmdb51_splits(folder: Path, **lists: list[str]) -> Path:
    """The 153 files, likewise."""
    folder.mkdir(parents=True, exist_ok=True)
    for label in label_table("hmdb51"):
        for fold in (1, 2, 3):
            name = f"{label}_test_split{fold}"
            (folder / f"{name}.txt").write_text("".join(f"{line} \n" for line in lists.get(name, [])))
    return folder
