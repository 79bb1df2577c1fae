"""The chain from video to shard on a GPU: how fast each stage is alone, and all of them at once."""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import h5py
import numpy as np

from benchmarks.flow_scene import HEIGHT, WIDTH, seconds
from benchmarks.rows import Row
from preprocess.flow import Tvl1Params, cuda


def write_video(path: Path, clip: np.ndarray) -> None:
    """An MPEG-4 video of gray frames."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (clip.shape[2], clip.shape[1]))
    for frame in clip:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()


def decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [T, H, W, 3], and gray [T, H, W]."""
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(cv2.resize(read[1], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return np.stack(frames), np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames])


def encode(frames: np.ndarray, codes: np.ndarray) -> list[bytes]:
    """JPEGs of the frames and of the flow, u over v, as the project makes them."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    pictures = [*frames, *(code.reshape(-1, WIDTH) for code in codes)]
    return [cv2.imencode(".jpg", picture, quality)[1].tobytes() for picture in pictures]


def encode_on_gpu(clip: np.ndarray) -> Iterator[Row]:
    """The pictures of `encode` by nvImageCodec, where it is installed: frames uploaded, flow on the device already."""
    import cupy

    try:
        from nvidia import nvimgcodec

        encoder = nvimgcodec.Encoder(backends=[nvimgcodec.Backend(nvimgcodec.GPU_ONLY)])
    except (ImportError, RuntimeError) as error:
        yield "encode by nvImageCodec", "not measured", str(error)
        return
    quality = {"quality_type": nvimgcodec.QualityType.QUALITY, "quality_value": 95}
    color = nvimgcodec.EncodeParams(
        **quality, color_spec=nvimgcodec.ColorSpec.SYCC, chroma_subsampling=nvimgcodec.ChromaSubsampling.CSS_420
    )
    gray = nvimgcodec.EncodeParams(
        **quality, color_spec=nvimgcodec.ColorSpec.GRAY, chroma_subsampling=nvimgcodec.ChromaSubsampling.CSS_GRAY
    )
    frames = np.repeat(clip[..., None], 3, axis=3)
    flow = cupy.asarray(np.concatenate([clip, clip], axis=1)[..., None])

    def run() -> list[bytes]:
        coded = encoder.encode(list(cupy.asarray(frames)), "jpeg", params=color)
        coded += encoder.encode(list(flow), "jpeg", params=gray)
        return [bytes(picture) for picture in coded]

    try:
        jpegs = run()
    except Exception as error:  # noqa: BLE001 whatever a library does, the rest has been measured
        yield "encode by nvImageCodec", "not measured", repr(error)
        return
    shown = cv2.imdecode(np.frombuffer(jpegs[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    error = np.abs(shown.astype(int) - clip[0]).mean()
    if error > 3:
        yield "encode by nvImageCodec", "WRONG", f"{error:.1f} gray levels off on average"
        return
    rate = len(clip) / seconds(run)
    yield "encode by nvImageCodec, one thread", f"{rate:.0f} pairs/s", f"{error:.2f} gray levels off on average"


def write_shard(jpegs: list[list[bytes]]) -> int:
    """An HDF5 file in memory; its bytes."""
    buffer = BytesIO()
    with h5py.File(buffer, "w") as file:
        file["data"] = np.frombuffer(b"".join(jpeg for clip in jpegs for jpeg in clip), np.uint8)
    return buffer.getbuffer().nbytes


def chain(clip: np.ndarray, threads: int, groups: int, params: Tvl1Params) -> Iterator[Row]:
    """Each stage alone, then all at once: threads decode and encode while three streams compute flow."""
    import cupy

    clips = 4  # of a group, which is one call of flow_of_clips and one shard
    pairs = clips * groups * (len(clip) - 1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(3) as gpu:
        path = Path(folder) / "clip.mp4"
        write_video(path, cv2.resize(clip.transpose(1, 2, 0), (0, 0), fx=2, fy=2).transpose(2, 0, 1))
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
        frames, gray = decode(path)
        codes = cuda.flow_of_clips([gray] * clips, params, quantised=True)

        def flow(number: int, grays: list[np.ndarray]) -> list[np.ndarray]:
            return cuda.flow_of_clips(grays, params, quantised=True, stream=streams[number % 3])

        def on_three_streams() -> None:
            list(gpu.map(flow, range(groups), [[gray] * clips] * groups))

        def flow_of_group(number: int, group: list) -> list[np.ndarray]:
            return flow(number, [item.result()[1] for item in group])

        def shard(group: list, computed: object) -> int:
            return write_shard(
                [encode(item.result()[0], code) for item, code in zip(group, computed.result(), strict=True)]
            )

        def everything() -> None:
            decoded = [[pool.submit(decode, path) for _ in range(clips)] for _ in range(groups)]
            computed = [gpu.submit(flow_of_group, number, group) for number, group in enumerate(decoded)]
            with ThreadPoolExecutor(threads) as writers:
                list(writers.map(shard, decoded, computed))

        stages = {
            "decode": lambda: list(pool.map(decode, [path] * clips * groups)),
            "flow, host to host": on_three_streams,
            "encode": lambda: list(pool.map(lambda _: encode(frames, codes[0]), range(clips * groups))),
            "whole chain": everything,
        }
        for name, run in stages.items():
            yield (
                f"{name}, {threads} threads",
                f"{pairs / seconds(run, repeats=1):.0f} pairs/s",
                f"{groups} x {clips} clips",
            )
