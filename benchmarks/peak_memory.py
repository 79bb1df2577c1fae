"""How much memory this process took at most."""

from pathlib import Path


def peak_bytes() -> int:
    """Resident so far, of this program alone: `ru_maxrss` would be that of whoever started it, if that is larger."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
