"""Each CUDA kernel, emulated on the CPU, against the plain way to compute the same."""

import cv2
import numpy as np
import pytest

from preprocess.flow import Tvl1Params
from preprocess.flow.cuda_batch import BATCH, TESTED_SHIFT, TURN_DUAL, TURN_FLOW
from preprocess.flow.cuda_kernels import SHAPES, choose_tile
from preprocess.flow.cuda_solver import Solver
from tests.preprocess.flow.cuda_on_cpu import TESTED_SHAPES, EmulatedGpu, library

SIZES = [(37, 61), (16, 16), (100, 130), (64, 17), (121, 120)]
"""Height and width: odd, smaller than a tile, larger than the largest, what two tiles of 64 reach over and one more."""


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def solver_of(size, *, pairs=2, tile="b4", **params):
    """A solver whose memory holds not-a-number wherever nothing is written; padding must never be read."""
    solver = Solver(EmulatedGpu(), size, Tvl1Params(**params), pairs=pairs, frames=pairs + 1, tile=SHAPES[tile])
    solver.use(np.full(solver.capacity.bytes, 255, np.uint8))
    solver.buffers["pair_frames"].reshape(-1, 2)[:] = [(pair, pair + 1) for pair in range(pairs)]
    return solver


def picture(solver, name, channels, index=0):
    """A buffer as [pair, channels, H, W], without padding."""
    level = solver.levels[index]
    size = solver.capacity.pairs * channels * level.plane
    return solver.buffers[name][:size].reshape(-1, channels, level.height, level.stride)[..., : level.width]


def start_iterating(solver, rng):
    """A random state of all pairs, on side 0."""
    batch = solver.batch_of(0, solver.capacity.pairs)
    for kernel in ("start_level", "start_warp"):
        solver._one_block(kernel, batch)
    flow, dual, data = picture(solver, "flow0", 2), picture(solver, "dual0", 4), picture(solver, "data", 4)
    flow[:] = rng.normal(0, 2, flow.shape)
    dual[:] = rng.uniform(-0.6, 0.6, dual.shape)
    data[:, :2] = rng.normal(0, 12, data[:, :2].shape)
    data[:, 2] = rng.normal(0, 20, data[:, 2].shape)
    data[:, 3] = -1 / (solver.params.tau * np.maximum((data[:, :2] ** 2).sum(1), 1e-12))
    return batch


def iterate_plainly(solver, batch, iterations):
    """With the plain kernels, in place; the sums of squared change, [iteration, pair]."""
    level, pairs = solver.levels[0], solver.capacity.pairs
    change = np.zeros((pairs, level.height, level.stride), np.float32)
    batch = batch.copy()
    batch["change"] = change.ctypes.data
    sums = []
    for _ in range(iterations):
        for kernel in ("plain_flow", "plain_dual"):
            solver.device.launch(
                kernel, (-(-level.width // 32), -(-level.height // 8), pairs), (32, 8, 1), batch, flags=4
            )
        sums.append(change.sum((1, 2), dtype=np.float64))
    return np.array(sums)


def copy_of(solver):
    twin = Solver(
        solver.device,
        (solver.levels[0].height, solver.levels[0].width),
        solver.params,
        pairs=solver.capacity.pairs,
        frames=solver.capacity.frames,
        tile=solver.tiles[0],
    )
    memory = np.full(solver.capacity.bytes, 255, np.uint8)
    twin.use(memory)
    for name, view in solver.buffers.items():
        twin.buffers[name].view(np.uint8)[:] = view.view(np.uint8)
    return twin


def test_emulation_sees_a_barrier_that_some_threads_miss():
    with pytest.raises(AssertionError, match="only some threads reach a barrier or a shuffle"):
        EmulatedGpu().launch("divergent_barrier", (1, 1, 1), (32, 1, 1), np.zeros(1, BATCH))


def test_emulation_sees_a_shuffle_that_some_threads_miss():
    with pytest.raises(AssertionError, match="only some threads reach a barrier or a shuffle"):
        EmulatedGpu().launch("divergent_shuffle", (1, 1, 1), (32, 1, 1), np.zeros(1, BATCH))


def test_emulation_shows_a_missing_barrier_either_way():
    read = np.zeros(64, np.float32)
    batch = np.zeros(1, BATCH)
    batch["change"] = read.ctypes.data
    first_of_two, second_of_two = set(), set()
    for _ in range(20):
        EmulatedGpu().launch("missing_barrier", (1, 1, 1), (64, 1, 1), batch, shared_bytes=64 * 16)
        first_of_two.add(np.isnan(read[0]))
        second_of_two.add(np.isnan(read[1]))
    assert first_of_two == second_of_two == {False, True}


def test_emulation_shows_either_way_what_blocks_do_to_each_other():
    seen = np.zeros(4, np.float32)
    batch = np.zeros(1, BATCH)
    batch["change"] = seen.ctypes.data
    read_by_the_two = set()
    for _ in range(20):
        seen[:2] = 0
        EmulatedGpu().launch("blocks_that_meet", (2, 1, 1), (1, 1, 1), batch)
        read_by_the_two.add(tuple(seen[2:].tolist()))
    assert read_by_the_two == {(0, 1), (1, 0)}


def test_emulation_shuffles_within_segments():
    """As the CUDA C++ Programming Guide says of `width`: a lane that would read beyond its segment keeps its value."""
    read = np.zeros(2 * 64, np.float32)
    batch = np.zeros(1, BATCH)
    batch["change"] = read.ctypes.data
    EmulatedGpu().launch("shuffled_numbers", (1, 1, 1), (64, 1, 1), batch)
    lanes = np.arange(64)
    assert np.array_equal(read[:64], np.where(lanes % 16 == 0, lanes, lanes - 1))
    assert np.array_equal(read[64:], np.where(lanes % 16 == 15, lanes, lanes + 1))


def test_emulation_sees_writes_beyond_shared_memory():
    with pytest.raises(AssertionError, match="beyond shared memory"):
        EmulatedGpu().launch("beyond_shared_memory", (1, 1, 1), (32, 1, 1), np.zeros(1, BATCH), shared_bytes=16)


def test_emulation_poisons_shared_memory():
    read = np.zeros(32, np.float32)
    batch = np.zeros(1, BATCH)
    batch["change"] = read.ctypes.data
    EmulatedGpu().launch("unwritten_shared_memory", (1, 1, 1), (32, 1, 1), batch, shared_bytes=16)
    assert np.isnan(read).all()


def test_struct_is_the_same_in_python_and_c():
    assert library().size_of_batch() == BATCH.itemsize


@pytest.mark.parametrize("name", TESTED_SHAPES)
def test_shared_memory_is_what_python_thinks(name):
    assert getattr(library(), f"{SHAPES[name].name}_shared_bytes")() == SHAPES[name].shared_bytes


def test_blocks_share_a_multiprocessor_only_where_its_memory_allows():
    """Of 74 KB each: two on a GPU of compute capability 9.0, one on those of 8.6 and 12.0."""
    shape = SHAPES["e8"]
    assert shape.cost(340, 256, 99 << 10) > 1.3 * shape.cost(340, 256, 227 << 10)
    assert choose_tile(340, 256, 227 << 10).blocks == 2
    assert choose_tile(340, 256, 99 << 10).blocks == 1


def test_smallest_gpu_has_a_shape():
    assert any(shape.shared_bytes <= 64 << 10 for shape in SHAPES.values())


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", TESTED_SHAPES)
def test_tiles_equal_plain_kernels(name, size, rng):
    tiled = solver_of(size, tile=name, scales=1)
    batch = start_iterating(tiled, rng)
    plain = copy_of(tiled)
    iterate_plainly(plain, plain.batch_of(0, 2), 11)
    halo, done, launches = SHAPES[name].halo, 0, 0
    while done < 11:
        tiled._iterate(tiled.levels[0], SHAPES[name], batch, 2, min(halo, 11 - done), 0)
        done, launches = done + min(halo, 11 - done), launches + 1
    side = launches % 2
    assert np.abs(picture(tiled, f"flow{side}", 2) - picture(plain, "flow0", 2)).max() < 1e-5
    assert np.abs(picture(tiled, f"dual{side}", 4) - picture(plain, "dual0", 4)).max() < 1e-5
    assert tiled.iterations(2).tolist() == [[11, 11]]


@pytest.mark.parametrize("name", TESTED_SHAPES)
def test_tiles_sum_the_change_of_tested_iterations(name, rng):
    solver = solver_of((100, 130), tile=name, scales=1)
    batch = start_iterating(solver, rng)
    shape = SHAPES[name]
    plain = copy_of(solver)
    expected = iterate_plainly(plain, plain.batch_of(0, 2), shape.halo)
    tested = (1 << shape.halo - 1) | 1
    solver.device.launch(
        shape,
        (*shape.grid(130, 100), 2),
        (shape.threads, 1, 1),
        batch,
        number=shape.halo,
        flags=tested << TESTED_SHIFT,
        shared_bytes=shape.shared_bytes,
    )
    tiles = int(batch["tiles"][0])
    change = solver.buffers["change"].reshape(shape.halo, tiles, 2).sum(1)
    assert np.allclose(change[[0, -1]], expected[[0, -1]], rtol=1e-5)
    assert np.isnan(change[1:-1]).all()  # neither asked for nor written


def test_inactive_pair_stays_untouched(rng):
    solver = solver_of((40, 70), scales=1)
    batch = start_iterating(solver, rng)
    solver.buffers["active"][:], solver.buffers["active_count"][0] = [1, 0], 1  # pair 0 has left the list
    before = {name: view.copy() for name, view in solver.buffers.items() if name[:4] in {"flow", "dual"}}
    solver._median(solver.levels[0], batch, 2)
    solver._iterate(solver.levels[0], SHAPES["b4"], batch, 2, 4, 0b1111)
    half = len(before["flow0"]) // 2
    assert np.array_equal(solver.buffers["flow1"][:half], before["flow1"][:half], equal_nan=True)
    assert np.array_equal(solver.buffers["flow0"][:half], before["flow0"][:half], equal_nan=True)
    assert not np.array_equal(solver.buffers["flow1"][half:], before["flow1"][half:], equal_nan=True)
    assert solver.buffers["flow_side"].tolist() == [0, 0]  # pair 1 changed sides twice
    assert solver.buffers["dual_side"].tolist() == [0, 1]
    assert solver.iterations(2).tolist() == [[0, 4]]


def test_settle_keeps_the_order_of_many_pairs(rng):
    solver = solver_of((16, 16), pairs=2000, scales=1)
    batch = start_iterating(solver, rng)
    converged = rng.random(2000) < 0.6
    batch["largest_change"] = 1.0
    solver.buffers["change"].reshape(-1, 2000)[3] = np.where(converged, 1.0, 2.0)
    flags = 0b1000 << TESTED_SHIFT | TURN_FLOW | TURN_DUAL
    solver._settle(batch, flags=flags, number=4)
    left = np.flatnonzero(~converged)
    assert solver.buffers["active_count"][0] == len(left)
    assert np.array_equal(solver.buffers["active"][: len(left)], left)


def test_pair_that_converged_within_a_launch_is_done_anew(rng):
    solver = solver_of((40, 70), scales=1)
    batch = start_iterating(solver, rng)
    iterate_plainly(solver, batch, 30)  # from here on the change gets less
    plain = copy_of(solver)
    sums = iterate_plainly(plain, plain.batch_of(0, 2), 3)
    batch["largest_change"] = sums[2].max() * 1.001
    assert sums[1].min() > batch["largest_change"]  # both converge at the third of four
    for _ in range(2):
        solver._iterate(solver.levels[0], SHAPES["b4"], batch, 2, 4, 0b1111)
    assert solver.buffers["active_count"][0] == 0
    assert solver.iterations(2).tolist() == [[3, 3]]
    assert np.abs(picture(solver, "flow1", 2) - picture(plain, "flow0", 2)).max() < 1e-5


@pytest.mark.parametrize("size", [*SIZES, (48, 256)], ids=str)
@pytest.mark.parametrize("median", [3, 5])
def test_median_is_that_of_opencv(size, median, rng):
    solver = solver_of(size, median=median, scales=1)
    batch = start_iterating(solver, rng)
    flow = picture(solver, "flow0", 2)
    flow[:] = np.round(rng.normal(0, 3, flow.shape))  # many are equal
    flow[1] += rng.normal(0, 1, flow[1].shape)
    solver._median(solver.levels[0], batch, 2)
    expected = [[cv2.medianBlur(np.ascontiguousarray(plane), median) for plane in pair] for pair in flow]
    assert np.array_equal(picture(solver, "flow1", 2), expected)
