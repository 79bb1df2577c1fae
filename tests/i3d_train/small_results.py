"""Results of made-up answers, as an evaluation writes them for others to read."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from i3d_train.clip_logits import LOGITS_NAME, ClipLogits
from i3d_train.results import Results, Trial, write_results

TRIAL = Trial(
    model="i3d", stream="rgb", weights=("rgb.pt",), dataset="ucf101", split="test", folds=(1,), frames=250, crop=224
)
CLASSES = ("archery", "biking", "cliff diving")


def answers(logits: list[list[float]], labels: list[int]) -> ClipLogits:
    """Of clips k0, k1, ... and the classes `CLASSES`."""
    return ClipLogits(
        classes=CLASSES,
        keys=tuple(f"k{number}" for number in range(len(labels))),
        labels=np.array(labels, dtype=np.int64),
        logits=np.array(logits, dtype=np.float32),
    )


def random_answers(seed: int, *, clips: int = 7) -> ClipLogits:
    """Three classes, the last clip without a label."""
    rng = np.random.default_rng(seed)
    return answers(rng.normal(size=(clips, 3)).tolist(), [*(number % 3 for number in range(clips - 1)), -1])


def written(folder: Path, found: ClipLogits, **changes: object) -> Path:
    """A folder of an evaluation, less its page and picture; returns it."""
    tested = replace(TRIAL, **changes)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    found.write(folder / LOGITS_NAME)
    write_results(folder, [Results.of(tested, found, most_wrong=20)])
    return folder
