"""The numbers of a run, one JSON line a step or validation, and what is read off them."""

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.errors import EnvironmentProblem
from preprocess.paths import publish

METRICS_NAME = "metrics.jsonl"

Record = dict[str, Any]
"""`step`, with `loss`, `lr`, ... of a training step or `val_loss`, `val_top1`, `val_top5` of a validation."""


class MetricsFile:
    """`metrics.jsonl` of a run: appended to, and cut back to the step that a resumed run goes on from.

    Of the steps only number and loss stay in memory: a run may have millions.

    Args:
        folder: of the run.
        step: steps done so far; lines of later steps come from a run that died after its last checkpoint.
        validated: step of the latest validation before that checkpoint; None is `step`.

    Attributes:
        validations: all of them, in order.
    """

    def __init__(self, folder: Path, *, step: int, validated: int | None = None) -> None:
        self.path = folder / METRICS_NAME
        self.validations: list[Record] = []
        self._steps, self._losses = array("q"), array("d")
        publish(self.path, self._kept(step, step if validated is None else validated))

    def append(self, record: Record) -> None:
        """Add one line.

        Raises:
            EnvironmentProblem: the disk is full or read-only.
        """
        self._note(record)
        try:
            with self.path.open("ab") as file:
                file.write(_line(record))
        except OSError as error:
            raise EnvironmentProblem(
                f"cannot write {self.path}: {error.strerror or error}; free space, then go on with --resume"
            ) from error

    def losses(self) -> tuple[list[int], list[float]]:
        """Steps, and the training loss of each."""
        return self._steps.tolist(), self._losses.tolist()

    def validation(self, name: str) -> tuple[list[int], list[float]]:
        """Steps, and `val_loss`, `val_top1` or `val_top5` after each."""
        return [record["step"] for record in self.validations], [record[name] for record in self.validations]

    def _kept(self, step: int, validated: int) -> Iterator[bytes]:
        for record in _read(self.path):
            if record["step"] <= (step if "loss" in record else validated):
                self._note(record)
                yield _line(record)

    def _note(self, record: Record) -> None:
        if "loss" in record:
            self._steps.append(record["step"])
            self._losses.append(record["loss"])
        else:
            self.validations.append(record)


def smooth(values: Sequence[float], *, window: int) -> list[float]:
    """Mean of each value and the `window - 1` before it; of what there is at the start.

    Example:
        >>> smooth([4.0, 2.0, 0.0], window=2)
        [4.0, 3.0, 1.0]
    """
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - window, 0)
    means: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return means


def smoothing_window(count: int) -> int:
    """Steps to average over for a curve of `count` steps: a twentieth, 1 to 100."""
    return min(max(count // 20, 1), 100)


def _read(path: Path) -> Iterator[Record]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return  # the run was killed while it wrote its last line


def _line(record: Record) -> bytes:
    return (json.dumps(record) + "\n").encode()
