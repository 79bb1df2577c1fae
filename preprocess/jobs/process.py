"""A process of this machine, known by more than its number, which is used again."""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_GONE = frozenset("ZX")  # zombie and dead, of proc(5)
_STATE, _START_TICKS = 0, 19  # fields 3 and 22 of /proc/PID/stat; the command's name, field 2, may hold anything


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process."""

    pid: int
    started: int
    """Clock ticks from the boot to its start, as `/proc/PID/stat` has them."""
    boot: str
    """Which boot of which machine: differs after a restart, and on another machine that sees the same folder."""

    @classmethod
    def of(cls, pid: int) -> "Process | None":
        """The process that has the number now; None when there is none, or it has ended."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        if fields[_STATE].decode() in _GONE:
            return None
        return cls(pid=pid, started=int(fields[_START_TICKS]), boot=_BOOT_ID.read_text().strip())

    @property
    def is_there(self) -> bool:
        """Whether it has not ended."""
        return Process.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal; False when it is gone. Another process that got its number is never hit."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # what the descriptor names was there before this look, so if the look finds us, so does the descriptor
            if not self.is_there:
                return False
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
                return True
            return False
        finally:
            os.close(descriptor)
