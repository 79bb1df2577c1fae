"""A training run from its configuration to its last checkpoint."""

import logging
from collections.abc import Callable
from contextlib import ExitStack

from i3d_train import checkpoint
from i3d_train.checkpoint import Checkpoint
from i3d_train.config import TrainConfig
from i3d_train.events import Event, Observer, RateDropped, Saved, Started, TrainSummary, Validated, ignore
from i3d_train.metrics import MetricsFile
from i3d_train.process_group import is_joined, joined, launched_processes
from i3d_train.run_folder import RunFolder, reserved
from i3d_train.trainer import Trainer
from preprocess.errors import InvalidInput

logger = logging.getLogger(__name__)

_SUMMARY_STEPS = 20
_MAY_CHANGE = {"out", "preset", "resume", "workers", "address"}
"""Options that a resumed run may have otherwise without a word."""


def train(
    config: TrainConfig, *, observe: Observer = ignore, should_stop: Callable[[], bool] = lambda: False
) -> TrainSummary:
    """Train a network: in this process, in those of torchrun, or with `config.workers` in those of Ray Train.

    Args:
        config: see `TrainConfig`.
        observe: called with each event, from this thread; only in process 0.
        should_stop: asked after every step and within validations; True in any process ends the run with a
            checkpoint to resume from.

    Returns:
        What came of it, the same in all processes.

    Raises:
        InvalidInput: the data, weights, checkpoint or folder do not allow this run; nothing was trained.
        TrainingDiverged: the loss or a gradient is not finite; the last checkpoint is from before that.
        EnvironmentProblem: no such device, a missing library, or the disk is full.
        BadShard: the shards break their contract.
    """
    if config.workers and not is_joined():
        if launched_processes() > 1:
            raise InvalidInput(
                f"--workers {config.workers} in one of {launched_processes()} processes that were started together; "
                f"leave --workers out, or torchrun"
            )
        from i3d_train.cluster import train_on_ray

        return train_on_ray(config, observe=observe, should_stop=should_stop)
    with joined(config.device) as group, ExitStack() as stack:
        trainer = Trainer(config, group=group)
        saved = group.from_first(lambda: _reserve(config, stack))
        if saved is not None:
            _restore(trainer, saved)
        audience = _Audience(trainer, observe)
        group.from_first(lambda: audience.enter(stack))
        _train(trainer, audience, should_stop=should_stop)
        trainer.feed.tell_skipped()
        return group.from_first(lambda: _summary(trainer, audience.folder))


class _Audience:
    """Who is told of a run's events: its folder and the caller, in process 0; nobody in the others."""

    def __init__(self, trainer: Trainer, observe: Observer) -> None:
        self._trainer, self._observe = trainer, observe
        self._folder: RunFolder | None = None

    @property
    def folder(self) -> RunFolder:
        """Of the run; in process 0."""
        assert self._folder is not None
        return self._folder

    def enter(self, stack: ExitStack) -> None:
        """Open the folder and begin; in process 0."""
        trainer = self._trainer
        self._folder = RunFolder(trainer.config, step=trainer.step, validated=trainer.validated_step)
        stack.callback(self._folder.close)
        if trainer.step >= trainer.steps and not trainer.validation_is_due():
            logger.warning(
                "%s is finished, at step %d of %d: nothing to do without more steps",
                trainer.config.out,
                trainer.step,
                trainer.steps,
            )
            return
        self._folder.describe()
        if trainer.step < trainer.steps:
            self._observe(_started(trainer))

    def tell(self, event: Event) -> None:
        """Pass on what happened."""
        if self._folder is not None:
            self._folder.note(event)
            self._observe(event)

    def save(self, *, best: bool = False) -> None:
        """Publish a checkpoint, beside the others or as the best one; to be called in all processes."""
        # of all processes: each has random numbers of its own
        saved = self._trainer.checkpoint()
        if self._folder is not None:
            path = self._folder.save_best(saved) if best else self._folder.save(saved)
            self.tell(Saved(step=saved.step, path=path))


def _train(trainer: Trainer, audience: _Audience, *, should_stop: Callable[[], bool]) -> None:
    # a run that was asked to stop right after a step has not validated it yet
    if trainer.validation_is_due():
        if not _validate_if_due(trainer, audience, should_stop=should_stop):
            return
        audience.save()
    while trainer.step < trainer.steps:
        audience.tell(trainer.train_step())
        stopping = trainer.group.any(should_stop(), device=trainer.device)
        if not stopping:
            stopping = not _validate_if_due(trainer, audience, should_stop=should_stop)
        if stopping or trainer.step == trainer.steps or trainer.step % trainer.config.checkpoint_every == 0:
            audience.save()
        if stopping:
            return


def _validate_if_due(trainer: Trainer, audience: _Audience, *, should_stop: Callable[[], bool]) -> bool:
    """False where the run was asked to stop meanwhile, and there is no validation for it."""
    if not trainer.validation_is_due():
        return True
    found = trainer.validate(audience.tell, should_stop=should_stop)
    if found is None:
        return False
    validated, best, dropped = found
    audience.tell(validated)
    if dropped:
        audience.tell(RateDropped(step=trainer.step, lr=trainer.schedule.rate(trainer.step + 1)))
    if best:
        audience.save(best=True)
    return True


def _reserve(config: TrainConfig, stack: ExitStack) -> Checkpoint | None:
    """Keep the folder for this run; what it goes on from, if there is something."""
    stack.enter_context(reserved(config.out, resume=config.resume))
    if not config.resume:
        return None
    saved = checkpoint.newest(config.out)
    if saved is None:
        logger.info("%s has no checkpoint: starting from the beginning", config.out)
    return saved


def _restore(trainer: Trainer, saved: Checkpoint) -> None:
    trainer.restore(saved)
    now = trainer.config.to_json()
    for name in saved.config:
        if name in now and name not in _MAY_CHANGE and now[name] != saved.config[name]:
            logger.warning("resuming with %s %s; the run had %s so far", name, now[name], saved.config[name])


def _started(trainer: Trainer) -> Started:
    return Started(
        step=trainer.step,
        steps=trainer.steps,
        clips=len(trainer.train_clips),
        num_classes=trainer.model.num_classes,
        parameters=sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad),
        device=str(trainer.device),
        precision=trainer.precision,
        processes=trainer.group.size,
        clips_per_step=trainer.clips_per_step,
    )


def _summary(trainer: Trainer, folder: RunFolder) -> TrainSummary:
    _, losses = folder.metrics.losses()
    count = min(_SUMMARY_STEPS, max(len(losses) // 2, 1))
    return TrainSummary(
        step=trainer.step,
        steps=trainer.steps,
        first_loss=sum(losses[:count]) / count if losses else None,
        last_loss=sum(losses[-count:]) / count if losses else None,
        validation=_last_validation(folder.metrics),
        validation_is_due=trainer.validation_is_due(),
        best_top1=trainer.best_top1,
        clips_per_s=trainer.pace.clips_per_s,
        wait_share=trainer.pace.wait_share,
        files=folder.files(),
    )


def _last_validation(metrics: MetricsFile) -> Validated | None:
    if not metrics.validations:
        return None
    last = metrics.validations[-1]
    return Validated(
        step=last["step"],
        loss=last["val_loss"],
        top1=last["val_top1"],
        top5=last["val_top5"],
        clips=last["val_clips"],
    )
