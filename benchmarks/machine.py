"""What figures were measured on, without which they say nothing."""

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path


def machine() -> str:
    """Date, processor, cores and commit, in a line."""
    return f"{datetime.now(UTC):%Y-%m-%d}  {_processor()}, {os.cpu_count()} cores, commit {_commit()}"


def _processor() -> str:
    # the kernel of some architectures names none
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return model[1] if model else platform.machine()


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or "unknown"
