"""A Python that has imported everything and forks for each command: starting sixty of them anew takes minutes.

Requests and answers are JSON lines on standard input and output: {"module", "argv", "environment", "folder"} gives
{"pid"}, and {"status"} when it ended, as `subprocess.Popen.returncode` has it.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.crash import kill_points
from tests.crash.points import DOWNLOAD, FLOW, MIRROR, TRAIN, targets

COUNTED = {"preprocess.sharding:make_shard", "preprocess.media_process:_Child.ask"}
"""Further functions whose calls are counted."""
_IMPORTED = (
    "preprocess.cli",
    "preprocess.download",
    "preprocess.sharding",
    "preprocess.sources.directory",
    "preprocess.progress",
    "i3d_train.cli",
    "i3d_train.train",
    "pipelines.torch_loader",
    "matplotlib.pyplot",
    "torch._dynamo",
    "tests.i3d_train.tiny_command",
    "tests.crash.forking_torchrun",
)


class Warm:
    """The process, seen from a test."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.crash.warm"]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started: int | None = None

    def start(self, module: str, *argv: object, folder: Path, at: str = "") -> int:
        """Run `python -m module argv...`, one at a time.

        Args:
            module: with what it imports imported already.
            argv: its arguments.
            folder: where it runs; what it prints is added to `output` and `log` there, calls counted in `calls`.
            at: a point of tests/crash/kill_points.py.

        Returns:
            The process id.
        """
        self._end_what_was_left()
        (folder / "calls").mkdir(parents=True, exist_ok=True)
        environment = {"CRASH_AT": at, "CRASH_CALLS": str(folder / "calls")}
        self._send({"module": module, "argv": [*map(str, argv)], "environment": environment, "folder": str(folder)})
        self._started = int(self._receive()["pid"])
        return self._started

    def wait(self) -> int:
        """Exit status of what was started last; negative for a signal."""
        status, self._started = int(self._receive()["status"]), None
        return status

    def _end_what_was_left(self) -> None:
        """By a test that failed."""
        if self._started is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._started, signal.SIGKILL)
            self.wait()

    def close(self) -> None:
        """End it."""
        self._end_what_was_left()
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def main() -> None:
    """Serve."""
    kill_points.install(targets(DOWNLOAD, MIRROR, FLOW, TRAIN) | COUNTED)
    for name in _IMPORTED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(request)
        print(json.dumps({"pid": pid}), flush=True)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)


def _run(request: dict[str, Any]) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    output, log = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644) for name in ("output", "log"))
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, output, log)):
        os.dup2(descriptor, number)
    os.environ.update(request["environment"])
    atexit.register(gc.freeze)  # or it looks for garbage in all that was imported when it ends, for a second or two
    sys.argv = [request["module"], *request["argv"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main()
