"""How many clips each class has, told before a run: a class without clips is never learned, a rare one hardly."""

import logging
from dataclasses import dataclass

import numpy as np

from preprocess.shards import ShardSet

logger = logging.getLogger(__name__)

UNEVEN = 10
"""Most to fewest clips of a class from which a split is called uneven."""

_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class ClassBalance:
    """Clips of each class of a split."""

    split: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    """By label, unlabelled clips not counted."""

    @classmethod
    def of(cls, clips: ShardSet) -> "ClassBalance":
        """Count a split whose labels are within the names."""
        known = clips.clips.label[clips.clips.label >= 0]
        counts = np.bincount(known, minlength=len(clips.labels))
        return cls(split=str(clips.split), labels=clips.labels, counts=tuple(counts.tolist()))

    @property
    def without_clips(self) -> list[str]:
        """Names of the classes that have none."""
        return [label for label, count in zip(self.labels, self.counts, strict=True) if not count]

    def tell(self) -> None:
        """Log the counts, as a warning where classes have no clip or differ much."""
        present = {label: count for label, count in zip(self.labels, self.counts, strict=True) if count}
        most, fewest = max(present, key=present.__getitem__), min(present, key=present.__getitem__)
        where = f"{sum(self.counts)} clips of {len(present)} classes in the {self.split} split"
        numbers = (
            f"{present[most]} of {most!r}, the most, {present[fewest]} of {fewest!r}, the fewest, "
            f"median {np.median(list(present.values())):g}"
        )
        if present[most] >= UNEVEN * present[fewest]:
            logger.warning("%s: %s; the rare ones will hardly be learned", where, numbers)
        elif present[most] > present[fewest]:
            logger.info("%s: %s", where, numbers)
        else:
            logger.info("%s, %d of each", where, present[most])
        if missing := self.without_clips:
            logger.warning(
                "%d of %d classes have no clip in the %s split and cannot be learned, such as %s",
                len(missing),
                len(self.labels),
                self.split,
                ", ".join(map(repr, missing[:_NAMED])),
            )
