import io
import time
from dataclasses import replace

import pytest
from rich.console import Console

from preprocess.limiter import Pause
from preprocess.status.run_status import RunState, ShardCount, Status
from preprocess.status.run_view import RunView
from preprocess.status.status_view import lines, summary, watch
from preprocess.status.work import Work

NOW = time.mktime((2026, 8, 1, 12, 0, 0, 0, 0, -1))
HOSTILE = "\x1b[2J[bold]evil[/] \x07\n\u202ebot"
STATUS = Status(
    command="download",
    pid=12,
    host="node7",
    state=RunState.RUNNING,
    started=NOW - 7500,
    updated=NOW,
    total=40_000,
    finished=12_000,
    outcomes={"done": 9000, "unavailable": 3000},
    sources={"youtube": {"done": 9000, "unavailable": 3000}},
    already={},
    waiting=7,
    rate_per_s=1.5,
    rate_overall_per_s=0.083,
    eta_s=18_000.0,
    pauses=(Pause(identity=HOSTILE, until=NOW + 754, reason=HOSTILE),),
    work=Work(seconds={"fetch": 7300.0, HOSTILE: 80.0}, frames=2_700_000, bytes=9_000_000_000),
    shards=None,
)
VIEW = RunView(
    now=NOW,
    status=STATUS,
    state="running",
    is_alive=True,
    goes_on=True,
    notes=(),
    outcomes={"done": 9000, "unavailable": 3000},
    missing=(("unavailable", "private", 2000), ("unavailable", HOSTILE, 1000)),
)


def ended(**fields):
    return replace(VIEW, **{"goes_on": False, "is_alive": False, "state": "finished", **fields})


def test_lines_say_how_far_the_run_is():
    text = "\n".join(lines(VIEW))
    assert "state     running: download, process 12 on node7\n" in text
    assert "time      2 h 05 min since 2026-08-01 09:55:00, 5 h 00 min left\n" in text
    assert "progress  12,000 of 40,000 clips (30.0 %), 7 waiting for another try\n" in text
    assert "rate      1.50 clips/s in the last 5 minutes of work, 299 clips/h over all\n" in text
    assert "this run  9,000 done (75.0 %), 3,000 unavailable (25.0 %)\n" in text
    assert " until 12:12:34 (in 12 min 34 s)\n" in text
    assert "      2,000   16.7 %  private (unavailable)\n" in text


def test_lines_say_what_was_worked():
    text = "\n".join(lines(VIEW))
    assert "work      2,700,000 frames, 8.4 GiB published\n          fetch 2 h 01 min, " in text
    assert "shards" not in text


def test_lines_of_a_flow_run_have_its_shards_and_pairs():
    work = Work(seconds={"decode": 60.0, "flow": 7300.0}, frames=100_400, flow_pairs=100_000, bytes=5_000_000)
    shards = ShardCount(total=700, already=20, made=30)
    status = replace(STATUS, command="flow", pauses=(), work=work, shards=shards, already={"done": 1280})
    text = "\n".join(lines(replace(VIEW, status=status, outcomes={}, missing=())))
    assert "before    1,280 done (100.0 %)\nshards    50 of 700, 30 of them by this run\n" in text
    assert "work      100,400 frames, 100,000 flow pairs (13.3/s), 4.8 MiB published\n" in text
    assert text.endswith("          flow 2 h 01 min, decode 1 min 00 s, all workers added up")


def test_run_without_clips_to_try_says_so():
    view = ended(status=replace(STATUS, total=0, finished=0, outcomes={}, sources={}, waiting=0))
    text = "\n".join(lines(view))
    assert "\nprogress  no clips to try\nwork " in text
    assert " finished: no clips to try, " in summary(view)


def test_an_ended_run_has_no_time_left_and_no_pauses():
    text = "\n".join(lines(ended()))
    assert "left" not in text
    assert "pause" not in text


def test_a_folder_without_status_has_its_manifest():
    text = "\n".join(lines(ended(status=None, state="none")))
    assert text.startswith("state     no run has published its status here\nmanifest  12,000 clips\n")


def test_summary_without_status_has_what_the_manifest_counts():
    assert summary(ended(status=None, state="none")) == "none: 9,000 done (75.0 %), 3,000 unavailable (25.0 %)"


@pytest.mark.parametrize(
    ("fields", "took"),
    [
        ({}, "2 h 10 min"),
        ({"is_alive": False}, "2 h 05 min"),  # it was killed, and is not known to be so yet
        ({"goes_on": False}, "2 h 05 min"),
    ],
)
def test_only_a_run_that_goes_on_takes_time(fields, took):
    text = "\n".join(lines(replace(VIEW, now=NOW + 300, **fields)))
    assert f"time      {took} since 2026-08-01 09:55:00" in text


def test_pauses_are_the_first_to_end():
    pauses = tuple(Pause(identity=f"proxy{n}", until=NOW + 100 - n, reason="wall") for n in range(7))
    found = [line for line in lines(replace(VIEW, status=replace(STATUS, pauses=pauses))) if "proxy" in line]
    assert [line.split()[1] for line in found] == ["proxy6", "proxy5", "proxy4", "proxy3", "proxy2"]
    assert "          and 2 more pauses" in lines(replace(VIEW, status=replace(STATUS, pauses=pauses)))


@pytest.mark.parametrize("show", [lambda: "\n".join(lines(VIEW)), lambda: summary(VIEW)])
def test_hostile_texts_cannot_drive_the_terminal(show):
    assert show().replace("\n", "").isprintable()


class Run:
    """Looks that show one more finished clip each time, and an end."""

    def __init__(self, looks):
        self.looks = looks
        self.seen = 0

    def look(self):
        self.seen += 1
        return VIEW if self.seen < self.looks else ended()


def watched(looks, **options):
    run, slept = Run(looks), []
    console = Console(file=io.StringIO(), highlight=False, **options)
    watch(run.look, console=console, sleep=slept.append)
    return console.file.getvalue(), slept


def test_watch_without_terminal_writes_a_line_now_and_then_until_the_end():
    text, slept = watched(100)
    assert text.count("running: 12,000 of 40,000") == 4
    assert sum(slept) == pytest.approx(99, abs=1)
    assert text.splitlines()[4].startswith("state     finished")
    assert "\x1b" not in text


@pytest.mark.parametrize("height", [3, 6, 24, 40])
def test_watch_fits_the_terminal(height):
    text, slept = watched(2, force_terminal=True, width=80, height=height)
    *_, picture, _ = text.split("state ")  # after it, all lines once more
    assert len(picture.split("\n")) <= height
    assert 0.5 <= slept[0] <= 1
    assert ("more lines" in text) == (height <= 6)


def test_watch_on_a_terminal_shows_each_look():
    console = Console(file=io.StringIO(), highlight=False, force_terminal=True, width=80, height=40)
    looks = iter([VIEW, replace(VIEW, status=replace(STATUS, finished=30_000)), ended()])
    watch(lambda: next(looks), console=console, sleep=lambda seconds: None)
    assert "30,000 of 40,000" in console.file.getvalue()


def bar_of(status):
    console = Console(file=io.StringIO(), highlight=False, force_terminal=True, color_system=None, width=80, height=40)
    looks = iter([VIEW if status is None else replace(VIEW, status=status), ended()])
    watch(lambda: next(looks), console=console, sleep=lambda seconds: None)
    (shown, *_) = console.file.getvalue().split("time ")
    return shown.count("\u2501")


def test_bar_is_as_long_as_the_share_that_has_finished():
    assert bar_of(STATUS) == 24
    assert bar_of(replace(STATUS, finished=50_000)) == 80
    assert bar_of(replace(STATUS, total=0, finished=0)) == 0


def test_watch_on_a_terminal_escapes_what_is_hostile():
    text, _ = watched(2, force_terminal=True, width=120, height=40)
    assert "\x1b[2J[bold]" not in text
    assert r"\x1b[2J[bold]evil[/] \x07 \u202ebot" in text


def test_watch_on_a_narrow_terminal_ends_with_all_of_the_last_look(monkeypatch):
    looks = iter([VIEW, ended(notes=("it ended without saying so: killed, or the machine went down",))])
    console = Console(file=io.StringIO(), highlight=False, force_terminal=True, width=40, height=9)
    watch(lambda: next(looks), console=console, sleep=lambda seconds: None)
    last = console.file.getvalue().rpartition("killed, or")[2]
    assert "machine went down" in " ".join(last.split())
    assert "manifest" in last


def test_watch_of_an_ended_run_ends_at_once():
    text, slept = watched(1)
    assert slept == []
    assert text.startswith("state     finished")
