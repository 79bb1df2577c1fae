"""What is shown of a clip when its shards and the index do not go together, or several runs have it."""

from types import SimpleNamespace

import pytest

from preprocess.errors import BadShard
from preprocess.serve.clip_record import ClipRecord, RunRecord, find_shard_clip, read_clip
from preprocess.serve.open_shards import OpenShards
from preprocess.serve.run_folders import find_runs
from tests.pipelines.tiny_shards import textured_clip, write_set
from tests.preprocess.serve.small_root import KEYS, SIZE, indexed, make_root


def test_the_run_that_is_asked_for_is_shown_where_it_can_be():
    runs = tuple(
        RunRecord(standing=SimpleNamespace(run=run), shard=shard)
        for run, shard in (("none", None), ("first", 1), ("second", 2))
    )
    record = ClipRecord(key="a", runs=runs)
    assert [record.shown(run).shard for run in ("second", "first", "none", None)] == [2, 1, 1, 1]
    assert ClipRecord(key="a", runs=runs[:1]).shown("none") is None


@pytest.mark.parametrize("now", [["other"], ["other", "more"]])
def test_a_shard_that_changed_since_it_was_indexed_shows_no_other_clip(tmp_path, now):
    root = make_root(tmp_path)
    write_set(root / "shards", {"train": [[textured_clip(key, label=1, frames=3, size=SIZE) for key in KEYS[:2]]]})
    indexer = indexed(root)
    write_set(root / "shards", {"train": [[textured_clip(key, label=1, frames=3, size=SIZE) for key in now]]})
    folders = find_runs(root)
    with indexer.reading() as db:
        with pytest.raises(BadShard, match="changed since it was indexed"):
            find_shard_clip(db, KEYS[1], run=folders[1], shards=OpenShards())
        of_shards = read_clip(db, KEYS[1], folders=folders, shards=OpenShards()).runs[1]
        assert (of_shards.shard, "changed since" in of_shards.problem) == (None, True)
        # a folder that is gone, and in the index still
        (left,) = read_clip(db, KEYS[1], folders=folders[:1], shards=OpenShards()).runs
        assert left.standing.run == folders[0].id
    indexer.stop()
