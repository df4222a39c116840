"""A small process beside the gateway: kills what the gateway started, should it vanish without doing so.

Run by its path with nothing but the standard library (`python -I -S guardian.py MARK`). Its standard input is
a pipe whose other end only the gateway holds: lines `+PID` and `-PID` register and release sessions; the end
of the pipe means that the gateway is gone, however it went. Then every process of a registered session and
every one that carries MARK in its environment gets SIGTERM, and SIGKILL two seconds later.

The mark finds what sessions do not: a process started in the last millisecond of the gateway, and a
descendant that made a session of its own. `members` and `strike` serve the gateway's own stops as well.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Collection

GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.02


def members(sessions: Collection[int], mark: bytes) -> list[int]:
    """Processes, zombies not counted, that are of one of `sessions` or have `mark` in their environment.

    Blocks for about 20 µs a process of the machine. Without `/proc` there are none.
    """
    try:
        names = os.listdir("/proc")
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit() and _belongs(name, sessions, mark)]


def strike(sessions: Collection[int], mark: bytes, number: int) -> None:
    """Sends the signal `number` once to each process in the groups of `sessions` and to all other `members`.

    Once, because some servers take a second SIGTERM as "now". A process is held by a descriptor while it is
    looked at again, so that a number that went to a stranger meanwhile is left in peace.
    """
    for session in sessions:
        try:
            os.killpg(session, number)
        except (ProcessLookupError, PermissionError):
            pass
    for pid in members(sessions, mark):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if os.getpgid(pid) not in sessions and _belongs(str(pid), sessions, mark):
                signal.pidfd_send_signal(descriptor, number)
        except OSError:
            pass
        finally:
            os.close(descriptor)


def _belongs(pid: str, sessions: Collection[int], mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            # The name in parentheses may hold anything; after it come state, parent, group, session.
            fields = file.read(1024).rpartition(b")")[2].split(None, 4)
        if fields[0] in (b"Z", b"X"):
            return False
        if int(fields[3]) in sessions:
            return True
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return mark in file.read()
    except (OSError, IndexError):
        return False


def _end(sessions: Collection[int], mark: bytes) -> None:
    strike(sessions, mark, signal.SIGTERM)
    began = time.monotonic()
    while members(sessions, mark) and time.monotonic() - began < GRACE_SECONDS:
        time.sleep(_POLL_SECONDS)
    began = time.monotonic()
    strike(sessions, mark, signal.SIGKILL)
    while members(sessions, mark) and time.monotonic() - began < GRACE_SECONDS:
        time.sleep(_POLL_SECONDS)
        strike(sessions, mark, signal.SIGKILL)


def main(mark: bytes) -> None:
    """Waits for the end of standard input, then cleans up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sessions: set[int] = set()
    for line in sys.stdin.buffer:
        change, session = sessions.add if line[:1] == b"+" else sessions.discard, int(line[1:])
        change(session)
    _end(sessions, mark)


if __name__ == "__main__":
    main(sys.argv[1].encode())
