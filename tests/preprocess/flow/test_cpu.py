import ctypes
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from preprocess.errors import EnvironmentProblem
from preprocess.flow import Tvl1Params, available_backends, cpu, opencv_cuda_params, resolve_backend, tvl1
from preprocess.flow.cuda_batch import pyramid
from preprocess.sample import SampleConfig, make_sample, read_flow
from tests.preprocess.flow.conftest import endpoint_error

pytestmark = pytest.mark.skipif(
    not cpu.is_available() and shutil.which("c++") is None,
    reason="no C++ compiler: the CPU flow engine was not compiled",
)

RESIZES_BY_IPP = pytest.mark.skipif(platform.machine() != "x86_64", reason="OpenCV has IPP on x86-64 only")


def test_engine_is_compiled_where_there_is_a_compiler():
    assert cpu.is_available()
    assert cpu.instruction_sets()[-1] == "baseline"


@pytest.mark.parametrize(
    "params",
    [
        Tvl1Params(),
        Tvl1Params(median=1, inner_iterations=300, outer_iterations=1),
        Tvl1Params(median=3),
        Tvl1Params(scales=2, warps=2, scale_step=0.5),
        Tvl1Params(lambda_=0.05, tau=0.2, theta=0.2, epsilon=0.02),
    ],
    ids=["default", "no-median", "median-3", "few-scales", "other-weights"],
)
def test_same_flow_as_opencv(textured_clip, params):
    ours = tvl1(textured_clip[:2], params, backend="cpu")[0]
    theirs = tvl1(textured_clip[:2], params, backend="opencv")[0]
    assert endpoint_error(ours, theirs) < 0.02  # OpenCV changes as much when lambda changes by a millionth


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (64, 16), (30, 95)])
def test_same_flow_as_opencv_at_any_size(textured_clip, size):
    frames = np.ascontiguousarray(textured_clip[:2, : size[0], : size[1]])
    assert endpoint_error(tvl1(frames, backend="cpu")[0], tvl1(frames, backend="opencv")[0]) < 0.02


@RESIZES_BY_IPP
@pytest.mark.parametrize(
    ("scale_step", "size", "limit"),
    [
        (0.8, (96, 128), 1.5e-7),
        (0.7, (96, 128), 1.5e-7),
        (0.9, (55, 55), 1e-6),  # a half, which single precision puts below it
    ],
)
def test_levels_and_constants_are_opencvs_to_the_last_bits(textured_clip, scale_step, size, limit):
    # one iteration: rounding has not grown yet
    params = Tvl1Params(
        scales=2, scale_step=scale_step, warps=1, inner_iterations=1, outer_iterations=1, median=1, epsilon=1e-9
    )
    frames = np.ascontiguousarray(textured_clip[:2, : size[0], : size[1]])
    ours, theirs = (tvl1(frames, params, backend=backend)[0] for backend in ("cpu", "opencv"))
    assert np.median(np.hypot(*(ours - theirs))) < limit


def test_real_pairs_differ_from_opencv_by_little(real_pairs):
    errors = [endpoint_error(tvl1(p, backend="cpu")[0], tvl1(p, backend="opencv")[0]) for p in real_pairs]
    assert np.mean(errors) < 0.04
    assert max(errors) < 0.10


@pytest.mark.parametrize("params", [Tvl1Params(), opencv_cuda_params()], ids=["opencv-cpu", "opencv-cuda"])
def test_avx2_gives_the_same_bits_as_avx512(textured_clip, params):
    if "avx2" not in cpu.instruction_sets():
        pytest.skip("this processor has no AVX2")
    best, counts = cpu.solve(textured_clip, params)
    other, other_counts = cpu.solve(textured_clip, params, isa="avx2")
    assert np.array_equal(best, other)
    assert np.array_equal(counts, other_counts)


@pytest.mark.parametrize("params", [Tvl1Params(), opencv_cuda_params()], ids=["opencv-cpu", "opencv-cuda"])
def test_baseline_differs_by_rounding_alone(textured_clip, params):
    """On x86-64 it fuses no multiplication with an addition; measured: 0.004 and 0.000003 px, 12 iterations of 510."""
    best, counts = cpu.solve(textured_clip, params)
    other, other_counts = cpu.solve(textured_clip, params, isa="baseline")
    assert np.mean([endpoint_error(*pair) for pair in zip(best, other, strict=True)]) < 0.02
    assert np.abs(other_counts / counts - 1).max() < 0.1


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads_do_not_change_the_flow(textured_clip, threads):
    assert np.array_equal(
        cpu.flow_of_clip(textured_clip, Tvl1Params(), threads=threads), tvl1(textured_clip, backend="cpu")
    )


def test_pairs_do_not_depend_on_their_clip(textured_clip):
    whole = tvl1(textured_clip, backend="cpu")
    for index in range(3):
        assert np.array_equal(tvl1(textured_clip[index : index + 2], backend="cpu")[0], whole[index])


def test_still_picture_has_no_flow(textured_clip):
    assert not tvl1(textured_clip[[0, 0]], backend="cpu").any()


def test_flat_picture_has_no_flow():
    assert not tvl1(np.full((2, 32, 40), 128, np.uint8), backend="cpu").any()


def test_mirrored_frames_give_mirrored_flow(textured_clip):
    plain = tvl1(textured_clip[:2], backend="cpu")[0]
    mirrored = tvl1(np.ascontiguousarray(textured_clip[:2, :, ::-1]), backend="cpu")[0][:, :, ::-1]
    mirrored = mirrored * np.array([-1, 1])[:, None, None]
    assert endpoint_error(plain, mirrored) < 0.02


def test_conventions_differ_at_the_border_mostly(textured_clip):
    base = Tvl1Params(median=1, inner_iterations=300, outer_iterations=1)
    cuda = opencv_cuda_params()
    difference = np.linalg.norm(
        tvl1(textured_clip[:2], base, backend="cpu")[0] - tvl1(textured_clip[:2], cuda, backend="cpu")[0], axis=0
    )
    assert 0 < difference[8:-8, 8:-8].mean() < 0.1
    assert difference.mean() > difference[8:-8, 8:-8].mean()


def test_fewer_stop_tests_cost_iterations_and_change_little(textured_clip):
    flow, counts = cpu.solve(textured_clip, Tvl1Params())
    rarer, rarer_counts = cpu.solve(textured_clip, Tvl1Params(check_every=5))
    assert (rarer_counts >= counts).all()
    assert (rarer_counts % 5 == 0).all()
    assert endpoint_error(flow[0], rarer[0]) < 0.05


@pytest.mark.parametrize("size", [(128, 96), (48, 64), (17, 33)])
def test_iterations_that_run_together_are_those_that_follow_each_other(textured_clip, size):
    frames = np.ascontiguousarray(textured_clip[:, : size[0], : size[1]])
    # without a median filter both are 300 iterations at the most, and only a round of several can run two together
    flow, counts = cpu.solve(frames, Tvl1Params(median=1, inner_iterations=300, outer_iterations=1))
    one_by_one, single = cpu.solve(frames, Tvl1Params(median=1, inner_iterations=1, outer_iterations=300))
    assert np.array_equal(flow, one_by_one)
    assert np.array_equal(counts, single)


def test_iterations_stop_at_the_most():
    noise = np.random.default_rng(0).integers(0, 255, (2, 32, 32), np.uint8)
    params = Tvl1Params(epsilon=1e-9, scales=2, warps=3, inner_iterations=7, outer_iterations=2)
    assert cpu.solve(noise, params)[1].tolist() == [2 * 3 * 7 * 2]


def test_levels_are_as_many_as_asked_for(textured_clip):
    once = Tvl1Params(scales=20, scale_step=0.9, warps=1, inner_iterations=1, outer_iterations=1)
    assert len(pyramid(161, 121, once)) == 20
    assert cpu.solve(textured_clip[:2], once)[1].tolist() == [20]


def test_truth_of_the_sample_is_met_as_well_as_by_opencv(tmp_path):
    from preprocess.media import read_clip, to_gray

    summary = make_sample(
        tmp_path, config=SampleConfig(videos_per_class=1, val_per_class=1, duration_s=2, clip_end_s=2)
    )
    ours, theirs = [], []
    for path in sorted(summary.videos_folder.glob("*.mp4"))[::3]:
        truth = read_flow(path.with_suffix(".flow.npz"))
        frames = to_gray(read_clip(path, short_side=96, max_frames=2))
        ours.append(endpoint_error(tvl1(frames, backend="cpu")[0], truth))
        theirs.append(endpoint_error(tvl1(frames, backend="opencv")[0], truth))
    assert np.mean(ours) <= 1.01 * np.mean(theirs)


@pytest.mark.parametrize(
    ("first", "second", "truth"),
    [
        (
            "middlebury_RubberWhale/frame10.png",
            "middlebury_RubberWhale/frame11.png",
            "middlebury_RubberWhale/flow10_gt.flo",
        ),
        ("flyingchairs/0000000-img0.ppm", "flyingchairs/0000000-img1.ppm", "flyingchairs/0000000-gt.flo"),
    ],
)
def test_real_truth_is_met_as_well_as_by_opencv(shared_data, first, second, truth):
    folder = shared_data / "flow"
    frames = np.stack([cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) for name in (first, second)])
    truth_HW2 = cv2.readOpticalFlow(str(folder / truth))
    known = (np.abs(truth_HW2) < 1e8).all(axis=2)

    def error(backend):
        flow_HW2 = tvl1(frames, backend=backend)[0].transpose(1, 2, 0)
        return np.linalg.norm(flow_HW2 - truth_HW2, axis=2)[known].mean()

    assert error("cpu") <= 1.01 * error("opencv")


def test_memory_of_a_worker_at_340x256():
    script = """
import resource, numpy as np
from preprocess.flow import Tvl1Params, cpu
frames = np.random.default_rng(0).integers(0, 255, (2, 256, 340), np.uint8)
cpu.instruction_sets()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cpu.flow_of_clip(frames, Tvl1Params(warps=1, inner_iterations=1, outer_iterations=1))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 64 << 10  # kibibytes


def test_unknown_instruction_set_fails(textured_clip):
    with pytest.raises(EnvironmentProblem, match="lacks the instruction set asked for"):
        cpu.flow_of_clip(textured_clip, Tvl1Params(), isa="sse9")


def test_without_the_extension_auto_takes_opencv_and_says_so(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "_library_path", lambda: None)
    assert available_backends() == ["opencv"]
    assert resolve_backend("auto", on_gpu=False) == "opencv"
    assert "flow backend cpu, the faster one, cannot run here: it needs the compiled extension" in caplog.text
    with pytest.raises(EnvironmentProblem, match="'cpu' cannot run here; it needs the compiled extension"):
        resolve_backend("cpu")


def compiled(name, out, *, lanes, options=()):
    """A program of tests/csrc, with this many lanes."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    source = Path(__file__).parents[2] / "csrc" / name
    include = f"-I{Path(cpu.__file__).with_name('csrc')}"
    command = [compiler, "-std=c++17", "-O1", "-Wno-psabi", f"-DKF_LANES={lanes}", *options, include, source, "-o", out]
    subprocess.run(command, check=True)
    return out


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_median_filter_is_one(tmp_path, lanes):
    program = compiled("median_check.cpp", tmp_path / "median_check", lanes=lanes)
    run = subprocess.run([program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


@RESIZES_BY_IPP
@pytest.mark.parametrize("lanes", [4, 16])
def test_levels_have_the_bits_of_opencv(tmp_path, lanes):
    library = ctypes.CDLL(compiled("resize.cpp", tmp_path / "resize.so", lanes=lanes, options=["-shared", "-fPIC"]))

    floats, number = np.ctypeslib.ndpointer(np.float32, ndim=2, flags="C"), ctypes.c_int
    library.resized.argtypes = (floats, number, number, floats, number, number, ctypes.c_double, ctypes.c_double)

    def resized(image, like, step_x, step_y):
        out = np.empty_like(like)
        library.resized(image, *image.shape[::-1], out, *out.shape[::-1], step_x, step_y)
        return out

    rng = np.random.default_rng(0)
    for width, height in [(340, 256), (99, 71), (55, 55), (17, 33)]:
        image = rng.uniform(0, 255, (height, width)).astype(np.float32)
        for scale_step in (0.8, 0.9, 0.5, 0.35):
            coarse = cv2.resize(image, None, fx=scale_step, fy=scale_step)
            fine = cv2.resize(coarse, (width, height))
            for ours, theirs in (
                (resized(image, coarse, 1 / scale_step, 1 / scale_step), coarse),
                (resized(coarse, fine, coarse.shape[1] / width, coarse.shape[0] / height), fine),
            ):
                # IPP does not fuse in a last row or column that is left over
                np.testing.assert_array_equal(ours[:-1, :-1], theirs[:-1, :-1])
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=4e-5)


def test_threads_that_cannot_be_started_change_nothing():
    script = """
import re, resource
from pathlib import Path
import numpy as np
from preprocess.flow import Tvl1Params, cpu
frames = np.random.default_rng(0).integers(0, 256, (65, 16, 16), np.uint8)
quick = Tvl1Params(warps=1, inner_iterations=1, outer_iterations=1)
expected = cpu.flow_of_clip(frames, quick, threads=1)
used = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20),) * 2)  # stacks of a few threads
print(np.array_equal(cpu.flow_of_clip(frames, quick, threads=64), expected))
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("True\n", "")


def test_too_little_memory_fails():
    script = """
import re, resource
from pathlib import Path
import numpy as np
from preprocess.errors import EnvironmentProblem
from preprocess.flow import Tvl1Params, cpu
frames = np.zeros((2, 1024, 1024), np.uint8)
cpu.instruction_sets()
used = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (30 << 20),) * 2)  # the flow, and no more than that
try:
    cpu.flow_of_clip(frames, Tvl1Params())
except EnvironmentProblem as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("TV-L1 of 2 frames of 1024x1024: not enough memory (isa None)\n", "")
