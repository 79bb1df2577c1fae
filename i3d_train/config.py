"""What a training run is told: one frozen, checked description, written to `config.json` of the run.

The defaults are the recipe of the released Kinetics-400 networks, scaled to one machine: SGD, momentum 0.9, weight
decay 1e-7, 0.1 as the rate for 384 clips a step, divided by 10 after 84 % and 94 % of the run (README of
google-deepmind/kinetics-i3d). Named variations of it are in `i3d_train.presets`.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from i3d_train.models import network_class, streams_of
from i3d_train.options import Machine, Reading, check_at_least, check_choice
from preprocess.address import shown
from preprocess.errors import InvalidInput
from preprocess.shards.layout import SPLITS

SCHEDULES = ("step", "plateau", "cosine")
TRANSFERS = ("original", "fixed", "full")

DEFAULT_EPOCHS = 100
"""Length of a run that names neither steps nor epochs."""

_RULES: dict[str, tuple[tuple[str, ...], Callable[[float], bool]]] = {
    "positive": (("lr", "clip_norm", "fps"), lambda value: 0 < value < math.inf),
    "at least 0": (("weight_decay",), lambda value: 0 <= value < math.inf),
    # PyTorch takes 64 bits, and the ranks of a run go on from here
    "below 2 ** 63": (("seed",), lambda value: value < 1 << 63),
    "above 0 and at most 1": (("bn_momentum", "width"), lambda value: 0 < value <= 1),
    "above 0 and below 1": (("ema",), lambda value: 0 < value < 1),
    "at least 0 and below 1": (
        ("momentum", "warmup", "label_smoothing", "dropout"),
        lambda value: 0 <= value < 1,
    ),
}
"""Rule to the fields that keep it, where they are given."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Machine, Reading):
    """One training run."""

    shards: Path | str
    """Folder or address (`s3://`, `https://`, ...) of `index.json`."""
    out: Path
    """Folder of the run: config.json, metrics.jsonl, loss.png and the checkpoints."""
    preset: str | None = None
    """The key of `i3d_train.presets.PRESETS` that the other values started from; a note, not read by the run."""
    model: str = "i3d"
    """A key of `i3d_train.models.MODELS`."""
    stream: str = "rgb"
    """What the network sees: one of `i3d_train.models.streams_of`."""
    width: float = 1.0
    """Share of the network's published channels, above 0 and at most 1."""
    frames: int = 64
    """Consecutive frames that a clip spans, at a random place, shorter clips looped; of them the network sees what
    its `sampling` says. The original I3D trains on 64 and tests on 250."""
    crop: int = 224
    """Pixels of the square random crop."""
    short_side: int | None = None
    """What the shards' short side has to be, in pixels; None takes any, and the run writes down what it is."""
    fps: Fraction | None = None
    """The same of the shards' frames a second."""
    flip: bool = True
    """Mirror every other clip; wrong where left and right are different classes."""
    batch_size: int = 8
    """Clips of a step, of each process."""
    accumulate: int = 1
    """Parts that a process cuts its clips of a step into: less memory, the same update (but for BatchNorm, which
    sees a part at a time); a resumed run may cut them otherwise."""
    steps: int | None = None
    """Length of the run in steps; or give `epochs`."""
    epochs: int | None = None
    """Length of the run in passes over the `train` split; with neither it is `DEFAULT_EPOCHS`."""
    lr: float | None = None
    """Learning rate; None is 0.1 x clips of a step of all processes / 384, the released networks' rate for them."""
    momentum: float = 0.9
    """Of SGD, 0 to below 1."""
    weight_decay: float = 1e-7
    """L2 penalty on kernels and matrices; biases, and BatchNorm's scales and offsets, have none."""
    schedule: str = "step"
    """How the rate falls: `step` at given steps, `plateau` when the validation loss no longer does, `cosine` to 0."""
    lr_drop_steps: tuple[int, ...] | None = None
    """Steps after which `step` divides the rate by 10; None is after 84 % and 94 % of the run, as 97k and 108k of
    115k."""
    patience: int = 3
    """Validations in a row without a lower loss after which `plateau` divides the rate by 10."""
    warmup: float = 0.0
    """Part of the run, 0 to below 1, in which the rate first rises in a line."""
    clip_norm: float | None = None
    """Longer gradients, over all parameters together, are cut to this length; None cuts none."""
    label_smoothing: float = 0.0
    """Part of the target, 0 to below 1, that is spread over all classes."""
    dropout: float | None = None
    """Probability of dropping a feature before the classifier; None is the network's own, 0.5 for I3D."""
    ema: float | None = None
    """Decay a step, above 0 and below 1, of a running average of the weights, which is then validated; None keeps
    none."""
    bn_momentum: float | None = None
    """Share of the newest batch in BatchNorm's running averages. None is 10 / steps, within 0.001 (as
    published) and 0.1: 0.001 remembers a thousand steps, and a run of a hundred would end near where the
    averages started."""
    freeze_bn: bool = False
    """BatchNorm normalises by its running averages, which stay as they are; for fine-tuning on few clips a step."""
    sync_bn: bool = False
    """BatchNorm averages over the clips of all processes; needs GPUs."""
    precise_bn: int = 0
    """Batches from which BatchNorm's averages are measured anew before each validation; 0 keeps the running ones."""
    seed: int = 0
    """Of the initial weights, dropout, and the order and augmentation of clips; 0 to below 2 ** 63."""
    channels_last: bool = False
    """Weights and clips lie in memory with the channels innermost."""
    compile: bool = False
    """Compile the network with `torch.compile`."""
    workers: int = 0
    """Processes that Ray Train starts; 0 trains in this one, or in those of torchrun."""
    address: str | None = None
    """Ray cluster for the workers, such as `auto` or `host:6379`; None starts a local one for this run."""
    validate_every: int | None = None
    """Steps between validations on the `val` split; None is once an epoch, 0 only at the end."""
    checkpoint_every: int = 500
    """Steps between checkpoints; the last step always makes one."""
    keep: int = 3
    """How many checkpoints stay, beside the best one by validation; older ones are deleted."""
    tensorboard: bool = False
    """Write the curves for TensorBoard too, into `tensorboard` of the run."""
    val_split: str = "val"
    """Split that is validated on: UCF-101 and HMDB-51 have `test`."""
    balanced: bool = False
    """Draw every class equally often."""
    shuffle_shards: int | None = None
    """Shuffle clips within so many shards at a time, for shards that are far away; None shuffles all."""
    resume: bool = False
    """Go on from the newest good checkpoint of `out`; from the start where there is none."""
    weights: Path | None = None
    """Start from these weights: a file, or the folder of a run, whose best ones they are then. The classifier starts
    anew where the classes differ."""
    transfer: str | None = None
    """One of `TRANSFERS`, the paper's ways to another data set: `original` without any weights, `fixed` with the last
    layer trained alone, `full` with all of it; the classifier starts anew. None decides as `weights` says."""
    inflate: Path | None = None
    """Start from the filters of this two-dimensional Inception-v1, see `i3d_train.inflate`."""

    def __post_init__(self) -> None:
        Machine.__post_init__(self)
        Reading.__post_init__(self)
        network = network_class(self.model)
        streams = streams_of(self.model)
        if self.stream not in streams:
            raise InvalidInput(f"{self.model} takes stream {' or '.join(streams)}, got {self.stream!r}")
        choices = {"schedule": SCHEDULES, "val_split": SPLITS}
        if self.transfer is not None:
            choices["transfer"] = TRANSFERS
        for name, allowed in choices.items():
            check_choice(name, getattr(self, name), allowed)
        least = {"frames": network.min_frames}
        least |= dict.fromkeys(("validate_every", "seed", "precise_bn", "workers"), 0)
        least |= dict.fromkeys(
            ("crop", "short_side", "shuffle_shards", "batch_size", "accumulate", "steps", "epochs", "patience"), 1
        )
        least |= dict.fromkeys(("checkpoint_every", "keep"), 1)
        for name, lowest in least.items():
            check_at_least(name, getattr(self, name), lowest)
        self._check_ranges()
        self._check_together()
        self._check_schedule()

    def _check_ranges(self) -> None:
        for rule, (names, holds) in _RULES.items():
            for name in names:
                value = getattr(self, name)
                # nan compares as nothing, and so is refused
                if value is not None and not holds(value):
                    raise InvalidInput(f"{name} must be {rule}, got {value}")
        drops = self.lr_drop_steps or ()
        if list(drops) != sorted({step for step in drops if step >= 1}):
            raise InvalidInput(f"lr_drop_steps must be positive and rising, got {', '.join(map(str, drops))}")

    def _check_together(self) -> None:
        if self.steps is not None and self.epochs is not None:
            raise InvalidInput(f"steps {self.steps} and epochs {self.epochs} both set the length; give one of them")
        if self.batch_size % self.accumulate:
            raise InvalidInput(
                f"batch_size {self.batch_size} cannot be cut into accumulate {self.accumulate} equal parts; "
                f"make it a multiple"
            )
        if (self.freeze_bn or self.transfer == "fixed") and (self.sync_bn or self.precise_bn):
            frozen = "freeze_bn" if self.freeze_bn else "transfer fixed"
            other = "sync_bn" if self.sync_bn else f"precise_bn {self.precise_bn}"
            raise InvalidInput(f"{frozen} leaves no averages to take: leave it or {other} out")
        if self.transfer is not None and (self.transfer == "original") != (self.weights is None):
            if self.weights is None:
                raise InvalidInput(f"transfer {self.transfer} needs the weights to carry over; give them with --init")
            raise InvalidInput(f"transfer original starts without weights, got {self.weights}; leave --init out")
        if self.inflate is not None and self.weights is not None:
            raise InvalidInput(f"weights {self.weights} would replace those of inflate {self.inflate}; leave one out")
        if self.address is not None and not self.workers:
            raise InvalidInput(f"a Ray address ({self.address}) needs workers; add --workers N")

    def _check_schedule(self) -> None:
        if self.lr_drop_steps is not None and self.schedule != "step":
            raise InvalidInput(
                f"lr_drop_steps {', '.join(map(str, self.lr_drop_steps))} belong to schedule step, "
                f"not to {self.schedule}; leave one of them out"
            )
        if self.patience != TrainConfig.patience and self.schedule != "plateau":
            raise InvalidInput(
                f"patience {self.patience} belongs to schedule plateau, not to {self.schedule}; leave one of them out"
            )
        if self.schedule == "plateau" and self.validate_every == 0:
            raise InvalidInput("schedule plateau follows the validations, validate_every 0 has one only at the end")

    def total_steps(self, *, steps_per_epoch: int) -> int:
        """Length of the run in steps."""
        if self.steps is not None:
            return self.steps
        return (self.epochs or DEFAULT_EPOCHS) * steps_per_epoch

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON knows them: paths and fractions as text, tuples as lists."""
        values = {
            name: str(value) if isinstance(value, Path | Fraction) else value for name, value in asdict(self).items()
        }
        values["shards"] = shown(self.shards)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
