"""Names, columns and attributes of a shard: what writer, reader and verifier agree on.

    /rgb/data      uint8 [bytes]       the frames' JPEGs, one after the other
    /rgb/offset    int64 [n_rgb + 1]   frame i is data[offset[i]:offset[i + 1]]
    /flow/data     uint8 [bytes]       one gray JPEG a flow field: u stacked over v, 2H x W
    /flow/offset   int64 [n_flow + 1]
    /clips/COLUMN                      one row a clip, see `COLUMNS`
    attributes                         of the root, see `ShardAttributes`; and their checksum, see `head_checksum`

All datasets are contiguous and unfiltered, so that `mmap` at their file offset gives the bytes.
"""

import json
import zlib
from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any

import numpy as np

from preprocess.errors import BadShard, InvalidInput

FORMAT = "kineflow-shard"
VERSION = 1
STREAMS = ("rgb", "flow")
ATTRIBUTE_BYTES = 60_000
"""Of a text; HDF5 keeps an object header's attributes below 64 KiB each."""
SPLITS = ("train", "val", "test", "extra")
"""`extra` are clips that the chosen official split leaves out, and another one of the same data set does not."""

COLUMNS: dict[str, str] = {
    "key": "S",
    "label": "int32",
    "rgb_first": "int64",
    "rgb_count": "int32",
    "flow_first": "int64",
    "flow_count": "int32",
    "height": "int32",
    "width": "int32",
    "time_start": "float64",
    "time_end": "float64",
    "rgb_crc32": "uint32",
    "flow_crc32": "uint32",
}
"""Column name to dtype; `S` is bytes as long as the longest key of the shard."""


def shard_name(split: str, number: int, count: int) -> str:
    """File name of shard `number` (from 0) of the `count` shards of a split.

    Example:
        >>> shard_name("train", 3, 16)
        'train-00003-of-00016.h5'
    """
    return f"{split}-{number:05d}-of-{count:05d}.h5"


@dataclass(frozen=True, kw_only=True)
class EncodedClip:
    """One clip, encoded and ready to be written."""

    key: str
    """`{youtube_id}_{start:06d}_{end:06d}`, or a file's stem."""
    label: int
    """Index into the label names; -1 where the list has none."""
    rgb: list[bytes]
    """N colour JPEGs, 4:2:0."""
    flow: list[bytes]
    """N - 1 gray JPEGs of 2H x W; flow t goes from frame t to frame t + 1."""
    height: int
    """Of a frame, in pixels."""
    width: int
    time_start: float
    """Seconds in the original video, from its list."""
    time_end: float

    def __post_init__(self) -> None:
        if len(self.rgb) < 2 or len(self.flow) != len(self.rgb) - 1:
            counts = f"{len(self.rgb)} frames and {len(self.flow)} flows"
            raise InvalidInput(f"clip {self.key} has {counts}; it needs at least 2 frames and one flow fewer")

    @property
    def nbytes(self) -> int:
        """Bytes of all JPEGs."""
        return sum(map(len, self.rgb)) + sum(map(len, self.flow))


def crc32(pieces: list[bytes]) -> int:
    """zlib's CRC-32 over the concatenated pieces."""
    value = 0
    for piece in pieces:
        value = zlib.crc32(piece, value)
    return value


@dataclass(frozen=True, kw_only=True)
class ShardAttributes:
    """What the numbers in a shard mean; stored as attributes of its root group."""

    fps: Fraction = Fraction(25)
    """Frame rate of the resampled frames."""
    short_side: int = 256
    """Pixels of the shorter side after the resize."""
    rgb_quality: int = 95
    """JPEG quality of the frames, 1 to 100."""
    flow_quality: int = 95
    flow_scale: float = 127 / 20
    """Codes a pixel of motion: u8 = clip(rint(f * flow_scale) + flow_zero, 1, 255)."""
    flow_zero: int = 128
    """The code of no motion."""
    flow_bound: float = 20.0
    """Motion is clipped to +-flow_bound pixels a frame."""
    tvl1: dict[str, Any] = field(default_factory=dict)
    """Every TV-L1 parameter, and the backend that computed the flow."""
    labels: tuple[str, ...] = ()
    """Label names; a clip's label is an index into them."""
    failed: dict[str, str] = field(default_factory=dict)
    """Clips that were planned for this shard and could not be made, with the reason."""

    def to_flow(self, codes: np.ndarray) -> np.ndarray:
        """Stored codes, uint8 of any shape, as flow in pixels a frame, float32."""
        flow: np.ndarray = (codes.astype(np.float32) - self.flow_zero) / np.float32(self.flow_scale)
        return flow

    def to_hdf5(self) -> dict[str, Any]:
        """Attribute name to a scalar that HDF5 stores; dicts and tuples as JSON."""
        stored: dict[str, Any] = {"format": FORMAT, "version": VERSION, "complete": True}
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if isinstance(value, Fraction):
                stored["fps_num"], stored["fps_den"] = value.numerator, value.denominator
            elif isinstance(value, dict | tuple):
                stored[name] = json.dumps(value, sort_keys=True)
            else:
                stored[name] = value
        return stored

    @classmethod
    def from_hdf5(cls, stored: dict[str, Any], *, source: str) -> "ShardAttributes":
        """Read back what `to_hdf5` made.

        Raises:
            BadShard: another format, a newer version, not complete, or an attribute missing.
        """
        if stored.get("format") != FORMAT:
            raise BadShard(f"{source} is not a {FORMAT} file (format attribute: {stored.get('format')!r})")
        if stored.get("version") != VERSION:
            raise BadShard(
                f"{source} has shard version {stored.get('version')}, this reader knows {VERSION}; upgrade kineflow"
            )
        if not stored.get("complete"):
            raise BadShard(f"{source} is not marked complete; delete it and run `preprocess flow` again")
        try:
            made = cls(
                fps=Fraction(int(stored["fps_num"]), int(stored["fps_den"])),
                short_side=int(stored["short_side"]),
                rgb_quality=int(stored["rgb_quality"]),
                flow_quality=int(stored["flow_quality"]),
                flow_scale=float(stored["flow_scale"]),
                flow_zero=int(stored["flow_zero"]),
                flow_bound=float(stored["flow_bound"]),
                tvl1=dict(json.loads(stored["tvl1"])),
                labels=tuple(json.loads(stored["labels"])),
                failed=dict(json.loads(stored["failed"])),
            )
            made._check()
        except (KeyError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise BadShard(f"{source}: attribute missing or malformed: {error!r}") from error
        return made

    def _check(self) -> None:
        """ValueError if a value cannot be what it says; the file may come from anybody."""
        for name, low, high in (
            ("fps", Fraction(1, 1000), 1000),
            ("short_side", 1, 65_500),
            ("rgb_quality", 1, 100),
            ("flow_quality", 1, 100),
            ("flow_scale", 1e-6, 1e6),
            ("flow_zero", 0, 255),
            ("flow_bound", 1e-6, 1e6),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} {getattr(self, name)} is not within {low} to {high}")
        for name, texts in (("labels", self.labels), ("failed", (*self.failed, *self.failed.values()))):
            if not all(isinstance(text, str) for text in texts):
                raise ValueError(f"{name} holds what is no text")


@dataclass(frozen=True, kw_only=True)
class ClipTable:
    """The rows of `/clips`, one array a column, all of one length."""

    key: np.ndarray
    """bytes."""
    label: np.ndarray
    rgb_first: np.ndarray
    """Index of the clip's first frame among the shard's frames."""
    rgb_count: np.ndarray
    flow_first: np.ndarray
    flow_count: np.ndarray
    height: np.ndarray
    """Pixels."""
    width: np.ndarray
    time_start: np.ndarray
    """Seconds."""
    time_end: np.ndarray
    rgb_crc32: np.ndarray
    flow_crc32: np.ndarray

    def __len__(self) -> int:
        return len(self.key)

    def name(self, row: int) -> str:
        r"""The key of a clip as text; a byte that is no UTF-8, which somebody else may have put there, as `\xff`."""
        key: bytes = self.key[row]
        return key.decode(errors="backslashreplace")

    @classmethod
    def of(cls, clips: list[EncodedClip]) -> "ClipTable":
        """The table of clips written one after the other."""
        rgb_counts = [len(clip.rgb) for clip in clips]
        flow_counts = [len(clip.flow) for clip in clips]
        values: dict[str, list[Any]] = {
            "key": [clip.key.encode() for clip in clips],
            "label": [clip.label for clip in clips],
            "rgb_first": np.cumsum([0, *rgb_counts])[:-1].tolist(),
            "rgb_count": rgb_counts,
            "flow_first": np.cumsum([0, *flow_counts])[:-1].tolist(),
            "flow_count": flow_counts,
            "height": [clip.height for clip in clips],
            "width": [clip.width for clip in clips],
            "time_start": [clip.time_start for clip in clips],
            "time_end": [clip.time_end for clip in clips],
            "rgb_crc32": [crc32(clip.rgb) for clip in clips],
            "flow_crc32": [crc32(clip.flow) for clip in clips],
        }
        return cls(**{name: np.array(values[name], dtype=dtype) for name, dtype in COLUMNS.items()})

    @classmethod
    def concatenate(cls, tables: list["ClipTable"]) -> "ClipTable":
        """Rows of all tables, in order."""
        return cls(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in COLUMNS})
