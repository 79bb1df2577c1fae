"""How the record of a job goes: for everybody who looks at once, from the disk after that."""

import shutil
from pathlib import Path

from preprocess.errors import EnvironmentProblem
from preprocess.paths import rename_into_place

_FORGOTTEN = ".forgotten-"  # no id begins so


def remove(folder: Path) -> None:
    """Remove the folder of a job that does not run.

    A crash at any moment leaves the whole record, or none and what `sweep` removes; so does a file that cannot be
    deleted.

    Raises:
        EnvironmentProblem: the folder of jobs cannot be written.
    """
    try:
        # durable before the first file goes: half a record would be a damaged one
        rename_into_place(folder, gone := folder.with_name(_FORGOTTEN + folder.name))
    except OSError as error:
        raise EnvironmentProblem(f"cannot remove {folder}: {error.strerror}") from error
    shutil.rmtree(gone, ignore_errors=True)


def sweep(below: Path) -> None:
    """Delete what `remove` was kept from deleting.

    Args:
        below: the folder of all jobs.
    """
    for folder in below.glob(f"{_FORGOTTEN}*"):
        shutil.rmtree(folder, ignore_errors=True)
