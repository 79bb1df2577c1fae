"""Tests of i3d_train.train."""

import json
import logging
from dataclasses import replace

import pytest

from i3d_train import checkpoint
from i3d_train.events import Saved, Scored, Started, StepDone, Validated
from i3d_train.train import train
from preprocess.errors import EnvironmentProblem, InvalidInput


class StopAfter:
    """Asks a run to stop after so many of its own steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left == 0


def losses(folder) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if "loss" in record]


def test_i3d_learns_to_tell_dark_from_light(config):
    summary = train(replace(config, model="i3d", steps=16, lr=0.01, validate_every=0, checkpoint_every=100))
    assert summary.last_loss < 0.5 * summary.first_loss


def test_run_leaves_its_files(config):
    summary = train(config)
    names = ["checkpoint-3.pt", "checkpoint-6.pt", "config.json", "loss.png", "metrics.jsonl"]
    assert [path.name for path in summary.files] == names


def test_config_is_written(config):
    train(config)
    assert json.loads((config.out / "config.json").read_text()) == config.to_json()


def test_every_step_is_recorded(config):
    train(config)
    records = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]) == {"step", "loss", "lr", "gradient_norm", "clips_per_s", "wait_share"}


@pytest.mark.parametrize(("every", "steps"), [(4, [4, 6]), (0, [6]), (None, [2, 4, 6])])
def test_validation_comes_at_intervals_and_at_the_end(every, steps, config):
    seen = []
    train(replace(config, validate_every=every), observe=seen.append)
    assert [event.step for event in seen if isinstance(event, Validated)] == steps


def test_summary_is_of_the_whole_run(config):
    summary = train(config)
    found = losses(config.out)
    assert summary.first_loss == pytest.approx(sum(found[:3]) / 3)
    assert summary.last_loss == pytest.approx(sum(found[3:]) / 3)
    assert (summary.step, summary.finished, summary.validation.clips) == (6, True, 3)
    assert summary.clips_per_s > 0
    assert 0 <= summary.wait_share <= 1


def test_observer_is_told_everything_in_order(config):
    seen = []
    train(replace(config, steps=2, validate_every=2), observe=seen.append)
    kinds = [type(event) for event in seen]
    assert kinds == [Started, StepDone, StepDone, Scored, Validated, Saved]


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_resumed_run_equals_an_uninterrupted_one(stop, config, tmp_path):
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    stopped = train(config, should_stop=StopAfter(stop))
    resumed = train(replace(config, resume=True))
    assert (stopped.step, stopped.finished, resumed.finished) == (stop, False, True)
    assert losses(config.out) == losses(whole.out)
    ends = [checkpoint.load(checkpoint.checkpoint_path(folder, 6)) for folder in (config.out, whole.out)]
    assert all((ends[0].model[name] == ends[1].model[name]).all() for name in ends[0].model)


def test_resumed_run_equals_an_uninterrupted_one_with_dali(config, tmp_path):
    pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    whole = replace(config, out=tmp_path / "whole", loader="dali")
    train(whole)
    train(replace(config, loader="dali"), should_stop=StopAfter(3))
    train(replace(config, loader="dali", resume=True))
    assert losses(config.out) == losses(whole.out)


def test_killed_run_resumes_from_its_last_checkpoint(config, tmp_path):
    whole = replace(config, out=tmp_path / "whole")
    train(whole)

    def die_after_five(event) -> None:
        if isinstance(event, StepDone) and event.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, observe=die_after_five)
    seen = []
    train(replace(config, resume=True), observe=seen.append)
    assert next(event.step for event in seen if isinstance(event, Started)) == 3
    assert losses(config.out) == losses(whole.out)


def test_resuming_where_nothing_is_starts(config, caplog):
    with caplog.at_level(logging.INFO):
        assert train(replace(config, resume=True)).finished
    assert "has no checkpoint: starting from the beginning" in caplog.text


def test_resuming_a_finished_run_does_nothing(config, caplog):
    train(config)
    seen = []
    with caplog.at_level(logging.WARNING):
        summary = train(replace(config, resume=True), observe=seen.append)
    assert seen == []
    assert summary.finished
    assert "is finished, at step 6 of 6" in caplog.text


def test_changes_on_resuming_are_told(config, caplog):
    train(config, should_stop=StopAfter(2))
    with caplog.at_level(logging.WARNING):
        train(replace(config, resume=True, lr=0.05))
    assert "resuming with lr 0.05; the run had 0.1 so far" in caplog.text


def test_other_clips_on_resuming_fails(config):
    train(config, should_stop=StopAfter(2))
    with pytest.raises(InvalidInput, match=r"crop is 32 there and 16 here"):
        train(replace(config, resume=True, crop=16))


def test_folder_with_a_run_is_not_overwritten_fails(config):
    train(config)
    with pytest.raises(InvalidInput, match=r"holds the checkpoints of a run; add --resume"):
        train(config)


def test_folder_that_cannot_be_fails(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*file/run/config\.json"):
        train(replace(config, out=tmp_path / "file" / "run"))
