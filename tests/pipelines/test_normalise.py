import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import normalise as module
from pipelines.normalise import VERSIONS, normalise, versions
from preprocess.errors import EnvironmentProblem

PICTURE = np.array([1, 0, 2, 1])
# half a code, and no power of two: the order of the computation shows in the last bit
MEAN = 127.5
SCALE = {1: [1 / 58.4], 2: [-1 / 127, 1 / 127], 3: [1 / 127.5, 1 / 57.1, -1 / 57.4]}


def codes_of(channels, *, side, interleaved):
    """Three pictures with a little room around the cut, NCHW whatever they are in memory."""
    shape = (3, channels, side + 2, side + 3)
    codes = np.random.default_rng(side).integers(0, 256, shape, np.uint8)
    return codes.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2) if interleaved else codes


def expected(codes, *, picture, corner, mirror, scale, mean, bound=np.inf, side):
    """As the docstring says, in NumPy."""
    (top, left), step = corner, -1 if mirror else 1
    cut = codes[picture, :, top : top + side, left : left + side][..., ::step].transpose(1, 0, 2, 3)
    values = (cut.astype(np.float32) - np.float32(mean)) * np.float32(scale)[:, None, None, None]
    return np.clip(values, np.float32(-bound), np.float32(bound))


def test_it_is_compiled_here():
    assert versions()[0] == "baseline"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("channels", "interleaved"), [(3, True), (3, False), (2, False), (1, False)])
# sides and beginnings at which a vector is cut off
@pytest.mark.parametrize("side", [1, 15, 16, 31, 32, 100])
@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_every_version_gives_the_same_bits(version, channels, interleaved, side, shift, mirror):
    if version not in versions():
        pytest.skip(f"this processor has {versions()}")
    codes = codes_of(channels, side=side, interleaved=interleaved)
    shape = (channels, len(PICTURE), side, side)
    size = int(np.prod(shape))
    # at the start of a cache line, where writes past the caches are taken
    memory = np.full(size + 64, 9, np.float32)
    first = -memory.ctypes.data % 64 // 4 + 16 + shift
    values = memory[first : first + size].reshape(shape)
    options = {"picture": PICTURE, "corner": (2, 1), "mirror": mirror, "scale": SCALE[channels], "mean": MEAN}
    normalise(codes, values, bound=0.9, version=version, **options)
    np.testing.assert_array_equal(values, expected(codes, bound=0.9, side=side, **options))
    # nothing else is touched
    assert (memory[:first] == 9).all()
    assert (memory[first + size :] == 9).all()


def test_without_a_bound_values_may_leave_the_range():
    values = np.empty((1, 1, 16, 16), np.float32)
    codes = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    normalise(codes, values, picture=np.array([0]), corner=(0, 0), mirror=False, scale=[0.5], mean=100)
    assert values.ravel().tolist() == [(code - 100) / 2 for code in range(256)]


def test_regions_that_overlap():
    """Of u over v in one picture, as they are decoded."""
    region = np.random.default_rng(0).integers(0, 256, (2, 30, 20), np.uint8)
    codes = np.lib.stride_tricks.as_strided(region, (2, 2, 18, 20), (600, 12 * 20, 20, 1))
    options = {"picture": np.array([1, 0]), "corner": (1, 2), "mirror": True, "scale": [-1, 1], "mean": 0}
    values = np.empty((2, 2, 17, 17), np.float32)
    normalise(codes, values, **options)
    np.testing.assert_array_equal(values, expected(codes, side=17, **options))


@pytest.mark.parametrize("interleaved", [False, True])
def test_without_a_compiler_the_bits_are_the_same(monkeypatch, caplog, tmp_path, interleaved):
    codes, (found, plain) = codes_of(3, side=20, interleaved=interleaved), np.zeros((2, 3, 4, 20, 20), np.float32)
    options = {"picture": PICTURE, "corner": (1, 3), "mirror": True, "scale": SCALE[3], "mean": MEAN, "bound": 0.9}
    normalise(codes, found, **options)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "normalise.py"))
    module._library.cache_clear()
    versions.cache_clear()
    try:
        normalise(codes, plain, **options)
        assert versions() == ()
        with pytest.raises(EnvironmentProblem, match="normalising by avx2 was asked for; it is not compiled here"):
            normalise(codes, plain, version="avx2", **options)
    finally:
        module._library.cache_clear()
        versions.cache_clear()
    np.testing.assert_array_equal(plain, found)
    assert "installed without a C++ compiler" in caplog.text


def test_version_that_the_processor_lacks_fails(monkeypatch):
    lacks = SimpleNamespace(kineflow_normalise=lambda *_: 1, kineflow_has_version=lambda number: number == 0)
    monkeypatch.setattr(module, "_library", lambda: lacks)
    monkeypatch.setattr(module, "versions", lambda: ("baseline",))
    with pytest.raises(EnvironmentProblem, match="normalising by avx512 was asked for; this processor has baseline"):
        fill(version="avx512")


def fill(**change):
    """One frame of 4x4 of two pictures of 6x7."""
    given = {
        "codes_NCHW": np.zeros((2, 3, 6, 7), np.uint8),
        "values_CTSS": np.zeros((3, 1, 4, 4), np.float32),
        "picture": np.array([0]),
        "corner": (0, 0),
        "mirror": False,
        "scale": [1, 1, 1],
        "mean": 0,
    }
    normalise(**given | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"picture": np.array([2])}, "picture 2 to 2 is not within 2"),
        ({"picture": np.array([-1])}, "picture -1 to -1"),
        ({"picture": np.array([0, 1])}, "of 2 pictures"),
        ({"picture": np.array([0], np.int32)}, "picture must be int64 of 1 dimensions, got int32 of 1"),
        ({"corner": (3, 0)}, r"a cut of 4 from \(3, 0\) is not within 6x7"),
        ({"corner": (0, 4)}, "a cut of 4"),
        ({"corner": (-1, 0)}, "a cut of 4"),
        ({"scale": [1, 2]}, "2 scales for 3 channels"),
        ({"codes_NCHW": np.zeros((2, 2, 6, 7), np.uint8)}, r"\(2, 2, 6, 7\) to \(3, 1, 4, 4\)"),
        ({"codes_NCHW": np.zeros((2, 3, 6, 7), np.int8)}, "codes must be uint8 of 4 dimensions, got int8 of 4"),
        ({"codes_NCHW": np.zeros((2, 3, 6, 14), np.uint8)[..., ::2]}, "pixels of codes lie 2 bytes apart"),
        ({"codes_NCHW": np.zeros((2, 6, 7, 4), np.uint8).transpose(0, 3, 1, 2)[:, :3]}, "lie 4 bytes apart"),
        ({"values_CTSS": np.zeros((3, 1, 4, 4))}, "values must be float32"),
        ({"values_CTSS": np.zeros((3, 1, 4, 8), np.float32)[..., ::2]}, "must be contiguous"),
        ({"values_CTSS": np.zeros((3, 1, 4, 5), np.float32)}, r"to \(3, 1, 4, 5\)"),
    ],
)
def test_what_would_read_or_write_elsewhere_fails(change, message):
    with pytest.raises(ValueError, match=message):
        fill(**change)


def test_library_checks_the_version_too():
    assert module._library().kineflow_has_version(ctypes.c_int(99)) == 0
