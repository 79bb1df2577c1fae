"""Label tables: the class names of each data set, spelled and ordered as published; line n is class n - 1.

    kinetics400, kinetics600   label_map.txt, label_map_600.txt of google-deepmind/kinetics-i3d (Apache-2.0): the order
                               of the released networks' logits
    kinetics700                tools/data/kinetics/label_map_k700.txt of open-mmlab/mmaction2 (Apache-2.0), by alphabet
    ucf101                     classInd.txt of the data set's own splits
    hmdb51                     tools/data/hmdb51/label_map.txt of open-mmlab/mmaction2 (Apache-2.0), by alphabet

Kinetics-700-2020 has table `kinetics700`: it adds clips to "each of the 700 classes" (Smaira et al. 2020,
arXiv:2010.10864). Its list itself was not at hand to compare.

Lists drift from their tables in capitals, quotes, brackets and underscores, so labels are compared by letters and
digits only. No two classes of a table meet that way.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path

from preprocess.errors import InvalidInput

DATASETS = ("kinetics400", "kinetics600", "kinetics700", "ucf101", "hmdb51")
"""Names of the tables."""
KINETICS = DATASETS[:3]
"""Those whose clips have YouTube ids."""

_TABLES_KEPT = 16  # prepared for look-up, of callers' own making


@cache
def label_table(dataset: str) -> tuple[str, ...]:
    """The class names of a data set, in the published order.

    Raises:
        InvalidInput: no such table.
    """
    if dataset not in DATASETS:
        raise InvalidInput(f"data set {dataset!r} has no label table; use one of {', '.join(DATASETS)}")
    return tuple(files(__name__).joinpath(f"{dataset}.txt").read_text(encoding="utf-8").splitlines())


def read_label_file(path: Path) -> tuple[str, ...]:
    """Label names of a file in their order, one a line.

    Raises:
        InvalidInput: no such file, not UTF-8 text, no label, one twice, or an empty line before the last label.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"label file {path} cannot be read: {error}") from error
    lines = text.rstrip().splitlines() or [""]
    labels: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        label = line.strip()
        if not label or label in labels:
            raise InvalidInput(
                f"label file {path}, line {number}: {label!r} is empty or repeated; write one label a line, each once"
            )
        labels[label] = None
    return tuple(labels)


def canonical(label: str, table: Sequence[str]) -> str | None:
    """How `table` spells a label; None when it has no such label, or several that differ only in spelling.

    Example:
        >>> canonical("Passing_american football in game", label_table("kinetics700"))
        'passing American football (in game)'
    """
    exact, by_form = _spellings(tuple(table))
    return label if label in exact else by_form.get(_form(label))


def nearest(label: str, table: Sequence[str]) -> list[str]:
    """At most three labels of `table` that look like one that it does not have, the likeliest first."""
    forms = {_form(name): name for name in table}
    return [forms[form] for form in difflib.get_close_matches(_form(label), forms)]


def dataset_of(labels: Iterable[str], *, among: Iterable[str] = DATASETS) -> str | None:
    """The data set with the fewest classes whose table has all of `labels`.

    A few classes of Kinetics-600 that Kinetics-400 has too are called `kinetics400`: the labels are the same.

    Returns:
        A name of `among`; None when no table has them all, or there are no labels.
    """
    wanted = set(labels)
    for dataset in sorted(among, key=lambda name: len(label_table(name))):
        table = label_table(dataset)
        if wanted and all(canonical(label, table) is not None for label in wanted):
            return dataset
    return None


@lru_cache(maxsize=_TABLES_KEPT)
def _spellings(table: tuple[str, ...]) -> tuple[frozenset[str], dict[str, str]]:
    """The labels of a table; and the same by form, without the forms that several of them share."""
    by_form: dict[str, str] = {}
    shared = {""}
    for label in table:
        if by_form.setdefault(form := _form(label), label) != label:
            shared.add(form)
    return frozenset(table), {form: label for form, label in by_form.items() if form not in shared}


def _form(label: str) -> str:
    return re.sub(r"[\W_]+", "", label).casefold()
