"""A network in training: one step, one validation, and all that a checkpoint has to hold."""

import logging
import math
import time
from collections import deque
from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812  (the name that PyTorch code knows it by)
from torch import nn

from i3d_train import weights
from i3d_train.checkpoint import Checkpoint
from i3d_train.config import TrainConfig
from i3d_train.data import (
    UNLABELLED,
    DataConfig,
    check_scoring,
    check_training,
    network_input,
    note_small_crop,
    open_batches,
    warn_of_unseen_classes,
)
from i3d_train.device import autocast, choose_device, choose_precision
from i3d_train.errors import TrainingDiverged
from i3d_train.events import Observer, Scored, StepDone, Validated
from i3d_train.models import build
from i3d_train.models.network import Network
from i3d_train.scoring import score
from pipelines import Batch, Loader
from preprocess.errors import InvalidInput
from preprocess.shards import Index, ShardSet

logger = logging.getLogger(__name__)

_RECENT_STEPS = 20


class Pace:
    """How fast steps go, and which part of the time is waiting for data."""

    def __init__(self) -> None:
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=_RECENT_STEPS)
        self._first: tuple[int, float, float] | None = None
        self._clips, self._wait_s, self._step_s = 0, 0.0, 0.0

    def add(self, *, clips: int, wait_s: float, step_s: float) -> None:
        """Count one step of `step_s` seconds, `wait_s` of them spent waiting."""
        if self._first is None:
            # start-up of the loader and of the GPU's kernels; kept only until there is a second step
            self._first = (clips, wait_s, step_s)
            return
        self._recent.append((clips, wait_s, step_s))
        self._clips += clips
        self._wait_s += wait_s
        self._step_s += step_s

    @property
    def clips_per_s(self) -> float:
        """Of all steps but the first."""
        clips, _, step_s = self._total()
        return clips / step_s if step_s else 0.0

    @property
    def wait_share(self) -> float:
        """Of all steps but the first; 0 to 1."""
        _, wait_s, step_s = self._total()
        return wait_s / step_s if step_s else 0.0

    def recent(self) -> tuple[float, float]:
        """Clips per second and share of waiting over the latest steps."""
        steps = list(self._recent) or [self._first or (0, 0.0, 1.0)]
        step_s = sum(step[2] for step in steps)
        return sum(step[0] for step in steps) / step_s, sum(step[1] for step in steps) / step_s

    def _total(self) -> tuple[int, float, float]:
        return (self._clips, self._wait_s, self._step_s) if self._recent else (self._first or (0, 0.0, 0.0))


class Trainer:
    """Network, optimiser and data of a run, and how far it is.

    Args:
        config: see `TrainConfig`.

    Attributes:
        step: steps done.
        steps: length of the run.
        gradient_norm: of the latest step, over all parameters.

    Raises:
        InvalidInput: the data or the weights do not allow this run.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.data = DataConfig(
            shards=config.shards,
            stream=config.stream,
            frames=config.frames,
            crop=config.crop,
            batch_size=config.batch_size,
            loader=config.loader,
            threads=config.threads,
            seed=config.seed,
            flip=config.flip,
        )
        self.train_clips = check_training(self.data, model=config.model)
        self.has_validation = self._check_validation()
        note_small_crop(config.crop)
        self.loader = open_batches(self.data, split="train", training=True, device=self.device)
        self._val_loader: Loader | None = None
        self.steps = config.total_steps(steps_per_epoch=len(self.loader))
        self.validate_every = len(self.loader) if config.validate_every is None else config.validate_every
        self.step = 0
        self.gradient_norm = 0.0
        self.pace = Pace()
        # frames of one size: the first step may as well find the fastest kernels
        torch.backends.cudnn.benchmark = self.device.type == "cuda"
        torch.manual_seed(config.seed)
        self.model = self._network().to(self.device)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay
        )
        self._batches = self._endless()

    def train_step(self) -> StepDone:
        """One batch: forward, backward, update.

        Raises:
            TrainingDiverged: the loss or a gradient is not finite; the update was not made.
        """
        started = time.perf_counter()
        batch = next(self._batches)
        arrived = time.perf_counter()
        lr = self.config.learning_rate(self.step + 1, total_steps=self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits_BK = self.model(network_input(batch, stream=self.config.stream, device=self.device))
        # float32: bf16 has too few digits for the logarithm of a small probability
        loss = F.cross_entropy(logits_BK.float(), batch["label"].to(self.device))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.get_total_norm([p.grad for p in self.model.parameters() if p.grad is not None])
        # the one moment of a step that waits for the GPU, so that the next wait is for data alone
        loss_value, self.gradient_norm = torch.stack([loss.detach(), norm]).tolist()
        if not (math.isfinite(loss_value) and math.isfinite(self.gradient_norm)):
            raise TrainingDiverged(
                f"step {self.step + 1}: loss {loss_value}, gradient norm {self.gradient_norm} at learning "
                f"rate {lr:g}; the network was not updated. Clips: {', '.join(batch['key'])}. "
                f"Try a lower --lr, from the start or with --resume from the last checkpoint"
            )
        self.optimizer.step()
        self.step += 1
        self.pace.add(clips=len(batch["key"]), wait_s=arrived - started, step_s=time.perf_counter() - started)
        clips_per_s, wait_share = self.pace.recent()
        return StepDone(
            step=self.step,
            steps=self.steps,
            loss=loss_value,
            lr=lr,
            clips_per_s=clips_per_s,
            wait_share=wait_share,
        )

    def validate(self, observe: Observer) -> Validated:
        """Score the network on the `val` split."""
        if self._val_loader is None:
            self._val_loader = open_batches(self.data, split="val", training=False, device=self.device)
        total = self._val_clips

        def scored(done: int) -> None:
            observe(Scored(done=done, total=total))

        scores = score(self.model, self._val_loader, device=self.device, precision=self.precision, scored=scored)
        return Validated(step=self.step, loss=scores.loss, top1=scores.top1, top5=scores.top5, clips=scores.clips)

    def checkpoint(self) -> Checkpoint:
        """The run as it is now."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state()
        return Checkpoint(
            step=self.step,
            model_name=self.config.model,
            stream=self.config.stream,
            num_classes=self.model.num_classes,
            labels=self.train_clips.labels,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            loader=self.loader.state_dict(),
            rng=rng,
            config=self.config.to_json(),
        )

    def restore(self, saved: Checkpoint) -> None:
        """Go on from a checkpoint as if the run had not stopped.

        Raises:
            InvalidInput: it is of another network, stream or list of classes, or its data is another.
        """
        here = (self.config.model, self.config.stream, self.train_clips.labels)
        there = (saved.model_name, saved.stream, saved.labels)
        for name, now, before in zip(("model", "stream", "class names"), here, there, strict=True):
            if now != before:
                raise InvalidInput(f"the run to resume has {name} {before}, now they are {now}; use another --out")
        self.model.load_state_dict(saved.model)
        self.optimizer.load_state_dict(saved.optimizer)
        self.loader.load_state_dict(saved.loader)
        self.step = saved.step
        torch.set_rng_state(saved.rng["cpu"])
        if self.device.type == "cuda" and "cuda" in saved.rng:
            torch.cuda.set_rng_state(saved.rng["cuda"])

    def _network(self) -> Network:
        config, labels = self.config, self.train_clips.labels
        model = build(config.model, num_classes=len(labels), stream=config.stream)
        momentum = config.batch_norm_momentum(total_steps=self.steps)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.momentum = momentum
        if config.weights is not None:
            info = weights.describe(config.weights)
            if info.model != config.model:
                raise InvalidInput(f"{config.weights} holds weights of {info.model}, not of {config.model}")
            same_classes = info.num_classes == len(labels) and info.labels in ((), labels)
            weights.load(model, config.weights, head=same_classes)
            if not same_classes:
                logger.warning(
                    "the classifier starts anew: %s has %d classes, the shards have %d, or other ones",
                    config.weights.name,
                    info.num_classes,
                    len(labels),
                )
        return model

    def _check_validation(self) -> bool:
        if "val" not in Index.read(self.config.shards).splits():
            logger.warning("%s has no val split: no validation", self.config.shards)
            return False
        clips = ShardSet(self.config.shards, "val")
        if (clips.clips.label == UNLABELLED).all():
            logger.warning("no clip of the val split has a label: no validation")
            return False
        check_scoring(self.data, split="val", model=self.config.model)
        warn_of_unseen_classes(self.train_clips, clips)
        self._val_clips = len(clips)
        return True

    def _endless(self) -> Iterator[Batch]:
        while True:
            yield from self.loader
