"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file.

Only tensors, numbers, text, lists and dicts are stored, so that `torch.load(weights_only=True)` reads them:
loading never runs code from the file.
"""

import io
import logging
import pickle
import re
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from preprocess.errors import InvalidInput
from preprocess.paths import publish

logger = logging.getLogger(__name__)

FORMAT = "kineflow-checkpoint"
VERSION = 1

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


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
    rng: dict[str, torch.Tensor]
    """PyTorch's generator states by device type."""
    config: dict[str, Any]
    """The run's configuration, see `TrainConfig.to_json`."""


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
    """Publish a checkpoint and delete all but the newest `keep`; returns its path.

    Raises:
        EnvironmentProblem: the disk is full or read-only.
    """
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    content |= {"labels": list(checkpoint.labels), "format": FORMAT, "version": VERSION}
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path = checkpoint_path(folder, checkpoint.step)
    publish(path, buffer.getbuffer())
    for step in saved_steps(folder)[:-keep]:
        checkpoint_path(folder, step).unlink(missing_ok=True)
    return path


def load(path: Path) -> Checkpoint:
    """Read one checkpoint and check it.

    Raises:
        InvalidInput: no such file, damaged, holding more than plain data, or not a checkpoint.
        NewerVersion: written by a later kineflow.
    """
    try:
        # PyTorch is built without the check of the archive's CRCs: a flipped bit would load
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise InvalidInput(f"checkpoint {path} is damaged in {damaged}; use an older one")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"checkpoint {path} cannot be read ({error}); use an older one") from error
    except pickle.UnpicklingError as error:
        # its message recommends to load without the check, which is the one thing not to do
        raise InvalidInput(
            f"checkpoint {path} holds more than plain data and was not loaded; do not trust it"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InvalidInput(f"{path} is not a checkpoint of `i3d_train run`")
    if content["version"] > VERSION:
        raise NewerVersion(
            f"checkpoint {path} has version {content['version']}, this one knows {VERSION}; upgrade kineflow"
        )
    try:
        values = {field.name: content[field.name] for field in fields(Checkpoint)}
        return Checkpoint(**values | {"labels": tuple(values["labels"])})
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"checkpoint {path} lacks {error}; use an older one") from error


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint of `folder` that can be read; None when there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        InvalidInput: there are checkpoints, and all are damaged.
        NewerVersion: the newest was written by a later kineflow.
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
