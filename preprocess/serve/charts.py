"""Charts as shapes for SVG, in units of pixels with y downwards; colours come from the style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from preprocess.outcomes import Outcome
from preprocess.serve.index.samples import Sample
from preprocess.words import spoken

WIDTH, HEIGHT = 600, 120
_STACK_HEIGHT = 10


@dataclass(frozen=True, kw_only=True)
class Area:
    """What one outcome covers."""

    name: str
    points: str
    """Of a polygon."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """Clips by outcome over time, stacked, `done` at the bottom."""

    areas: tuple[Area, ...]
    start: float
    """Epoch seconds at the left."""
    end: float
    most: int
    """Clips at the top."""


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar of a histogram, or one part of a stacked bar."""

    x: float
    y: float
    width: float
    height: float
    title: str
    name: str = ""


def timeline(samples: Sequence[Sample]) -> Timeline | None:
    """A chart of two samples or more; None where the last has no clip."""
    if not any(samples[-1].outcomes.values()):
        return None
    start, end = samples[0].at, samples[-1].at
    most = max(sum(sample.outcomes.values()) for sample in samples)
    xs = [WIDTH * (sample.at - start) / max(end - start, 1e-9) for sample in samples]
    below = [0] * len(samples)
    areas = []
    for outcome in Outcome:
        above = [low + sample.outcomes.get(outcome, 0) for low, sample in zip(below, samples, strict=True)]
        if above != below:
            edge = [*zip(xs, above, strict=True), *reversed(list(zip(xs, below, strict=True)))]
            points = " ".join(f"{x:.1f},{HEIGHT * (1 - clips / most):.1f}" for x, clips in edge)
            areas.append(Area(name=outcome.value, points=points))
        below = above
    return Timeline(areas=tuple(areas), start=start, end=end, most=most)


def stacked(counts: Mapping[str, int], *, whole: int = 0) -> list[Bar]:
    """One bar whose parts are the counts; `whole` fills it, where that is more than their sum."""
    whole = max(whole, sum(counts.values()))
    bars, x = [], 0.0
    for name, count in counts.items():
        width = WIDTH * count / whole if whole else 0
        title = f"{spoken(name)}: {count:,}"
        bars.append(Bar(x=round(x, 2), y=0, width=round(width, 2), height=_STACK_HEIGHT, title=title, name=name))
        x += width
    return bars


def histogram(counts: Sequence[int], edges: Sequence[float], *, unit: str) -> list[Bar]:
    """Bars as high as the logarithm of their shares: four powers of ten, since most pixels hardly move."""
    whole = sum(counts)
    width = WIDTH / len(counts)
    bars = []
    for number, count in enumerate(counts):
        share = count / whole if whole else 0
        height = HEIGHT * max(0.0, 1 + math.log10(share) / 4) if share else 0.0
        bars.append(
            Bar(
                x=round(number * width, 2),
                y=round(HEIGHT - height, 2),
                width=round(width * 0.9, 2),
                height=round(height, 2),
                title=f"{edges[number]:g} to {edges[number + 1]:g} {unit}: {100 * share:.3g} %",
            )
        )
    return bars
