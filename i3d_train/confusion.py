"""Which classes a network takes for which: the confusion matrix, as a table and as a picture.

Shapes: K = classes.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from i3d_train.clip_logits import ClipLogits
from i3d_train.data import UNLABELLED
from preprocess.paths import publish

CSV_NAME = "confusion.csv"
PICTURE_NAME = "confusion.png"

_DPI = 100
_POINT = _DPI / 72
"""Pixels of a typographic point."""
_CELL_RANGE = (9, 56)
"""Pixels of a cell's side: names under 9 pixels cannot be read, and over 56 nothing is gained."""
_PICTURE_SIDE = 4000
"""Pixels that all cells share, within that range."""
_FONT_RANGE = (5.0, 11.0)
"""Points."""
_NUMBERED = 28
"""Smallest cell, in pixels, that a count fits into."""
_WHITE_FROM = 0.3
"""Share of a class's clips whose colour is dark."""
_NAME_LENGTH = 40
"""Characters of a class name that are drawn."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of clips by their class and by the answer."""

    classes: tuple[str, ...]
    """Only those that have a clip, or were an answer, in the order of the logits."""
    counts: np.ndarray
    """int64 [K, K]: row = class of the clip, column = the network's answer."""

    @classmethod
    def of(cls, answers: ClipLogits) -> "Confusion":
        """Of the clips that have a label."""
        known = answers.labels != UNLABELLED
        classes = len(answers.classes)
        pairs = answers.labels[known] * classes + answers.logits[known].argmax(axis=1)
        all_counts = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        seen = np.flatnonzero(all_counts.sum(axis=0) + all_counts.sum(axis=1))
        return cls(classes=tuple(answers.classes[k] for k in seen), counts=all_counts[np.ix_(seen, seen)])

    def worst_pairs(self, count: int) -> list[tuple[str, str, int]]:
        """The most frequent confusions: class, answer and number of clips, the most first."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(order, wrong.shape)
        return [
            (self.classes[row], self.classes[column], int(wrong[row, column]))
            for row, column in zip(rows, columns, strict=True)
            if wrong[row, column]
        ]

    def write_csv(self, path: Path) -> None:
        """Publish the counts: a line a class, a column an answer, named.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["class", *self.classes])
        writer.writerows([name, *row] for name, row in zip(self.classes, self.counts.tolist(), strict=True))
        publish(path, text.getvalue().encode())

    def draw(self, path: Path, *, title: str) -> None:
        """Publish a PNG: how each class's clips are spread over the answers, every class named.

        Cells shrink with the number of classes, so the picture of 400 is some 4,500 pixels wide: to be looked at at
        full size.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        classes = len(self.classes)
        cell = min(max(_PICTURE_SIDE / classes, _CELL_RANGE[0]), _CELL_RANGE[1])
        font = min(max(0.85 * cell / _POINT, _FONT_RANGE[0]), _FONT_RANGE[1])
        names = [_shortened(name) for name in self.classes]
        # a letter is some 0.6 of its size wide
        margin = max(map(len, names)) * 0.6 * font * _POINT + 40
        map_side = max(cell * classes, 300)
        width, height = margin + map_side + 130, margin + map_side + 90
        # without pyplot: it keeps global state and may look for a screen
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
        axes = figure.add_axes((margin / width, margin / height, map_side / width, map_side / height))
        colours = colormaps["Blues"].with_extremes(bad="0.9")
        # the root of a share: of hundreds of classes most confusions are of a few percent, which would be white
        norm = PowerNorm(0.5, vmin=0, vmax=1)
        image = axes.imshow(self._shares(), cmap=colours, norm=norm, interpolation="nearest", aspect="auto")
        axes.set_xticks(range(classes), names, rotation=90, fontsize=font, parse_math=False)
        axes.set_yticks(range(classes), names, fontsize=font, parse_math=False)
        axes.tick_params(length=0)
        axes.set_xlabel("answer")
        axes.set_ylabel("class")
        axes.set_title(title, parse_math=False)
        bar_left = (margin + map_side + 20) / width
        bar_height = min(map_side, 400)
        bar = figure.add_axes((bar_left, (margin + map_side - bar_height) / height, 20 / width, bar_height / height))
        figure.colorbar(image, cax=bar, label="share of the class's clips")
        if cell >= _NUMBERED:
            self._number(axes, font=font)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        publish(path, buffer.getbuffer())

    def _shares(self) -> np.ndarray:
        """float64 [K, K], nan in the row of a class that has no clip and was only an answer."""
        clips = self.counts.sum(axis=1, keepdims=True).astype(np.float64)
        shares: np.ndarray = np.divide(self.counts, clips, out=np.full(self.counts.shape, np.nan), where=clips > 0)
        return shares

    def _number(self, axes: Axes, *, font: float) -> None:
        shares = self._shares()
        for row, column in zip(*np.nonzero(self.counts), strict=True):
            axes.text(
                column,
                row,
                str(self.counts[row, column]),
                ha="center",
                va="center",
                fontsize=font,
                color="white" if shares[row, column] > _WHITE_FROM else "black",
            )


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 3]}..."
