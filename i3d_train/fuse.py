"""Late fusion of two evaluations: the answers of a network for colour and of one for flow, put together.

The paper averages predictions; the authors' released code (google-deepmind/kinetics-i3d, evaluate_sample.py) adds the
two networks' logits with equal weight. Both are computed here, from logits on the disk.

Shapes: N = clips, K = classes.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from i3d_train.clip_logits import LOGITS_NAME, ClipLogits
from i3d_train.options import check_at_least
from i3d_train.results import FUSIONS, Results, read_results
from preprocess.errors import InvalidInput

_SAME = ("model", "transfer", "dataset", "split", "folds", "frames", "crop", "windows", "crops")
"""Of what both have to be."""
_NAMED = 5
"""Keys or classes that a message names."""


def fuse(rgb: Path, flow: Path, *, most_wrong: int = 20) -> tuple[list[Results], ClipLogits]:
    """Fuse two evaluations of the same clips.

    Args:
        rgb: folder that an evaluation of a network for colour wrote, or its `results.json`.
        flow: the same for flow. The order of the clips and of the classes may differ.
        most_wrong: how many clips to name at most.

    Returns:
        The results of colour, flow, averaged probabilities and sum of logits, in this order; and the sums.

    Raises:
        InvalidInput: a folder has no evaluation of one network, a stream is another, or clips, labels, classes,
            splits, folds, windows, crops or ways of transfer differ, named; or `most_wrong` is below 0.
    """
    check_at_least("most_wrong", most_wrong, 0)
    rgb, flow = (path if path.is_dir() else path.parent for path in (rgb, flow))
    found_rgb, found_flow = _single(rgb, "rgb"), _single(flow, "flow")
    for name in _SAME:
        there, here = getattr(found_rgb.tested, name), getattr(found_flow.tested, name)
        if there != here:
            raise InvalidInput(
                f"{rgb} is of {name} {_told(there)}, {flow} of {_told(here)}; fuse two evaluations of the same test"
            )
    colour = ClipLogits.read(rgb / LOGITS_NAME)
    motion = _in_order_of(colour, ClipLogits.read(flow / LOGITS_NAME), names=(str(rgb), str(flow)))
    tested = replace(found_rgb.tested, stream="both", weights=(*found_rgb.tested.weights, *found_flow.tested.weights))
    fused = {way: replace(colour, logits=join(colour.logits, motion.logits)) for way, join in _JOIN.items()}
    # of the same clips, so that what one of them lacks is not in the fusion either
    missing = max(found_rgb.missing, found_flow.missing)
    joint = [
        Results.of(replace(tested, fusion=way), fused[way], most_wrong=most_wrong, missing=missing)
        for way in reversed(FUSIONS)
    ]
    return [found_rgb, found_flow, *joint], fused["sum"]


def _mean(left_NK: np.ndarray, right_NK: np.ndarray) -> np.ndarray:
    """Logarithms of the mean probabilities, whose softmax those are."""
    left, right = (torch.from_numpy(logits).log_softmax(1) for logits in (left_NK, right_NK))
    mean_NK: np.ndarray = (torch.logaddexp(left, right) - np.log(2)).numpy()
    return mean_NK


_JOIN: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"sum": np.add, "mean": _mean}
"""Way of fusion, a key of `FUSIONS`, to logits from two networks' logits."""


def _told(value: object) -> str:
    """What was tested, in a message; folds are several."""
    return str(value) if not isinstance(value, tuple) else ", ".join(map(str, value)) or "none"


def _single(folder: Path, stream: str) -> Results:
    results = read_results(folder)
    if len(results) != 1 or results[0].tested.stream != stream:
        found = ", ".join(one.tested.name for one in results) or "nothing"
        raise InvalidInput(
            f"{folder} holds results of {found}, expected those of one network for {stream}; "
            f"give the {stream} folder {'first' if stream == 'rgb' else 'second'}"
        )
    return results[0]


def _in_order_of(model: ClipLogits, other: ClipLogits, *, names: tuple[str, str]) -> ClipLogits:
    """`other` with clips and classes in the order that `model` has them."""
    _check_same("class", model.classes, other.classes, names=names)
    _check_same("clip", model.keys, other.keys, names=names)
    class_of = {name: number for number, name in enumerate(other.classes)}
    row_of = {key: row for row, key in enumerate(other.keys)}
    columns = np.array([class_of[name] for name in model.classes], dtype=np.int64)
    rows = np.array([row_of[key] for key in model.keys], dtype=np.int64)
    # what an index of theirs is here; the last place is for -1
    here = np.append(np.argsort(columns), -1)
    labels = here[other.labels[rows]]
    if different := np.flatnonzero(labels != model.labels).tolist():
        key = model.keys[different[0]]
        raise InvalidInput(
            f"clip {key!r} has another label in {names[1]} than in {names[0]} ({len(different)} such clips); "
            f"evaluate both on the same shards"
        )
    return replace(model, labels=labels, logits=other.logits[np.ix_(rows, columns)])


def _check_same(kind: str, left: tuple[str, ...], right: tuple[str, ...], *, names: tuple[str, str]) -> None:
    for mine, theirs, (has, lacks) in ((left, right, names), (right, left, names[::-1])):
        there = set(theirs)
        if missing := [name for name in mine if name not in there]:
            raise InvalidInput(
                f"{lacks} has no {kind} {', '.join(map(repr, missing[:_NAMED]))} ({len(missing)} in all), which "
                f"{has} has; evaluate both on the same shards, with weights for the same classes"
            )
