"""The CUDA kernels of pyramid, warp and result, emulated on the CPU, against OpenCV and NumPy."""

import cv2
import numpy as np
import pytest

from preprocess.flow import Tvl1Params
from preprocess.flow.cuda_batch import Level, pyramid
from preprocess.flow.cuda_solver import Solver
from preprocess.flow.quantise import quantise
from tests.preprocess.flow.cuda_on_cpu import EmulatedGpu

HEIGHT, WIDTH = 61, 83


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def solver_of(**params):
    solver = Solver(EmulatedGpu(), (HEIGHT, WIDTH), Tvl1Params(**params), pairs=2, frames=3)
    solver.use(np.full(solver.capacity.bytes, 255, np.uint8))
    solver.buffers["pair_frames"][:] = [0, 1, 1, 2]
    return solver


def view(solver, name, index, shape, *, last=1):
    """A buffer at a level as [*shape, H, W] or, with `last` = 4, [*shape, H, W, 4]."""
    level = solver.levels[index]
    size = int(np.prod(shape)) * level.plane * last
    whole = solver.buffers[name][:size].reshape(*shape, level.height, level.stride, last)[..., : level.width, :]
    return whole if last > 1 else whole[..., 0]


def gradients(gray_NHW):
    padded = np.pad(gray_NHW, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return (padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]) / 2, (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) / 2


def test_sizes_of_the_pyramid():
    levels = pyramid(340, 256, Tvl1Params())
    assert levels == [Level(340, 256), Level(272, 205), Level(218, 164), Level(174, 131), Level(139, 105)]
    assert pyramid(24, 20, Tvl1Params()) == [Level(24, 20), Level(19, 16)]


def test_pyramid_and_gradients(rng):
    solver = solver_of(scales=3)
    frames = rng.integers(0, 256, (3, HEIGHT, WIDTH), dtype=np.uint8)
    solver.write_frames(0, frames)
    grays = list(frames.astype(np.float32))
    for index in range(3):
        solver._per_pixel("next_level" if index else "first_level", solver.batch_of(index, 2, finer=True), 3)
        if index:
            grays = [cv2.resize(gray, None, fx=0.8, fy=0.8) for gray in grays]
        image = view(solver, f"image{index}", index, (3,), last=4)
        assert np.abs(image[..., 0] - grays).max() < 1e-3
        for channel, gradient in enumerate(gradients(np.array(grays))):
            assert np.abs(image[..., 1 + channel] - gradient).max() < 1e-3


def test_flow_of_the_next_level(rng):
    solver = solver_of(scales=2)
    flow = view(solver, "flow1", 1, (2, 2))
    # Pairs lie at the same places at every level: pair 1 starts at `spacing`.
    level = solver.levels[1]
    for pair in range(2):
        start = pair * solver.capacity.spacing
        plane = solver.buffers["flow1"][start : start + 2 * level.plane].reshape(2, level.height, level.stride)
        plane[..., : level.width] = flow = rng.normal(0, 3, (2, level.height, level.width))
        solver.buffers["flow_side"][pair], solver.buffers["dual_side"][pair] = 1, pair
        solver._per_pixel("resize_flow", solver.batch_of(0, 2), 2)
        expected = [1.25 * cv2.resize(component.astype(np.float32), (WIDTH, HEIGHT)) for component in flow]
        # where a pixel lies in single precision alone would make 3e-5 of it
        assert np.abs(view(solver, "flow0", 0, (2, 2))[pair] - expected).max() < 1e-5
        assert not view(solver, f"dual{1 - pair}", 0, (2, 4))[pair].any()


def warped(solver, rng, *, farthest):
    """Data terms of two pairs; also the images and the flow that they are made of."""
    images = view(solver, "image0", 0, (3,), last=4)
    images[..., 0] = [cv2.GaussianBlur(rng.uniform(0, 255, (HEIGHT, WIDTH)), (0, 0), 1.5) for _ in range(3)]
    images[..., 1], images[..., 2] = gradients(images[..., 0])
    flow = view(solver, "flow0", 0, (2, 2))
    flow[:] = rng.uniform(-farthest, farthest, flow.shape)
    flow[0, 0, 5:9, 5:9] = 1e30
    flow[0, 1, 9:12, 9:12] = -1e30
    for kernel in ("start_level", "start_warp"):
        solver._one_block(kernel, solver.batch_of(0, 2))
    solver._per_pixel("warp", solver.batch_of(0, 2), 2)
    return np.moveaxis(view(solver, "data", 0, (2, 4)), 1, -1), images, flow


def cubic_sample(image, x, y, a, *, zero_outside):
    """Cubic convolution by the formula of Keys, in double precision."""

    def weight(distance):
        d = np.abs(distance)
        near = (a + 2) * d**3 - (a + 3) * d**2 + 1
        far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
        return np.where(d <= 1, near, np.where(d < 2, far, 0))

    left, top = np.floor(x), np.floor(y)
    total = np.zeros(x.shape)
    for j in range(-1, 3):
        for i in range(-1, 3):
            column, row = left + i, top + j
            inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
            value = image[np.clip(row, 0, HEIGHT - 1).astype(int), np.clip(column, 0, WIDTH - 1).astype(int)]
            total += weight(x - column) * weight(y - row) * np.where(inside | (not zero_outside), value, 0)
    return total


@pytest.mark.parametrize(
    ("convention", "a", "zero_outside"), [("opencv-cpu", -0.75, True), ("opencv-cuda", -0.5, False)]
)
def test_warp_is_cubic_convolution(convention, a, zero_outside, rng):
    solver = solver_of(scales=1, convention=convention)
    data, images, flow = warped(solver, rng, farthest=8)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    for pair in range(2):
        u1, u2 = flow[pair]
        x, y = np.clip(xs + u1, -3, WIDTH + 2), np.clip(ys + u2, -3, HEIGHT + 2)
        gray, gx, gy = (
            cubic_sample(images[pair + 1][..., channel], x, y, a, zero_outside=zero_outside) for channel in range(3)
        )
        sane = (np.abs(u1) < 100) & (np.abs(u2) < 100)
        assert np.abs(data[pair][..., 0] - gx)[sane].max() < 1e-3
        assert np.abs(data[pair][..., 1] - gy)[sane].max() < 1e-3
        rest = gray - images[pair][..., 0] - gx * u1 - gy * u2
        assert np.abs(data[pair][..., 2] - rest)[sane].max() < 1e-2
        square = np.maximum(data[pair][..., 0] ** 2 + data[pair][..., 1] ** 2, 1e-12)
        assert np.allclose(data[pair][..., 3], -1 / (solver.params.tau * square), rtol=1e-5)
    assert np.isfinite(data).all()
    if zero_outside:
        assert not data[0][5:9, 5:9, :2].any()


def test_warp_is_remap_of_opencv(rng):
    solver = solver_of(scales=1)
    data, images, flow = warped(solver, rng, farthest=4)
    ys, xs = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    u1, u2 = flow[1]
    gx = cv2.remap(np.ascontiguousarray(images[2][..., 1]), xs + u1, ys + u2, cv2.INTER_CUBIC)
    # OpenCV 4 rounds coordinates to 1/32 px, OpenCV 5 does not.
    assert np.abs(data[1][..., 0] - gx).mean() < (1e-3 if cv2.__version__ >= "5" else 0.2)


def test_result_as_pixels_and_as_codes(rng):
    solver = solver_of(scales=1)
    solver._one_block("start_level", solver.batch_of(0, 2))
    flow = view(solver, "flow0", 0, (2, 2))
    flow[:] = rng.uniform(-30, 30, flow.shape)
    flow[0, 0, :20, :12] = np.arange(-120, 120).reshape(20, 12) / 6.35 + 0.5 / 6.35  # ties
    pixels, codes = np.zeros((2, 2, HEIGHT, WIDTH), np.float32), np.zeros((2, 2, HEIGHT, WIDTH), np.uint8)
    solver.write_result(0, 2, pixels)
    solver.write_result(0, 2, codes)
    assert np.array_equal(pixels, flow)
    assert np.array_equal(codes, quantise(np.ascontiguousarray(flow)))
    one = np.zeros((1, 2, HEIGHT, WIDTH), np.float32)
    solver.write_result(1, 1, one)
    assert np.array_equal(one[0], flow[1])
