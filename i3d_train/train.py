"""A training run from its configuration to its last checkpoint."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from i3d_train import checkpoint
from i3d_train.config import TrainConfig
from i3d_train.curves import draw_loss
from i3d_train.events import Observer, Saved, Started, StepDone, Validated, ignore
from i3d_train.metrics import MetricsFile
from i3d_train.trainer import Trainer
from preprocess.errors import InvalidInput
from preprocess.paths import publish

logger = logging.getLogger(__name__)

CONFIG_NAME = "config.json"

_SUMMARY_STEPS = 20


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What came of a run."""

    step: int
    """Steps done in all; fewer than `steps` when the run was asked to stop."""
    steps: int
    """Length of the run."""
    first_loss: float
    """Mean training loss of the first steps of the run."""
    last_loss: float
    """Mean training loss of the latest steps."""
    validation: Validated | None
    """The latest validation; None without a `val` split."""
    clips_per_s: float
    """Of this process, validations and checkpoints not counted."""
    wait_share: float
    """Part of that time, 0 to 1, in which the network waited for data."""
    files: tuple[Path, ...]
    """What is in the folder of the run now."""

    @property
    def finished(self) -> bool:
        """Whether the whole schedule was done."""
        return self.step >= self.steps


def train(
    config: TrainConfig, *, observe: Observer = ignore, should_stop: Callable[[], bool] = lambda: False
) -> TrainSummary:
    """Train a network.

    Args:
        config: see `TrainConfig`.
        observe: called with each event, from this thread.
        should_stop: asked after every step; True ends the run with a checkpoint to resume from.

    Raises:
        InvalidInput: the data, weights, checkpoint or folder do not allow this run; nothing was trained.
        TrainingDiverged: the loss or a gradient is not finite; the last checkpoint is from before that.
        EnvironmentProblem: no such device, or the disk is full.
        BadShard: the shards break their contract.
    """
    trainer = Trainer(config)
    _resume(trainer, config)
    _write_config(config)
    metrics = MetricsFile(config.out, step=trainer.step)
    if trainer.step >= trainer.steps:
        logger.warning(
            "%s is finished, at step %d of %d: nothing to do without more steps",
            config.out,
            trainer.step,
            trainer.steps,
        )
    else:
        observe(_started(trainer))

    while trainer.step < trainer.steps:
        done = trainer.train_step()
        metrics.append(_step_record(done, trainer))
        observe(done)
        last = trainer.step == trainer.steps
        stopping = not last and should_stop()
        if not stopping and trainer.has_validation and (last or _due(trainer.step, trainer.validate_every)):
            validated = trainer.validate(observe)
            metrics.append(_validation_record(validated))
            observe(validated)
        if stopping or last or _due(trainer.step, config.checkpoint_every):
            path = checkpoint.save(config.out, trainer.checkpoint(), keep=config.keep)
            draw_loss(metrics, config.out, title=f"{config.model} {config.stream} on {config.shards.name}")
            observe(Saved(step=trainer.step, path=path))
        if stopping:
            break

    return _summary(trainer, metrics, config.out)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _resume(trainer: Trainer, config: TrainConfig) -> None:
    if not config.resume:
        if checkpoint.saved_steps(config.out):
            raise InvalidInput(
                f"{config.out} holds the checkpoints of a run; add --resume to go on, or use another --out"
            )
        return
    saved = checkpoint.newest(config.out)
    if saved is None:
        logger.info("%s has no checkpoint: starting from the beginning", config.out)
        return
    trainer.restore(saved)
    now = config.to_json()
    changed = [name for name in now if name not in ("out", "resume") and now[name] != saved.config.get(name)]
    for name in changed:
        logger.warning("resuming with %s %s; the run had %s so far", name, now[name], saved.config.get(name))


def _write_config(config: TrainConfig) -> None:
    publish(config.out / CONFIG_NAME, (json.dumps(config.to_json(), indent=1) + "\n").encode())


def _started(trainer: Trainer) -> Started:
    return Started(
        step=trainer.step,
        steps=trainer.steps,
        clips=len(trainer.train_clips),
        num_classes=trainer.model.num_classes,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        device=str(trainer.device),
        precision=trainer.precision,
    )


def _step_record(done: StepDone, trainer: Trainer) -> dict[str, float]:
    return {
        "step": done.step,
        "loss": done.loss,
        "lr": done.lr,
        "gradient_norm": trainer.gradient_norm,
        "clips_per_s": round(done.clips_per_s, 3),
        "wait_share": round(done.wait_share, 4),
    }


def _validation_record(validated: Validated) -> dict[str, float]:
    return {
        "step": validated.step,
        "val_loss": validated.loss,
        "val_top1": validated.top1,
        "val_top5": validated.top5,
        "val_clips": validated.clips,
    }


def _summary(trainer: Trainer, metrics: MetricsFile, out: Path) -> TrainSummary:
    _, losses = metrics.losses()
    count = min(_SUMMARY_STEPS, max(len(losses) // 2, 1))
    return TrainSummary(
        step=trainer.step,
        steps=trainer.steps,
        first_loss=sum(losses[:count]) / count,
        last_loss=sum(losses[-count:]) / count,
        validation=_last_validation(metrics),
        clips_per_s=trainer.pace.clips_per_s,
        wait_share=trainer.pace.wait_share,
        files=tuple(sorted(path for path in out.iterdir() if path.is_file() and not path.name.startswith("."))),
    )


def _last_validation(metrics: MetricsFile) -> Validated | None:
    found = [record for record in metrics.records if "val_loss" in record]
    if not found:
        return None
    last = found[-1]
    return Validated(
        step=last["step"],
        loss=last["val_loss"],
        top1=last["val_top1"],
        top5=last["val_top5"],
        clips=last["val_clips"],
    )
