"""The file that holds what visitors must know."""

import stat
from pathlib import Path

from preprocess.errors import InvalidInput


def read_token(path: Path) -> str:
    """The first line of a file.

    Raises:
        InvalidInput: it cannot be read, is empty, or others may read it too.
    """
    try:
        mode = path.stat().st_mode
        with path.open(encoding="utf-8") as file:
            token = file.readline().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read the token file {path}: {error}") from error
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        raise InvalidInput(f"others may read the token file {path}; take that right away with: chmod 600 {path}")
    if not token:
        raise InvalidInput(f"the first line of the token file {path} is empty")
    return token
