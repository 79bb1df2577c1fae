"""The nodes of a cluster: that each has this version of everything and sees the folders of a run.

Asked before the run begins, and again by each task: a node may join later. What differs between nodes would differ
between shards, and what a node writes into a folder of its own is lost.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from preprocess.errors import EnvironmentProblem
from preprocess.paths import temporary_beside

_ANSWER_S = 120.0  # for a busy node to start a worker
_DIGEST_BYTES = 1 << 16


@dataclass(frozen=True, kw_only=True)
class Witness:
    """A file that shows whether a node sees the folder that it is in."""

    path: Path
    """Absolute."""
    digest: str
    """Of its first 64 KiB: another folder may have the same name elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a node needs to take part in a run."""

    installed: tuple[tuple[str, str], ...]
    """Name and version of what runs there."""
    witnesses: tuple[Witness, ...]

    def unmet(self) -> str:
        """What is wrong where this is called; empty when nothing is."""
        if other := _difference(dict(self.installed), installed()):
            return other
        for witness in self.witnesses:
            if _digest(witness.path) != witness.digest:
                folder = witness.path.parent
                return f"does not see {folder} as it is here; use a folder that all nodes share, or an object store"
        return ""


@contextmanager
def terms(*, folders: Sequence[Path] = (), files: Sequence[Path] = ()) -> Iterator[Terms]:
    """What a run that is started here asks of the nodes, for as long as it goes.

    Args:
        folders: that all nodes write to; each gets a hidden file for the time of the block.
        files: that all nodes read, or one of each folder that they read.

    Raises:
        EnvironmentProblem: a folder cannot be written.
    """
    markers = [temporary_beside(folder.absolute() / "nodes") for folder in folders]
    try:
        for marker in markers:
            _write(marker)
        seen = [*markers, *(file.absolute() for file in files)]
        witnesses = tuple(Witness(path=path, digest=_digest(path)) for path in seen)
        yield Terms(installed=tuple(installed().items()), witnesses=witnesses)
    finally:
        for marker in markers:
            with suppress(OSError):
                marker.unlink()


def require(ray: Any, wanted: Terms) -> None:
    """That every node of the cluster meets the terms.

    Args:
        ray: the module, connected.
        wanted: by the run.

    Raises:
        EnvironmentProblem: naming each node that does not, what it has, and what is here.
    """
    here = dict(wanted.installed)
    wrong = {node: _difference(here, there) for node, there in _ask(ray, _reporter()).items()}
    if not any(wrong.values()):
        wrong = _ask(ray, Terms.unmet, wanted)
    if any(wrong.values()):
        raise EnvironmentProblem("; ".join(f"node {node} {text}" for node, text in sorted(wrong.items()) if text))


@cache
def installed() -> dict[str, str]:
    """Name and version of what decides on the bytes of a clip and a shard, in this process."""
    return _reporter()()


def _ask(ray: Any, question: Callable[..., Any], *arguments: object) -> dict[str, Any]:
    """The answers, by the nodes' names. A node that goes away meanwhile has no part in the run."""
    on = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    task = ray.remote(num_cpus=0, max_retries=1)(question)
    asked = {
        f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})": task.options(
            scheduling_strategy=on(node["NodeID"], soft=False)
        ).remote(*arguments)
        for node in ray.nodes()
        if node["Alive"]
    }
    answers = {}
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=_ANSWER_S)
        except ray.exceptions.GetTimeoutError as error:
            raise EnvironmentProblem(
                f"node {name} did not answer within {_ANSWER_S:g} s; take it out, or try again"
            ) from error
        except (ray.exceptions.NodeDiedError, ray.exceptions.TaskUnschedulableError):
            continue
    return answers


def _reporter() -> Callable[[], dict[str, str]]:
    """What `installed` returns, as a function that Ray sends whole: a node may have another version of this file."""

    def report() -> dict[str, str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import platform
        from pathlib import Path

        def version(name: str) -> str:
            try:
                return importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                return "none"

        digest, files = hashlib.sha256(), 0
        for package in ("preprocess", "pipelines", "i3d_train"):
            spec = importlib.util.find_spec(package)
            for folder in (spec and spec.submodule_search_locations) or ():
                for path in sorted(Path(folder).rglob("*")):
                    if path.suffix in {".py", ".h", ".cpp", ".cuh", ".txt"}:
                        digest.update(f"{package}/{path.relative_to(folder)}\0".encode() + path.read_bytes())
                        files += 1
        return {
            "kineflow": version("kineflow"),
            "its source": digest.hexdigest()[:12] if files else "none",
            "python": platform.python_version(),
            **{name: version(name) for name in ("av", "numpy", "opencv-contrib-python-headless", "ray")},
        }

    return report


def _difference(here: dict[str, str], there: dict[str, str]) -> str:
    other = [
        f"{name} {there.get(name, 'none')} (here {text})" for name, text in here.items() if there.get(name) != text
    ]
    return f"has {', '.join(other)}; install the same on all nodes" if other else ""


def _write(marker: Path) -> None:
    try:
        marker.write_text(marker.name)
    except OSError as error:
        raise EnvironmentProblem(f"cannot write {marker}: {error.strerror}; choose another folder") from error


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(_DIGEST_BYTES)).hexdigest()
    except OSError:
        return ""
