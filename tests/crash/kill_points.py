"""Ends a process at a named point: wraps functions as their modules are imported; product code knows nothing of it.

The environment variable CRASH_AT names the point as MODULE:FUNCTION:MOMENT:N, such as
`preprocess.store:rename_into_place:before:2`. At the N-th call, counted over all processes that share the folder
CRASH_CALLS, the process kills itself with SIGKILL. Without CRASH_AT calls are counted only.

Moments: `before` and `after` the call; `torn`, with half of what the call was to write written; `child`, the media
child that the call is about to ask is killed instead, and this process lives; `poison`, at every call for the clip
whose key stands in the place of N; `pause`, instead of ending the process waits in the call until something else ends
it; `hold`, it has a child meanwhile, as a downloader has an ffmpeg.
"""

import functools
import importlib.abc
import importlib.machinery
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def install(targets: Iterable[str]) -> None:
    """Wrap the functions MODULE:FUNCTION, once each, when their modules are imported."""
    wanted: dict[str, set[str]] = {}
    for target in targets:
        module, function = target.split(":")
        assert module not in sys.modules, f"{module} was imported before its functions could be wrapped"
        wanted.setdefault(module, set()).add(function)
    sys.meta_path.insert(0, _Finder(wanted))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules as ever, and has their loader wrap functions."""

    def __init__(self, wanted: dict[str, set[str]]) -> None:
        self._wanted = wanted

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._wanted:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def run_and_wrap(module: ModuleType) -> None:
            run(module)
            for function in self._wanted[name]:
                _wrap(module, function)

        spec.loader.exec_module = run_and_wrap  # type: ignore[method-assign]
        return spec


def _wrap(module: ModuleType, function: str) -> None:
    *owners, last = function.split(".")
    owner: Any = functools.reduce(getattr, owners, module)
    setattr(owner, last, _wrapped(f"{module.__name__}:{function}", getattr(owner, last)))


def _wrapped(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        number = _counted(name)
        target, _, rest = os.environ.get("CRASH_AT", "").rpartition(":")
        target, _, moment = target.rpartition(":")
        if target != name or rest != (arguments[0].clip.key if moment == "poison" else str(number)):
            return function(*arguments, **options)
        if moment in {"pause", "hold"}:
            _pause(["sleep", "600"] if moment == "hold" else ["true"])
        if moment == "child":
            arguments[0]._process.kill()
            return function(*arguments, **options)
        if moment == "torn":
            _TEAR[name.rpartition(":")[2]](*arguments, function=function)
        if moment == "after":
            function(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("not reached")

    return call


def _pause(command: list[str]) -> None:
    """Say so, in a file `paused` beside the counts, and wait."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as child:
        (Path(os.environ["CRASH_CALLS"]) / "paused").write_text(f"{os.getpid()} {child.pid}")
        time.sleep(600)


def _counted(name: str) -> int:
    """How many times this was called, this one included."""
    with (Path(os.environ["CRASH_CALLS"]) / name.replace(":", "-")).open("ab") as file:
        file.write(b".")
        file.flush()
        return os.fstat(file.fileno()).st_size


def calls(folder: Path, target: str) -> int:
    """How many times a wrapped function was called by all who counted in `folder`."""
    path = folder / target.replace(":", "-")
    return path.stat().st_size if path.exists() else 0


def _tear_line(path: Path, fields: dict[str, Any], function: Callable[..., Any]) -> None:
    line = sys.modules["preprocess.jsonl"].line_of(fields)
    with path.open("ab") as file:
        file.write(line[: len(line) // 2])


def _tear_file(path: Path, content: Any, function: Callable[..., Any]) -> None:
    whole = bytes(content) if isinstance(content, bytes | bytearray | memoryview) else b"".join(content)

    def half() -> Any:
        # larger than the file's buffer, or else it would not be on the disk
        yield whole[: len(whole) // 2].ljust(1 << 16, b"\0")
        os.kill(os.getpid(), signal.SIGKILL)

    function(path, half())


_TEAR: dict[str, Callable[..., None]] = {"append_line": _tear_line, "publish": _tear_file}
