"""Tests of i3d_train.evaluate."""

import json
import os
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from i3d_train import checkpoint, weights
from i3d_train.clip_logits import ClipLogits
from i3d_train.convert import convert
from i3d_train.evaluate import EvaluateConfig, evaluate
from i3d_train.events import Scored
from i3d_train.results import Trial, read_results
from i3d_train.train import train
from i3d_train.trainer import Trainer
from pipelines import open_loader
from preprocess.errors import EnvironmentProblem, InvalidInput
from tests.i3d_train.released_files import write_checkpoint
from tests.i3d_train.small_shards import FRAMES, LABELS, noisy_clips, small_run, write_set
from tests.i3d_train.small_weights import small_network, write_small


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


def test_clips_unlike_those_of_training_are_told(evaluation, tmp_path, caplog):
    slow = write_set(tmp_path / "slow", {"val": noisy_clips("val", [0, 1])}, fps=Fraction(15))
    for shards in (evaluation.shards, slow):
        evaluate(replace(evaluation, shards=shards))
    told = [record.message for record in caplog.records if "the weights are for" in record.message]
    assert told == ["the weights are for videos of fps 25, these shards have 15"]


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


def test_predictions_name_the_five_best_of_many_classes(evaluation, tmp_path):
    names = ("one", "dark", "two", "light", "three", "four", "zw\u00f6lf")
    path = write_small(tmp_path / "w.safetensors", small_network("i3d", stream="rgb", num_classes=7), model="i3d")
    (tmp_path / "labels.txt").write_text("\n".join(names), encoding="utf-8")
    config = replace(evaluation, weights=path, labels=tmp_path / "labels.txt", out=tmp_path, predictions=tmp_path / "a")
    evaluate(config)
    found = ClipLogits.read(tmp_path / "logits.npz")
    records = [json.loads(line) for line in (tmp_path / "a").read_text(encoding="utf-8").splitlines()]
    assert (found.classes, found.labels.tolist()) == (names, [1, 3, 1])
    assert [record["label"] for record in records] == ["dark", "light", "dark"]
    for record, logits in zip(records, found.logits.astype(float), strict=True):
        best = np.argsort(-logits)[:5]
        probabilities = np.exp(logits) / np.exp(logits).sum()
        assert [name for name, _, _ in record["top"]] == [names[k] for k in best]
        assert [share for _, share, _ in record["top"]] == pytest.approx(probabilities[best], abs=1e-6)
        assert [value for _, _, value in record["top"]] == pytest.approx(logits[best], abs=6e-5)
        assert record["logits"] == pytest.approx(logits, abs=6e-5)


def test_no_more_wrong_clips_are_named_than_asked_for(evaluation, tmp_path):
    wrong = [replace(clip, label=1 - clip.label) for clip in noisy_clips("val", [0, 1, 0])]
    folder = write_set(tmp_path / "wrong", {"val": wrong})
    found = [evaluate(replace(evaluation, shards=folder, most_wrong=count)) for count in (0, 2)]
    assert [(one.top1, len(one.most_wrong)) for one in found] == [(0, 0), (0, 2)]


def test_data_set_is_that_of_the_labels_unless_it_is_given(evaluation, tmp_path):
    names = ("Archery", "Biking")
    network = small_network("i3d", stream="rgb")
    path = write_small(tmp_path / "w.safetensors", network, model="i3d", labels=names)
    folder = write_set(tmp_path / "mine", {"val": noisy_clips("val", [0, 1])}, labels=names)
    config = replace(evaluation, shards=folder, weights=path)
    found = [evaluate(replace(config, dataset=dataset)).tested.dataset for dataset in (None, "own")]
    assert found == ["ucf101", "own"]


@pytest.mark.parametrize(("crops", "done"), [(1, [4, 8]), (3, [2, 4, 6, 8])])
def test_batches_are_of_four_views_or_two_clips_of_three_crops(crops, done, evaluation):
    seen = []
    evaluate(replace(evaluation, split="train", crops=crops, batch_size=None), observe=seen.append)
    assert seen == [Scored(done=clips, total=8) for clips in done]


def test_results_and_logits_are_written(evaluation, tmp_path):
    found = evaluate(replace(evaluation, out=tmp_path / "out"))
    logits = ClipLogits.read(tmp_path / "out" / "logits.npz")
    assert read_results(tmp_path / "out") == [found]
    assert (logits.keys, logits.classes, logits.labels.tolist()) == (("val0", "val1", "val2"), LABELS, [0, 1, 0])
    assert logits.scores().loss == pytest.approx(found.loss)


def test_results_say_what_was_tested(evaluation, shards, trained):
    assert evaluate(evaluation).tested == Trial(
        model="tiny",
        stream="rgb",
        weights=(f"{trained.parent.name}/{trained.name}",),
        dataset=shards.name,
        split="val",
        frames=9,
        crop=32,
    )


def test_results_tell_the_way_of_transfer(evaluation, tmp_path):
    network = small_network("i3d", stream="rgb")
    path = write_checkpoint(tmp_path, network, model="i3d", labels=LABELS)
    assert evaluate(replace(evaluation, weights=path)).tested.transfer == "full"


def test_names_that_are_no_utf8_are_written_all_the_same(evaluation, shards, tmp_path):
    write_small(tmp_path / "w.safetensors", small_network("i3d", stream="rgb"), model="i3d")
    weights, data = tmp_path / os.fsdecode(b"w\xff.npz"), tmp_path / os.fsdecode(b"set\xff")
    convert(tmp_path / "w.safetensors", weights)
    (tmp_path / "labels.txt").write_text("dark\nlight\n")
    shutil.copytree(shards, data)
    evaluate(replace(evaluation, weights=weights, labels=tmp_path / "labels.txt", shards=data, out=tmp_path / "out"))
    (found,) = read_results(tmp_path / "out")
    assert (found.tested.weights, found.tested.dataset) == ((f"{tmp_path.name}/w\\xff.npz",), "set\\xff")


def test_answer_for_several_views_is_the_mean_of_their_probabilities(evaluation, shards, trained, tmp_path):
    found = evaluate(replace(evaluation, windows=2, crops=3, batch_size=3, out=tmp_path / "out"))
    network = weights.restore(trained).eval()
    views = {"windows": 2, "crops": 3, "batch_size": 6, "frames": 9, "crop": 32}
    loader = open_loader(shards, backend="torch", streams=("rgb",), device="cpu", training=False, threads=1, **views)
    with torch.inference_mode():
        wanted = [network(batch["rgb"]).softmax(1).mean(0) for batch in loader]
    logits = ClipLogits.read(tmp_path / "out" / "logits.npz").logits
    assert (found.clips, found.tested.windows, found.tested.crops) == (3, 2, 3)
    assert torch.allclose(torch.from_numpy(logits).softmax(1), torch.stack(wanted), atol=1e-6)


def test_whole_clips_are_seen_from_their_first_frame_to_their_last(evaluation, tmp_path):
    evaluate(replace(evaluation, frames=None, batch_size=None, whole=True, out=tmp_path / "whole"))
    evaluate(replace(evaluation, frames=FRAMES, out=tmp_path / "window"))
    whole, window = (ClipLogits.read(tmp_path / name / "logits.npz").logits for name in ("whole", "window"))
    assert whole == pytest.approx(window, abs=1e-5)


def test_window_is_the_networks_own_where_none_is_given(evaluation):
    assert evaluate(replace(evaluation, frames=None, batch_size=1)).tested.frames == 250


def test_list_chooses_the_clips_and_tells_the_fold(evaluation, tmp_path):
    rows = ["val0,dark,test", "train1,light,test", "train2,dark,train", "gone,dark,test"]
    (tmp_path / "fold2.csv").write_text("\n".join(["key,label,split", *rows, ""]))
    found = evaluate(replace(evaluation, clips=tmp_path / "fold2.csv", split="test", predictions=tmp_path / "a.jsonl"))
    keys = {json.loads(line)["key"] for line in (tmp_path / "a.jsonl").read_text().splitlines()}
    assert keys == {"val0", "train1"}
    assert (found.clips, found.missing, found.tested.folds) == (2, 1, (2,))


def test_fold_that_is_given_counts_and_other_lists_tell_none(evaluation, tmp_path):
    folds = []
    for name, fold in (("fold2.csv", 3), ("fold4.csv", None), ("my-fold1.csv", None), ("fold1.csv", None)):
        (tmp_path / name).write_text("key,label,split\nval0,dark,test\n")
        config = replace(evaluation, clips=tmp_path / name, split="test", fold=fold)
        folds.append(evaluate(config).tested.folds)
    assert folds == [(3,), (), (), (1,)]


def test_weights_that_were_trained_on_another_fold_fail(evaluation, trained, tmp_path):
    content = torch.load(trained, weights_only=True)
    content["config"]["clips"] = "ucf101/fold1.csv"
    torch.save(content, tmp_path / "one.pt")
    (tmp_path / "fold1.csv").write_text("key,label,split\nval0,dark,val\n")
    config = replace(evaluation, weights=tmp_path / "one.pt", clips=tmp_path / "fold1.csv")
    assert evaluate(config).tested.folds == (1,)
    with pytest.raises(InvalidInput, match=r"one\.pt was trained on fold 1, where test clips of fold 2"):
        evaluate(replace(config, fold=2))


def test_clip_too_short_to_be_seen_whole_fails(evaluation, tmp_path):
    network = small_network("two_stream", stream="flow")
    path = write_small(tmp_path / "w.safetensors", network, model="two_stream")
    short = [replace(clip, rgb=clip.rgb[:5], flow=clip.flow[:4]) for clip in noisy_clips("val", [0])]
    folder = write_set(tmp_path / "short", {"val": short})
    whole = replace(evaluation, shards=folder, weights=path, frames=None, batch_size=None, whole=True)
    with pytest.raises(InvalidInput, match=r"clip val0 has 4 frames, two_stream needs 10; evaluate windows"):
        evaluate(whole)


def test_folder_that_cannot_be_made_fails_before_the_first_clip(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    seen = []
    with pytest.raises(EnvironmentProblem, match=r"cannot make the folder .*file/out"):
        evaluate(replace(evaluation, out=tmp_path / "file" / "out"), observe=seen.append)
    assert seen == []


@pytest.mark.parametrize(
    ("changes", "problem", "message"),
    [
        # a folder that is there and takes no files, not even root's
        ({"out": Path("/proc/self")}, EnvironmentProblem, r"cannot write /proc/self/results\.json: "),
        ({"predictions": Path("/proc/self/a.jsonl")}, EnvironmentProblem, r"cannot write /proc/self/a\.jsonl: "),
        ({"predictions": Path("/tmp")}, InvalidInput, r"/tmp is a folder; give the name of a file"),
    ],
)
def test_place_that_cannot_be_written_fails_before_the_first_clip(changes, problem, message, evaluation):
    seen = []
    with pytest.raises(problem, match=message):
        evaluate(replace(evaluation, **changes), observe=seen.append)
    assert seen == []


def test_writing_over_a_file_that_is_read_fails(evaluation, tmp_path):
    path = shutil.copy(evaluation.weights, tmp_path / "best.pt")
    with pytest.raises(InvalidInput, match=r"best\.pt is the file to read; write to another one"):
        evaluate(replace(evaluation, weights=path, predictions=path))


def test_split_without_labels_fails(evaluation, tmp_path):
    folder = write_set(tmp_path / "none", {"val": noisy_clips("val", [-1, -1])})
    with pytest.raises(InvalidInput, match=r"none of the 2 clips in split 'val' has a label to score against"):
        evaluate(replace(evaluation, shards=folder))


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
        ({"crops": 2}, r"crops must be 1 or 3, got 2"),
        ({"crops": 3}, r"batch_size must be a multiple of crops 3, got 2"),
        ({"fold": 4}, r"fold must be one of 1, 2, 3, got 4"),
        ({"crop": 0}, r"crop must be at least 1, got 0"),
        ({"windows": 0}, r"windows must be at least 1, got 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, got 0"),
        ({"most_wrong": -1}, r"most_wrong must be at least 0, got -1"),
        ({"whole": True, "batch_size": None}, r"whole clips differ in length"),
        ({"whole": True, "frames": None}, r"whole clips differ in length"),
        ({"whole": True, "frames": None, "batch_size": None, "windows": 2}, r"whole clips differ in length"),
        ({"whole": True}, r"whole clips differ in length, so that frames, windows and batch_size are not free"),
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
