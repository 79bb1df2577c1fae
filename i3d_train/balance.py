"""How many clips each class has, told before a run: a class without clips is never learned, a rare one hardly."""

import logging

import numpy as np

from i3d_train.data import UNLABELLED
from preprocess.shards import ShardSet

logger = logging.getLogger(__name__)

UNEVEN = 10
"""Most to fewest clips of a class from which a split is called uneven."""

_NAMED = 5


def tell_balance(clips: ShardSet) -> None:
    """Log how many clips each class of a split has, as a warning where classes have no clip or differ much."""
    labels = clips.labels
    counts = np.bincount(clips.clips.label[clips.clips.label != UNLABELLED], minlength=len(labels))
    present, missing = np.flatnonzero(counts), np.flatnonzero(counts == 0)
    most, fewest = present[counts[present].argmax()], present[counts[present].argmin()]
    where = f"{counts.sum()} clips of {len(present)} classes in the {clips.split} split"
    numbers = (
        f"{counts[most]} of {labels[most]!r}, the most, {counts[fewest]} of {labels[fewest]!r}, the fewest, "
        f"median {np.median(counts[present]):g}"
    )
    if counts[most] >= UNEVEN * counts[fewest]:
        logger.warning("%s: %s; the rare ones will hardly be learned", where, numbers)
    elif counts[most] > counts[fewest]:
        logger.info("%s: %s", where, numbers)
    else:
        logger.info("%s, %d of each", where, counts[most])
    if len(missing):
        logger.warning(
            "%d of %d classes have no clip in the %s split and cannot be learned, such as %s",
            len(missing),
            len(labels),
            clips.split,
            ", ".join(repr(labels[label]) for label in missing[:_NAMED]),
        )
