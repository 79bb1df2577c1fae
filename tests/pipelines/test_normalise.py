import ctypes
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import normalise as module
from pipelines.normalise import VERSIONS, normalise, versions
from preprocess.errors import EnvironmentProblem


def expected(codes, *, mean, scale, bound=np.inf):
    """As the docstring says, in NumPy."""
    values = (codes.astype(np.float32) - np.float32(mean)) * np.float32(scale)
    return np.clip(values, np.float32(-bound), np.float32(bound))


def all_codes(planes, pixels):
    return np.random.default_rng(pixels).integers(0, 256, (planes, pixels), np.uint8)


def fill(codes, values, *, source, target, scale, **options):
    normalise(
        codes,
        values,
        source=np.array(source),
        target=np.array(target),
        scale=np.array(scale, np.float32),
        **options,
    )


def test_it_is_compiled_here():
    assert versions()[0] == "baseline"


@pytest.mark.parametrize("version", VERSIONS)
# lengths and beginnings at which a vector is cut off
@pytest.mark.parametrize("pixels", [1, 7, 16, 31, 224 * 224, 31 * 31])
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_every_version_gives_the_same_bits(version, pixels, shift):
    if version not in versions():
        pytest.skip(f"this processor has {versions()}")
    codes, memory = all_codes(3, pixels), np.full(4 * pixels + shift + 1, 9, np.float32)
    values = memory[shift : shift + 4 * pixels].reshape(4, pixels)
    options = {"mean": 128, "bound": 1}
    scale = np.float32([1 / 127, -1 / 127, 1 / 64])
    fill(codes, values, source=[0, 2, 1], target=[3, 0, 2], scale=scale, version=version, **options)
    for origin, place, factor in zip([0, 2, 1], [3, 0, 2], scale, strict=True):
        np.testing.assert_array_equal(values[place], expected(codes[origin], scale=factor, **options))
    # nothing else is touched
    assert (memory[:shift] == 9).all()
    assert memory[-1] == 9
    assert (values[1] == 9).all()


def test_without_a_bound_values_may_leave_the_range():
    values = np.empty((1, 256), np.float32)
    fill(np.arange(256, dtype=np.uint8)[None], values, source=[0], target=[0], scale=[0.5], mean=100)
    assert values[0].tolist() == [(code - 100) / 2 for code in range(256)]


def test_a_plane_may_go_to_several_places():
    values = np.empty((2, 16), np.float32)
    codes = all_codes(1, 16)
    fill(codes, values, source=[0, 0], target=[1, 0], scale=[1, -1], mean=0)
    np.testing.assert_array_equal(values[1], codes[0])
    np.testing.assert_array_equal(values[0], -values[1])


def test_without_a_compiler_the_bits_are_the_same(monkeypatch, caplog, tmp_path):
    codes, found, plain = all_codes(2, 1000), *np.zeros((2, 2, 1000), np.float32)
    options = {"source": [0, 1], "target": [1, 0], "scale": np.float32([1 / 127, -1 / 127]), "mean": 128, "bound": 1}
    fill(codes, found, **options)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "normalise.py"))
    module._library.cache_clear()
    versions.cache_clear()
    try:
        fill(codes, plain, **options)
        assert versions() == ()
        with pytest.raises(EnvironmentProblem, match="normalising by avx2 was asked for; it is not compiled here"):
            fill(codes, plain, version="avx2", **options)
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
        fill(all_codes(1, 4), np.empty((1, 4), np.float32), source=[0], target=[0], scale=[1], mean=0, version="avx512")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": [2]}, "source 2 to 2 is not within 2 planes"),
        ({"source": [-1]}, "source -1 to -1"),
        ({"target": [3]}, "target 3 to 3 is not within 3 planes"),
        ({"scale": [1, 2]}, "1, 1, 2 differ"),
        ({"codes": np.zeros((2, 5), np.uint8)}, r"\(2, 5\) and \(3, 4\)"),
        ({"codes": np.zeros((2, 4), np.int8)}, "codes must be a contiguous uint8 of 2 dimensions, got int8"),
        ({"codes": np.zeros((2, 8), np.uint8)[:, ::2]}, "codes must be a contiguous"),
        ({"values": np.zeros((3, 4))}, "values must be a contiguous float32"),
    ],
)
def test_what_would_read_or_write_elsewhere_fails(change, message):
    given = {"codes": all_codes(2, 4), "values": np.zeros((3, 4), np.float32)}
    given |= {"source": [0], "target": [0], "scale": [1], "mean": 0} | change
    with pytest.raises(ValueError, match=message):
        fill(given.pop("codes"), given.pop("values"), **given)


def test_library_checks_the_version_too():
    assert module._library().kineflow_has_version(ctypes.c_int(99)) == 0
