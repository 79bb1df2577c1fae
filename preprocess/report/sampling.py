"""Which clips are looked at closely, and which are shown."""

import numpy as np


def draw(rows: np.ndarray, *, strata: np.ndarray, wanted: int, seed: int) -> np.ndarray:
    """Draw clips so that each has the same chance, and each stratum its share of the draw, give or take one.

    Systematic sampling over the shuffled strata, one after the other. Source: Cochran, "Sampling techniques", 1977,
    chapter 8.

    Args:
        rows: int, of the clips.
        strata: int [rows], what the draw is to be even over.
        wanted: how many; all rows if there are no more.
        seed: same seed, same draw.

    Returns:
        int, the drawn rows, rising.
    """
    if len(rows) <= wanted:
        return np.sort(rows)
    chance = np.random.default_rng(seed)
    ordered = rows[np.lexsort([chance.random(len(rows)), strata])]
    places = (np.arange(wanted) + chance.random()) * (len(rows) / wanted)
    return np.sort(ordered[places.astype(np.int64)])


def some_of_each(rows: np.ndarray, *, strata: np.ndarray, wanted: int, seed: int) -> list[np.ndarray]:
    """Up to `wanted` rows of each stratum, by chance, each rising; the strata in order."""
    chance = np.random.default_rng(seed)
    found = []
    for stratum in np.unique(strata):
        members = rows[strata == stratum]
        found.append(np.sort(chance.permutation(members)[:wanted]))
    return found
