"""What a training run is told, and what follows from it: length, learning rate, BatchNorm averages.

The released Kinetics-400 networks were trained with SGD, momentum 0.9 and weight decay 1e-7 on 64 replicas of
6 clips (384 a step) for 115k steps, at a rate of 0.1, divided by 10 after 97k and again after 108k (README of
google-deepmind/kinetics-i3d). The defaults are that recipe, scaled to one machine.
"""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i3d_train.models import network_class
from preprocess.errors import InvalidInput

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16", "fp32")
LOADERS = ("auto", "dali", "torch")

DEFAULT_EPOCHS = 100
"""Length of a run that names neither steps nor epochs."""

_RELEASED_RATE, _RELEASED_BATCH = 0.1, 384
_RELEASED_STEPS, _RELEASED_DROPS = 115_000, (97_000, 108_000)
_BATCH_NORM_SPAN = 10
_BATCH_NORM_MOMENTUM_RANGE = (0.001, 0.1)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    shards: Path
    """Folder of `index.json`."""
    out: Path
    """Folder of the run: config.json, metrics.jsonl, loss.png and the checkpoints."""
    model: str = "i3d"
    """A key of `i3d_train.models.MODELS`."""
    stream: str = "rgb"
    """What the network sees: one of its `streams`."""
    frames: int = 64
    """Consecutive frames of a clip, at a random place; the original trains on 64 and tests on 250."""
    crop: int = 224
    """Pixels of the square random crop."""
    flip: bool = True
    """Mirror every other clip; wrong where left and right are different classes."""
    batch_size: int = 8
    """Clips a step."""
    steps: int | None = None
    """Length of the run in steps; or give `epochs`."""
    epochs: int | None = None
    """Length of the run in passes over the `train` split; with neither it is `DEFAULT_EPOCHS`."""
    lr: float | None = None
    """Learning rate; None is 0.1 x batch_size / 384, the released networks' rate for this batch."""
    momentum: float = 0.9
    """Of SGD, 0 to below 1."""
    weight_decay: float = 1e-7
    """L2 penalty on all parameters."""
    lr_drop_steps: tuple[int, ...] | None = None
    """Steps after which the rate is divided by 10; None is after 84 % and 94 % of the run, as 97k and 108k of
    115k."""
    bn_momentum: float | None = None
    """Share of the newest batch in BatchNorm's running averages. None is 10 / steps, within 0.001 (as
    published) and 0.1: 0.001 remembers a thousand steps, and a run of a hundred would end near where the
    averages started."""
    seed: int = 0
    """Of the initial weights, dropout, and the order and augmentation of clips."""
    device: str = "auto"
    """`cuda`, `cpu`, or `auto`: a GPU where there is one."""
    precision: str = "auto"
    """`bf16` (autocast; weights stay float32), `fp32`, or `auto`: bf16 on a GPU."""
    validate_every: int | None = None
    """Steps between validations on the `val` split; None is once an epoch, 0 only at the end."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step always makes one."""
    keep: int = 3
    """How many checkpoints stay; older ones are deleted."""
    loader: str = "auto"
    """`dali`, `torch`, or `auto`: DALI where it is installed."""
    threads: int = 4
    """CPU threads that decode."""
    resume: bool = False
    """Go on from the newest good checkpoint of `out`; from the start where there is none."""
    weights: Path | None = None
    """Start from these weights (.npz or .pt); the classifier starts anew where the classes differ."""

    def __post_init__(self) -> None:
        network = network_class(self.model)
        choices = {
            "stream": network.streams,
            "device": DEVICES,
            "precision": PRECISIONS,
            "loader": LOADERS,
        }
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        least = {"frames": network.min_frames, "validate_every": 0, "seed": 0}
        least |= dict.fromkeys(("crop", "batch_size", "steps", "epochs", "checkpoint_every", "keep", "threads"), 1)
        for name, lowest in least.items():
            check_at_least(name, getattr(self, name), lowest)
        if self.steps is not None and self.epochs is not None:
            raise InvalidInput(f"steps {self.steps} and epochs {self.epochs} both set the length; give one of them")
        _check_rule("lr", self.lr, self.lr is None or 0 < self.lr < math.inf, "positive")
        _check_rule("momentum", self.momentum, 0 <= self.momentum < 1, "at least 0 and below 1")
        _check_rule("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "at least 0")
        _check_rule(
            "bn_momentum",
            self.bn_momentum,
            self.bn_momentum is None or 0 < self.bn_momentum <= 1,
            "above 0 and at most 1",
        )
        drops = self.lr_drop_steps or ()
        rising = all(step >= 1 for step in drops) and list(drops) == sorted(set(drops))
        _check_rule("lr_drop_steps", ", ".join(map(str, drops)), rising, "positive and rising")

    def total_steps(self, *, steps_per_epoch: int) -> int:
        """Length of the run in steps."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or DEFAULT_EPOCHS) * steps_per_epoch

    def learning_rate(self, step: int, *, total_steps: int) -> float:
        """Rate of step `step`, counted from 1.

        Example:
            >>> config = TrainConfig(shards=Path("shards"), out=Path("run"), batch_size=384)
            >>> [config.learning_rate(step, total_steps=115_000) for step in (97_000, 97_001, 108_001)]
            [0.1, 0.01, 0.001]
        """
        start = _RELEASED_RATE * (self.batch_size / _RELEASED_BATCH) if self.lr is None else self.lr
        drops = self.lr_drop_steps
        if drops is None:
            drops = tuple(total_steps * drop // _RELEASED_STEPS for drop in _RELEASED_DROPS)
        return float(start / 10 ** sum(step > drop for drop in drops))

    def batch_norm_momentum(self, *, total_steps: int) -> float:
        """Share of the newest batch in BatchNorm's running averages, see `bn_momentum`."""
        if self.bn_momentum is not None:
            return self.bn_momentum
        low, high = _BATCH_NORM_MOMENTUM_RANGE
        return min(max(_BATCH_NORM_SPAN / total_steps, low), high)

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON knows them: paths as text, tuples as lists."""
        values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is not in the list.

    Raises:
        InvalidInput: quoting it and the list.
    """
    if value not in allowed:
        raise InvalidInput(f"{name} {value!r} is unknown; use one of {', '.join(allowed)}")


def check_at_least(name: str, value: int | None, lowest: int) -> None:
    """Refuse a number that is too small; None, not given, passes.

    Raises:
        InvalidInput: quoting it and the lowest allowed.
    """
    if value is not None and value < lowest:
        raise InvalidInput(f"{name} must be at least {lowest}, got {value}")


def _check_rule(name: str, value: object, holds: bool, rule: str) -> None:
    # `holds` is false for nan too, which compares as nothing
    if not holds:
        raise InvalidInput(f"{name} must be {rule}, got {value}")
