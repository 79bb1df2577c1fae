"""The whole CUDA solver, its kernels emulated on the CPU, against OpenCV and our CPU engine."""

import numpy as np
import pytest

from preprocess.errors import InvalidInput
from preprocess.flow import Tvl1Params, cpu, cuda, opencv
from preprocess.flow.cuda import Piece, batches
from preprocess.flow.cuda_kernels import SHAPES, source
from preprocess.flow.cuda_solver import Solver, launches_of_warp
from preprocess.flow.params import CONVENTIONS
from tests.preprocess.flow.cuda_on_cpu import TESTED_SHAPES, EmulatedGpu
from tests.preprocess.flow.moving_texture import moving_texture

CUDA_CONVENTION = Tvl1Params(
    convention="opencv-cuda", median=1, inner_iterations=300, outer_iterations=1, check_every=4
)


def solve(frames, params, *, tile=None, pair_frames=None):
    """Flow and iterations of pairs, by default of neighbours; and the emulated device."""
    pair_frames = pair_frames or [(i, i + 1) for i in range(len(frames) - 1)]
    device = EmulatedGpu()
    # f4 is the smallest that is compiled here
    shape = SHAPES[tile or "f4"]
    solver = Solver(device, frames.shape[1:], params, pairs=len(pair_frames), frames=len(frames), tile=shape)
    solver.use(np.full(solver.capacity.bytes, 255, np.uint8))
    solver.write_frames(0, frames)
    solver.solve(pair_frames)
    flow = np.zeros((len(pair_frames), 2, *frames.shape[1:]), np.float32)
    solver.write_result(0, len(pair_frames), flow)
    return flow, solver.iterations(len(pair_frames)).copy(), device


def endpoint_error(a, b):
    return np.linalg.norm(a - b, axis=1).mean(axis=(1, 2))


def test_flow_is_that_of_opencv():
    frames = moving_texture(3, 96, 128)
    flow, _, _ = solve(frames, Tvl1Params())
    assert np.abs(np.median(flow, axis=(2, 3)) - (2, 1)).max() < 0.05
    # Measured: 0.0003 and 0.005. A sum of squares near the limit makes an iteration more or less, by rounding alone.
    assert endpoint_error(flow, opencv.flow_of_clip(frames, Tvl1Params())).max() < 0.02


@pytest.mark.parametrize(
    "params",
    [Tvl1Params(), Tvl1Params(check_every=4), CUDA_CONVENTION, Tvl1Params(median=3, inner_iterations=7)],
    ids=["default", "every-4", "opencv-cuda", "median-3"],
)
@pytest.mark.parametrize("size", [(64, 64), (53, 75)], ids=str)
def test_flow_and_iterations_are_those_of_the_cpu_engine(size, params):
    frames = moving_texture(3, *size, seed=1)
    flow, iterations, _ = solve(frames, params, tile="e8")
    expected, expected_iterations = cpu.solve(frames, params)
    assert endpoint_error(flow, expected).max() < 0.02
    # The order of sums differs, by which a test can come out otherwise now and then.
    assert np.abs(iterations.sum(0) / expected_iterations - 1).max() < 0.1


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_without_a_test_to_stop_the_cpu_engine_differs_by_rounding_alone(convention):
    """Also at the edges, beyond all of which flow points here; measured: 0.0027 at most, 0.000004 on average."""
    frames = moving_texture(5, 40, 56)[[0, 1, 3, 0]]
    params = Tvl1Params(convention=convention, scales=2, warps=3, inner_iterations=10, outer_iterations=1, epsilon=1e-9)
    flow, _, _ = solve(frames, params)
    difference = np.abs(flow - cpu.flow_of_clip(frames, params))
    assert difference.max() < 0.01
    assert difference.mean() < 5e-5


@pytest.mark.parametrize("tile", TESTED_SHAPES)
def test_iterations_a_launch_change_nothing(tile):
    frames = moving_texture(3, 48, 64)
    flow, iterations, _ = solve(frames, Tvl1Params(), tile=tile)
    expected, expected_iterations, _ = solve(frames, Tvl1Params(), tile="f4")
    assert np.array_equal(iterations, expected_iterations)
    assert endpoint_error(flow, expected).max() < 1e-4


def test_batch_is_one_by_one_bit_for_bit():
    frames = np.concatenate([moving_texture(3, 40, 56), moving_texture(2, 40, 56, seed=5)])
    pairs = [(0, 1), (1, 2), (3, 4), (0, 3)]
    together, iterations, _ = solve(frames, Tvl1Params(), tile="b4", pair_frames=pairs)
    assert len(set(iterations.sum(0).tolist())) > 1  # they converge at different times
    for index, pair in enumerate(pairs):
        alone, _, _ = solve(frames, Tvl1Params(), tile="b4", pair_frames=[pair])
        assert np.array_equal(together[index], alone[0])


def test_pairs_that_have_converged_cost_no_blocks():
    still = np.repeat(moving_texture(1, 40, 56), 2, axis=0)
    frames = np.concatenate([still, moving_texture(2, 40, 56)])
    _, iterations, device = solve(frames, Tvl1Params(), pair_frames=[(0, 1), (0, 1), (2, 3), (0, 1)])
    assert iterations[:, 0].max() <= 5  # one a warp: identical frames do not move
    depths = [grid[2] for name, grid in device.launches if name.startswith("tile_")]
    assert depths.count(1) > 0.8 * (len(depths) - depths.count(4))
    # A launch, one to redo its first iteration, and one that is made before that count has arrived.
    assert depths.count(4) == 3 * 5 * len(iterations)


def test_converged_batch_ends_the_warp():
    still = np.repeat(moving_texture(1, 40, 56), 2, axis=0)
    flow, _, device = solve(still, Tvl1Params())
    assert not flow.any()
    tiles = [name for name, _ in device.launches if name.startswith("tile_")]
    assert len(tiles) <= 4 * 5 * 5  # of 15 * 10 a warp


def test_pair_that_converges_within_the_last_launch_is_done_anew():
    still = np.repeat(moving_texture(1, 40, 56), 2, axis=0)
    _, iterations, _ = solve(still, Tvl1Params(inner_iterations=4, outer_iterations=1))
    assert (iterations == 5).all()  # the first of four, in each of five warps


@pytest.mark.parametrize("shared_kb", [64, 99, 163, 227])
def test_chosen_tiles_fit(shared_kb):
    device = EmulatedGpu(shared_limit=shared_kb << 10)
    solver = Solver(device, (256, 340), Tvl1Params(), pairs=1, frames=2)
    assert all(tile.shared_bytes <= shared_kb << 10 for tile in solver.tiles)


def test_launches_of_a_warp():
    launches = list(launches_of_warp(Tvl1Params(inner_iterations=10, outer_iterations=2, check_every=3), 4))
    assert [launch.iterations for launch in launches] == [4, 4, 2] * 2
    assert [launch.tested for launch in launches] == [0b0100, 0b0010, 0b01] * 2  # after 3, 6, 9
    assert [launch.after_median for launch in launches] == [True, False, False] * 2
    assert not any(launch.after_median for launch in launches_of_warp(Tvl1Params(median=1), 4))


def test_buffers_do_not_overlap():
    solver = Solver(EmulatedGpu(), (53, 75), Tvl1Params(), pairs=3, frames=5)
    memory = np.zeros(solver.capacity.bytes, np.uint8)
    for number, view in enumerate(solver.capacity.views(memory).values(), start=1):
        assert not view.view(np.uint8).any()
        view.view(np.uint8)[:] = number
        assert view.ctypes.data % 16 == memory.ctypes.data % 16


def test_batches_share_frames_within_a_clip():
    assert list(batches([3, 5, 1], 4)) == [
        [Piece(0, 0, 3), Piece(1, 0, 1)],
        [Piece(1, 1, 5)],
        [Piece(2, 0, 1)],
    ]


def test_source_needs_no_other_file():
    assert "#include" not in source(SHAPES.values())
    assert "Zach, Pock, Bischof" in source([])


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([], "at least one clip, got none"),
        ([np.zeros((3, 32, 32), np.float32)], r"got float32 \(3, 32, 32\)"),
        ([[1]], r"got list \(\)"),
        ([np.zeros((1, 32, 32), np.uint8)], "at least 2, "),
        ([np.zeros((2, 15, 32), np.uint8)], "at least 16 x 16 px"),
    ],
)
def test_wrong_clips_fail(clips, message):
    with pytest.raises(InvalidInput, match=message):
        cuda.flow_of_clips(clips)
