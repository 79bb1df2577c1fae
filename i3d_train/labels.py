"""Class names: of a file, or of Kinetics-400 in the order of the released networks."""

from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.labels import label_table

_KINETICS_CLASSES = 400


def kinetics400() -> tuple[str, ...]:
    """The 400 class names in the order of the released networks' logits."""
    return label_table("kinetics400")


def read_labels(path: Path) -> tuple[str, ...]:
    """Class names, one a line, in the order of the logits.

    Raises:
        InvalidInput: no such file, not text, an empty line or a repeated name.
    """
    try:
        labels = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"label file {path} cannot be read: {error}") from error
    for number, label in enumerate(labels, start=1):
        if not label or label in labels[: number - 1]:
            raise InvalidInput(f"{path}, line {number}: {label!r} is empty or repeated; write one class name a line")
    return labels


def class_names(num_classes: int, *, known: tuple[str, ...] = (), file: Path | None = None) -> tuple[str, ...]:
    """Names of a network's classes: from `file`, else as `known`, else Kinetics-400 for 400, else numbers.

    Args:
        num_classes: length of the logits.
        known: names that the weights carry; empty when they carry none.
        file: names of the caller's own.

    Raises:
        InvalidInput: the names are not as many as the classes.
    """
    if file is not None:
        names, source = read_labels(file), str(file)
    elif known:
        names, source = known, "the weights"
    elif num_classes == _KINETICS_CLASSES:
        names, source = kinetics400(), "Kinetics-400"
    else:
        names, source = tuple(f"class {number}" for number in range(num_classes)), "numbers"
    if len(names) != num_classes:
        raise InvalidInput(
            f"{source} names {len(names)} classes, the network has {num_classes}; "
            f"give the list that it was trained with"
        )
    return names
