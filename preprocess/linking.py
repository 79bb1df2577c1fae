"""A file of somebody else's under a name of ours, without a second copy of its content where that is possible."""

import errno
import os
import shutil
from pathlib import Path


def link_or_copy(source: Path, target: Path) -> bool:
    """Make `target` a hard link to `source`, or a copy where no link can be made. Nothing may change its content then.

    A hard link costs no space and no time, and means that both names are one file: who edits one edits both, which the
    manifest's hash would tell. Deleting or replacing one leaves the other as it is.

    Args:
        source: a regular file; a symbolic link is refused, so that nothing can be put in its place.
        target: must not exist; its folder must.

    Returns:
        Whether it is a link.

    Raises:
        OSError: it can be neither linked nor read, or not written.
    """
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        # another file system, one without hard links or that ran out of them, somebody else's file; else this fails too
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
            shutil.copyfileobj(reader, writer)
        return False
    if target.is_symlink():
        target.unlink()
        raise OSError(errno.ELOOP, "is a symbolic link", str(source))
    return True
