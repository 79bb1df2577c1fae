"""The mean over the official splits of UCF-101 and HMDB-51: how accuracies on them are reported."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from i3d_train.results import Results, read_results
from i3d_train.scoring import added
from preprocess.errors import InvalidInput

_SAME = ("frames", "crop", "windows", "crops")
"""How a test was made; other values for another fold would compare unlike things."""


def mean_over_folds(paths: Sequence[Path]) -> list[Results]:
    """Mean over folds of each network, stream, way of transfer and fusion that the results have.

    Args:
        paths: results, or their folders, of one fold each.

    Returns:
        A mean for each of them.

    Raises:
        InvalidInput: fewer than two results of a network, one without its fold, the same fold twice, or folds that
            were tested in other ways.
    """
    groups: dict[tuple[str, ...], dict[int, tuple[Path, Results]]] = defaultdict(dict)
    for path in paths:
        for one in read_results(path):
            tested = one.tested
            if len(tested.folds) != 1:
                found = f"the mean of folds {', '.join(map(str, tested.folds))}" if tested.folds else "no fold"
                raise InvalidInput(f"{path} is of {found}; give results of `i3d_train evaluate --fold N --out`")
            group = groups[tested.name, tested.dataset, tested.split]
            (fold,) = tested.folds
            if fold in group:
                raise InvalidInput(
                    f"fold {fold} of {tested.name} comes twice, in {group[fold][0]} and {path}; give each fold once"
                )
            group[fold] = (path, one)
    all_folds = sorted({fold for group in groups.values() for fold in group})
    return [_mean(group, all_folds) for group in groups.values()]


def _mean(group: dict[int, tuple[Path, Results]], all_folds: list[int]) -> Results:
    (first_path, first), *others = (group[fold] for fold in sorted(group))
    tested = first.tested
    if not others:
        raise InvalidInput(
            f"{tested.name} on {tested.dataset} {tested.split} has results of fold {tested.folds[0]} only; a mean "
            f"needs the same network on other folds"
        )
    if missing := [str(fold) for fold in all_folds if fold not in group]:
        raise InvalidInput(
            f"{tested.name} has no results of fold {', '.join(missing)}, which others have; evaluate it there too"
        )
    for path, one in others:
        for name in _SAME:
            here, there = getattr(tested, name), getattr(one.tested, name)
            if here != there:
                raise InvalidInput(f"{first_path} was tested with {name} {here}, {path} with {there}; use the same")
    results = [first, *(one for _, one in others)]
    return Results(
        tested=replace(
            tested,
            folds=tuple(sorted(group)),
            weights=tuple(name for one in results for name in one.tested.weights),
        ),
        clips=sum(one.clips for one in results),
        unlabelled=sum(one.unlabelled for one in results),
        missing=sum(one.missing for one in results),
        loss=sum(one.loss for one in results) / len(results),
        top1=sum(one.top1 for one in results) / len(results),
        top5=sum(one.top5 for one in results) / len(results),
        mean_class=sum(one.mean_class for one in results) / len(results),
        classes=added(one.classes for one in results),
    )
