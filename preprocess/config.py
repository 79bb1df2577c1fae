"""What can be set: one frozen dataclass a command, each field documented and checked."""

import os
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from preprocess.errors import InvalidInput
from preprocess.flow.params import Tvl1Params

SHARD_CLIPS = 64
SHARD_BYTES = 512 << 20
RETRYABLE = ("unavailable", "bad_media", "quarantined")
"""Outcomes that a later run leaves as they are, unless asked."""


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInput(message)


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How work is spread over processes."""

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Worker processes; 0 does everything in this process, without Ray."""
    gpus: int = 0
    """GPUs, one for each worker; 0 keeps workers on the CPU."""
    helpers: int = 0
    """Threads of a worker that decode and encode while it computes flow."""
    address: str | None = None
    """Ray cluster to use, such as `auto` or `host:6379`; None starts a local one for this run."""

    def __post_init__(self) -> None:
        _check(self.workers >= 0, f"workers must be at least 0, got {self.workers}")
        _check(self.helpers >= 0, f"helpers must be at least 0, got {self.helpers}")
        _check(self.gpus in {0, self.workers}, f"{self.gpus} GPUs need as many workers, got {self.workers}")
        _check(
            self.address is None or self.workers > 0,
            f"a Ray address ({self.address}) needs at least 1 worker",
        )

    @classmethod
    def on_gpus(cls, gpus: int, *, address: str | None = None) -> "WorkerConfig":
        """A worker for each GPU, with its share of this machine's cores, 8 at most, to decode and encode for it."""
        share = (os.cpu_count() or 1) // max(gpus, 1) - 1
        return cls(workers=gpus, gpus=gpus, helpers=min(max(share, 1), 8), address=address)


@dataclass(frozen=True, kw_only=True)
class DownloadConfig:
    """`preprocess download`."""

    out: Path
    """Folder of the clips and their manifest."""
    url_template: str | None = None
    """Where videos are, with `{youtube_id}`; None is YouTube."""
    source_dir: Path | None = None
    """A local folder, with subfolders, of whole videos `{youtube_id}.*` or finished clips `{key}.*`."""
    retry: frozenset[str] = frozenset()
    """Outcomes of earlier runs to try again, of `RETRYABLE`; temporary ones always are."""
    min_share: float = 0.9
    """A clip that holds less than this share of its wanted seconds is bad media."""
    socket_timeout_s: float = 20.0
    """Seconds without a byte after which a connection is given up."""

    def __post_init__(self) -> None:
        _check(
            self.url_template is None or "{youtube_id}" in self.url_template,
            f"url template {self.url_template!r} lacks {{youtube_id}}; for example https://host/{{youtube_id}}.mp4",
        )
        _check(
            self.url_template is None or self.url_template.startswith(("http://", "https://")),
            f"url template {self.url_template!r} must start with http:// or https://",
        )
        _check(
            self.url_template is None or self.source_dir is None,
            "give a url template or a source folder, not both",
        )
        _check(
            self.source_dir is None or self.source_dir.is_dir(),
            f"source folder {self.source_dir} does not exist",
        )
        _check(self.retry <= set(RETRYABLE), f"retry knows {', '.join(RETRYABLE)}, got {sorted(self.retry)}")
        _check(0 < self.min_share <= 1, f"min_share must be above 0 and at most 1, got {self.min_share}")
        _check(self.socket_timeout_s > 0, f"socket timeout must be above 0 s, got {self.socket_timeout_s}")


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """`preprocess flow`: what is computed. Two runs with equal fields and clips give equal bytes."""

    fps: Fraction = Fraction(25)
    """Frame rate after resampling by presentation time."""
    short_side: int = 256
    """Pixels of the shorter side after the bilinear resize, aspect kept; flow is computed on these frames."""
    rgb_quality: int = 95
    """JPEG quality of the frames, 1 to 100."""
    flow_quality: int = 95
    """JPEG quality of the flow, 1 to 100."""
    clips_per_shard: int = SHARD_CLIPS
    """At most so many clips a shard."""
    bytes_per_shard: int = SHARD_BYTES
    """At most so many bytes a shard, as planned from frame counts and sizes."""
    tvl1: Tvl1Params = field(default_factory=Tvl1Params)
    """Parameters of the flow."""
    backend: str = "auto"
    """Which implementation of the flow: `auto` or a name of `preprocess.flow.BACKENDS`."""

    def __post_init__(self) -> None:
        _check(0 < self.fps <= 240, f"fps must be above 0 and at most 240, got {self.fps}")
        _check(16 <= self.short_side <= 2304, f"short_side must be 16 to 2304 pixels, got {self.short_side}")
        for name in ("rgb_quality", "flow_quality"):
            _check(1 <= getattr(self, name) <= 100, f"{name} must be 1 to 100, got {getattr(self, name)}")
        _check(self.clips_per_shard >= 1, f"clips_per_shard must be at least 1, got {self.clips_per_shard}")
        _check(
            self.bytes_per_shard >= 1 << 20,
            f"bytes_per_shard must be at least 1 MiB, got {self.bytes_per_shard}",
        )
