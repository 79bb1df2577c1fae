"""Tests of i3d_train.evaluate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from i3d_train import checkpoint
from i3d_train.evaluate import EvaluateConfig, evaluate
from i3d_train.events import Scored
from i3d_train.train import train
from i3d_train.trainer import Trainer
from preprocess.errors import InvalidInput
from tests.i3d_train.small_shards import noisy_clips, small_run, write_set


@pytest.fixture(scope="module")
def trained(shards, tiny, tmp_path_factory) -> Path:
    """A checkpoint that tells dark from light."""
    out = tmp_path_factory.mktemp("run")
    train(replace(small_run(shards, out, model=tiny), steps=40, lr=0.3, validate_every=0))
    return out / "checkpoint-40.pt"


@pytest.fixture
def evaluation(shards, trained) -> EvaluateConfig:
    return EvaluateConfig(
        shards=shards, weights=trained, frames=9, crop=32, batch_size=2, device="cpu", loader="torch", threads=1
    )


def test_trained_network_knows_the_val_split(evaluation):
    found = evaluate(evaluation)
    assert (found.clips, found.unlabelled, found.top1, found.top5) == (3, 0, 1.0, 1.0)
    assert found.loss < 0.3


def test_classes_are_named(evaluation):
    found = evaluate(evaluation)
    assert {name: (score.clips, score.top1) for name, score in found.classes.items()} == {
        "dark": (2, 2),
        "light": (1, 1),
    }


def test_labels_are_matched_by_name_not_by_number(evaluation, tmp_path):
    relabelled = [replace(clip, label=2 - 2 * clip.label) for clip in noisy_clips("val", [0, 1, 0])]
    swapped = write_set(tmp_path / "swapped", {"val": relabelled}, labels=("light", "unused", "dark"))
    assert evaluate(replace(evaluation, shards=swapped)).top1 == 1.0


def test_unlabelled_clips_are_predicted_and_not_scored(evaluation, tmp_path):
    folder = write_set(tmp_path / "some", {"val": noisy_clips("val", [0, -1, 1])})
    found = evaluate(replace(evaluation, shards=folder, predictions=tmp_path / "answers.jsonl"))
    records = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert (found.clips, found.unlabelled) == (2, 1)
    assert [record["label"] for record in records] == ["dark", None, "light"]


def test_predictions_are_written(evaluation, tmp_path):
    evaluate(replace(evaluation, predictions=tmp_path / "answers.jsonl"))
    records = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [record["key"] for record in records] == ["val0", "val1", "val2"]
    assert [record["top"][0][0] for record in records] == ["dark", "light", "dark"]
    assert records[0]["top"][0][2] == pytest.approx(max(records[0]["logits"]), abs=1e-4)


def test_progress_is_told(evaluation):
    seen = []
    evaluate(evaluation, observe=seen.append)
    assert seen == [Scored(done=2, total=3), Scored(done=3, total=3)]


def test_class_unknown_to_the_weights_fails(evaluation, tmp_path):
    folder = write_set(tmp_path / "cats", {"val": noisy_clips("val", [0, 1])}, labels=("dark", "cat"))
    with pytest.raises(InvalidInput, match=r"the weights know no class 'cat' \(1 in all\), but 2 such as 'dark'"):
        evaluate(replace(evaluation, shards=folder))


def test_unexpected_stream_fails(evaluation):
    with pytest.raises(InvalidInput, match=r"holds weights for rgb, not flow"):
        evaluate(replace(evaluation, stream="flow"))


def test_missing_split_fails(evaluation):
    with pytest.raises(InvalidInput, match=r"no clips in split 'test'"):
        evaluate(replace(evaluation, split="test"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "dev"}, r"split 'dev' is unknown; use one of train, val, test"),
        ({"loader": "x"}, r"loader 'x' is unknown"),
        ({"frames": 0}, r"frames must be at least 1, got 0"),
    ],
)
def test_impossible_value_fails(changes, message, evaluation):
    with pytest.raises(InvalidInput, match=message):
        replace(evaluation, **changes)


def test_weights_without_names_take_them_from_a_file(config, evaluation, tmp_path):
    nameless = replace(Trainer(config).checkpoint(), labels=())
    path = checkpoint.save(tmp_path, nameless, keep=1)
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    found = evaluate(replace(evaluation, weights=path, labels=tmp_path / "labels.txt"))
    assert list(found.classes) == ["dark", "light"]
