"""What the plan promises, for any number of clips, ranks and seeds."""

import numpy as np
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from pipelines.feed_config import FeedConfig
from pipelines.sampling import Sampler, Share
from preprocess.errors import InvalidInput
from preprocess.shards import ClipTable
from preprocess.shards.layout import COLUMNS

CROP, FRAMES = 24, 6


def table(rng: np.random.Generator, clips: int) -> ClipTable:
    columns = {name: np.zeros(clips, "S8" if kind == "S" else kind) for name, kind in COLUMNS.items()}
    columns["key"] = np.array([f"clip{n:04d}".encode() for n in range(clips)])
    columns["label"][:] = rng.integers(-1, 4, clips)
    columns["rgb_count"][:] = rng.integers(2, 20, clips)
    columns["flow_count"][:] = columns["rgb_count"] - 1
    columns["height"][:] = rng.integers(CROP, 40, clips)
    columns["width"][:] = rng.integers(CROP, 40, clips)
    return ClipTable(**columns)


def plans_of(sampler: Sampler, epoch: int) -> list:
    return [plan for number in range(len(sampler)) for plan in sampler.batch(epoch, number)]


@st.composite
def feeds(draw, *, training: bool):
    """Clips, a configuration of one rank, and the number of ranks it is split into."""
    ranks, batch_size = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    least = ranks * batch_size if training else 1
    clips = table(np.random.default_rng(draw(st.integers(0, 1000))), draw(st.integers(least, 80)))
    options = {"frames": FRAMES, "crop": CROP, "seed": draw(st.integers(0, 2**40)), "training": training}
    options["streams"] = draw(st.sampled_from([("rgb",), ("flow",), ("rgb", "flow")]))
    if training:
        options["shuffle_shards"] = draw(st.none() | st.integers(1, 9))
    else:
        options |= {"windows": draw(st.integers(1, 4)), "crops": draw(st.sampled_from([1, 3]))}
        batch_size *= options["crops"]
    return clips, options, ranks, batch_size


def team_of(clips, options, ranks, batch_size):
    shard = np.arange(len(clips)) // 7
    return [
        Sampler(clips, FeedConfig(**options, batch_size=batch_size, num_shards=ranks, shard_id=rank), shard=shard)
        for rank in range(ranks)
    ]


@settings(max_examples=60, deadline=None)
@given(feeds(training=True), st.integers(0, 3))
def test_training_reads_each_clip_at_most_once_and_all_but_the_tail(feed, epoch):
    clips, _, ranks, batch_size = feed
    team = team_of(*feed)
    read = [plan.clip for one in team for plan in plans_of(one, epoch)]
    step = ranks * batch_size
    assert len(set(read)) == len(read) == len(clips) // step * step
    assert len({len(one) for one in team}) == 1
    assert all(len(one.batch(epoch, n)) == batch_size for one in team for n in range(len(one)))


@settings(max_examples=60, deadline=None)
@given(feeds(training=False))
def test_evaluation_reads_each_view_of_each_clip_once(feed):
    clips, options, _, batch_size = feed
    team = team_of(*feed)
    views = [(plan.clip, view) for one in team for plan in plans_of(one, 0) for view in plan.views]
    of_a_clip = options["windows"] * options["crops"]
    assert sorted(views) == [(clip, view) for clip in range(len(clips)) for view in range(of_a_clip)]
    for one in team:
        mine = [plan.clip for plan in plans_of(one, 0)]
        assert mine == sorted(mine)  # the views of a clip follow one another
        sizes = [sum(len(plan.corners) for plan in one.batch(0, n)) for n in range(len(one))]
        assert all(size == batch_size for size in sizes[:-1])
        assert all(0 < size <= batch_size for size in sizes[-1:])
    assert max(map(len, team)) == len(team[0]) == team[0].most_batches


@settings(max_examples=60, deadline=None)
@given(feeds(training=True), st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_a_position_looks_the_same_whoever_reads_it(feed, other_ranks, other_size, epoch):
    clips, options, ranks, batch_size = feed
    if other_ranks * other_size > len(clips):
        return
    seen = {}
    for split in ((ranks, batch_size), (other_ranks, other_size)):
        for one in team_of(clips, options, *split):
            for plan in plans_of(one, epoch):
                assert seen.setdefault(plan.position, plan) == plan


@settings(max_examples=60, deadline=None)
@given(feeds(training=True), st.integers(0, 3))
def test_windows_and_crops_lie_within_the_clip(feed, epoch):
    clips = feed[0]
    for one in team_of(*feed):
        length = clips.rgb_count if one.config.streams == ("rgb",) else clips.flow_count
        for plan in plans_of(one, epoch):
            assert len(plan.frames) == FRAMES
            assert [plan.decoded[t % len(plan.decoded)] for t in range(FRAMES)] == list(plan.frames)
            assert len(set(plan.decoded)) == len(plan.decoded) == min(FRAMES, length[plan.clip])
            assert max(plan.frames) < length[plan.clip]
            ((top, left),) = plan.corners
            assert 0 <= top <= clips.height[plan.clip] - CROP
            assert 0 <= left <= clips.width[plan.clip] - CROP


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.3, 3)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 100),
    st.integers(1, 3),
)
def test_mixtures_and_balance_go_through_all_clips_evenly(parts, balanced, seed, ranks):
    clips = table(np.random.default_rng(seed), sum(count for count, _ in parts) + 20)
    parts = [*parts, (20, 1.0)]
    clips.label[:] = np.abs(clips.label)
    shares = [Share(name=f"part {n}", clips=count, weight=weight) for n, (count, weight) in enumerate(parts)]
    config = FeedConfig(frames=FRAMES, crop=CROP, batch_size=1, seed=seed, balanced=balanced)
    try:
        one = Sampler(clips, config, shares=shares)
    except InvalidInput as error:
        # a weight so small that nothing of its part or class would ever be drawn
        if "is none of an epoch's" not in str(error):
            raise
        reject()
    orders = [one.order(epoch) for epoch in range(6)]
    assert {len(order) for order in orders} == {len(clips)}
    part = np.repeat(np.arange(len(parts)), [count for count, _ in parts])
    group = part * 10 + (clips.label if balanced else 0)
    drawn = np.bincount(np.concatenate(orders), minlength=len(clips))
    in_epoch = [np.bincount(part[order], minlength=len(parts)) for order in orders]
    for number in set(group.tolist()):
        assert np.ptp(drawn[group == number]) <= 1
    assert all((found == in_epoch[0]).all() for found in in_epoch)
    total = sum(weight for _, weight in parts)
    classes = len(set(group.tolist()))
    for number, (_, weight) in enumerate(parts):
        # each class of a part is rounded by less than one
        assert abs(in_epoch[0][number] - weight / total * len(clips)) <= (classes if balanced else 1)
