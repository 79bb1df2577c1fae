"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file.

Only tensors, numbers, text, lists and dicts are stored, so that `torch.load(weights_only=True)` reads them:
loading never runs code from the file.
"""

import errno
import io
import logging
import pickle
import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from i3d_train.archive import MALFORMED, archive_fault
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import publish

logger = logging.getLogger(__name__)

FORMAT = "kineflow-checkpoint"
VERSION = 1
BEST_NAME = "best.pt"
"""The checkpoint with the highest validation accuracy; apart from the numbered ones, and never deleted with them."""

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("step", "num_classes", "validated_step"), int),
    **dict.fromkeys(("model_name", "stream"), str),
    **dict.fromkeys(("model", "optimizer", "loader", "config", "scaler", "schedule"), dict),
    "rng": list,
    "ema": (dict, type(None)),
    "best_top1": (float, int, type(None)),
}
"""Field to what it may be; a file may hold anything under its name."""
_NAME = re.compile(r"checkpoint-(\d+)\.pt")
_OF_THE_MACHINE = {
    getattr(errno, name) for name in ("EACCES", "EPERM", "EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "ETIMEDOUT")
}
"""Errors of the system that say nothing about what is in a file."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after `step` steps."""

    step: int
    model_name: str
    """A key of `i3d_train.models.MODELS`."""
    stream: str
    num_classes: int
    labels: tuple[str, ...]
    """Class names in the order of the logits."""
    model: dict[str, torch.Tensor]
    """Parameters and running averages."""
    optimizer: dict[str, Any]
    loader: dict[str, Any]
    """Where in which epoch the data is."""
    rng: list[dict[str, torch.Tensor]]
    """PyTorch's generator states by device type, of each process by rank."""
    config: dict[str, Any]
    """The run's configuration, see `TrainConfig.to_json`."""
    ema: dict[str, torch.Tensor] | None = None
    """The running average of `model`, where the run keeps one."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """Loss scale of a run in fp16; empty for others."""
    schedule: dict[str, Any] = field(default_factory=dict)
    """What validations did to the learning rate, see `Schedule.state_dict`."""
    validated_step: int = 0
    """Step of the latest validation; 0 before the first."""
    best_top1: float | None = None
    """Highest validation accuracy so far, 0 to 1; None before the first validation."""

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """What was validated and should be used: the running average, or else the last weights."""
        return self.model if self.ema is None else self.ema


class NewerVersion(InvalidInput):
    """Written by a later kineflow: falling back to an older checkpoint would lose its work unseen."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps belongs."""
    return folder / f"checkpoint-{step}.pt"


def saved_steps(folder: Path) -> list[int]:
    """Steps that have a checkpoint in `folder`, rising."""
    if not folder.is_dir():
        return []
    return sorted(int(match[1]) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name)))


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Publish a checkpoint and delete all others but the newest before it, `keep` in all; returns its path.

    Later ones go too: a run that writes this one passed them over as damaged, and would come back to them.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    path = checkpoint_path(folder, checkpoint.step)
    _publish(path, checkpoint)
    steps = saved_steps(folder)
    kept = [step for step in steps if step <= checkpoint.step][-keep:]
    for step in set(steps).difference(kept):
        checkpoint_path(folder, step).unlink(missing_ok=True)
    return path


def save_best(folder: Path, checkpoint: Checkpoint) -> Path:
    """Publish a checkpoint as the best one in place of the best so far; returns its path.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    path = folder / BEST_NAME
    _publish(path, checkpoint)
    return path


def _publish(path: Path, checkpoint: Checkpoint) -> None:
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    content |= {"labels": list(checkpoint.labels), "format": FORMAT, "version": VERSION}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    publish(path, buffer.getbuffer())


def best_path(folder: Path) -> Path:
    """The best checkpoint of a run, or the newest of one without validation.

    Raises:
        InvalidInput: the folder holds none.
    """
    best, steps = folder / BEST_NAME, saved_steps(folder)
    if not best.is_file() and not steps:
        raise InvalidInput(f"{folder} holds no checkpoint of a run; give the folder of a run, or a file of weights")
    return best if best.is_file() else checkpoint_path(folder, steps[-1])


def load(path: Path) -> Checkpoint:
    """Read one checkpoint and check it.

    Raises:
        InvalidInput: no such file, damaged, holding more than plain data, or not a checkpoint.
        NewerVersion: written by a later kineflow.
        EnvironmentProblem: it may be whole, and this disk or user cannot read it.
    """
    return parse(_content(path), path)


def parse(content: Any, path: Path) -> Checkpoint:
    """What PyTorch read from a file as a checkpoint; raises `InvalidInput` and `NewerVersion` as `load`."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidInput(f"{path} is not a checkpoint of `i3d_train run`")
    version = content.get("version")
    if not isinstance(version, int):
        raise InvalidInput(f"checkpoint {path} has version {version!r}; it is damaged, use an older one")
    if version > VERSION:
        raise NewerVersion(f"checkpoint {path} has version {version}, this one knows {VERSION}; upgrade kineflow")
    try:
        values = {entry.name: content[entry.name] for entry in fields(Checkpoint)}
        saved = Checkpoint(**values | {"labels": tuple(values["labels"])})
    except KeyError as error:
        raise InvalidInput(f"checkpoint {path} lacks {error}; use an older one") from error
    except TypeError as error:
        raise InvalidInput(f"checkpoint {path} is damaged ({error}); use an older one") from error
    _check(saved, path)
    return saved


def _content(path: Path) -> Any:
    try:
        fault = archive_fault(path)
        if fault is None:
            return torch.load(path, map_location="cpu", weights_only=True)
    except MALFORMED as error:
        if getattr(error, "errno", None) in _OF_THE_MACHINE:
            raise EnvironmentProblem(f"checkpoint {path} cannot be read here and now ({error}); see to that") from error
        raise InvalidInput(f"checkpoint {path} cannot be read ({error}); use an older one") from error
    except pickle.UnpicklingError as error:
        # its message recommends to load without the check, which is the one thing not to do
        raise InvalidInput(
            f"checkpoint {path} holds more than plain data and was not loaded; do not trust it"
        ) from error
    raise InvalidInput(f"checkpoint {path} {fault}; use an older one")


def _check(saved: Checkpoint, path: Path) -> None:
    for name, kinds in _KINDS.items():
        if not isinstance(getattr(saved, name), kinds):
            found = type(getattr(saved, name)).__name__
            raise InvalidInput(f"checkpoint {path} has a {found} for {name}; it is damaged, use an older one")
    if saved.step < 0:
        raise InvalidInput(f"checkpoint {path} is of step {saved.step}; it is damaged, use an older one")
    for name, parts, kind in (
        ("labels", saved.labels, str),
        ("model", saved.model.values(), torch.Tensor),
        ("ema", (saved.ema or {}).values(), torch.Tensor),
        ("rng", saved.rng, dict),
    ):
        if not all(isinstance(part, kind) for part in parts):
            raise InvalidInput(f"checkpoint {path} holds what is no {kind.__name__} in {name}; use an older one")


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of `folder` that can be read; None when there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        InvalidInput: there are checkpoints, and all are damaged.
        NewerVersion: the newest was written by a later kineflow.
        EnvironmentProblem: see `load`.
    """
    steps = saved_steps(folder)
    for step in reversed(steps):
        try:
            return load(checkpoint_path(folder, step))
        except NewerVersion:
            raise
        except InvalidInput as error:
            logger.warning("%s; falling back to the one before", error)
    if steps:
        raise InvalidInput(f"all {len(steps)} checkpoints of {folder} are damaged; start again in another folder")
    return None
