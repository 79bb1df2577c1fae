"""In which order an epoch of training goes through the clips: a pure function of seed and epoch.

Clips are drawn from groups: all clips are one group in plain training, each data set of a mixture is one, and with
class balance each class is one. A group's share of an epoch is fixed by its weight, and its clips follow one another
in passes: every pass holds each clip once, in an order of its own, and the next epoch goes on where the last one
stopped. So over any stretch of epochs the clips of a group are drawn equally often, give or take one. Read are all of
them but the tail of each epoch, see `pipelines.sampling.Sampler`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocess.errors import InvalidInput

_PASS, _INTERLEAVE = 1, 2
"""Keep the random streams of different uses apart."""
_WEIGHT_BELOW = 1e300
"""So that the weights of any number of groups add up to a number."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Clips that are drawn from together."""

    name: str
    """For messages."""
    rows: np.ndarray
    """int [clips]: of the clip table, at least one."""
    weight: float
    """Share of the positions of an epoch, relative to the other groups."""


def random_stream(seed: int, *key: int) -> np.random.Generator:
    """A generator of its own for each seed and key."""
    # a spawn key, because as plain entropy (seed, epoch) and (seed, epoch, 0) give the same stream
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


class TrainingOrder:
    """Clip rows at the positions of each epoch.

    Args:
        groups: at least one.
        seed: of every random choice.
        shard: int [clips of the table]: the shard of each row; needed for `shuffle_shards`.
        shuffle_shards: see `FeedConfig`.

    Raises:
        InvalidInput: a weight that is not positive, as good as infinite, or so small that its group is never drawn.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        seed: int,
        shard: np.ndarray | None = None,
        shuffle_shards: int | None = None,
    ) -> None:
        self._groups = groups
        self._seed = seed
        self._shard = shard
        self._shuffle_shards = shuffle_shards
        self.positions = sum(len(group.rows) for group in groups)
        """Of an epoch: as many as there are clips."""
        self._counts = _shares(groups, self.positions)

    def __call__(self, epoch: int) -> np.ndarray:
        """Rows of the clip table by position; int32 [positions]."""
        if len(self._groups) == 1:
            return self._pass(0, epoch)
        order = np.empty(self.positions, np.int32)
        # positions of the first group, then of the second, and so on, in random places
        places = random_stream(self._seed, epoch, 0, _INTERLEAVE).permutation(self.positions)
        start = 0
        for number, count in enumerate(self._counts):
            # sorted, or a pass would be scattered over the epoch
            order[np.sort(places[start : start + count])] = self._stretch(number, epoch * count, count)
            start += count
        return order

    def _stretch(self, number: int, first: int, count: int) -> np.ndarray:
        """Draws `first` to `first + count - 1` of a group's endless sequence of passes."""
        size = len(self._groups[number].rows)
        passes = [self._pass(number, turn) for turn in range(first // size, (first + count - 1) // size + 1)]
        return np.concatenate(passes)[first % size : first % size + count]

    def _pass(self, number: int, turn: int) -> np.ndarray:
        rows = self._groups[number].rows
        alone = len(self._groups) == 1
        random = random_stream(self._seed, turn) if alone else random_stream(self._seed, turn, number, _PASS)
        if self._shuffle_shards is None:
            shuffled: np.ndarray = rows[random.permutation(len(rows))]
            return shuffled.astype(np.int32)
        assert self._shard is not None
        shards, shard_of_row = np.unique(self._shard[rows], return_inverse=True)
        block = random.permutation(len(shards))[shard_of_row] // self._shuffle_shards
        return rows[np.lexsort((random.random(len(rows)), block))].astype(np.int32)


def _shares(groups: Sequence[Group], positions: int) -> list[int]:
    """Positions of each group: its weight's share, rounded so that they add up (largest remainder)."""
    for group in groups:
        if not 0 < group.weight < _WEIGHT_BELOW:
            raise InvalidInput(
                f"{group.name} has weight {group.weight}; it must be above 0 and below {_WEIGHT_BELOW:g}"
            )
    total = sum(group.weight for group in groups)
    exact = np.array([group.weight / total * positions for group in groups])
    counts = np.floor(exact).astype(int)
    left = positions - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    if never := [group for group, count in zip(groups, counts, strict=True) if not count]:
        raise InvalidInput(
            f"{never[0].name} has weight {never[0].weight:g} of {total:g}, which is none of an epoch's {positions} "
            f"positions; give it more, or leave it out"
        )
    return [int(count) for count in counts]
