"""The named points at which runs are killed."""

# name -> MODULE:FUNCTION:MOMENT:N, see tests/crash/kill_points.py
DOWNLOAD = {
    "list copied": "preprocess.wanted:Wanted.write:after:1",
    "video fetched": "preprocess.sources:fetch:after:2",
    "clip trimmed": "preprocess.trim:trim:after:2",
    "clip decoded, not hashed": "preprocess.store:inspect:after:3",
    "clip synced, not renamed": "preprocess.store:rename_into_place:before:2",
    "clip renamed, not in the manifest": "preprocess.store:rename_into_place:after:2",
    "half a line of the manifest": "preprocess.outcomes:append_line:torn:3",
    "manifest line written": "preprocess.outcomes:append_line:after:3",
    "half of missing.csv": "preprocess.outcomes:publish:torn:1",
}
MIRROR = {
    "archive opened": "preprocess.mirror.worker:open_archive:after:1",
    "member begun in the journal": "preprocess.mirror.ledger:ArchiveJournal.begin:after:2",
    "half a line of the journal": "preprocess.mirror.ledger:append_line:torn:4",
    "member ended in the journal": "preprocess.mirror.ledger:ArchiveJournal.finish:after:2",
    "archive taken, not in the ledger": "preprocess.mirror.stage:append_ledger:before:1",
    "archive in the ledger, journal there": "preprocess.mirror.stage:append_ledger:after:1",
}
FLOW = {
    "half of the plan": "preprocess.plan:publish:torn:1",
    "plan written": "preprocess.sharding:_adopt_plan:after:1",
    "clip decoded": "preprocess.extract:read_clip:after:3",
    "flow computed": "preprocess.extract:tvl1_codes:after:3",
    "shard made in memory": "preprocess.shards.write:shard_image:after:2",
    "half of a shard": "preprocess.shards.write:publish:torn:2",
    "shard synced, not renamed": "preprocess.paths:rename_into_place:before:3",
    "shard renamed, not verified": "preprocess.shards.write:publish:after:2",
    "shard verified": "preprocess.sharding:write_shard:after:2",
    "all shards, no index": "preprocess.shards.index:Index.write:before:1",
    "half of the index": "preprocess.shards.index:publish:torn:1",
    "index written": "preprocess.shards.index:Index.write:after:1",
}
TRAIN = {
    "configuration written": "i3d_train.metrics:MetricsFile.__init__:before:1",
    "step taken, not written down": "i3d_train.metrics:MetricsFile.append:before:3",
    "step written down": "i3d_train.metrics:MetricsFile.append:after:5",
    "half of a checkpoint": "i3d_train.checkpoint:publish:torn:3",
    "checkpoint written, the oldest there": "i3d_train.checkpoint:_publish:after:5",
    "the oldest deleted, no curves": "i3d_train.checkpoint:save:after:3",
    "half of the best checkpoint": "i3d_train.checkpoint:publish:torn:2",
}


def targets(*tables: dict[str, str]) -> set[str]:
    """MODULE:FUNCTION of all points of some tables."""
    return {":".join(point.split(":")[:2]) for table in tables for point in table.values()}
