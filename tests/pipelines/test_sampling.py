from dataclasses import replace

import numpy as np
import pytest

from pipelines.feed_config import FeedConfig
from pipelines.order import TrainingOrder, random_stream
from pipelines.sampling import Sampler, Share
from preprocess.errors import InvalidInput
from preprocess.shards import ClipTable, EncodedClip


def table(*clips: tuple[int, int, int]) -> ClipTable:
    """Clips of these frame counts, heights and widths."""
    return ClipTable.of(
        [
            EncodedClip(
                key=f"clip{n}",
                label=0,
                rgb=[b"."] * frames,
                flow=[b"."] * (frames - 1),
                height=height,
                width=width,
                time_start=0.0,
                time_end=10.0,
            )
            for n, (frames, height, width) in enumerate(clips)
        ]
    )


TWENTY = table(*((30 + n, 40, 50 + n) for n in range(20)))


def sampler(clips: ClipTable = TWENTY, **options) -> Sampler:
    return Sampler(clips, FeedConfig(**{"frames": 8, "crop": 32, "batch_size": 2, **options}))


def epoch_of(one: Sampler, epoch: int = 0) -> list:
    return [plan for number in range(len(one)) for plan in one.batch(epoch, number)]


def test_training_order_changes_with_epoch_and_seed():
    orders = [sampler(seed=seed).order(epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert sorted(orders[0]) == list(range(20))
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]


def test_a_batch_is_a_pure_function_of_its_position():
    forward, backward = sampler(), sampler()
    planned = {(epoch, n): forward.batch(epoch, n) for epoch in range(3) for n in range(10)}
    for epoch, n in reversed(planned):
        assert backward.batch(epoch, n) == planned[epoch, n]


def test_order_of_an_epoch_is_made_once(monkeypatch):
    made, make = [], TrainingOrder.__call__
    monkeypatch.setattr(TrainingOrder, "__call__", lambda self, epoch: made.append(epoch) or make(self, epoch))
    one = sampler()
    for epoch in (0, 1, 0, 1, 2):
        epoch_of(one, epoch)
    assert made == [0, 1, 2]


@pytest.mark.parametrize(("ranks", "batch_size"), [(2, 4), (4, 2), (8, 1)])
def test_ranks_share_each_step_of_one_rank(ranks, batch_size):
    alone = sampler(batch_size=8)
    team = [sampler(batch_size=batch_size, num_shards=ranks, shard_id=rank) for rank in range(ranks)]
    for number in range(len(alone)):
        step = [plan for one in team for plan in one.batch(0, number)]
        assert sorted(step, key=repr) == sorted(alone.batch(0, number), key=repr)


def test_position_p_is_read_by_rank_p_modulo_ranks():
    team = [sampler(num_shards=3, shard_id=rank) for rank in range(3)]
    for rank, one in enumerate(team):
        assert epoch_of(one) == [one.sample(0, position) for position in range(rank, 18, 3)]


@pytest.mark.parametrize(("ranks", "steps"), [(1, 10), (3, 3), (7, 1)])
def test_training_drops_the_tail_on_every_rank(ranks, steps):
    for rank in range(ranks):
        one = sampler(num_shards=ranks, shard_id=rank)
        assert len(one) == steps
        assert [len(one.batch(0, number)) for number in range(steps)] == [2] * steps


@pytest.mark.parametrize(("ranks", "batch_size"), [(1, 8), (3, 2), (7, 4), (19, 2), (23, 3)])
def test_evaluation_reads_every_clip_once(ranks, batch_size):
    team = [sampler(training=False, batch_size=batch_size, num_shards=ranks, shard_id=rank) for rank in range(ranks)]
    read = [plan.clip for one in team for plan in epoch_of(one)]
    assert sorted(read) == list(range(20))
    assert max(map(len, team)) - min(map(len, team)) <= 1


def test_evaluation_is_in_natural_order_without_flip():
    plans = epoch_of(sampler(training=False))
    assert [plan.clip for plan in plans] == list(range(20))
    assert not any(plan.flip for plan in plans)


@pytest.mark.parametrize(("streams", "last"), [(("rgb",), 21), (("flow",), 20), (("rgb", "flow"), 20)])
def test_flow_shortens_the_usable_length_by_one(streams, last):
    one = sampler(table(*[(22, 40, 40)] * 400), streams=streams)
    frames = [plan.frames for plan in epoch_of(one)]
    assert {window[-1] for window in frames} == set(range(7, last + 1))
    assert all(np.diff(window).tolist() == [1] * 7 for window in frames)


@pytest.mark.parametrize("training", [True, False])
def test_short_clips_are_looped_from_their_first_frame(training):
    one = sampler(table(*[(4, 40, 40)] * 2), training=training)
    assert all(plan.frames == (0, 1, 2, 0, 1, 2, 0, 1) for plan in epoch_of(one))


def test_evaluation_takes_the_centre():
    (plan,) = sampler(table((29, 41, 50)), training=False).batch(0, 0)
    assert (plan.frames[0], plan.frames[-1]) == (10, 17)
    assert plan.corners == ((4, 9),)


def test_training_crops_cover_the_frame_and_half_are_flipped():
    plans = epoch_of(sampler(table(*[(30, 34, 36)] * 2000)))
    assert {plan.corners[0][0] for plan in plans} == {0, 1, 2}
    assert {plan.corners[0][1] for plan in plans} == {0, 1, 2, 3, 4}
    assert 0.46 < np.mean([plan.flip for plan in plans]) < 0.54


def test_without_flip_all_else_stays_as_it_was():
    flipped, plain = (epoch_of(sampler(table(*[(30, 34, 36)] * 50), flip=flip)) for flip in (True, False))
    assert not any(plan.flip for plan in plain)
    assert [replace(plan, flip=False) for plan in flipped] == plain


def test_the_first_draw_is_not_the_order_again():
    order = random_stream(0, 0).random(4)
    assert not np.allclose(order, random_stream(0, 0, 0).random(4))


def test_windows_of_a_clip_are_spread_and_follow_one_another():
    one = sampler(table((30, 40, 50), (31, 40, 50)), training=False, windows=3, crops=3, batch_size=3)
    plans = epoch_of(one)
    assert [(plan.clip, plan.window, plan.frames[0]) for plan in plans] == [
        *((0, window, start) for window, start in enumerate((0, 10, 21))),
        *((1, window, start) for window, start in enumerate((0, 11, 22))),
    ]
    assert [view for plan in plans[:3] for view in plan.views] == list(range(9))
    assert plans[0].corners == ((4, 0), (4, 9), (4, 18))
    assert len(one) == 6


def test_all_windows_of_a_clip_are_on_one_rank():
    team = [sampler(training=False, windows=3, batch_size=4, num_shards=3, shard_id=rank) for rank in range(3)]
    clips = [[plan.clip for plan in epoch_of(one)] for one in team]
    assert [sorted(set(mine)) for mine in clips] == [list(range(rank, 20, 3)) for rank in range(3)]
    assert all(mine.count(clip) == 3 for mine in clips for clip in mine)
    assert [len(one) for one in team] == [6, 6, 5]
    assert all(one.most_batches == 6 for one in team)


def test_whole_clips_have_their_own_length():
    one = sampler(table((30, 40, 50), (9, 40, 50)), training=False, frames=None, batch_size=1)
    assert [len(plan.frames) for plan in epoch_of(one)] == [29, 8]
    assert one.longest == 29


def test_looped_frames_are_decoded_once():
    (plan,) = sampler(table((4, 40, 40)), training=False).batch(0, 0)
    assert plan.decoded == (0, 1, 2)
    assert [plan.decoded[t % 3] for t in range(8)] == list(plan.frames)
    (plan,) = sampler(table((30, 40, 40)), training=False).batch(0, 0)
    assert plan.decoded == plan.frames


def test_attempts_are_draws_of_the_same_position():
    one, other = sampler(batch_size=2), sampler(batch_size=1, num_shards=4, shard_id=3)
    draws = [one.sample(1, 5, attempt=attempt) for attempt in range(20)]
    assert draws == [other.sample(1, 5, attempt=attempt) for attempt in range(20)]
    assert len({plan.clip for plan in draws}) > 5
    assert {plan.position for plan in draws} == {5}


def test_clip_that_could_not_be_read_keeps_its_position():
    clips = replace(TWENTY, **{name: getattr(TWENTY, name).copy() for name in ("rgb_count", "flow_count", "height")})
    for name in ("rgb_count", "flow_count", "height"):
        getattr(clips, name)[7] = 0
    whole, holed = sampler(), sampler(clips)
    for expected, found in zip(epoch_of(whole), epoch_of(holed), strict=True):
        assert found == expected or (found.clip == expected.clip == 7 and found.decoded == ())


def test_balanced_epoch_has_each_class_equally_often():
    clips = replace(TWENTY, label=np.array([0] * 12 + [1] * 6 + [-1] * 2, np.int32))
    plans = epoch_of(sampler(clips, balanced=True, batch_size=1))
    assert len(plans) == 18
    assert sorted(clips.label[[plan.clip for plan in plans]].tolist()) == [0] * 9 + [1] * 9


def test_mixture_gives_each_part_its_share():
    shares = [Share(name="a", clips=15, weight=1), Share(name="b", clips=5, weight=3)]
    one = Sampler(TWENTY, FeedConfig(frames=8, crop=32, batch_size=2), shares=shares)
    clips = np.array([plan.clip for plan in epoch_of(one)])
    assert (clips < 15).sum() == 5
    assert np.bincount(clips[clips >= 15]).tolist()[15:] == [3] * 5


def test_balance_without_labels_fails():
    clips = replace(TWENTY, label=np.full(20, -1, np.int32))
    with pytest.raises(InvalidInput, match="no clip of the data set has a label to balance by"):
        sampler(clips, balanced=True)


def test_window_longer_than_a_clip_fails_if_asked():
    clips = table((30, 40, 50), (8, 40, 50), (5, 40, 50))
    with pytest.raises(InvalidInput, match=r"8 frames is longer than 2 of 3 clips, .*clip2 with 4; use frames=4 or"):
        sampler(clips, short_clips="error", batch_size=1)


@pytest.mark.parametrize("options", [{}, {"training": False, "frames": None}])
def test_window_as_long_as_the_shortest_clip_is_not_too_long(options):
    clips = table((30, 40, 50), (9, 40, 50))  # eight flow fields
    assert len(sampler(clips, short_clips="error", batch_size=1, **options)) == 2


def test_crop_larger_than_a_frame_fails():
    clips = table((30, 40, 50), (30, 24, 90))
    with pytest.raises(InvalidInput, match=r"crop 32 does not fit clip clip1 .* 24x90 .* use crop 24 or less"):
        sampler(clips)


def test_too_few_clips_for_a_step_fails():
    with pytest.raises(InvalidInput, match=r"20 clips do not fill .* batch_size=7 on num_shards=3 .*smaller batch"):
        sampler(batch_size=7, num_shards=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streams": ()}, r"streams \(\)"),
        ({"streams": ("rgb", "depth")}, "one or both of rgb, flow"),
        ({"streams": ("rgb", "rgb")}, "each once"),
        ({"frames": 0}, "frames is 0; it must be at least 1"),
        ({"crop": 0}, "crop is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"crop": None}, "crop is None"),
        ({"batch_size": 2.0}, r"batch_size is 2\.0; it must be a whole number"),
        ({"num_shards": 0}, "num_shards is 0"),
        ({"shard_id": -1}, "shard_id is -1; it must be at least 0"),
        ({"shard_id": 2, "num_shards": 2}, "shard_id is 2; with num_shards=2 use 0 to 1"),
        ({"windows": 0}, "windows is 0"),
        ({"shuffle_shards": 0}, "shuffle_shards is 0"),
        ({"frames": 10**12}, "frames is 1000000000000; it must be at most 1000000"),
        ({"windows": 10**20, "training": False}, "windows is 1.*0; it must be at most 1000000"),
        ({"short_clips": "pad"}, "short_clips is 'pad'; use one of loop, error"),
        ({"training": False, "crops": 2}, "crops is 2; use 1, the centre, or 3"),
        ({"windows": 10}, "windows=10 and crops=1 are for evaluation"),
        ({"training": False, "crops": 3, "batch_size": 8}, "batch_size is 8; with crops=3.* a multiple of 3"),
        ({"frames": None}, "use training=False, windows=1 and batch_size=1, got training=True"),
        ({"frames": None, "training": False, "batch_size": 2}, "got training=False, windows=1 and batch_size=2"),
        ({"balanced": True, "shuffle_shards": 4}, "leave out one of them"),
    ],
)
def test_config_out_of_range_fails(options, message):
    with pytest.raises(InvalidInput, match=message):
        FeedConfig(**options)
