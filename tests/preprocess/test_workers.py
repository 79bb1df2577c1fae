import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from preprocess.config import WorkerConfig
from preprocess.console import sigterm_interrupts
from preprocess.errors import BadShard, DeviceDead, DeviceLost, EnvironmentProblem, InvalidInput, WorkerDied
from preprocess.ray_session import ray_session
from preprocess.workers import _Board, _called, _cores_beside_a_gpu, run_tasks, worker_pool


def work(item, tick):
    """Double the item; odd items report two parts, 100 kills its worker, 200 raises."""
    if item == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 200:
        raise BadShard("item 200 is bad")
    for part in range(item % 2 * 2):
        tick((item, part))
    return item * 2


def test_in_this_process_without_workers():
    ticks = []
    results = dict(run_tasks(work, [1, 2, 3], config=WorkerConfig(workers=0), on_tick=ticks.append))
    assert results == {1: 2, 2: 4, 3: 6}
    assert ticks == [(1, 0), (1, 1), (3, 0), (3, 1)]


def test_no_items_start_nothing(monkeypatch):
    import preprocess.workers

    monkeypatch.setattr(preprocess.workers, "ray_session", None)
    assert list(run_tasks(work, [], config=WorkerConfig(workers=2))) == []


@pytest.mark.ray
def test_workers_report_results_and_parts_and_a_killer_costs_itself_only():
    ticks = []
    config = WorkerConfig(workers=2)
    results = dict(run_tasks(work, [1, 100, 2, 3], config=config, on_tick=ticks.append))
    assert isinstance(results.pop(100), WorkerDied)
    assert results == {1: 2, 2: 4, 3: 6}
    assert sorted(ticks) == [(1, 0), (1, 1), (3, 0), (3, 1)]


class Counted:
    """Counts calls."""

    def __init__(self):
        self.count = 0

    def add(self, *, by):
        self.count += by
        return self.count


@contextmanager
def cluster(environment):
    """A Ray cluster of its own on this machine, as `ray start` makes it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.1", "--num-cpus=2"]
    options += ["--include-dashboard=false", f"--object-store-memory={512 << 20}"]
    command = [Path(sys.executable).with_name("ray"), "start", *options]
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while head.poll() is None:
            with socket.socket() as knock:
                if knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        head.terminate()
        head.wait(60)


ONE_RUN = """
import sys
from preprocess.config import WorkerConfig
from preprocess.workers import worker_pool
from tests.preprocess.test_workers import Counted
with worker_pool(WorkerConfig(workers=1, address=sys.argv[1])) as pool:
    print(pool.shared("counted", Counted).add(by=3))
"""


@pytest.mark.ray
def test_runs_on_one_cluster_share_an_object():
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 32}
    environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    with cluster(environment) as address:
        outputs = [
            subprocess.run(
                [sys.executable, "-c", ONE_RUN, address],
                check=True,
                capture_output=True,
                text=True,
                env=environment,
                cwd=Path(__file__).parents[2],
            ).stdout
            for _ in range(2)
        ]
    assert outputs == ["3\n", "6\n"]


def test_a_run_with_workers_of_its_own_shares_with_nobody():
    with worker_pool(WorkerConfig(workers=0)) as pool:
        assert pool.shared("counted", Counted).add(by=3) == 3
        assert pool.shared("counted", Counted).add(by=3) == 3


def test_node_that_joins_later_and_lacks_something_fails():
    context = SimpleNamespace(get_node_id=lambda: "f" * 32, get_task_id=lambda: "e" * 32)
    node = SimpleNamespace(get_runtime_context=lambda: context)
    wanted = SimpleNamespace(unmet=lambda: "has ray 1.0 (here 2.0)")
    call = _called(node, work, board=_Board(), wanted=wanted)
    with pytest.raises(EnvironmentProblem, match=r"node ffffffff has ray 1\.0 \(here 2\.0\)"):
        call(2)
    wanted.unmet = lambda: ""
    assert call(2) == 4


def test_ray_that_is_lost_fails(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "init", lambda **options: None)
    lost = pytest.raises(EnvironmentProblem, match=r"^Ray was lost in mid-run.*\(RayError: a line\); .*run it again$")
    with lost, ray_session(None, cpus=1, gpus=None, remedy=""):
        raise ray.exceptions.RayError("a line\nanother line")
    with pytest.raises(ray.exceptions.RayTaskError), ray_session(None, cpus=1, gpus=None, remedy=""):
        raise ray.exceptions.RayTaskError("work", "traceback of a bug", ValueError())


def test_home_that_cannot_be_written_is_told_with_its_remedy(tmp_path, monkeypatch):
    import ray

    def init(**options):
        (tmp_path / "file" / ".ray").mkdir(parents=True)

    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.setattr(ray, "init", init)
    message = r"^cannot start or reach a local Ray: .*/\.ray'; .* set HOME .* RAY_AUTH_TOKEN to a secret; or without$"
    with pytest.raises(EnvironmentProblem, match=message), ray_session(None, cpus=1, gpus=None, remedy="or without"):
        pass


def test_ray_leaves_signals_and_addresses_to_those_who_had_them(monkeypatch):
    import ray
    from ray._private import services, utils

    started, ended, asked = [], [], []

    def init(**options):
        started.append((options, services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"))
        if threading.current_thread() is threading.main_thread():
            utils.set_sigterm_handler(signal.SIG_IGN)

    def start(address, wanted=None):
        with ray_session(address, cpus=3, gpus=1, remedy="", wanted=wanted):
            assert signal.getsignal(signal.SIGTERM) == before
            assert len(ended) == len(started) - 1

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: ended.append(None))
    monkeypatch.setattr("preprocess.ray_session.require", lambda _ray, wanted: asked.append(wanted))
    monkeypatch.setattr(services, "resolve_ip_for_localhost", lambda host: "192.0.2.1")
    monkeypatch.setattr("preprocess.ray_session._ASK", "")
    before = signal.getsignal(signal.SIGTERM)
    start(None)
    with ThreadPoolExecutor() as thread:  # where signals cannot be set
        thread.submit(start, "auto", "terms").result()
    start("auto")
    assert (asked, len(ended)) == (["terms"], 3)
    (options, on_loopback), *others = started
    assert on_loopback
    assert {"address": "local", "num_cpus": 3, "num_gpus": 1, "include_dashboard": False}.items() <= options.items()
    assert (options["_node_ip_address"], options["object_store_memory"]) == ("127.0.0.1", 512 << 20)
    assert [(options["address"], on_loopback) for options, on_loopback in others] == [("auto", False)] * 2
    assert (signal.getsignal(signal.SIGTERM), services.resolve_ip_for_localhost("")) == (before, "192.0.2.1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("at", "requests", "seen"),
    [
        ("start", 1, ["started", "ended"]),
        ("start", 2, ["ended"]),
        ("end", 1, ["started", "session", "ended"]),
        ("end", 2, ["started", "session"]),
    ],
)
def test_request_to_stop_waits_for_ray_and_a_second_one_does_not(number, at, requests, seen, monkeypatch):
    import ray

    happened = []

    def asked_to_stop(*, now):
        for _ in range(requests if now else 0):
            signal.raise_signal(number)

    def init(**options):
        asked_to_stop(now=at == "start")
        happened.append("started")

    def shutdown():
        asked_to_stop(now=at == "end")
        ctypes.CDLL(None).signal(signal.SIGTERM, signal.SIG_IGN.value)  # so does Ray's C++, and Python does not know
        happened.append("ended")

    def session():
        with ray_session(None, cpus=1, gpus=None, remedy=""):
            happened.append("session")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", shutdown)
    with sigterm_interrupts():
        with pytest.raises(KeyboardInterrupt):
            session()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert happened == seen


def test_who_answers_the_second_request_may_leave_the_first_to_another(monkeypatch):
    import ray

    happened = []

    def once(_number, _frame):
        happened.append("noted")
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def init(**options):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        happened.append("started")

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(ray, "shutdown", lambda: happened.append("ended"))
    before = signal.signal(signal.SIGINT, once)
    try:
        with pytest.raises(KeyboardInterrupt), ray_session(None, cpus=1, gpus=None, remedy=""):
            pytest.fail("the session was to end")
    finally:
        signal.signal(signal.SIGINT, before)
    assert happened == ["noted", "started", "ended"]


@pytest.mark.parametrize(
    ("address", "asking", "said"),
    [
        ("127.0.0.1:9", "", "[Errno 111] Connection refused"),
        ("ray://127.0.0.1:9", "", "a driver has to be a part of the cluster; give HOST:PORT of its head"),
        ("auto", "import time; time.sleep(60)", "it did not answer as Ray does within 0.5 s"),
        ("auto", "import sys; sys.exit('a warning\\nRpcError: ' + sys.argv[1])", "RpcError: auto"),
        ("auto", "raise SystemExit('AuthenticationError: x\\ny')", "its token is not the one given here, or none is"),
    ],
)
def test_cluster_that_is_not_there_fails(monkeypatch, address, asking, said):
    monkeypatch.setattr("preprocess.ray_session._ASK", asking)
    monkeypatch.setattr("preprocess.ray_session._ASK_S", 0.5 if "sleep" in asking else 20.0)
    with pytest.raises(EnvironmentProblem) as failed:
        list(run_tasks(work, [1], config=WorkerConfig(workers=1, address=address)))
    assert str(failed.value).startswith(f"cannot start or reach the Ray cluster at {address}: {said}")
    assert str(failed.value).endswith("; with 0 workers (--workers 0, --cpus 0) it goes without Ray")
    assert "set HOME" not in str(failed.value)


@pytest.mark.ray
def test_gpus_that_the_cluster_lacks_fail_at_once(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0, "GPU": 1.0})
    with pytest.raises(EnvironmentProblem, match="2 GPUs were asked for, the Ray cluster has 1"):
        list(run_tasks(work, [1], config=WorkerConfig(workers=2, gpus=2)))


def on_gpu(item: Path, _tick):
    """The number of the GPU, unless files beside `item` say that it does not answer, or fails once."""
    number = os.environ["CUDA_VISIBLE_DEVICES"]
    if (item.parent / f"dead-{number}").exists():
        raise DeviceDead(f"GPU {number} does not answer")
    if (item.parent / f"fails-{item.name}").exists():
        (item.parent / f"fails-{item.name}").unlink()
        raise DeviceLost("the GPU failed (an illegal memory access)")
    time.sleep(0.3)  # the other GPU has its turn too
    return number


@pytest.mark.ray
def test_dead_gpu_is_kept_from_others_and_its_items_done_on_the_next(tmp_path, caplog):
    (tmp_path / "dead-0").touch()
    items = [tmp_path / str(number) for number in range(5)]
    done = dict(run_tasks(on_gpu, items, config=WorkerConfig(workers=2, gpus=2)))
    assert done == dict.fromkeys(items, "1")
    (message,) = [record.getMessage() for record in caplog.records if "without a GPU" in record.getMessage()]
    assert re.search(r"node [0-9a-f]{8}: GPU 0 does not answer", message)


@pytest.mark.ray
def test_run_ends_when_no_gpu_answers(tmp_path):
    (tmp_path / "dead-0").touch()
    (tmp_path / "dead-1").touch()
    with pytest.raises(EnvironmentProblem, match=r"no GPU answers any more; the last one, node .*: GPU [01] does not"):
        list(run_tasks(on_gpu, [tmp_path / "1", tmp_path / "2"], config=WorkerConfig(workers=2, gpus=2)))


@pytest.mark.ray
def test_worker_whose_gpu_failed_is_replaced(tmp_path):
    (tmp_path / "fails-1").touch()
    items = [tmp_path / "1", tmp_path / "2"]
    assert dict(run_tasks(on_gpu, items, config=WorkerConfig(workers=1, gpus=1))) == dict.fromkeys(items, "0")
    assert not (tmp_path / "fails-1").exists()


def test_gpu_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr("preprocess.config.cores", lambda: 32)
    assert [WorkerConfig.on_gpus(gpus).helpers for gpus in (1, 2, 4, 32)] == [16, 15, 7, 1]
    assert WorkerConfig.on_gpus(4, address="auto").helpers == 16  # whatever this machine has


def node(*, alive=True, **resources):
    return {"Alive": alive, "Resources": {"memory": 1.0, **resources}}


def test_workers_of_a_cluster_take_no_more_cores_than_a_gpu_has_beside_it():
    nodes = [node(CPU=64.0), node(CPU=8.0, GPU=1.0), node(CPU=20.0, GPU=4.0), node(alive=False, CPU=1.0, GPU=1.0)]
    assert _cores_beside_a_gpu(nodes, gpus=5) == 5
    assert _cores_beside_a_gpu(nodes[:2], gpus=1) == 8
    head = node(CPU=0.0, GPU=1.0)  # which is to take no work
    assert _cores_beside_a_gpu([*nodes, head], gpus=5) == 5
    with pytest.raises(
        EnvironmentProblem, match="6 GPUs were asked for, 5 of the Ray cluster's are on nodes with a CPU"
    ):
        _cores_beside_a_gpu([*nodes, head], gpus=6)


def test_config_fails():
    with pytest.raises(InvalidInput, match="workers must be at least 0, got -1"):
        WorkerConfig(workers=-1)
    with pytest.raises(InvalidInput, match="needs at least 1 worker"):
        WorkerConfig(workers=0, address="auto")
    with pytest.raises(InvalidInput, match="2 GPUs need as many workers, got 1"):
        WorkerConfig(workers=1, gpus=2)
