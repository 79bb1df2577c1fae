"""Clips to look at: those that are there twice, that stand still, that are unlike their class.

All are rows of the shard set; the first of each list is the one to begin with.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from preprocess.report.content import Duplicates, FarClip, FarClips, StillClip
from preprocess.report.descriptor import FAR, class_scores
from preprocess.report.figures import STRETCH_S, rounded
from preprocess.report.looks import same_looks
from preprocess.report.measuring import ClipMeasures
from preprocess.report.tables import Tables

SHOWN = 24
"""Clips, or groups of them, of each kind that have a picture."""
SHOWN_OF_GROUP = 3
"""Twins of a group that have one; more of them would look the same."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What to look at."""

    exact: list[list[int]]
    """Groups of clips that are the same."""
    near: list[list[int]]
    """Groups of clips that look the same."""
    hashed: int
    """Clips that were compared by looks."""
    still: list[ClipMeasures]
    """Clips with a long still stretch, the longest first."""
    scores: list[tuple[int, float]]
    """Clips that can be judged, with their score, the farthest from their class first."""

    def rows(self) -> list[int]:
        """The clips of which the page has a picture, if there is room."""
        groups = (*self.exact[:SHOWN], *self.near[:SHOWN])
        return [
            *(row for row, _ in self._far[:SHOWN]),
            *(row for rows in groups for row in rows[:SHOWN_OF_GROUP]),
            *(one.clip for one in self.still[:SHOWN]),
        ]

    def duplicates(self, tables: Tables) -> Duplicates:
        """Both kinds of groups, as the report has them."""
        exact, near = (tuple(map(tables.twins, groups)) for groups in (self.exact, self.near))
        return Duplicates(exact=exact, near=near, hashed=self.hashed)

    def still_clips(self, tables: Tables) -> tuple[StillClip, ...]:
        """The first of the still clips, as the report has them."""
        fps = float(tables.shards.attributes.fps)
        return tuple(
            StillClip(
                clip=tables.name(one.clip),
                longest_s=rounded(one.stretches.longest / fps),
                still=rounded(one.stretches.still / one.stretches.fields),
            )
            for one in self.still[:SHOWN]
        )

    def far_clips(self, tables: Tables) -> FarClips:
        """The clips that stand out, as the report has them."""
        first = tuple(FarClip(clip=tables.name(row), score=round(score, 2)) for row, score in self._far[:SHOWN])
        return FarClips(judged=len(self.scores), above=len(self._far), first=first)

    @property
    def _far(self) -> list[tuple[int, float]]:
        return [(row, score) for row, score in self.scores if score > FAR]


def find(tables: Tables, measures: Sequence[ClipMeasures]) -> Findings:
    """Look through all clips for exact twins, and through the measured ones for the rest."""
    exact = exact_twins(tables)
    return Findings(
        exact=exact,
        near=near_twins(tables, measures, exact),
        hashed=sum(len(one.look) > 0 for one in measures),
        still=longest_still(measures, fps=float(tables.shards.attributes.fps)),
        scores=far_scores(tables, measures),
    )


def exact_twins(tables: Tables) -> list[list[int]]:
    """Groups of clips whose frames and flow are the same, byte by byte, as far as two CRC-32 tell."""
    clips = tables.shards.clips
    groups: defaultdict[tuple[int, int, int], list[int]] = defaultdict(list)
    for row in tables.usable.tolist():
        groups[int(clips.rgb_crc32[row]), int(clips.flow_crc32[row]), int(clips.rgb_count[row])].append(row)
    return _across_splits_first(tables, [rows for rows in groups.values() if len(rows) > 1])


def near_twins(tables: Tables, measures: Sequence[ClipMeasures], exact: Sequence[list[int]]) -> list[list[int]]:
    """Groups of clips that look the same, but for those that are wholly in a group of `exact`."""
    hashed = [one for one in measures if len(one.look)]
    if not hashed:
        return []
    group_of = {row: number for number, rows in enumerate(exact) for row in rows}
    groups = [[hashed[place].clip for place in places] for places in same_looks(np.stack([one.look for one in hashed]))]
    # a clip outside of all exact groups counts as a group of its own, by the negative of its row
    new = [rows for rows in groups if len({group_of.get(row, -1 - row) for row in rows}) > 1]
    return _across_splits_first(tables, new)


def longest_still(measures: Sequence[ClipMeasures], *, fps: float) -> list[ClipMeasures]:
    """Clips with a still stretch of `STRETCH_S` or more, the longest first."""
    found = [one for one in measures if one.stretches.longest / fps >= STRETCH_S]
    return sorted(found, key=lambda one: (-one.stretches.longest, one.clip))


def far_scores(tables: Tables, measures: Sequence[ClipMeasures]) -> list[tuple[int, float]]:
    """How far each clip that can be judged is from its class, see `class_scores`, the farthest first."""
    if not measures:
        return []
    rows = [one.clip for one in measures]
    scores = class_scores(np.stack([one.descriptor for one in measures]), tables.shards.clips.label[rows])
    judged = [(row, score) for row, score in zip(rows, scores.tolist(), strict=True) if not np.isnan(score)]
    return sorted(judged, key=lambda one: (-one[1], one[0]))


def _across_splits_first(tables: Tables, groups: list[list[int]]) -> list[list[int]]:
    """Those that may make a test of clips that were trained on, before those that only cost a little time."""
    return sorted(groups, key=lambda rows: (len(set(tables.split[rows].tolist())) == 1, rows))
