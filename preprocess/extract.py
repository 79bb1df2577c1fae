"""One decode of a clip to everything a shard keeps of it: resized frames and flow, as JPEGs."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from preprocess.clips import ClipFile
from preprocess.config import FlowConfig
from preprocess.errors import BadMedia, UnreadableFile
from preprocess.flow import BACKENDS, answering, tvl1_codes
from preprocess.media import to_gray
from preprocess.media_process import read_clip
from preprocess.outcomes import MANIFEST_NAME
from preprocess.regular_file import regular_file, sha256_of
from preprocess.shards.layout import EncodedClip
from preprocess.status.work import StageClock, Work

MAX_SECONDS = 120
"""A longer clip is refused: all its frames are in memory at once."""
TOO_LONG = f"longer than {MAX_SECONDS} s; trim it first"
"""What is said of it."""

_SHA256_DIGITS = 64
_NOTHING: np.ndarray = np.empty(0, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What became of one clip."""

    clip: ClipFile
    result: EncodedClip | BadMedia
    """Or why it cannot be: not decodable, too long, fewer than two frames."""
    work: Work
    """That it took; without bytes, since no file is published here."""


def extract_all(
    clips: Iterable[tuple[ClipFile, int]],
    folder: Path,
    *,
    config: FlowConfig,
    backend: str,
    threads: int = 1,
    helpers: int = 0,
    max_frames: int | None = None,
) -> Iterator[Extraction]:
    """Decode, resample, resize, flow and encode clips, in their order.

    With helpers the next clips are decoded and the last ones encoded while flow is computed, and that of several clips
    at a time if the backend is faster so: a GPU waits for nothing. The results are the same.

    Args:
        clips: which files, each with the index of its label (-1 for none).
        folder: of the clips.
        config: sizes, qualities, flow parameters.
        backend: a resolved flow backend.
        threads: for the flow.
        helpers: threads that decode and encode; about as many clips are in memory before and after the flow. Without
            any, all is done in the calling thread.
        max_frames: take only the first frames of each clip, for a measurement.

    Raises:
        UnreadableFile: a clip cannot be read, or is not the file that the manifest names.
        DeviceDead: the backend's GPU does not answer, and no clip was asked for yet.
        DeviceLost: it failed in the middle.
    """
    jobs = (_Job(clip, label, folder, config, max_frames) for clip, label in clips)
    decoding: deque[tuple[_Job, Future[None]]] = deque()
    computing: deque[tuple[_Job, Future[None]]] = deque()
    encoding: deque[tuple[_Job, Future[None]]] = deque()
    at_once = BACKENDS[backend].clips_at_once if helpers else 0
    with answering(backend), _threads(helpers) as executor, _threads(at_once) as flow_executor:
        while True:
            for job in islice(jobs, helpers + 1 - len(decoding)):
                decoding.append((job, executor.submit(job.decode)))
            if decoding:
                job, decoded = decoding.popleft()
                decoded.result()
                computing.append((job, flow_executor.submit(job.compute_flow, backend, threads)))
            elif not computing:
                break
            if len(computing) >= at_once or not decoding:
                job, computed = computing.popleft()
                computed.result()
                encoding.append((job, executor.submit(job.encode)))
            while len(encoding) > helpers:
                yield _outcome(*encoding.popleft())
        while encoding:
            yield _outcome(*encoding.popleft())


def _threads(count: int) -> Executor:
    return ThreadPoolExecutor(count) if count else _CallingThread()


class _CallingThread(Executor):
    """Does at once what it is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


class _Job:
    """One clip on its way through the stages; one that fails a stage passes the others by."""

    def __init__(self, clip: ClipFile, label: int, folder: Path, config: FlowConfig, max_frames: int | None) -> None:
        self.clip = clip
        self.result: EncodedClip | BadMedia | None = None
        self.clock = StageClock()
        self._label = label
        self._path = folder / clip.path
        self._config = config
        self._max_frames = max_frames
        self._frames_THW3: np.ndarray = _NOTHING
        self._codes_T2HW: np.ndarray = _NOTHING

    def decode(self) -> None:
        """File to frames."""
        config, limit = self._config, math.ceil(MAX_SECONDS * self._config.fps)
        most = self._max_frames or limit + 1
        try:
            with self.clock.running("decode"):
                check_bytes(self.clip, self._path)
                frames_THW3 = read_clip(self._path, fps=config.fps, short_side=config.short_side, max_frames=most)
            if len(frames_THW3) > limit:
                raise BadMedia(f"{self.clip.path}: {TOO_LONG}")
            self._frames_THW3 = frames_THW3
        except BadMedia as error:
            self.result = error

    def compute_flow(self, backend: str, threads: int) -> None:
        """Frames to codes."""
        if self.result is not None:
            return
        with self.clock.running("flow"):
            gray_THW = to_gray(self._frames_THW3)
            self._codes_T2HW = tvl1_codes(gray_THW, self._config.tvl1, backend=backend, threads=threads)

    def encode(self) -> None:
        """Frames and codes to JPEGs."""
        if self.result is not None:
            return
        config, clip = self._config, self.clip
        with self.clock.running("encode"):
            rgb = [encode_frame(frame_HW3, quality=config.rgb_quality) for frame_HW3 in self._frames_THW3]
            flow = [encode_flow(code_2HW, quality=config.flow_quality) for code_2HW in self._codes_T2HW]
        self.result = EncodedClip(
            key=clip.key,
            label=self._label,
            rgb=rgb,
            flow=flow,
            height=self._frames_THW3.shape[1],
            width=self._frames_THW3.shape[2],
            time_start=clip.time_start,
            time_end=clip.time_end,
        )
        self._frames_THW3 = self._codes_T2HW = _NOTHING  # the JPEGs stay, the pictures need not


def check_bytes(clip: ClipFile, path: Path) -> None:
    """That the file of a clip can be read and, where there is a manifest, is the one whose hash and label it tells.

    Raises:
        BadMedia: no regular file, empty, or too large.
        UnreadableFile: it cannot be read, or is another.
    """
    if len(clip.fingerprint) < _SHA256_DIGITS:
        with regular_file(path):
            return
    if sha256_of(path) != clip.fingerprint:
        raise UnreadableFile(
            f"clip {clip.path} is not the file that {MANIFEST_NAME} names: put that one back, or delete this one and "
            "get the clip again"
        )


def _outcome(job: _Job, encoded: "Future[None]") -> Extraction:
    encoded.result()
    assert job.result is not None
    work = job.clock.work
    if isinstance(job.result, EncodedClip):
        work = replace(work, frames=len(job.result.rgb), flow_pairs=len(job.result.flow))
    return Extraction(clip=job.clip, result=job.result, work=work)


def encode_frame(frame_HW3: np.ndarray, *, quality: int) -> bytes:
    """Baseline JPEG, 4:2:0, of an RGB frame uint8 [H, W, 3]."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    ]
    return cv2.imencode(".jpg", cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def encode_flow(code_2HW: np.ndarray, *, quality: int) -> bytes:
    """Gray JPEG of 2H x W, u over v, of a quantised flow field uint8 [2, H, W]."""
    stacked = code_2HW.reshape(-1, code_2HW.shape[-1])
    return cv2.imencode(".jpg", stacked, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
