"""From shards to batches: clips of frames and flow, decoded, cropped, flipped and normalised.

Neither DALI nor torch is imported before a loader is asked for.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

from preprocess.errors import EnvironmentProblem, InvalidInput

if TYPE_CHECKING:
    from pipelines.dali import ClipLoader
    from pipelines.loader import Batch, Loader
    from pipelines.portion import OpenClips, Portion, Shards
    from pipelines.torch_loader import TorchClipLoader

__all__ = ["LOADERS", "Batch", "ClipLoader", "Loader", "Portion", "TorchClipLoader", "open_loader"]

logger = logging.getLogger(__name__)

_HOMES = {
    "Batch": "pipelines.loader",
    "ClipLoader": "pipelines.dali",
    "Loader": "pipelines.loader",
    "Portion": "pipelines.portion",
    "TorchClipLoader": "pipelines.torch_loader",
}

LOADERS = {"dali": "ClipLoader", "torch": "TorchClipLoader"}
"""Backend to the loader's name in this package."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def open_loader(shards: "Shards | OpenClips", *, backend: str = "auto", **options: Any) -> "Loader":
    """Open a loader by the name of its backend.

    Args:
        shards: folder or address of `index.json`, several with their weights, or what is open already.
        backend: one of `LOADERS`, or `auto`: DALI where it is installed, otherwise torch and a warning.
        options: of the loader, see `pipelines.loader.Loader`.

    Raises:
        InvalidInput: no such backend, or an option of the loader is out of range.
        EnvironmentProblem: DALI was asked for by name and is not installed.
    """
    if backend != "auto" and backend not in LOADERS:
        raise InvalidInput(f"backend {backend!r} is unknown; use auto or one of {', '.join(LOADERS)}")
    try:
        loader = __getattr__(LOADERS["dali" if backend == "auto" else backend])
    except EnvironmentProblem as error:
        if backend != "auto":
            raise
        logger.warning("decoding with OpenCV instead of DALI, on the CPU only: %s", error)
        loader = __getattr__(LOADERS["torch"])
    opened: Loader = loader(shards, **options)
    return opened
