"""Tests of i3d_train.validation."""

import itertools
import logging
import re
from dataclasses import replace

import pytest
import torch

from i3d_train.config import TrainConfig
from i3d_train.data import open_batches
from i3d_train.events import ignore
from i3d_train.models.sampling import Sampling
from i3d_train.process_group import ALONE, ProcessGroup
from i3d_train.scoring import ClassScore, Scores
from i3d_train.validation import Validation, open_validation
from preprocess.errors import BadShard, InvalidInput
from tests.i3d_train.small_shards import TinyNetwork, noisy_clips, opened, write_set

CPU = torch.device("cpu")


@pytest.fixture
def data(config) -> TrainConfig:
    return replace(config, batch_size=2)


def network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork(num_classes=2, stream="rgb")


def validation(data: TrainConfig, *, precision: str = "fp32", group: ProcessGroup = ALONE, precise_bn: int = 0):
    clips, train = (opened(data, split) for split in ("val", "train"))
    config = replace(data, precise_bn=precise_bn)
    return Validation(config, clips, train=train, device=CPU, precision=precision, group=group)


def test_processes_share_the_clips(data, monkeypatch):
    whole = validation(data).run(network(), step=1, observe=ignore)
    parts: list[Scores] = []
    monkeypatch.setattr(ProcessGroup, "gather", lambda self, value: parts.append(value) or [value])
    for rank in (0, 1):
        group = ProcessGroup(rank=rank, size=2)
        validation(data, group=group).run(network(), step=1, observe=ignore)
    together = sum(parts, start=Scores())
    assert [part.clips for part in parts] == [2, 1]
    assert (together.clips, together.top1) == (whole.clips, whole.top1)
    assert together.loss == pytest.approx(whole.loss)


def test_scores_add_up():
    left = Scores(unlabelled=1, loss_sum=1.5, classes={0: ClassScore(clips=3, top1=1, top5=2)})
    right = Scores(loss_sum=0.5, classes={0: ClassScore(clips=1, top1=1, top5=1), 1: ClassScore(clips=1, top5=1)})
    scores = left + right
    assert (scores.clips, scores.unlabelled, scores.loss_sum) == (5, 1, 2.0)
    assert scores.classes == {0: ClassScore(clips=4, top1=2, top5=3), 1: ClassScore(clips=1, top5=1)}


def test_progress_is_told_up_to_all_clips(data):
    seen = []
    validation(data).run(network(), step=1, observe=seen.append)
    assert [(event.done, event.total) for event in seen] == [(2, 3), (3, 3)]


def test_asked_to_stop_it_ends_without_scores(data):
    seen = []
    scoring = validation(data)
    model = network().train()
    assert scoring.run(model, step=1, observe=seen.append, should_stop=lambda: True) is None
    assert len(seen) == 1
    assert model.training


def test_split_of_which_no_clip_can_be_read_fails(data, tmp_path):
    folder = write_set(tmp_path, {split: noisy_clips(split, [0, 1]) for split in ("train", "val")})
    (shard,) = folder.glob("val*.h5")
    # no JPEG begins as one
    shard.write_bytes(shard.read_bytes().replace(b"\xff\xd8\xff", b"\xff\xd8\0"))
    data = replace(data, shards=folder, on_bad_shard="skip")
    scoring = validation(data)
    with pytest.raises(BadShard, match=r"no labelled clip of the val split can be read: 2 windows of .* skipped"):
        scoring.run(network(), step=1, observe=ignore)


def test_measured_batch_norm_is_always_of_the_same_batches(data):
    scoring = validation(data, precise_bn=3)
    first, second = network(), network()
    scoring.run(first, step=1, observe=ignore)
    scoring.run(second, step=2, observe=ignore)
    assert torch.equal(first.bn.running_mean, second.bn.running_mean)
    assert not torch.equal(first.bn.running_mean, network().bn.running_mean)


def test_measured_batch_norm_is_of_what_the_network_sees_of_clips_that_are_not_those_of_the_first_steps(data):
    model = network().train()
    model.sampling = Sampling(rgb_stride=3)
    state = torch.get_rng_state()
    validation(data, precise_bn=3).run(model, step=1, observe=ignore)
    # nothing was dropped, so that a run draws the same numbers with and without
    assert torch.equal(torch.get_rng_state(), state)
    loader = open_batches(data, opened(data, "train"), training=True, device=CPU, seed=data.seed + 1)
    seen = torch.cat([model.conv(batch["rgb"][:, :, ::3]) for batch in itertools.islice(loader, 3)]).detach().double()
    torch.testing.assert_close(model.bn.running_mean.double(), seen.mean((0, 2, 3, 4)), rtol=1e-5, atol=1e-6)
    expected = seen.var((0, 2, 3, 4), correction=0)
    torch.testing.assert_close(model.bn.running_var.double(), expected, rtol=1e-5, atol=1e-6)


def test_batch_norm_is_measured_in_the_precision_of_the_network(data):
    model, kinds = network(), set()
    model.bn.register_forward_pre_hook(lambda _, x: kinds.add(x[0].dtype))
    validation(data, precision="bf16", precise_bn=1).run(model, step=1, observe=ignore)
    assert kinds == {torch.bfloat16}


def test_measuring_stops_when_asked_to(data):
    model, asked, seen = network(), iter([False, True]), []
    model.register_forward_pre_hook(lambda *_: seen.append(1))
    scoring = validation(data, precise_bn=9)
    # and the first batch that is scored is the last
    assert scoring.run(model, step=1, observe=ignore, should_stop=lambda: next(asked, True)) is None
    assert len(seen) == 2


def test_measuring_may_go_round_the_clips(data):
    scoring = validation(data, precise_bn=9)
    assert scoring.run(network(), step=1, observe=ignore).clips == 3


def test_mode_is_as_before(data):
    model = network().train()
    validation(data, precise_bn=1).run(model, step=1, observe=ignore)
    assert model.training
    assert model.bn.training


NOTHING_TO_SCORE = pytest.mark.parametrize(
    ("splits", "lacks"),
    [
        ({"train": [0, 1]}, r"shards has no clips in split 'val'; it has train"),
        ({"train": [0, 1], "val": [-1]}, r"no clip of the val split in .*shards has a label"),
    ],
)


def validation_of(config) -> Validation | None:
    return open_validation(config, train=opened(config, "train"), device=CPU, precision="fp32", group=ALONE)


def test_validation_of_a_run_is_in_parts_as_its_steps_are(config):
    seen = []
    scoring = validation_of(replace(config, accumulate=2))
    scoring.run(network(), step=1, observe=seen.append)
    assert [event.done for event in seen] == [2, 3]


def test_clips_too_small_to_validate_on_fails(config):
    with pytest.raises(InvalidInput, match=r"crop 41 is larger than the short side of the shards, 40 pixels"):
        validation_of(replace(config, crop=41))


@NOTHING_TO_SCORE
def test_nothing_to_validate_on_is_told(splits, lacks, config, tmp_path, caplog):
    clips = {split: noisy_clips(split, labels) for split, labels in splits.items()}
    with caplog.at_level(logging.WARNING):
        assert validation_of(replace(config, shards=write_set(tmp_path / "shards", clips))) is None
    assert re.search(f"{lacks}: no validation", caplog.text)


@NOTHING_TO_SCORE
def test_schedule_that_follows_a_validation_needs_one_fails(splits, lacks, config, tmp_path):
    clips = {split: noisy_clips(split, labels) for split, labels in splits.items()}
    config = replace(config, shards=write_set(tmp_path / "shards", clips), schedule="plateau")
    with pytest.raises(InvalidInput, match=rf"schedule plateau follows the validation loss and .*{lacks}; use"):
        validation_of(config)
