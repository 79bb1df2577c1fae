"""Tests of i3d_train.attempts; tests/test_two_nodes.py loses a real node."""

from dataclasses import replace

import pytest

from i3d_train.attempts import WorkerLost, train_in_attempts
from i3d_train.checkpoint import checkpoint_path
from preprocess.errors import BadShard, EnvironmentProblem

LOST = "lost a worker (killed)"


class Attempts:
    """Each attempt saves the checkpoints that it is given, and then ends with an error, or the run's summary."""

    def __init__(self, *attempts):
        self._attempts = list(attempts)
        self.resumed = []
        self.waits = 0

    def __call__(self, config):
        self.resumed.append(config.resume)
        *steps, end = self._attempts.pop(0)
        config.out.mkdir(exist_ok=True)
        for step in steps:
            checkpoint_path(config.out, step).touch()
        if isinstance(end, Exception):
            raise end
        return end

    def wait(self):
        self.waits += 1
        return ""


def lost(*steps):
    return (*steps, WorkerLost(LOST))


def run(config, attempts, *, lacking=None, stopped=lambda: False):
    return train_in_attempts(config, attempt=attempts, lacking=lacking or attempts.wait, stopped=stopped)


def test_run_without_a_loss_is_one_attempt(config):
    attempts = Attempts((3, 6, "summary"))
    assert run(config, attempts) == "summary"
    assert (attempts.resumed, attempts.waits) == ([False], 0)


def test_lost_worker_costs_an_attempt_and_one_line(config, caplog):
    attempts = Attempts(lost(), lost(3), (6, "summary"))
    assert run(config, attempts) == "summary"
    assert (attempts.resumed, attempts.waits) == ([False, True, True], 2)
    assert [record.getMessage() for record in caplog.records] == [
        f"{LOST}; going on from the start, there is no checkpoint yet",
        f"{LOST}; going on from the checkpoint of step 3",
    ]


def test_three_attempts_in_a_row_without_a_checkpoint_are_the_last_fails(config):
    attempts = Attempts(lost(), lost(), lost(), ("summary",))
    with pytest.raises(EnvironmentProblem) as error:
        run(config, attempts)
    assert str(error.value) == (
        f"{LOST}; 3 attempts in a row brought no new checkpoint. --resume goes on from the start, there is no "
        f"checkpoint yet; where workers are lost that often, use a lower --checkpoint-every"
    )
    assert len(attempts.resumed) == 3


def test_checkpoints_of_an_earlier_run_are_not_new_fails(config):
    config.out.mkdir()
    checkpoint_path(config.out, 9).touch()
    with pytest.raises(EnvironmentProblem, match=r"--resume goes on from the checkpoint of step 9"):
        run(replace(config, resume=True), Attempts(lost(), lost(), lost(), ("summary",)))


def test_attempts_that_bring_a_checkpoint_have_no_end(config):
    attempts = Attempts(lost(), lost(), *(lost(step) for step in range(1, 20)), lost(), lost(), ("summary",))
    assert run(config, attempts) == "summary"


def test_what_does_not_come_back_ends_the_run_fails(config):
    attempts = Attempts(lost(3), ("summary",))
    with pytest.raises(EnvironmentProblem) as error:
        run(config, attempts, lacking=lambda: "no CPU for 9 s")
    assert str(error.value) == f"no CPU for 9 s. Before that: {LOST}. --resume goes on from the checkpoint of step 3"


def test_error_of_a_worker_ends_the_run_fails(config):
    attempts = Attempts(lost(3), (BadShard("shard 0 is torn"),), ("summary",))
    with pytest.raises(BadShard, match=r"shard 0 is torn"):
        run(config, attempts)


@pytest.mark.parametrize("steps", [(), (3,)])
def test_run_that_is_to_stop_does_not_go_on_fails(config, steps, caplog):
    attempts = Attempts(lost(*steps), ("summary",))
    with pytest.raises(EnvironmentProblem, match=r"and the run was asked to stop; --resume goes on from"):
        run(config, attempts, stopped=lambda: True)
    assert (attempts.waits, caplog.records) == (0, [])


def test_run_may_be_stopped_while_it_waits_fails(config):
    attempts = Attempts(lost(3), ("summary",))
    with pytest.raises(EnvironmentProblem, match=r"and the run was asked to stop; --resume goes on from"):
        run(config, attempts, stopped=lambda: attempts.waits > 0)
