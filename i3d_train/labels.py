"""Class names: of a file, or of Kinetics-400 in the order of the released networks."""

from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.labels import label_table, read_label_file

_KINETICS_CLASSES = 400


def class_names(num_classes: int, *, known: tuple[str, ...] = (), file: Path | None = None) -> tuple[str, ...]:
    """Names of a network's classes: from `file`, else as `known`, else Kinetics-400 for 400, else numbers.

    Args:
        num_classes: length of the logits.
        known: names that the weights carry; empty when they carry none.
        file: names of the caller's own.

    Raises:
        InvalidInput: the file is none of labels, or the names are not as many as the classes.
    """
    if file is not None:
        names, source = read_label_file(file), str(file)
    elif known:
        names, source = known, "the weights"
    elif num_classes == _KINETICS_CLASSES:
        names, source = label_table("kinetics400"), "Kinetics-400"
    else:
        names, source = tuple(f"class {number}" for number in range(num_classes)), "numbers"
    if len(names) != num_classes:
        raise InvalidInput(
            f"{source} names {len(names)} classes, the network has {num_classes}; "
            f"give the list that it was trained with"
        )
    return names
