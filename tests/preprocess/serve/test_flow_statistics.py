import numpy as np
import pytest

from preprocess.serve import flow_statistics
from preprocess.serve.clip_record import find_shard_clip
from preprocess.serve.flow_statistics import StatisticsCache
from preprocess.serve.open_shards import OpenShards
from preprocess.serve.run_folders import find_runs
from tests.pipelines.tiny_shards import encoded_clip, write_set
from tests.preprocess.serve.small_root import indexed

SIZE = (48, 64)


def statistics_of(tmp_path, fields):
    """Of a clip whose fields have the same code everywhere: (u, v) of each."""
    codes = [np.repeat(np.array([[u], [v]], np.uint8), SIZE[0], 0).repeat(SIZE[1], 1) for u, v in fields]
    rgb = [np.zeros((*SIZE, 3), np.uint8)] * (len(fields) + 1)
    write_set(tmp_path / "shards", {"train": [[encoded_clip("x", label=-1, rgb=rgb, flow=codes)]]})
    (run,) = find_runs(tmp_path)
    with indexed(tmp_path).reading() as db:
        found = find_shard_clip(db, "x", run=run, shards=OpenShards())
    return StatisticsCache().get(*found)


def test_histograms_and_means(tmp_path):
    found = statistics_of(tmp_path, [(128, 128), (128 + 19, 128 - 19), (128 + 19, 128 - 19)])
    pixels = SIZE[0] * SIZE[1]
    px = 19 * 20 / 127  # 2.99
    assert dict(zip(found.edges_px, found.u, strict=False)) == {
        **dict.fromkeys(found.edges_px[:-1], 0),
        0.0: pixels,
        2.0: 2 * pixels,
    }
    assert found.v[17] == 2 * pixels  # -3 to -2
    assert found.largest_mean_px == pytest.approx(px * 2**0.5, rel=1e-3)
    assert found.mean_px == pytest.approx(2 / 3 * px * 2**0.5, rel=1e-3)
    assert found.share_still == pytest.approx(1 / 3)
    assert found.share_at_bound == 0


@pytest.mark.parametrize(("field", "share"), [((255, 128), 1), ((128, 1), 1), ((254, 2), 0), ((128, 128), 0)])
def test_pixels_at_the_bound(tmp_path, field, share):
    found = statistics_of(tmp_path, [field] * 2)
    assert found.share_at_bound == share
    assert sum(found.u) == sum(found.v) == 2 * SIZE[0] * SIZE[1]


def test_long_clips_are_sampled_evenly(tmp_path, monkeypatch):
    monkeypatch.setattr(flow_statistics, "MOST_FIELDS", 3)
    found = statistics_of(tmp_path, [(128 + 20 * t, 128) for t in range(5)])
    assert (found.fields, found.fields_of_clip) == (3, 5)
    assert found.largest_mean_px == pytest.approx(80 * 20 / 127, rel=1e-3)
    assert found.share_still == pytest.approx(1 / 3)


def test_it_is_measured_once(tmp_path, monkeypatch):
    statistics_of(tmp_path, [(128, 128)])
    (run,) = find_runs(tmp_path)
    cache, shards = StatisticsCache(), OpenShards()
    with indexed(tmp_path).reading() as db:
        first = cache.get(*find_shard_clip(db, "x", run=run, shards=shards))
        monkeypatch.setattr(flow_statistics, "_measure", lambda *_: pytest.fail("measured again"))
        assert cache.get(*find_shard_clip(db, "x", run=run, shards=OpenShards())) is first
