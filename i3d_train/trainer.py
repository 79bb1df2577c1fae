"""A network in training: one step, one validation, and all that a checkpoint has to hold.

Shapes: B = clips, C = channels, T = frames, H, W = pixels, K = classes.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from i3d_train import batch_norm, memory_layout, transfer
from i3d_train.archive import MALFORMED
from i3d_train.average import WeightAverage
from i3d_train.balance import tell_balance
from i3d_train.checkpoint import Checkpoint
from i3d_train.compiling import compiled
from i3d_train.config import TrainConfig
from i3d_train.data import check_training, network_input, note_small_crop, readable
from i3d_train.device import autocast, choose_precision, enough_memory, memory_bytes
from i3d_train.errors import TrainingDiverged
from i3d_train.events import Observer, StepDone, Validated
from i3d_train.feed import Feed
from i3d_train.initial import initial_network
from i3d_train.losses import cross_entropy
from i3d_train.pace import Pace
from i3d_train.process_group import ALONE, ProcessGroup
from i3d_train.random_state import random_state, restore_random_state
from i3d_train.schedule import Schedule
from i3d_train.validation import open_validation
from pipelines import Batch
from pipelines.device import resolve_device
from preprocess.errors import InvalidInput, KineflowError

logger = logging.getLogger(__name__)

_OF_THE_NETWORK = ("model", "stream", "width", "transfer")
"""What a resumed run cannot change."""
_SMALLEST_SCALE = 1.0
"""Loss scale in fp16 below which an overflow is not one of precision."""


class Trainer:
    """Network, optimiser and data of a run, and how far it is.

    Args:
        config: see `TrainConfig`.
        group: processes that train together; each has a trainer, and all call the same methods in the same order.

    Attributes:
        step: steps done.
        steps: length of the run.
        model: the network, by itself.
        validated_step: the latest step after which the network was scored.
        best_top1: highest validation accuracy so far.

    Raises:
        InvalidInput: the data or the weights do not allow this run.
        EnvironmentProblem: no such device.
    """

    def __init__(self, config: TrainConfig, *, group: ProcessGroup = ALONE) -> None:
        self.group = group
        self.device = resolve_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        if self.precision == "bf16" and self.device.type == "cpu":
            # torch 2.13 with AVX-512 leaves most of a 3x3x3 kernel's gradient unset where it sees two frames, as those
            # of I3D's last blocks do of 16
            logger.warning(
                "gradients of 3-D convolutions in bf16 are wrong on some CPUs, for clips as short as 16 frames; "
                "use --precision fp32 where there is no GPU"
            )
        clips = check_training(config, processes=group.size)
        self.train_clips = readable(clips)
        stored = self.train_clips.attributes
        # in the checkpoints, for those who show the network something else
        self.config = config = replace(config, short_side=stored.short_side, fps=stored.fps)
        tell_balance(self.train_clips)
        self.validation = open_validation(
            config, train=clips, device=self.device, precision=self.precision, group=group
        )
        note_small_crop(config.crop)
        self.feed = Feed(config, clips, device=self.device, group=group)
        self.steps = config.total_steps(steps_per_epoch=self.feed.steps_per_epoch)
        every = config.validate_every
        self.validate_every = self.feed.steps_per_epoch if every is None else every
        self.clips_per_step = config.batch_size * group.size
        self.schedule = Schedule(config, total_steps=self.steps, clips_per_step=self.clips_per_step)
        self.step = 0
        self.validated_step = 0
        self.best_top1: float | None = None
        self.pace = Pace()
        # frames of one size: the first step may as well find the fastest kernels
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        torch.manual_seed(config.seed)
        self.model = initial_network(config, labels=self.train_clips.labels, steps=self.steps).to(self.device)
        if group.rank:
            # the same weights, but dropout of its own
            torch.manual_seed(config.seed + group.rank)
        self.layout = memory_layout.arrange(self.model, channels_last=config.channels_last)
        if config.sync_bn:
            self.model = batch_norm.synchronised(self.model, group=group, device=self.device)
        self.optimizer = torch.optim.SGD(
            transfer.trained_parameters(self.model, weight_decay=config.weight_decay), lr=0.0, momentum=config.momentum
        )
        self.average = None if config.ema is None else WeightAverage(self.model, decay=config.ema)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self._parallel = DistributedDataParallel(self.model) if group.size > 1 else None
        self._forward: Any = self._parallel or self.model
        if config.compile:
            self._forward = compiled(self._forward)
        self._training_mode()

    def train_step(self) -> StepDone:
        """One step: forward and backward of each part, one update.

        Raises:
            TrainingDiverged: the loss or a gradient is not finite; the update was not made.
        """
        started = time.perf_counter()
        batches = self.feed.next_step()
        arrived = time.perf_counter()
        lr = self.schedule.rate(self.step + 1)
        for settings in self.optimizer.param_groups:
            settings["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        own_loss = self._backward_in_memory(batches)
        self._scaler.unscale_(self.optimizer)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        loss = self.group.sum(own_loss.clone()) / self.group.size
        # the one moment of a step that waits for the GPU, so that the next wait is for data alone
        loss_value, norm_value = torch.stack([loss, norm]).tolist()
        overflow = self._overflow(norm_value)
        if not math.isfinite(loss_value) or not (math.isfinite(norm_value) or overflow):
            raise self._diverged(own_loss.item(), batches, norm=norm_value, lr=lr)
        if self.config.clip_norm is not None and norm_value > self.config.clip_norm:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip_norm, norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        self.pace.add(clips=self.clips_per_step, wait_s=arrived - started, step_s=time.perf_counter() - started)
        clips_per_s, wait_share = self.pace.recent()
        return StepDone(
            step=self.step,
            steps=self.steps,
            loss=loss_value,
            lr=lr,
            clips_per_s=clips_per_s,
            wait_share=wait_share,
            gradient_norm=None if overflow else norm_value,
            memory_bytes=memory_bytes(self.device),
        )

    def validation_is_due(self) -> bool:
        """Whether the network is to be scored as it is now, and was not yet."""
        if self.validation is None or self.validated_step == self.step:
            return False
        return self.step == self.steps or (self.validate_every > 0 and self.step % self.validate_every == 0)

    def validate(
        self, observe: Observer, *, should_stop: Callable[[], bool] = lambda: False
    ) -> tuple[Validated, bool, bool] | None:
        """Score the network, or its running average, on the `val` split.

        Args:
            observe: told how far it is.
            should_stop: asked after each batch.

        Returns:
            The scores, whether they are the best so far, and whether the learning rate falls for them. None where it
            was asked to stop in any process: the validation is still due then.
        """
        assert self.validation is not None
        model = self.model if self.average is None else self.average.model
        # each process averaged what BatchNorm saw of its own clips, and those of process 0 are saved
        self.group.copy_first(model.buffers())
        validated = self.validation.run(model, step=self.step, observe=observe, should_stop=should_stop)
        self._training_mode()
        if validated is None:
            return None
        self.validated_step = self.step
        best = self.best_top1 is None or validated.top1 > self.best_top1
        if best:
            self.best_top1 = validated.top1
        return validated, best, self.schedule.validated(validated.loss)

    def checkpoint(self) -> Checkpoint:
        """The run as it is now."""
        return Checkpoint(
            step=self.step,
            model_name=self.config.model,
            stream=self.config.stream,
            num_classes=self.model.num_classes,
            labels=self.train_clips.labels,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            loader=self.feed.state_dict(),
            rng=self.group.gather(random_state(self.device)),
            config=self.config.to_json(),
            ema=None if self.average is None else self.average.model.state_dict(),
            scaler=self._scaler.state_dict(),
            schedule=self.schedule.state_dict(),
            validated_step=self.validated_step,
            best_top1=self.best_top1,
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint as if the run had not stopped.

        Raises:
            InvalidInput: it is of another network, stream or list of classes, its data is another, or it is damaged.
        """
        self._check_same_network(saved)
        self._order_sums()
        try:
            self._take(saved)
        except (KineflowError, torch.OutOfMemoryError):
            raise
        except MALFORMED as error:
            where = f"checkpoint of step {saved.step} in {self.config.out}"
            raise InvalidInput(f"the {where} is damaged ({error!r:.300}); use an older one") from error

    def _take(self, saved: Checkpoint) -> None:
        self.feed.load_state_dict(saved.loader)
        self.model.load_state_dict(saved.model)
        # momentum and weight decay are those that this run was given
        settings = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved.optimizer["state"], "param_groups": settings})
        for parameter, state in self.optimizer.state.items():
            buffer = state.get("momentum_buffer")
            if buffer is not None and buffer.shape != parameter.shape:
                raise ValueError(f"a momentum is {list(buffer.shape)}, its parameter {list(parameter.shape)}")
        if self.average is not None:
            # a run that kept no average so far starts one from its weights
            self.average.model.load_state_dict(saved.weights)
        if saved.scaler:
            self._scaler.load_state_dict(saved.scaler)
        # scores on another split are no measure of those to come
        is_same_split = saved.config.get("val_split") == self.config.val_split
        self.schedule.load_state_dict(saved.schedule, with_best=is_same_split)
        self.validated_step, self.best_top1 = saved.validated_step, saved.best_top1 if is_same_split else None
        self.step = saved.step
        restore_random_state(
            saved.rng, group=self.group, device=self.device, seed=self.config.seed + self.step * self.group.size
        )

    def _check_same_network(self, saved: Checkpoint) -> None:
        out, now = self.config.out, self.config.to_json()
        before = dict.fromkeys(_OF_THE_NETWORK) | saved.config | {"model": saved.model_name, "stream": saved.stream}
        if other := [name for name in _OF_THE_NETWORK if now[name] != before[name]]:
            was, wanted = (" and ".join(f"{name} {of[name]}" for name in other) for of in (before, now))
            remedy = ", ".join(f"no --{name}" if before[name] is None else f"--{name} {before[name]}" for name in other)
            raise InvalidInput(
                f"the run in {out} has {was}, this one {wanted}; "
                f"give {remedy} to go on with it, or another --out to start anew"
            )
        for number, (known, label) in enumerate(zip_longest(saved.labels, self.train_clips.labels)):
            if known != label:
                raise InvalidInput(
                    f"the run in {out} has other classes than the shards: number {number} is {known!r} there and "
                    f"{label!r} here; give the shards of that run, or another --out"
                )

    def _order_sums(self) -> None:
        """Have processes add their gradients up in the order of a run that did not stop; before all is restored.

        PyTorch lays gradients out for their exchange anew after its first backward pass, and where one lies decides on
        the order in which it is added up: a sum of three or more rounds by that.
        """
        if self.group.size > 2:
            self._backward_in_memory(self.feed.next_step())
            self.optimizer.zero_grad(set_to_none=True)

    def _backward_in_memory(self, batches: list[Batch]) -> torch.Tensor:
        parts = self.config.accumulate
        remedy = f"--accumulate {2 * parts} or more, --precision bf16, or a smaller --batch-size"
        with enough_memory(self.device, clips=self.config.batch_size // parts, remedy=remedy):
            return self._backward(batches)

    def _backward(self, batches: list[Batch]) -> torch.Tensor:
        """Gradients of the mean loss over a step's batches, and that loss, of this process; not yet agreed on."""
        loss = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches, start=1):
            with self._gradients_stay(number < len(batches)):
                with autocast(self.device, self.precision):
                    logits = self._logits(batch)
                label_B = batch["label"].to(self.device)
                part = cross_entropy(logits, label_B, smoothing=self.config.label_smoothing) / len(batches)
                self._scaler.scale(part).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        return loss

    def _logits(self, batch: Batch) -> torch.Tensor:
        model = self.model
        x = network_input(batch, stream=model.stream, device=self.device, sampling=model.sampling, layout=self.layout)
        logits: torch.Tensor = self._forward(x, every_step=True) if model.loss_at_every_step else self._forward(x)
        return logits

    def _gradients_stay(self, stay: bool) -> AbstractContextManager[None]:
        # processes exchange their gradients once a step, with the last part
        return self._parallel.no_sync() if stay and self._parallel is not None else nullcontext()

    def _overflow(self, norm: float) -> bool:
        """Whether gradients are beyond fp16, which the scaler answers by skipping the update and scaling less."""
        return self._scaler.is_enabled() and not math.isfinite(norm) and self._scaler.get_scale() > _SMALLEST_SCALE

    def _diverged(self, loss: float, batches: list[Batch], *, norm: float, lr: float) -> TrainingDiverged:
        keys = [key for batch in batches for key in batch["key"]]
        found = self.group.gather((loss, keys))
        guilty = [part for part in found if not math.isfinite(part[0])] or found
        return TrainingDiverged(
            f"step {self.step + 1}: loss {guilty[0][0]}, gradient norm {norm} at learning "
            f"rate {lr:g}; the network was not updated. Clips: {', '.join(key for _, keys in guilty for key in keys)}. "
            f"Try a lower --lr, from the start or with --resume from the last checkpoint"
        )

    def _training_mode(self) -> None:
        transfer.training_mode(self.model)
        if self.config.freeze_bn:
            batch_norm.freeze(self.model)
