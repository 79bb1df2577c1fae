"""What weights are for: which network, of what streams, classes and width."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from i3d_train.config import TRANSFERS
from i3d_train.models import MODELS, network_class
from preprocess.address import shown
from preprocess.errors import InvalidInput
from preprocess.exact_number import exact_number

HEADER = "kineflow"
"""Name of the one entry that our safetensors files have in their metadata."""
VERSION = 1
SHORT_SIDE = 256
"""Pixels of the shorter side of the frames that the released networks were trained on, before the crop."""
FPS = Fraction(25)
"""Frames a second of the same."""
_MAX_SIDE = 65_500
"""The largest that a shard may have."""
_SLOWEST, _FASTEST = Fraction(1, 1000), 1000
"""Frames a second that a shard may have."""


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """What a file of weights is for, known before a network is built."""

    path: Path
    model: str
    """A key of `i3d_train.models.MODELS`."""
    stream: str
    num_classes: int
    labels: tuple[str, ...] = ()
    """Class names in the order of the logits; empty when the file carries none."""
    width: float = 1.0
    """Share of the published channels."""
    transfer: str | None = None
    """One of `TRANSFERS`, how the run that trained them began; None where it was told none, or is not known."""
    short_side: int = SHORT_SIDE
    """Pixels of the shorter side of the frames that they were trained on; `SHORT_SIDE` where not known."""
    fps: Fraction = FPS
    """Frames a second of the same; `FPS` where not known."""
    fold: int | None = None
    """Official split of UCF-101 or HMDB-51 that they were trained on; None for another list, or where not known."""

    @property
    def crop(self) -> int:
        """Pixels of the square crop: the network's own, or all of the shorter side where that is less."""
        return min(network_class(self.model).sampling.crop, self.short_side)

    @property
    def name(self) -> str:
        """The file and its folder, since each run has a `best.pt`."""
        return shown("/".join(self.path.absolute().parts[-2:]))


def header_of(info: WeightsInfo, *, source: Mapping[str, str]) -> dict[str, str]:
    """What a safetensors file says of itself, as its metadata.

    Args:
        info: of what was written.
        source: where it came from: the file's `name` and `sha256`.

    Returns:
        One entry of JSON, since the order of several entries in the file is another each time.
    """
    record = {
        "version": VERSION,
        "model": info.model,
        "stream": info.stream,
        "num_classes": info.num_classes,
        "width": info.width,
        "transfer": info.transfer,
        "short_side": info.short_side,
        "fps": str(info.fps),
        "fold": info.fold,
        "labels": list(info.labels),
        "source": dict(source),
    }
    return {HEADER: json.dumps(record, ensure_ascii=False, sort_keys=True)}


def read_header(metadata: Mapping[str, str], path: Path) -> WeightsInfo | None:
    """What `header_of` wrote; None where the file is not one of ours.

    Raises:
        InvalidInput: written by a later kineflow, or damaged.
    """
    if HEADER not in metadata:
        return None
    try:
        record = json.loads(metadata[HEADER])
        version, model = int(record["version"]), str(record["model"])
        # the other fields of a later one may be others
        info = _info(record, path) if version <= VERSION and model in MODELS else None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"{path} has a damaged header ({error!r}); convert it again") from error
    if info is None:
        raise InvalidInput(
            f"{path} holds {model!r} in version {version}, this one knows version {VERSION} of "
            f"{', '.join(MODELS)}; upgrade kineflow"
        )
    if info.labels and len(info.labels) != info.num_classes:
        raise InvalidInput(f"{path} names {len(info.labels)} of {info.num_classes} classes; convert it again")
    return info


def _info(record: Mapping[str, Any], path: Path) -> WeightsInfo:
    return WeightsInfo(
        path=path,
        model=str(record["model"]),
        stream=str(record["stream"]),
        num_classes=int(record["num_classes"]),
        labels=tuple(map(str, record["labels"])),
        width=float(record["width"]),
        transfer=transfer_of(record["transfer"]),
        short_side=short_side_of(record.get("short_side")),
        fps=fps_of(record.get("fps")),
        fold=_fold_of(record.get("fold")),
    )


def short_side_of(value: object) -> int:
    """What a file says of its `WeightsInfo.short_side`; older ones say nothing.

    Raises:
        ValueError: neither null nor a number of pixels that a frame has.
    """
    if value is None:
        return SHORT_SIDE
    if type(value) is not int or not 1 <= value <= _MAX_SIDE:
        raise ValueError(f"short_side is {value!r}")
    return value


def fps_of(value: object) -> Fraction:
    """What a file says of its `WeightsInfo.fps`, such as `30000/1001`; older ones say nothing.

    Raises:
        ValueError: neither null nor such a text.
    """
    if value is None:
        return FPS
    if not _SLOWEST <= (fps := exact_number(value)) <= _FASTEST:
        raise ValueError(f"fps is {value!r}")
    return fps


def _fold_of(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or value < 1:
        raise ValueError(f"fold is {value!r}")
    return value


def transfer_of(value: object) -> str | None:
    """What a file says of its `WeightsInfo.transfer`.

    Raises:
        ValueError: neither null nor one of `TRANSFERS`.
    """
    if value is not None and value not in TRANSFERS:
        raise ValueError(f"transfer is {value!r}")
    return None if value is None else str(value)
