"""Tests of i3d_train.train."""

import json
import logging
from dataclasses import replace

import pytest

from i3d_train import checkpoint
from i3d_train.errors import TrainingDiverged
from i3d_train.events import RateDropped, Saved, Scored, Started, StepDone, Validated
from i3d_train.train import train
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.paths import exclusive
from tests.i3d_train.small_shards import SIDE


class StopAfter:
    """Asks a run to stop after a step, or with `within` when the validation after it has begun."""

    def __init__(self, step: int, *, within: bool = False) -> None:
        self.step = step
        self.kind = Scored if within else StepDone
        self.last = 0
        self.asked = False

    def observe(self, event) -> None:
        self.last = event.step if isinstance(event, StepDone) else self.last
        self.asked = self.asked or (isinstance(event, self.kind) and self.last == self.step)

    def __call__(self) -> bool:
        return self.asked


def stopped_after(config, step: int, *, within: bool = False):
    stop = StopAfter(step, within=within)
    return train(config, observe=stop.observe, should_stop=stop)


def losses(folder) -> list[float]:
    return [record["loss"] for record in numbers(folder) if "loss" in record]


def numbers(folder) -> list[dict[str, float]]:
    """All that a run wrote down, but for how fast it was."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speed = {"clips_per_s", "wait_share", "memory_bytes"}
    return [{name: value for name, value in record.items() if name not in speed} for record in records]


def test_i3d_learns_to_tell_dark_from_light(config):
    # all clips in each step and no dropout: with less, rounding decides on what so short a run comes to
    changes = {"batch_size": 8, "dropout": 0.0, "momentum": 0.5, "lr": 0.02, "steps": 8}
    summary = train(replace(config, model="i3d", width=0.25, validate_every=0, checkpoint_every=100, **changes))
    assert summary.last_loss < 0.5 * summary.first_loss


def test_run_leaves_its_files(config):
    summary = train(config)
    names = ["best.pt", "checkpoint-3.pt", "checkpoint-6.pt", "config.json", "loss.png", "metrics.jsonl"]
    assert [path.name for path in summary.files] == names


def test_config_is_written(config):
    train(config)
    assert json.loads((config.out / "config.json").read_text()) == config.to_json() | {"short_side": SIDE, "fps": "25"}


def test_every_step_is_recorded(config):
    train(config)
    records = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    steps = [record for record in records if "loss" in record]
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5, 6]
    assert set(steps[0]) == {"step", "loss", "lr", "gradient_norm", "clips_per_s", "wait_share", "memory_bytes"}


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


def test_summary_of_a_run_whose_records_are_gone_has_no_losses(config):
    train(replace(config, steps=2, validate_every=2))
    (config.out / "metrics.jsonl").unlink()
    summary = train(replace(config, steps=2, validate_every=2, resume=True))
    assert (summary.first_loss, summary.last_loss, summary.step) == (None, None, 2)


def test_observer_is_told_everything_in_order(config):
    seen = []
    train(replace(config, steps=2, validate_every=2), observe=seen.append)
    kinds = [type(event) for event in seen]
    # the first validation is the best so far
    assert kinds == [Started, StepDone, StepDone, Scored, Validated, Saved, Saved]
    # 8 kernels of 3 x 27, scale and offset of each, and 2 classes of 8 features and a bias
    assert (seen[0].parameters, seen[0].clips, seen[0].clips_per_step) == (648 + 16 + 18, 8, 4)


EVERYTHING = {
    "accumulate": 2,
    "ema": 0.9,
    "schedule": "plateau",
    "patience": 1,
    "warmup": 0.2,
    "label_smoothing": 0.1,
    "clip_norm": 1.0,
    "precise_bn": 3,
}
"""All that has a state of its own between steps."""


@pytest.mark.parametrize(
    ("stop", "changes"),
    [*((stop, {}) for stop in (1, 2, 3, 6)), *((stop, EVERYTHING) for stop in (2, 3))],
    ids=lambda value: value if isinstance(value, int) else ("everything" if value else "defaults"),
)
def test_resumed_run_equals_an_uninterrupted_one(stop, changes, config, tmp_path):
    config = replace(config, **changes)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    stopped = stopped_after(config, stop)
    resumed = train(replace(config, resume=True))
    assert (stopped.step, stopped.finished, resumed.finished) == (stop, False, True)
    assert numbers(config.out) == numbers(whole.out)
    ends = [checkpoint.load(checkpoint.checkpoint_path(folder, 6)) for folder in (config.out, whole.out)]
    assert all((ends[0].weights[name] == ends[1].weights[name]).all() for name in ends[0].weights)


@pytest.mark.parametrize("step", [2, 4, 6])
def test_run_that_is_stopped_within_a_validation_makes_up_for_it(step, config, tmp_path, caplog):
    config = replace(config, schedule="plateau", patience=1, ema=0.9)
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    stopped = stopped_after(config, step, within=True)
    assert (stopped.step, stopped.finished) == (step, False)
    assert (stopped.validation.step if stopped.validation else 0) == step - 2
    with caplog.at_level(logging.WARNING):
        assert train(replace(config, resume=True)).finished
    assert "nothing to do" not in caplog.text
    assert numbers(config.out) == numbers(whole.out)
    seen = []
    described = (config.out / "config.json").read_text()
    train(replace(config, resume=True, steps=1), observe=seen.append)
    assert seen == []
    # of the steps that it had, not of those that it was given in vain
    assert (config.out / "config.json").read_text() == described


def test_plateau_divides_the_rate_and_says_so(config):
    # at a rate this small the loss hardly moves
    flat = replace(config, schedule="plateau", patience=1, lr=1e-9, validate_every=1)
    seen = []
    train(flat, observe=seen.append)
    drops = [event for event in seen if isinstance(event, RateDropped)]
    rates = {event.step: event.lr for event in seen if isinstance(event, StepDone)}
    assert [(drop.step, drop.lr) for drop in drops[:2]] == [(2, pytest.approx(1e-10)), (3, pytest.approx(1e-11))]
    assert rates[3] == pytest.approx(1e-10)


def test_best_checkpoint_has_the_highest_accuracy(config):
    summary = train(replace(config, validate_every=1, keep=1))
    records = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    found = {record["step"]: record["val_top1"] for record in records if "val_top1" in record}
    first_best = min(step for step, top1 in found.items() if top1 == max(found.values()))
    best = checkpoint.load(config.out / "best.pt")
    assert (best.step, best.best_top1, summary.best_top1) == (first_best, max(found.values()), max(found.values()))
    assert checkpoint.saved_steps(config.out) == [6]


def test_torn_newest_checkpoint_falls_back_and_comes_to_the_same_end(config, tmp_path, caplog):
    whole = replace(config, out=tmp_path / "whole")
    train(whole)
    stopped_after(replace(config, checkpoint_every=2), 5)
    newest = checkpoint.checkpoint_path(config.out, 5)
    newest.write_bytes(newest.read_bytes()[:1000])
    with caplog.at_level(logging.WARNING):
        train(replace(config, resume=True))
    assert "checkpoint-5.pt cannot be read" in caplog.text
    assert numbers(config.out) == numbers(whole.out)


def test_diverged_run_leaves_its_last_checkpoint(config):
    steps_before = replace(config, checkpoint_every=1)
    stopped_after(steps_before, 3)
    with pytest.raises(TrainingDiverged, match=r"step \d: loss (nan|inf), .* learning rate 1e\+30; .* Clips: train"):
        train(replace(steps_before, resume=True, lr=1e30))
    latest = checkpoint.newest(config.out)
    assert all(tensor.isfinite().all() for tensor in checkpoint.load(config.out / "best.pt").model.values())
    assert latest.step >= 3


def test_second_run_in_a_folder_fails(config):
    config.out.mkdir(parents=True)
    with (
        exclusive(config.out),
        pytest.raises(EnvironmentProblem, match=r"run is in use by process \d+ on .*; wait for it or choose another"),
    ):
        train(config)


def test_networks_of_both_streams_are_trained_and_validated(config):
    summary = train(replace(config, model="two_stream", stream="both", width=0.1, frames=10, steps=1))
    assert summary.finished
    assert summary.validation.clips == 3


def test_resumed_run_equals_an_uninterrupted_one_with_dali(config, tmp_path):
    pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    whole = replace(config, out=tmp_path / "whole", loader="dali")
    train(whole)
    stopped_after(replace(config, loader="dali"), 3)
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
    stopped_after(config, 2)
    with caplog.at_level(logging.WARNING):
        train(replace(config, resume=True, lr=0.05))
    told = [record.getMessage() for record in caplog.records if "resuming" in record.getMessage()]
    assert told == ["resuming with lr 0.05; the run had 0.1 so far"]


def test_other_clips_on_resuming_fails(config):
    stopped_after(config, 2)
    with pytest.raises(InvalidInput, match=r"crop is 32 there and 16 here"):
        train(replace(config, resume=True, crop=16))


def test_folder_with_a_run_is_not_overwritten_fails(config):
    train(config)
    with pytest.raises(InvalidInput, match=r"holds the checkpoints of a run; add --resume"):
        train(config)


def test_folder_that_cannot_be_fails(config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"cannot make the folder .*file/run"):
        train(replace(config, out=tmp_path / "file" / "run"))
