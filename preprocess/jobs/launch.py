"""How a job begins: its folder, its supervisor, its record, and only then its command."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from preprocess.errors import EnvironmentProblem
from preprocess.held_signals import held_back
from preprocess.jobs.options import Order
from preprocess.jobs.process import Process
from preprocess.jobs.record import LOG_NAME, Asked
from preprocess.jobs.supervise import GO, HEARD
from preprocess.paths import make_folder

_ID_BYTES = 8


def launch(order: Order, *, below: Path, root: Path, grace_s: float, resumed_from: str | None) -> str:
    """Start a job in a new folder; returns its id, which is the name of the folder.

    The command begins when the record is on the disk: a crash at any moment leaves either a job that can be found, or
    nothing that runs.

    Args:
        order: what to run.
        below: the folder of all jobs.
        root: where the command runs.
        grace_s: seconds from a request to stop to the kill.
        resumed_from: id of the job that this one goes on with.

    Raises:
        EnvironmentProblem: it cannot be recorded or started.
    """
    folder = below / secrets.token_hex(_ID_BYTES)
    make_folder(folder)
    try:
        supervisor = _start_supervisor(folder, root=root)
        assert supervisor.stdin is not None
        # to close it without a word ends the supervisor; one that was killed in between leaves a job that is lost
        with suppress(BrokenPipeError), supervisor.stdin as say:
            process = Process.of(supervisor.pid)
            if process is None:
                raise EnvironmentProblem(f"the supervisor of a job in {folder} ended at once; try again")
            Asked(
                command=order.command,
                options=order.options,
                arguments=order.arguments,
                root=str(root.absolute()),
                created=time.time(),
                resumed_from=resumed_from,
                grace_s=grace_s,
                host=socket.gethostname(),
                supervisor=process,
            ).write(folder)
            say.write(GO)
    except OSError as error:
        raise EnvironmentProblem(f"cannot start a job in {folder}: {error.strerror}") from error
    finally:
        if Asked.time_ns(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)
    return folder.name


def _start_supervisor(folder: Path, *, root: Path) -> "subprocess.Popen[bytes]":
    with (folder / LOG_NAME).open("ab") as log, held_back(HEARD):
        # held back: none ends a supervisor that cannot wait for it yet
        supervisor = subprocess.Popen(
            # -P: files in ROOT are data, never modules
            [sys.executable, "-P", "-m", "preprocess.jobs.supervise", str(folder.absolute())],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=os.environ | _absolute_python_path(),
            start_new_session=True,
        )
    # a process that nobody waits for stays in the table after its end
    threading.Thread(target=supervisor.wait, name=f"job {folder.name}", daemon=True).start()
    return supervisor


def _absolute_python_path() -> dict[str, str]:
    """PYTHONPATH as it is from here: an entry that is relative or empty would be ROOT there."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, path.split(os.pathsep)))} if path else {}
