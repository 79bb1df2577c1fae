import json
import socket
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from preprocess.cli import main
from preprocess.errors import EnvironmentProblem, InvalidInput
from preprocess.metrics import batch
from preprocess.metrics.batch import exported
from preprocess.outcomes import Outcome
from preprocess.status.run_status import RunStatus
from tests.preprocess.conftest import textured_frames, write_video
from tests.preprocess.metrics.statuses import read

FLOW = ("--cpus", 0, "--short-side", 48, "--clips-per-shard", 2)


@pytest.fixture
def videos(tmp_path, write_list):
    """A list of four videos, the last of them no video."""
    (tmp_path / "videos").mkdir()
    names = [f"{number:011d}" for number in range(4)]
    for seed, name in enumerate(names[:3]):
        write_video(tmp_path / "videos" / f"{name}.mp4", textured_frames(26, seed=seed))
    (tmp_path / "videos" / f"{names[3]}.mp4").write_bytes(b"\x00" * 3000)
    return write_list(*(("yoga", name, 0, 1, "train") for name in names))


@pytest.fixture
def clips(tmp_path):
    """Three clips and one that is no video."""
    folder = tmp_path / "clips" / "train" / "yoga"
    folder.mkdir(parents=True)
    for number in range(3):
        write_video(folder / f"clip_{number}.mp4", textured_frames(20, seed=number))
    (folder / "clip_x.mp4").write_bytes(b"\x00" * 3000)
    return tmp_path / "clips"


@pytest.fixture
def at_once(monkeypatch):
    """Runs publish every clip, files are written all the time."""
    monkeypatch.setattr("preprocess.status.run_status.PUBLISH_EVERY_S", 0.0)
    monkeypatch.setattr(batch, "WRITE_EVERY_S", 0.02)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return read(answer.read())


@contextmanager
def watching(look):
    """What `look` gives again and again while the block runs; what is not there yet is left out."""
    seen, over = [], threading.Event()

    def watch():
        while not over.wait(0.01):
            try:
                seen.append(look())
            except OSError:
                continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def counters(values):
    return {key: value for key, value in values.items() if key[0].endswith("_total")}


def assert_monotone(seen):
    for before, after in pairwise(seen):
        assert all(after[key] >= value for key, value in counters(before).items())


def test_download_keeps_a_file_while_it_runs_and_after(videos, tmp_path, at_once):
    file = tmp_path / "run.prom"
    out = tmp_path / "clips"
    options = ("--source-dir", tmp_path / "videos", "--out", out, "--workers", 0, "--metrics-file", file)
    with watching(lambda: read(file.read_bytes())) as seen:
        assert run("download", videos, *options).exit_code == 1
    assert any(values["kineflow_run_state", "running"] for values in seen)
    assert_monotone(seen)
    values = read(file.read_bytes())
    assert values["kineflow_run_state", "finished"] == 1
    assert (values["kineflow_clips_total", "done"], values["kineflow_clips_total", "bad_media"]) == (3, 1)
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert values["kineflow_written_bytes_total",] == sum(line["bytes"] for line in lines)
    assert values["kineflow_frames_total",] == sum(line["frame_count"] for line in lines) > 0
    assert values["kineflow_stage_seconds_total", "trim"] > 0
    # a file that nobody writes any more must not say how full the disk is
    assert any(("kineflow_disk_free_bytes",) in one for one in seen)
    assert ("kineflow_disk_free_bytes",) not in values
    assert [path.name for path in tmp_path.iterdir() if "prom" in path.name] == ["run.prom"]


def test_flow_is_scraped_while_it_runs(clips, tmp_path, at_once):
    port = free_port()
    with watching(lambda: scrape(port)) as seen:
        assert run("flow", clips, "--out", tmp_path / "shards", *FLOW, "--metrics-port", port).exit_code == 1
    running = [values for values in seen if values["kineflow_run_state", "running"]]
    assert {values["kineflow_clips_planned",] for values in running} == {4}
    assert_monotone(seen)
    assert any(0 < values["kineflow_flow_pairs_total",] < 3 * 19 for values in running)
    with pytest.raises(OSError, match="refused"):
        scrape(port)


def test_after_a_resume_counters_are_those_of_the_new_run(clips, tmp_path):
    """They begin at 0, which Prometheus takes for a restart; what was there is told apart."""
    file, out = tmp_path / "run.prom", tmp_path / "shards"
    options = ("flow", clips, "--out", out, *FLOW, "--metrics-file", file)
    run(*options)
    first = read(file.read_bytes())
    (out / "train-00000-of-00002.h5").unlink()
    run(*options)
    second = read(file.read_bytes())
    assert (first["kineflow_clips_total", "done"], first["kineflow_clips_total", "bad_media"]) == (3, 1)
    assert (second["kineflow_clips_total", "done"], second["kineflow_clips_total", "bad_media"]) == (2, 0)
    assert (second["kineflow_clips_already", "done"], second["kineflow_clips_already", "bad_media"]) == (1, 1)
    assert (second["kineflow_shards_total",], second["kineflow_shards_already",]) == (1, 1)
    assert 0 < second["kineflow_flow_pairs_total",] < first["kineflow_flow_pairs_total",]
    started = "kineflow_run_start_timestamp_seconds"
    assert second[started,] > first[started,]


def test_metrics_do_not_change_the_shards(clips, tmp_path):
    run("flow", clips, "--out", tmp_path / "plain", *FLOW)
    run("flow", clips, "--out", tmp_path / "seen", *FLOW, "--metrics-file", tmp_path / "x.prom")
    names = sorted(path.name for path in (tmp_path / "plain").glob("*.h5"))
    assert len(names) == 2
    for name in (*names, "index.json"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "seen" / name).read_bytes()


def test_a_port_in_use_ends_the_command_before_the_run(clips, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("flow", clips, "--out", tmp_path / "shards", *FLOW, "--metrics-port", port)
    assert result.exit_code == 3
    assert f"port {port} of 127.0.0.1: Address already in use; choose another --metrics-port" in result.output
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize(
    ("name", "status", "message"),
    [
        ("none/run.prom", 3, "none/run.prom: No such file or directory; make its folder, or choose another one"),
        ("run.txt", 2, "run.txt must end in .prom: node exporter reads no other"),
    ],
)
def test_a_file_that_cannot_be_kept_ends_the_command_before_the_run(clips, tmp_path, name, status, message):
    result = run("flow", clips, "--out", tmp_path / "shards", *FLOW, "--metrics-file", tmp_path / name)
    assert result.exit_code == status
    assert message in result.output
    assert not (tmp_path / "shards").exists()


def test_only_this_machine_is_answered(tmp_path):
    port = free_port()
    with exported(tmp_path, file=None, port=port):
        with socket.create_server(("127.0.0.2", port)):  # free: it does not listen on all addresses
            pass
        assert scrape(port)["kineflow_run_state", "none"] == 1


def test_a_disk_that_refuses_in_mid_run_is_said_once_each_time_and_costs_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(batch, "WRITE_EVERY_S", 0.01)
    folder = tmp_path / "metrics"
    folder.mkdir()

    def said(times):
        return caplog.text.count("cannot write") == times

    with exported(tmp_path, file=folder / "run.prom", port=None):
        for outage in (1, 2):
            folder.rename(tmp_path / "away")
            wait_until(partial(said, outage))
            time.sleep(0.1)
            (tmp_path / "away" / "run.prom").unlink()
            (tmp_path / "away").rename(folder)
            wait_until((folder / "run.prom").exists)
        RunStatus(tmp_path, command="flow", total=3, already={}).publish(state="stopped")
    assert said(2)
    assert read((folder / "run.prom").read_bytes())["kineflow_run_state", "stopped"] == 1


def test_the_file_ends_with_the_state_that_the_run_ended_in(tmp_path):
    file = tmp_path / "run.prom"
    with suppress(KeyboardInterrupt), exported(tmp_path, file=file, port=None):
        run_status = RunStatus(tmp_path, command="flow", total=3, already={})
        run_status.publish(state="running")
        run_status.count(Outcome.DONE)
        run_status.publish(state="stopped")
        raise KeyboardInterrupt
    values = read(file.read_bytes())
    assert (values["kineflow_run_state", "stopped"], values["kineflow_clips_total", "done"]) == (1, 1)


def test_gpus_are_in_the_file_while_the_run_goes(tmp_path, monkeypatch):
    class Gpus(Collector):
        def collect(self):
            yield GaugeMetricFamily("kineflow_gpu_memory_used_bytes", "", value=5)

    monkeypatch.setattr(batch, "GpuCollector", Gpus)
    with exported(tmp_path, file=tmp_path / "run.prom", port=None):
        assert "kineflow_gpu_memory_used_bytes 5.0" in (tmp_path / "run.prom").read_text()
    assert "kineflow_gpu" not in (tmp_path / "run.prom").read_text()


def test_nothing_is_left_running(tmp_path):
    before = set(threading.enumerate())
    with exported(tmp_path, file=tmp_path / "run.prom", port=free_port()):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(("file", "error"), [("no.txt", InvalidInput), ("none/x.prom", EnvironmentProblem)])
def test_a_port_is_given_back_when_the_file_fails(tmp_path, file, error):
    port = free_port()
    with pytest.raises(error), exported(tmp_path, file=tmp_path / file, port=port):
        pass
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_the_run_is_named_by_its_whole_path(tmp_path, monkeypatch):
    """Two runs on one machine may keep their files in one folder; equal labels would cost node exporter both."""
    monkeypatch.chdir(tmp_path)
    with exported(Path("clips"), file=tmp_path / "run.prom", port=None):
        pass
    assert f'run="{tmp_path}/clips"' in (tmp_path / "run.prom").read_text()
