"""What runs leave in their folders, to be compared."""

import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from i3d_train import checkpoint
from preprocess.outcomes import MANIFEST_NAME, read_manifest

_OF_THE_RUN = {".lock", "status.json", "archives.jsonl"}
"""Files that say which process held the folder and when, and which archives need not be read again."""
_SPEED = {"clips_per_s", "wait_share", "memory_bytes"}
_GROWING = {MANIFEST_NAME, "metrics.jsonl"}
_PICTURES = {".png"}


def contents(folder: Path) -> dict[str, Any]:
    """Every file's content by its path: bytes, or what a file of lines comes to, times left out."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: _content(path) for name, path in sorted(found.items()) if path.name not in _OF_THE_RUN}


def published(folder: Path) -> dict[str, bytes]:
    """What a reader may open at this moment: all but growing files, locks and temporary ones."""
    found = {}
    for where, folders, names in os.walk(folder):  # a glob stops at a folder that vanishes meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(where, name)
            if name.startswith(".") or name in _GROWING | _OF_THE_RUN or path.suffix in _PICTURES:
                continue
            with suppress(FileNotFoundError):  # an old checkpoint that was deleted just now
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def leftovers(folder: Path) -> list[str]:
    """Temporary files, journals and workspaces."""
    hidden = (path for path in folder.rglob(".*") if path.name not in _OF_THE_RUN)
    return sorted(str(path.relative_to(folder)) for path in hidden if path.is_file() or path.name != ".archives")


def _content(path: Path) -> Any:
    if path.name == MANIFEST_NAME:
        return read_manifest(path.parent)
    if path.name == "metrics.jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{name: value for name, value in line.items() if name not in _SPEED} for line in lines]
    if path.suffix == ".pt":
        return _values(asdict(checkpoint.load(path)))  # equal values need not be equal pickles
    return None if path.suffix in _PICTURES else path.read_bytes()


def _values(held: Any) -> Any:
    """Tensors as bytes, which can be compared."""
    if isinstance(held, torch.Tensor):
        return str(held.dtype), tuple(held.shape), held.numpy().tobytes()
    if isinstance(held, dict):
        return {name: _values(value) for name, value in held.items()}
    return [_values(value) for value in held] if isinstance(held, list | tuple) else held
