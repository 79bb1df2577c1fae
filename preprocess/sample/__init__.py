"""A small synthetic Kinetics whose motion is known exactly, to try things out and to measure accuracy.

Textured scenes move steadily in one of eight ways, and the way is the class (`MOTIONS` explains the names).
Every scene is filmed once for each class, so appearance says nothing about the class and only motion does.

Shapes: T = frames, H, W = pixels.
"""

import base64
import hashlib
import io
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from preprocess.errors import InvalidInput
from preprocess.paths import publish
from preprocess.sample.motion import MAX_ZOOM, MOTIONS, Stage, flow_of
from preprocess.sample.scene import Scene

__all__ = ["MAX_ZOOM", "MOTIONS", "SampleConfig", "SampleSummary", "make_sample", "read_flow"]

HEADER = ("label", "youtube_id", "time_start", "time_end", "split", "is_cc")
"""Columns of the Kinetics-400 lists."""

_X264 = {"crf": "12", "preset": "faster", "tune": "psnr", "mbtree": "0", "threads": "1"}
"""Near lossless, and true to the picture rather than pleasing: blocks that the encoder merely copies move by
quarter pixels, not as the truth says. One thread and no macroblock tree, for the same bytes every time: they
depend on the number of threads, and the tree on memory that x264 never wrote (seen at 64x48 and 340x256)."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What to make. The defaults suit a CPU: optical flow of this size takes a tenth of that of 340x256."""

    videos_per_class: int = 4
    """In split `train`, 1 or more."""
    val_per_class: int = 2
    """In split `val`, 0 or more; other scenes than those of `train`."""
    width: int = 128
    """In pixels, even, 32 to 640."""
    height: int = 96
    """In pixels, even, 32 to 640."""
    fps: Fraction = Fraction(25)
    """Frames a second, 1 to 120."""
    duration_s: int = 3
    """Of the whole video, in seconds; it has ceil(fps * duration_s) frames. At most 60."""
    clip_start_s: int = 1
    """Where the wanted part starts (`time_start` of the list), in seconds."""
    clip_end_s: int = 3
    """Where the wanted part ends (`time_end`), in seconds; at most `duration_s`."""
    speed_px: tuple[float, float] = (1.0, 1.75)
    """Slowest and fastest, in px per frame at the size of the video; each video has its own speed between.
    It is that of every pixel when moving, of the corners when zooming or rotating. Zooms go slower where they
    would pass `MAX_ZOOM` before the video ends, as in long or small videos; the defaults stay below it."""
    seed: int = 0
    """Same seed and same configuration, same bytes (with the same versions of the libraries)."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("videos_per_class", self.videos_per_class, 1, 10_000),
            ("val_per_class", self.val_per_class, 0, 10_000),
            ("width", self.width, 32, 640),
            ("height", self.height, 32, 640),
            ("fps", self.fps, 1, 120),
            ("duration_s", self.duration_s, 1, 60),
            ("seed", self.seed, 0, 2**63 - 1),
        ):
            if not low <= value <= high:
                raise InvalidInput(f"{name} of a sample is {low} to {high}, got {value}")
        if self.width % 2 or self.height % 2:
            raise InvalidInput(f"width and height of a sample are even (4:2:0 video), got {self.width}x{self.height}")
        if not 0 <= self.clip_start_s < self.clip_end_s <= self.duration_s:
            clip = f"{self.clip_start_s} to {self.clip_end_s} s"
            raise InvalidInput(f"the clip must lie inside the video, 0 to {self.duration_s} s, got {clip}")
        slowest, fastest = self.speed_px
        if not 0 < slowest <= fastest <= 8:
            raise InvalidInput(
                f"speed_px is slowest and fastest, above 0 and at most 8 px, got {slowest} and {fastest}"
            )

    @property
    def frames(self) -> int:
        """Of one video."""
        return math.ceil(self.fps * self.duration_s)

    @property
    def reference(self) -> int:
        """Index of the frame that is the same in all classes of a scene: the middle of the wanted part."""
        return min(round(self.fps * (self.clip_start_s + self.clip_end_s) / 2), self.frames - 1)


@dataclass(frozen=True, kw_only=True)
class SampleSummary:
    """What `make_sample` wrote."""

    list_path: Path
    """The annotations, `list.csv`."""
    videos_folder: Path
    """Holds `{youtube_id}.mp4` and `{youtube_id}.flow.npz` of every row."""
    classes: int
    train_videos: int
    val_videos: int
    frames_per_video: int
    total_bytes: int
    """Of all files together."""


@dataclass(frozen=True, kw_only=True)
class _Video:
    youtube_id: str
    label: str
    split: str
    speed_px: float


def make_sample(folder: Path, *, config: SampleConfig = SampleConfig()) -> SampleSummary:
    """Write a list, its videos and their true flow under `folder`.

    - `folder/list.csv`: a Kinetics-400 list, splits `train` and `val`. One id starts with `-`, as some do.
    - `folder/videos/{youtube_id}.mp4`: an ordinary H.264 file (yuv420p, faststart).
    - `folder/videos/{youtube_id}.flow.npz`: its true motion, as `flow` (see `read_flow`) and as `affine`,
      float64 [2, 3]: the point (x, y) in frame t is at affine @ (x, y, 1) in frame t + 1. The motion is
      steady, so both are good for every pair of consecutive frames.

    Files of the same names are replaced, each atomically and the list last; nothing else in `folder` is
    touched, so the videos of another seed stay there, unlisted.

    Raises:
        InvalidInput: `folder` is a file.
        EnvironmentProblem: `folder` cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; name a folder for the sample")
    videos_folder = folder / "videos"
    total_bytes = 0
    listed = []
    for split, scene_index in _scenes(config):
        scene = Scene(_generator(config, scene_index, 0), width=config.width, height=config.height)
        for video in _videos(config, split, scene_index):
            matrix = _motion(video, config)
            for name, content in (
                (f"{video.youtube_id}.mp4", _encode(_film(scene, matrix, config), config)),
                (f"{video.youtube_id}.flow.npz", _truth(matrix, config)),
            ):
                publish(videos_folder / name, content)
                total_bytes += len(content)
            listed.append(video)
    annotations = _annotations(listed, config)
    publish(folder / "list.csv", annotations)
    return SampleSummary(
        list_path=folder / "list.csv",
        videos_folder=videos_folder,
        classes=len(MOTIONS),
        train_videos=config.videos_per_class * len(MOTIONS),
        val_videos=config.val_per_class * len(MOTIONS),
        frames_per_video=config.frames,
        total_bytes=total_bytes + len(annotations),
    )


def read_flow(path: Path) -> NDArray[np.float32]:
    """The true flow of a sample video, the same for all pairs of its frames: float32 [2, H, W], (u, v) in px.

    The point at x in frame t is at x + flow(x) in frame t + 1. Points are (x to the right, y down), with
    (0, 0) at the centre of the top left pixel.

    Raises:
        InvalidInput: the file is missing or is no flow file of a sample.
    """
    try:
        # opened here: np.load leaves a file open that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            flow_2HW = np.asarray(arrays["flow"])
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            f"{path} is not the flow of a sample video ({error}); make it with `preprocess sample`"
        ) from error
    return flow_2HW


def _scenes(config: SampleConfig) -> Iterator[tuple[str, int]]:
    for index in range(config.videos_per_class + config.val_per_class):
        yield ("train" if index < config.videos_per_class else "val"), index


def _videos(config: SampleConfig, split: str, scene_index: int) -> Iterator[_Video]:
    """One scene in each of the motions."""
    for class_index, label in enumerate(MOTIONS):
        digest = hashlib.sha256(f"{config.seed} {scene_index} {label}".encode()).digest()
        youtube_id = base64.urlsafe_b64encode(digest)[:11].decode()
        if scene_index == class_index == 0:
            youtube_id = "-" + youtube_id[1:]
        # class_index + 1: the scene itself has the 0
        speed_px = _generator(config, scene_index, class_index + 1).uniform(*config.speed_px)
        yield _Video(youtube_id=youtube_id, label=label, split=split, speed_px=speed_px)


def _generator(config: SampleConfig, scene_index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, scene_index, purpose])


def _motion(video: _Video, config: SampleConfig) -> NDArray[np.float64]:
    steps = max(config.reference, config.frames - 1 - config.reference)
    return MOTIONS[video.label](video.speed_px, Stage(width=config.width, height=config.height, steps=steps))


def _film(scene: Scene, matrix: NDArray[np.float64], config: SampleConfig) -> Iterator[NDArray[np.uint8]]:
    for t in range(config.frames):
        # each frame straight from the scene, never from another frame: resampling errors do not add up
        to_reference = np.linalg.matrix_power(matrix, config.reference - t)
        yield scene.frame(to_reference, width=config.width, height=config.height)


def _encode(frames_HW3: Iterator[NDArray[np.uint8]], config: SampleConfig) -> bytes:
    file = io.BytesIO()

    def reopen(_url: str, _flags: int, _options: dict[str, str]) -> io.BytesIO:
        # faststart moves the index to the front, for which the muxer opens its own output again to read it
        return io.BytesIO(file.getvalue())

    faststart = {"movflags": "faststart"}
    with av.open(file, "w", format="mp4", options=faststart, io_open=reopen) as container:
        stream = container.add_stream("libx264", rate=config.fps, options=_X264)
        stream.width, stream.height, stream.pix_fmt = config.width, config.height, "yuv420p"
        for pts, frame_HW3 in enumerate(frames_HW3):
            frame = av.VideoFrame.from_ndarray(frame_HW3, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1) / config.fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _truth(matrix: NDArray[np.float64], config: SampleConfig) -> bytes:
    file = io.BytesIO()
    # numpy dates the members 1980-01-01, so these bytes do not depend on the clock
    np.savez_compressed(file, flow=flow_of(matrix, width=config.width, height=config.height), affine=matrix[:2])
    return file.getvalue()


def _annotations(videos: list[_Video], config: SampleConfig) -> bytes:
    """The list as published: sorted by label, labels of several words in quotes, nothing else."""
    text = io.StringIO()
    text.write(",".join(HEADER) + "\n")
    for video in sorted(videos, key=lambda v: (v.label, v.youtube_id)):
        label = f'"{video.label}"' if " " in video.label else video.label
        fields = (label, video.youtube_id, config.clip_start_s, config.clip_end_s, video.split, 0)
        text.write(",".join(map(str, fields)) + "\n")
    return text.getvalue().encode()
