"""What the GPU's flow is measured on, and how: a moving scene, batches of its pairs, and the time of a call."""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from preprocess.flow import Tvl1Params
from preprocess.flow.cuda_device import CudaDevice
from preprocess.flow.cuda_kernels import TileShape
from preprocess.flow.cuda_solver import Solver

WIDTH, HEIGHT = 340, 256


def scene(frames: int, *, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A textured background that turns and pans, three discs that move on their own, and noise. uint8 [T, H, W]."""
    rng = np.random.default_rng(0)
    noise = rng.uniform(0, 255, (height * 2, width * 2)).astype(np.float32)
    texture = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4, 12))
    texture = cv2.normalize(texture, None, 20, 235, cv2.NORM_MINMAX)
    pan, turn = rng.uniform(-2, 2, 2), rng.uniform(-0.4, 0.4)
    discs = [(rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(-5, 5, 2), rng.uniform(15, 45)) for _ in range(3)]
    clip = np.empty((frames, height, width), np.uint8)
    for t in range(frames):
        move = cv2.getRotationMatrix2D((width, height), turn * t, 1)
        move[:, 2] += pan * t - (width / 2, height / 2)
        picture = cv2.warpAffine(texture, move, (width, height))
        for number, (start, speed, radius) in enumerate(discs):
            x, y = start + speed * t
            patch = texture[number * 9 : number * 9 + 90, :90] * 0.6 + 40 * number
            shifted = cv2.warpAffine(patch, np.float32([[1, 0, x - 45], [0, 1, y - 45]]), (width, height))
            mask = cv2.circle(np.zeros((height, width), np.uint8), (round(x), round(y)), round(radius), 1, -1)
            picture = np.where(mask > 0, shifted, picture)
        clip[t] = np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255)
    return clip


def seconds(run: Callable[[], object], *, repeats: int = 3) -> float:
    """Median time of a call, the device idle before and after it."""
    import cupy

    run()
    times = []
    for _ in range(repeats):
        cupy.cuda.Device().synchronize()
        started = time.perf_counter()
        run()
        cupy.cuda.Device().synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def solver_with(clip: np.ndarray, params: Tvl1Params, *, tile: TileShape | None = None, copies: int = 1) -> Solver:
    """A solver with the frames on the device; `copies` times as many pairs, all of the same frames."""
    import cupy

    pairs = (len(clip) - 1) * copies
    solver = Solver(CudaDevice(), clip.shape[1:], params, pairs=pairs, frames=len(clip), tile=tile)
    solver.use(cupy.zeros(solver.capacity.bytes, cupy.uint8))
    solver.write_frames(0, clip)
    return solver


def neighbours(clip: np.ndarray, copies: int = 1) -> list[tuple[int, int]]:
    """Pairs of neighbouring frames."""
    return [(index, index + 1) for index in range(len(clip) - 1)] * copies
