"""What both loaders promise; each test runs on both."""

import gc
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import LOADERS
from preprocess.errors import BadShard, EnvironmentProblem, InvalidInput
from preprocess.shards import ShardSet
from tests.pipelines.small_loader import assert_equal, open_small
from tests.pipelines.tiny_shards import LEVELS, flat_clip, ramp_clip, textured_clip, write_set

pytestmark = pytest.mark.parametrize("backend", LOADERS)


def frame_numbers(batch) -> list[list[int]]:
    """Which frames of flat clips a batch shows, from the gray level."""
    level = (batch["rgb"].mean(dim=(1, 3, 4)) + 1) * 127.5 / LEVELS
    return level.round().int().tolist()


def flow_numbers(batch) -> list[list[int]]:
    """Which flow fields of flat clips a batch shows, from v, which no flip changes."""
    return (batch["flow"][:, 1].mean(dim=(2, 3)) * -127 / 2).round().int().tolist()


def test_batch_has_the_promised_types_and_shapes(shards, backend):
    loader = open_small(shards, backend)
    batch = next(iter(loader))
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items() if name != "key"} == {
        "rgb": (torch.float32, (2, 3, 8, 32, 32)),
        "flow": (torch.float32, (2, 2, 8, 32, 32)),
        "label": (torch.int64, (2,)),
    }
    assert [int(key[-2:]) % 3 for key in batch["key"]] == batch["label"].tolist()
    assert loader.labels == ("archery", "yoga", "zumba")


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_one_stream_alone_has_no_other(shards, backend, stream):
    assert next(iter(open_small(shards, backend, streams=(stream,)))).keys() == {stream, "label", "key"}


def test_values_fill_the_range_and_stay_in_it(shards, backend):
    batches = list(open_small(shards, backend))
    for stream in ("rgb", "flow"):
        values = torch.stack([batch[stream] for batch in batches])
        assert values.min() >= -1
        assert values.max() <= 1
    assert values.min() == -1, "the fixture's codes of 1 decode to 0 here and there"


def test_evaluation_reads_every_clip_once_with_a_short_last_batch(shards, backend):
    loader = open_small(shards, backend, training=False)
    batches = list(loader)
    assert [batch["key"] for batch in batches] == [["val0", "val1"], ["val2", "val3"], ["val4"]]
    assert len(loader) == 3
    assert batches[-1]["flow"].shape == (1, 2, 8, 32, 32)


def test_training_drops_the_tail_and_says_so(shards, backend, caplog):
    with caplog.at_level(logging.INFO, logger="pipelines"):
        loader = open_small(shards, backend, batch_size=4)
    assert [len(batch["key"]) for batch in loader] == [4, 4]
    assert "3 of 11 clips" in caplog.text


def test_rank_without_a_clip_yields_nothing(shards, backend):
    loader = open_small(shards, backend, training=False, num_shards=6, shard_id=5)
    assert len(loader) == 0
    assert list(loader) == []


def test_both_streams_show_the_frames_of_the_plan(shards, backend):
    loader = open_small(shards, backend, split="test", batch_size=3)
    for epoch in range(3):
        (batch,) = loader
        planned = [list(plan.frames) for plan in loader.sampler.batch(epoch, 0)]
        assert frame_numbers(batch) == planned
        assert flow_numbers(batch) == planned


def test_long_evaluation_window_loops_short_clips(shards, backend):
    loader = open_small(shards, backend, split="test", training=False, frames=45, batch_size=1)
    for batch, usable in zip(loader, (19, 6, 39), strict=True):
        assert frame_numbers(batch) == flow_numbers(batch) == [[t % usable for t in range(45)]]


def test_whole_clips_come_at_their_own_length(shards, backend):
    loader = open_small(shards, backend, split="test", training=False, frames=None, batch_size=1)
    for batch, usable in zip(loader, (19, 6, 39), strict=True):
        assert frame_numbers(batch) == flow_numbers(batch) == [list(range(usable))]


def test_views_of_a_clip_follow_one_another(shards, backend):
    loader = open_small(shards, backend, split="test", training=False, windows=3, crops=3, batch_size=6)
    batches = list(loader)
    rows = [row for batch in batches for row in zip(batch["key"], batch["view"].tolist(), strict=True)]
    assert rows == [(f"flat{clip}", view) for clip in range(3) for view in range(9)]
    assert [len(batch["key"]) for batch in batches] == [6, 6, 6, 6, 3]
    starts = [numbers[0] for batch in batches for numbers in frame_numbers(batch)]
    assert starts == [0] * 3 + [5] * 3 + [11] * 3 + [0] * 9 + [0] * 3 + [15] * 3 + [31] * 3


def test_three_crops_lie_along_the_longer_side(tmp_path, backend):
    folder = write_set(tmp_path, {"val": [[ramp_clip("ramp")]]})
    (batch,) = open_small(folder, backend, training=False, crops=3, batch_size=3)
    for row, left in enumerate((0, 16, 32)):
        codes = 64 + 2 * (left + np.arange(32))
        assert np.abs(batch["rgb"][row].numpy() - (codes / 127.5 - 1)).max() <= 2 / 127
        assert np.abs(batch["flow"][row].numpy() - (codes - 128) / 127).max() <= 2 / 127


def test_only_the_needed_frames_are_read(shards, backend, monkeypatch):
    read = []
    original = ShardSet.jpegs

    def jpegs(self, stream, clip, frames):
        read.extend((stream, clip, frame) for frame in frames)
        return original(self, stream, clip, frames)

    monkeypatch.setattr(ShardSet, "jpegs", jpegs)
    loader = open_small(shards, backend, split="test", training=False, crops=3, batch_size=9)
    list(loader)
    # three crops share their frames, and the looped clip of 7 frames has six flow fields
    windows = {0: range(5, 13), 1: range(6), 2: range(15, 23)}
    needed = {(stream, clip, t) for stream in ("rgb", "flow") for clip, window in windows.items() for t in window}
    assert set(read) == needed
    # each once in an epoch; DALI has begun the next one
    assert len(read) == len(needed) * (2 if backend == "dali" else 1)


def test_rgb_alone_uses_the_last_frame_too(shards, backend):
    loader = open_small(shards, backend, split="test", training=False, streams=("rgb",), frames=20, batch_size=1)
    assert frame_numbers(next(iter(loader))) == [list(range(20))]


def test_flip_mirrors_both_streams_and_negates_u(tmp_path, backend):
    folder = write_set(tmp_path, {"train": [[ramp_clip("ramp")]]})
    loader = open_small(folder, backend, batch_size=1)
    seen = set()
    for epoch in range(12):
        (batch,) = loader
        (plan,) = loader.sampler.batch(epoch, 0)
        seen.add(plan.flip)
        codes = 64 + 2 * (plan.corners[0][1] + np.arange(32))
        if plan.flip:
            codes = codes[::-1]
        u, v = (codes - 128) / 127 * (-1 if plan.flip else 1), (codes - 128) / 127
        # within 2 codes: JPEG
        assert np.abs(batch["rgb"].numpy() - (codes / 127.5 - 1)).max() <= 2 / 127
        assert np.abs(batch["flow"][:, 0].numpy() - u).max() <= 2 / 127
        assert np.abs(batch["flow"][:, 1].numpy() - v).max() <= 2 / 127
    assert seen == {True, False}


def test_batch_stays_valid_after_the_next_ones(shards, backend):
    loader = open_small(shards, backend)
    iteration = iter(loader)
    kept = next(iteration)
    copies = {name: kept[name].clone() for name in ("rgb", "flow")}
    for later in iteration:
        for name in copies:
            later[name].fill_(7)
    list(loader)
    for name, copy in copies.items():
        assert torch.equal(kept[name], copy)


def test_next_iteration_is_the_next_epoch_even_after_leaving_early(shards, backend):
    loader, planned = open_small(shards, backend), open_small(shards, backend).sampler
    keys = [loader.shards.clips.key[planned.order(epoch)[:2]].astype(str).tolist() for epoch in range(4)]
    assert next(iter(loader))["key"] == keys[0]
    assert next(batch["key"] for batch in list(loader)) == keys[1]
    assert next(iter(loader))["key"] == keys[2]
    assert next(iter(loader))["key"] == keys[3]


def test_threads_do_not_change_a_batch(shards, backend):
    for one, four in zip(open_small(shards, backend, threads=1), open_small(shards, backend, threads=4), strict=True):
        assert_equal(one, four)


def test_two_iterations_at_once_fails(shards, backend):
    loader = open_small(shards, backend)
    first, second = iter(loader), iter(loader)
    next(first)
    next(second)
    with pytest.raises(InvalidInput, match="ended by a newer one"):
        next(first)


def test_crop_larger_than_a_frame_fails(shards, backend):
    with pytest.raises(InvalidInput, match="crop 49 does not fit clip train00"):
        open_small(shards, backend, crop=49)


@pytest.mark.parametrize("threads", [0, 10**10])
def test_threads_that_no_machine_has_fail(shards, backend, threads):
    with pytest.raises(InvalidInput, match=f"threads is {threads}; it must be from 1 to 10000"):
        open_small(shards, backend, threads=threads)


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_damaged_jpeg_fails_and_the_loader_stays_usable(tmp_path, backend, stream):
    clips = [textured_clip(f"clip{n}", label=0, frames=9, size=(48, 64)) for n in range(6)]
    getattr(clips[4], stream)[3] = b"\xff\xd8" + bytes(50) + b"\xff\xd9"
    folder = write_set(tmp_path, {"val": [clips]})
    loader = open_small(folder, backend, training=False)
    for _ in range(2):
        keys = []
        with pytest.raises(BadShard, match=f"clip clip4: {stream} frame 3 is not a JPEG"):  # noqa: PT012
            for batch in loader:
                keys.append(batch["key"])  # noqa: PERF401
        assert keys == [["clip0", "clip1"], ["clip2", "clip3"]]


def test_cuda_without_a_gpu_fails(shards, backend, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EnvironmentProblem, match=r"'cuda' needs an NVIDIA GPU.*device='cpu'"):
        open_small(shards, backend, device="cuda")


def test_missing_label_is_minus_one(tmp_path, backend):
    folder = write_set(tmp_path, {"test": [[flat_clip("nobody", label=-1, frames=9)]]})
    (batch,) = open_small(folder, backend, training=False, split="test")
    assert batch["label"].tolist() == [-1]


def test_close_stops_the_threads_and_ends_the_loader(shards, backend):
    before = threads_of_this_process()
    loader = open_small(shards, backend, threads=3)
    iteration = iter(loader)
    next(iteration)
    assert threads_of_this_process() > before
    loader.close()
    assert threads_of_this_process() <= before
    with pytest.raises(InvalidInput, match="ended by a newer one, by load_state_dict or by close"):
        next(iteration)
    with pytest.raises(InvalidInput, match="this loader is closed; open another"):
        next(iter(loader))


def threads_of_this_process() -> int:
    gc.collect()
    return len(list(Path("/proc/self/task").iterdir()))
