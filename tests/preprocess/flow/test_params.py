import pytest

from preprocess.errors import InvalidInput
from preprocess.flow import Tvl1Params, opencv_cuda_params
from preprocess.flow.params import MOST


def test_defaults_are_those_of_opencv():
    import cv2

    solver = cv2.optflow.DualTVL1OpticalFlow_create()
    ours = Tvl1Params()
    assert (ours.tau, ours.lambda_, ours.theta) == (solver.getTau(), solver.getLambda(), solver.getTheta())
    assert (ours.epsilon, ours.scales, ours.scale_step) == (
        solver.getEpsilon(),
        solver.getScalesNumber(),
        solver.getScaleStep(),
    )
    assert (ours.warps, ours.median) == (solver.getWarpingsNumber(), solver.getMedianFiltering())
    assert (ours.inner_iterations, ours.outer_iterations) == (solver.getInnerIterations(), solver.getOuterIterations())


def test_opencv_cuda_has_one_round_of_300_iterations_and_no_median():
    params = opencv_cuda_params()
    assert (params.inner_iterations, params.outer_iterations, params.median) == (300, 1, 1)
    assert params.convention == "opencv-cuda"


def test_what_is_just_allowed_passes():
    Tvl1Params(tau=1e-6, scales=64, warps=MOST, check_every=MOST)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("tau", float("nan"), "tau must be a finite number above 0, got nan"),
        ("tau", 0.3, "tau must be at most 0.25"),
        ("tau", 1e-7, "at least 1e-6, got 1e-07"),
        ("convention", "opencv", "convention 'opencv' is unknown; use opencv-cpu, opencv-cuda"),
        ("theta", float("inf"), "theta must be a finite number above 0, got inf"),
        ("lambda_", 0, "lambda_ must be a finite number above 0, got 0"),
        ("epsilon", -1, "epsilon must be"),
        ("scale_step", 1.0, "scale_step must be below 1"),
        ("warps", 0, "warps must be at least 1, and at most 1000000, got 0"),
        ("inner_iterations", -3, "inner_iterations must be at least 1, and at most 1000000, got -3"),
        ("inner_iterations", 2**32, "at most 1000000, got 4294967296"),
        ("scales", 65, "scales must be at least 1, and at most 64, got 65"),
        ("median", 4, "median must be 1, 3 or 5, got 4"),
    ],
)
def test_params_fail(field, value, message):
    with pytest.raises(InvalidInput, match=message):
        Tvl1Params(**{field: value})
