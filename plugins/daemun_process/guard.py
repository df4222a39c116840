"""The gateway's half of the guard: starts processes in such a way that none outlives the gateway.

Each process leads a session of its own, is known to the guardian (see `guardian`) and carries a mark in its
environment. `PR_SET_PDEATHSIG` is not used: it needs code between fork and exec, which is not safe in a
process with threads, it fires when the *thread* that forked ends, and grandchildren do not inherit it.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from daemun_process import guardian

__all__ = ["GUARD", "MARK_VARIABLE", "Guard"]

MARK_VARIABLE = "DAEMUN_PROCESS"
"""Environment variable that every process we start carries, and what it starts inherits."""

_GUARDIAN = str(files("daemun_process") / "guardian.py")
_GOODBYE_SECONDS = 2 * guardian.GRACE_SECONDS + 1.0


class Guard:
    """Keeps one guardian while anyone `enter`ed. Every method may block: call it in a worker thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._serial = 0
        self._sessions: set[int] = set()
        self._guardian: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._token = secrets.token_hex(8)
        os.register_at_fork(after_in_child=self._forget)

    def enter(self) -> None:
        """Counts one user in."""
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """Counts one user out; the last one ends the guardian, which ends what is still registered."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._dismiss()
                self._sessions.clear()

    def start(
        self, command: Sequence[str], *, environment: Mapping[str, str], directory: Path, output: int
    ) -> tuple[subprocess.Popen[bytes], bytes]:
        """A process with its mark, registered before anyone can lose sight of it.

        `output` is the descriptor of its standard output and error. Raises `OSError` if it cannot be started.
        """
        with self._lock:
            if self._guardian is None:
                self._engage()
            self._serial += 1
            mark = f"{self._token}.{self._serial}."
            with _nothing() as nothing:
                process = subprocess.Popen(
                    command,
                    env={**environment, MARK_VARIABLE: mark},
                    cwd=directory,
                    stdin=nothing,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self._sessions.add(process.pid)
            try:
                self._tell(b"+%d\n" % process.pid)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self._sessions.discard(process.pid)
                raise
            return process, f"{MARK_VARIABLE}={mark}".encode()

    def release(self, session: int) -> None:
        """Forgets a session of which nothing is left but its unreaped leader: the number is still its own."""
        with self._lock:
            self._sessions.discard(session)
            self._tell(b"-%d\n" % session)

    def _engage(self) -> None:
        reader, writer = os.pipe()
        try:
            with _nothing() as nothing:
                self._guardian = subprocess.Popen(
                    (sys.executable, "-I", "-S", _GUARDIAN, f"{MARK_VARIABLE}={self._token}."),
                    env={},
                    cwd="/",
                    stdin=reader,
                    stdout=nothing,
                    stderr=nothing,
                    start_new_session=True,
                )
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._pipe = writer
        for session in self._sessions:
            os.write(writer, b"+%d\n" % session)
        os.set_blocking(writer, False)

    def _tell(self, line: bytes) -> None:
        """Writes to the guardian; one that was killed or does not listen is replaced."""
        try:
            os.write(self._pipe, line)
        except OSError:
            if self._guardian is not None:
                self._guardian.kill()
            self._dismiss()
            self._engage()

    def _dismiss(self) -> None:
        process, self._guardian = self._guardian, None
        if process is None:
            return
        os.close(self._pipe)
        self._pipe = -1
        deadline = time.monotonic() + _GOODBYE_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.002)

    def _forget(self) -> None:
        """In a fork of the gateway: a guardian whose pipe we hold would not see the end of our parent."""
        process, self._guardian = self._guardian, None
        self._lock = threading.Lock()
        self._users, self._sessions, self._token = 0, set(), secrets.token_hex(8)
        if process is not None:
            process.returncode = 0
            os.close(self._pipe)


@contextmanager
def _nothing() -> Iterator[int]:
    """A descriptor that reads as empty and takes what is written: /dev/null, or a file in memory where no `/dev` is."""
    try:
        descriptor = os.open(os.devnull, os.O_RDWR)
    except FileNotFoundError:
        descriptor = os.memfd_create("nothing")
    try:
        yield descriptor
    finally:
        os.close(descriptor)


GUARD = Guard()
"""The guard of this gateway process, shared by all back ends."""
