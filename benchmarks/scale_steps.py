"""What `benchmarks/scale.py` measures: real code of the driver, with work that takes no time."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.scale_lists import DATASET, Inputs, a_good_clip
from pipelines.feed_config import FeedConfig
from pipelines.resume import ResumePoint
from pipelines.sampling import Sampler, Share
from preprocess.annotations import Clip, read_lists, select
from preprocess.config import DownloadConfig, FlowConfig, WorkerConfig
from preprocess.download import download
from preprocess.fetching import Answer
from preprocess.labels import label_table
from preprocess.limiter import Limiter
from preprocess.made_shards import ShardResult
from preprocess.mirror.wanted_index import write_wanted_index
from preprocess.outcomes import MANIFEST_NAME, MISSING_NAME, ManifestEntry, Outcome
from preprocess.plan import PLAN_NAME
from preprocess.schedule import ClipQueue, RetryPolicy
from preprocess.serve.index.indexer import Indexer
from preprocess.serve.runs import Runs
from preprocess.sharding import make_shards
from preprocess.shards import ClipTable, Index, ShardAttributes, ShardInfo, ShardSet
from preprocess.shards.head import ShardHead
from preprocess.shards.index import INDEX_NAME
from preprocess.shards.layout import COLUMNS, shard_name
from preprocess.shards.store import FolderStore, SetTable, gather
from preprocess.status.flow_status import FinishedClip
from preprocess.status.work import Work
from preprocess.wanted import LIST_INFO_NAME, LIST_NAME, Wanted, wanted_of
from preprocess.workers import worker_pool


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a step says of itself."""

    events: int = 0
    """Clips, or batches, that went through its loop."""
    events_cpu_s: float = 0.0
    files: dict[str, int] = field(default_factory=dict)
    """Name to bytes, of what it wrote."""


class Stop(Exception):
    """Ends a run early."""


class Watch:
    """Takes the time from the first to the last clip of a run; stops the run after `most`."""

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._events, self._began_s, self._ended_s = 0, 0.0, 0.0

    def finished(self, *_: object) -> None:
        """A clip is through."""
        self._ended_s = time.process_time()
        self._began_s = self._began_s or self._ended_s
        self._events += 1
        if self._events == self._most:
            raise Stop

    def found(self, *files: Path) -> Found:
        """The rate, and the sizes of files."""
        sizes = {path.name: path.stat().st_size for path in files}
        return Found(events=self._events, events_cpu_s=self._ended_s - self._began_s, files=sizes)


def plan_download(inputs: Inputs) -> Found:
    """Lists read, matched to the label table, selected, sorted, written down."""
    _wanted(inputs).write(inputs.folder)
    return Watch().found(inputs.folder / LIST_NAME, inputs.folder / LIST_INFO_NAME)


def first_download(inputs: Inputs) -> Found:
    """A first `preprocess download`, stopped after a few clips: all others are missing."""
    watch, out = Watch(most=inputs.few), inputs.folder / "first"
    with suppress(Stop):
        _download(inputs, out, watch)
    return watch.found(out / MISSING_NAME)


def last_download(inputs: Inputs) -> Found:
    """A `preprocess download` that finds all but a few clips done, without the files that it looks for."""
    watch = Watch()
    with mock.patch("preprocess.target.FolderTarget._has", _yes):
        _download(inputs, inputs.folder, watch)
    return watch.found(inputs.folder / MANIFEST_NAME)


def whole_download(inputs: Inputs) -> Found:
    """A `preprocess download` of all clips, without the disk that each line of the manifest waits for."""
    watch = Watch()
    with mock.patch("preprocess.download.append_manifest", _nothing):
        _download(inputs, inputs.folder / "whole", watch)
    return watch.found()


def index_for_mirror(inputs: Inputs) -> Found:
    """The file in which workers look up the members of archives."""
    wanted, path = _wanted(inputs).clips, inputs.folder / "wanted.tsv"
    write_wanted_index(path, wanted, pending={clip.key for clip in wanted})
    return Watch().found(path)


def index_for_pages(inputs: Inputs) -> Found:
    """The index that `preprocess serve` makes of a folder of clips."""
    path = inputs.folder / "index.sqlite"
    indexer = Indexer(path, runs=Runs(inputs.folder))
    indexer.catch_up()
    indexer.stop()
    return Watch().found(path)


def whole_flow(inputs: Inputs) -> Found:
    """A `preprocess flow` of all clips, on a disk that is large enough, and its index read again."""
    watch, out = Watch(), inputs.folder / "shards"
    with mock.patch.multiple("preprocess.sharding", make_shard=_make_shard, check_space=_nothing):
        make_shards(
            inputs.folder,
            out,
            config=FlowConfig(backend="cpu"),
            workers=WorkerConfig(workers=0),
            on_progress=watch.finished,
        )
    Index.read(out)
    return watch.found(out / PLAN_NAME, out / INDEX_NAME)


def epochs(inputs: Inputs) -> Found:
    """Shards opened, two epochs planned in each order there is, some batches of one rank, a state saved."""
    shards = ShardSet(_MadeUpShards(inputs.clips), None)
    options: list[dict[str, object]] = [{"shuffle_shards": 200}, {"balanced": True}, {}]
    for chosen in options:
        config = FeedConfig(batch_size=32, num_shards=8, **chosen)  # type: ignore[arg-type]
        sampler = Sampler(shards.clips, config, shard=shards.shard_of_clip)
        for epoch in (0, 1):
            sampler.order(epoch)
    began_s, batches = time.process_time(), min(len(sampler), 100)
    for number in range(batches):
        sampler.batch(0, number)
    spent_s = time.process_time() - began_s
    share = Share(name="all", clips=inputs.clips, weight=1.0)
    state = ResumePoint(shards, sampler, shares=[share]).state(epoch=0, batch=1)
    return Found(events=batches, events_cpu_s=spent_s, files={"state": len(json.dumps(state))})


def on_ray(inputs: Inputs) -> Found:
    """The loop of the driver over two Ray workers, whose start is left out."""
    fields = {"time_start": 0, "time_end": 10, "split": "val", "label": "x"}
    clips = [Clip(youtube_id=f"{i:011d}", line=i, **fields) for i in range(inputs.clips)]  # type: ignore[arg-type]
    queue = ClipQueue(clips, limiter=Limiter(), identities=("url",), per_hour=None, policy=RetryPolicy())
    watch = Watch()
    with worker_pool(WorkerConfig(workers=2)) as pool:
        for _ in pool.run(partial(_fetch, source="url"), queue):
            watch.finished()
    return watch.found()


STEPS: dict[str, Callable[[Inputs], Found]] = {
    "plan download": plan_download,
    "first download": first_download,
    "last download": last_download,
    "whole download": whole_download,
    "mirror index": index_for_mirror,
    "page index": index_for_pages,
    "whole flow": whole_flow,
    "epochs": epochs,
}
"""In the order in which they run: a flow run takes the clips that the last download has finished."""


def _wanted(inputs: Inputs) -> Wanted:
    listed = read_lists(inputs.lists)
    return wanted_of(listed, select(listed.clips))


def _download(inputs: Inputs, out: Path, watch: Watch) -> None:
    config = DownloadConfig(out=out, url_template="http://127.0.0.1:9/{youtube_id}")
    with mock.patch("preprocess.download.fetch_clip", _fetch):
        download(_wanted(inputs), config=config, workers=WorkerConfig(workers=0), on_clip=watch.finished)


def _fetch(attempt, _tick=None, *, source, **_):
    entry = ManifestEntry.of_clip(attempt.clip, Outcome.DONE, source=source, **a_good_clip(attempt.clip.key))
    return Answer(entry=entry, work=Work(frames=250))


def _make_shard(shard, tick, **_):
    for clip in shard.clips:
        tick(FinishedClip(shard=shard.name, key=clip.key, outcome=Outcome.DONE, work=Work(flow_pairs=249)))
    info = ShardInfo(name=shard.name, bytes=shard.planned_bytes, sha256=f"{0:064x}", clips=len(shard.clips))
    return ShardResult(info=info, failed={})


def _yes(*_):
    """In place of a look at the disk."""
    return True


def _nothing(*_, **__):
    """In place of what costs a disk and no driver."""


class _MadeUpShards(FolderStore):
    """A store whose shards have heads and nothing else."""

    def __init__(self, clips: int) -> None:
        self.name = "made up"
        self._clips = clips
        self._attributes = ShardAttributes(labels=label_table(DATASET))

    def index(self) -> Index:
        """As of `preprocess flow`."""
        each = FlowConfig().clips_per_shard
        count = -(-self._clips // each)
        shards = tuple(
            ShardInfo(
                name=shard_name("train", number, count),
                bytes=500_000_000,
                sha256=f"{number:064x}",
                clips=min(each, self._clips - number * each),
            )
            for number in range(count)
        )
        return Index(config={}, labels=self._attributes.labels, shards=shards)

    def table(self, infos: Sequence[ShardInfo], *, skip_bad: bool) -> SetTable:
        """Put together as from files."""
        return gather(infos, map(self._head_of, infos), source=lambda info: info.name, skip_bad=skip_bad)

    def _head_of(self, info: ShardInfo) -> ShardHead:
        number, size = int(info.name.split("-")[1]), info.clips
        columns = {name: np.full(size, 256, kind) for name, kind in COLUMNS.items() if kind != "S"}
        columns["key"] = np.array([f"abcdefghijk_{number:06d}_{row:06d}".encode() for row in range(size)])
        columns["label"] = (np.arange(size, dtype=np.int32) + number) % len(self._attributes.labels)
        return ShardHead(attributes=self._attributes, clips=ClipTable(**columns), places=np.ones((2, 4), np.int64))
