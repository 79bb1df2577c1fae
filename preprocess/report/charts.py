"""Histograms as bars for an SVG, ready to be placed: the page only writes them down."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from preprocess.report.content import Histogram

WIDTH, HEIGHT = 640, 120
"""Of the bars, in units of the SVG."""
_GAP = 1.0
_LEAST = 2.0  # height of a bar that is not empty
_DECADES = 6
_TICKS = 5


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bin."""

    x: float
    y: float
    width: float
    height: float
    title: str
    """Its range and count, shown when it is pointed at."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A number below the bars."""

    x: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A histogram, drawn."""

    title: str
    """What the chart is of, with its unit and scale; read aloud instead of the bars."""
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def draw_chart(
    histogram: Histogram, *, title: str, counted: str, text: Callable[[float], str], logarithmic: bool = False
) -> Chart:
    """Place the bars of a histogram.

    Args:
        histogram: with at least one bin.
        title: what it is of.
        counted: what is counted, in the plural.
        text: how a value is written.
        logarithmic: the height of a bar is the logarithm of its share, from a millionth to one.
    """
    bins, total = len(histogram.counts), sum(histogram.counts)
    width = WIDTH / bins
    highest = max(histogram.counts)
    bars = []
    for number, count in enumerate(histogram.counts):
        if not count:
            continue
        part = max(0.0, 1 + math.log10(count / total) / _DECADES) if logarithmic else count / highest
        height = max(part * HEIGHT, _LEAST)
        low, high = (text(histogram.first + histogram.step * edge) for edge in (number, number + 1))
        bars.append(
            Bar(
                x=round(number * width + _GAP / 2, 2),
                y=round(HEIGHT - height, 2),
                width=round(width - _GAP, 2),
                height=round(height, 2),
                title=f"{low} to {high}: {count:,} {counted}",
            )
        )
    every = max(1, math.ceil(bins / _TICKS))
    edges = range(0, bins + 1, every)
    ticks = tuple(Tick(x=round(edge * width, 2), text=text(histogram.first + histogram.step * edge)) for edge in edges)
    return Chart(title=title, bars=tuple(bars), ticks=ticks)
