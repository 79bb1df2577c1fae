"""What a running command tells its caller, who may show it: the library itself prints nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Started:
    """All checks passed; the first step is next.

    It comes again where a run lost a worker of Ray Train, and so do the events of the steps since its last checkpoint.
    """

    step: int
    """Steps done before, by the run that this one resumes."""
    steps: int
    """Length of the whole run."""
    clips: int
    """Of the train split."""
    num_classes: int
    parameters: int
    """Trainable numbers of the network."""
    device: str
    precision: str
    processes: int = 1
    """That train together."""
    clips_per_step: int = 0
    """Of all processes."""


@dataclass(frozen=True, kw_only=True)
class StepDone:
    """One training step."""

    step: int
    """Counted from 1."""
    steps: int
    """Length of the whole run."""
    loss: float
    lr: float
    clips_per_s: float
    """Over the latest steps."""
    wait_share: float
    """Part of that time, 0 to 1, in which the network waited for data."""
    gradient_norm: float | None = None
    """Over all parameters, before it is cut; None in fp16 when a gradient overflowed and the update was skipped."""
    memory_bytes: int = 0
    """Most memory so far: of the GPU, or of the process on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Progress of a validation or evaluation."""

    done: int
    """Clips so far."""
    total: int


@dataclass(frozen=True, kw_only=True)
class Validated:
    """One whole validation."""

    step: int
    loss: float
    top1: float
    """Share of clips, 0 to 1, whose label got the largest logit."""
    top5: float
    clips: int


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint is on the disk."""

    step: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class RateDropped:
    """The validation loss no longer falls, and the learning rate was divided for it."""

    step: int
    lr: float
    """Of the next step."""


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What came of a run."""

    step: int
    """Steps done in all; fewer than `steps` when the run was asked to stop."""
    steps: int
    """Length of the run."""
    first_loss: float | None
    """Mean training loss of the first steps of the run; None where no record of them is left."""
    last_loss: float | None
    """Mean training loss of the latest steps; None likewise."""
    validation: Validated | None
    """The latest validation; None without a `val` split."""
    validation_is_due: bool
    """Whether the run was asked to stop before the validation of this step was done."""
    best_top1: float | None
    """Highest validation accuracy, 0 to 1; None without a validation."""
    clips_per_s: float
    """Of all processes, validations and checkpoints not counted."""
    wait_share: float
    """Part of that time, 0 to 1, in which the network waited for data."""
    files: tuple[Path, ...]
    """What is in the folder of the run now."""

    @property
    def finished(self) -> bool:
        """Whether the whole schedule was done, and its last validation."""
        return self.step >= self.steps and not self.validation_is_due


Event = Started | StepDone | Scored | Validated | RateDropped | Saved
Observer = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The observer that shows nothing."""
