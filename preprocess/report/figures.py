"""From tables and measures to the figures of all clips, of a split and of a class."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from preprocess.report.content import (
    Balance,
    Camera,
    ClassFigures,
    Histogram,
    Part,
    Share,
    Spread,
    Stillness,
)
from preprocess.report.measuring import ClipMeasures
from preprocess.report.motion import Sizes, motion_of
from preprocess.report.tables import Tables

STRETCH_S = 1.0
"""Still stretches from here on are worth a look."""
WHOLLY = 0.95
_MOST_BINS = 24
_TOP = 6  # frame sizes that are named


def part_of(tables: Tables, rows: np.ndarray, measures: Sequence[ClipMeasures]) -> Part:
    """The figures of some clips.

    Args:
        tables: of the data set.
        rows: int, of the clips, at least one.
        measures: of the sampled ones among them.
    """
    clips, attributes = tables.shards.clips, tables.shards.attributes
    frames = clips.rgb_count[rows]
    return Part(
        clips=len(rows),
        frames=int(frames.sum()),
        hours=rounded(float(frames.sum() / attributes.fps) / 3600),
        balance=_balance(clips.label[rows], labels=len(tables.shards.labels)),
        rgb_bytes=_spread(tables.bytes["rgb"][rows]),
        flow_bytes=_spread(tables.bytes["flow"][rows]),
        rgb_sizes=_histogram(tables.bytes["rgb"][rows]),
        flow_sizes=_histogram(tables.bytes["flow"][rows]),
        lengths=_spread(frames),
        length_counts=_histogram(frames),
        frame_sizes=_frame_sizes(zip(clips.width[rows].tolist(), clips.height[rows].tolist(), strict=True)),
        sampled=len(measures),
        motion=motion_of(measures, attributes) if measures else None,
        stillness=_stillness(measures, fps=float(attributes.fps)) if measures else None,
        camera=_camera(measures),
        classes=_classes(tables, rows, measures),
    )


def _balance(label: np.ndarray, *, labels: int) -> Balance:
    counts = np.bincount(label[label >= 0], minlength=labels)
    some = counts[counts > 0]
    return Balance(
        labels=labels,
        empty=int(np.count_nonzero(counts == 0)),
        clips=_spread(some) if len(some) else None,
        by_label=_histogram(some) if len(some) else None,
        unlabelled=int(np.count_nonzero(label < 0)),
    )


def _stillness(measures: Sequence[ClipMeasures], *, fps: float) -> Stillness:
    found = [one.stretches for one in measures]
    fields = sum(one.fields for one in found)
    return Stillness(
        clips=len(found),
        fields=fields,
        still=_still_share(measures),
        duplicate=rounded(sum(one.duplicate for one in found) / fields),
        longest_s=rounded(max(one.longest for one in found) / fps),
        with_stretch=rounded(sum(one.longest / fps >= STRETCH_S for one in found) / len(found)),
        wholly=rounded(sum(one.still >= WHOLLY * one.fields for one in found) / len(found)),
    )


def _still_share(measures: Sequence[ClipMeasures]) -> float:
    fields = sum(one.stretches.fields for one in measures)
    return rounded(sum(one.stretches.still for one in measures) / fields)


def _camera(measures: Sequence[ClipMeasures]) -> Camera | None:
    moving = [one for one in measures if one.energy > 0]
    if not moving:
        return None
    shares = np.array([one.explained / one.energy for one in moving])
    counts, _ = np.histogram(shares, bins=10, range=(0, 1))
    return Camera(
        clips=len(moving),
        fields=sum(one.moving_fields for one in moving),
        share=_camera_share(moving),
        median=rounded(float(np.median(shares))),
        by_clip=Histogram(first=0.0, step=0.1, counts=tuple(counts.tolist())),
    )


def _camera_share(moving: Sequence[ClipMeasures]) -> float:
    return rounded(sum(one.explained for one in moving) / sum(one.energy for one in moving))


def _classes(tables: Tables, rows: np.ndarray, measures: Sequence[ClipMeasures]) -> tuple[ClassFigures, ...]:
    labels = tables.shards.clips.label
    rows_of = _by_label(rows.tolist(), labels)
    measures_of = _by_label(range(len(measures)), labels[[one.clip for one in measures]])
    numbers = [*range(len(tables.shards.labels)), *([-1] if -1 in rows_of else [])]
    return tuple(
        _class(tables, number, rows_of.get(number, []), [measures[place] for place in measures_of.get(number, [])])
        for number in numbers
    )


def _class(tables: Tables, number: int, rows: list[int], measures: Sequence[ClipMeasures]) -> ClassFigures:
    sizes = Sizes(np.sum([one.codes for one in measures], axis=0), tables.shards.attributes) if measures else None
    moving = [one for one in measures if one.energy > 0]
    return ClassFigures(
        label=tables.label(number),
        clips=len(rows),
        sampled=len(measures),
        rgb_bytes=rounded(float(tables.bytes["rgb"][rows].mean())) if rows else None,
        flow_bytes=rounded(float(tables.bytes["flow"][rows].mean())) if rows else None,
        at_bound=rounded(sizes.at_bound) if sizes else None,
        p99_px=sizes.percentile_px(99) if sizes else None,
        still=_still_share(measures) if measures else None,
        camera=_camera_share(moving) if moving else None,
    )


def _by_label(rows: Iterable[int], labels: np.ndarray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(int(labels[row]), []).append(row)
    return found


def _frame_sizes(sizes: Iterable[tuple[int, int]]) -> tuple[Share, ...]:
    counts = sorted(Counter(sizes).items(), key=lambda count: (-count[1], count[0]))
    named = [Share(value=f"{width}x{height}", clips=clips) for (width, height), clips in counts[:_TOP]]
    rest = sum(clips for _, clips in counts[_TOP:])
    return (*named, *([Share(value="other", clips=rest)] if rest else []))


def _spread(values: np.ndarray) -> Spread:
    return Spread(
        smallest=rounded(float(values.min())),
        median=rounded(float(np.median(values))),
        mean=rounded(float(values.mean())),
        largest=rounded(float(values.max())),
    )


def _histogram(values: np.ndarray) -> Histogram:
    """Whole numbers in bins of a whole width: no bin may hold one number more than the next."""
    low, high = int(np.floor(values.min())), int(np.floor(values.max()))
    step = -(-(high + 1 - low) // _MOST_BINS)
    counts = np.bincount(((values - low) // step).astype(np.int64))
    return Histogram(first=low, step=step, counts=tuple(counts.tolist()))


def rounded(value: float) -> float:
    """Six digits that count: sums differ in the last ones from one processor to the next."""
    return float(f"{value:.6g}")
