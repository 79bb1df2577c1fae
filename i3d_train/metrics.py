"""The numbers of a run, one JSON line a step or validation, and what is read off them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocess.paths import publish

METRICS_NAME = "metrics.jsonl"

Record = dict[str, Any]
"""`step`, with `loss`, `lr`, ... of a training step or `val_loss`, `val_top1`, `val_top5` of a validation."""


class MetricsFile:
    """`metrics.jsonl` of a run: appended to, and cut back to the step that a resumed run goes on from.

    Args:
        folder: of the run.
        step: steps done so far; lines of later steps come from a run that died after its last checkpoint.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.path = folder / METRICS_NAME
        self.records = [record for record in _read(self.path) if record["step"] <= step]
        publish(self.path, [_line(record) for record in self.records])

    def append(self, record: Record) -> None:
        """Add one line."""
        self.records.append(record)
        with self.path.open("ab") as file:
            file.write(_line(record))

    def losses(self) -> tuple[list[int], list[float]]:
        """Steps, and the training loss of each."""
        return self._series("loss")

    def validation(self, name: str) -> tuple[list[int], list[float]]:
        """Steps, and `val_loss`, `val_top1` or `val_top5` after each."""
        return self._series(name)

    def _series(self, name: str) -> tuple[list[int], list[float]]:
        found = [record for record in self.records if name in record]
        return [record["step"] for record in found], [record[name] for record in found]


def smooth(values: Sequence[float], *, window: int) -> list[float]:
    """Mean of each value and the `window - 1` before it; of what there is at the start.

    Example:
        >>> smooth([4.0, 2.0, 0.0], window=2)
        [4.0, 3.0, 1.0]
    """
    return [sum(values[max(end - window, 0) : end]) / min(window, end) for end in range(1, len(values) + 1)]


def smoothing_window(count: int) -> int:
    """Steps to average over for a curve of `count` steps: a twentieth, 1 to 100."""
    return min(max(count // 20, 1), 100)


def _read(path: Path) -> list[Record]:
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the run was killed while it wrote its last line
    return records


def _line(record: Record) -> bytes:
    return (json.dumps(record) + "\n").encode()
