"""What /proc says of a process and all that it started: CPU time, user and system apart, and memory.

The kernel scales both times so that their sum is exact to a clock tick; how it divides between the two is sampled.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

__all__ = ["Cpu", "cpu", "field_bytes", "parse_stat", "peak_rss_bytes", "reset_peak", "rss_bytes", "tree"]

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_GONE = (FileNotFoundError, ProcessLookupError)


class Cpu(Struct, frozen=True):
    """CPU time so far."""

    user_seconds: float
    system_seconds: float

    def since(self, before: Cpu) -> Cpu:
        """What was spent since then; never negative, for a child may have gone unreaped."""
        return Cpu(
            max(self.user_seconds - before.user_seconds, 0.0), max(self.system_seconds - before.system_seconds, 0.0)
        )


def parse_stat(text: str) -> Cpu:
    """The times in `/proc/PID/stat`, those of reaped children with them. The name may hold spaces and brackets."""
    fields = text.rpartition(")")[2].split()
    user, system, children_user, children_system = map(int, fields[11:15])
    return Cpu((user + children_user) / _TICKS, (system + children_system) / _TICKS)


def tree(pid: int) -> list[int]:
    """The process first, then all its descendants that live. A child belongs to the thread that started it."""
    found = [pid]
    for member in found:
        with suppress(*_GONE):
            for task in (_PROC / str(member) / "task").iterdir():
                with suppress(*_GONE):
                    found += map(int, (task / "children").read_text().split())
    return found


def cpu(pid: int) -> Cpu:
    """CPU time of the whole tree so far."""
    user = system = 0.0
    for member in tree(pid):
        with suppress(*_GONE):
            one = parse_stat((_PROC / str(member) / "stat").read_text())
            user += one.user_seconds
            system += one.system_seconds
    return Cpu(user, system)


def field_bytes(status: str, name: str) -> int:
    """A field of `/proc/PID/status` that is given in kB; 0 if it is not there."""
    for line in status.splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def rss_bytes(pid: int) -> int:
    """Resident memory of the whole tree; pages that processes share count for each."""
    return _sum(pid, "VmRSS")


def peak_rss_bytes(pid: int) -> int:
    """The most that each process of the tree had resident since `reset_peak`, added up."""
    return _sum(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Makes the present resident memory the peak. Where the kernel refuses, the peak is that since the start."""
    for member in tree(pid):
        with suppress(OSError):
            (_PROC / str(member) / "clear_refs").write_text("5")


def _sum(pid: int, name: str) -> int:
    total = 0
    for member in tree(pid):
        with suppress(*_GONE):
            total += field_bytes((_PROC / str(member) / "status").read_text(), name)
    return total
