"""One running process with everything that descends from it: waiting for its end, and ending it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess

import anyio
from anyio.to_thread import run_sync

from daemun_process import guardian
from daemun_process.guard import GUARD

__all__ = ["Session", "how_it_ended"]

log = logging.getLogger("daemun.process")

_POLL_SECONDS = 0.02
_KILL_SECONDS = 5.0


class Session:
    """A process that leads a session of its own. Only `stop` reaps it: until then its number is its own."""

    def __init__(self, process: subprocess.Popen[bytes], mark: bytes) -> None:
        self.pid = process.pid
        self._process = process
        self._mark = mark
        try:
            self._descriptor = os.pidfd_open(process.pid)
        except (AttributeError, OSError):
            self._descriptor = -1

    async def exited(self) -> None:
        """Returns when the process itself has ended; descendants may live."""
        if self._descriptor >= 0:
            await anyio.wait_readable(self._descriptor)
            return
        while not self._is_zombie():  # noqa: ASYNC110 - a kernel without pidfd tells nothing
            await anyio.sleep(_POLL_SECONDS)

    async def stop(self, grace_seconds: float) -> int | None:
        """Ends the process and all that descends from it: SIGTERM, and SIGKILL to what outlives the grace.

        Returns the status as `subprocess` has it (negative for a signal), None if even SIGKILL did not help.
        Not to be cancelled: call it shielded.
        """
        await self._strike(signal.SIGTERM)
        with anyio.move_on_after(grace_seconds):
            await self.exited()
            while await self._living():  # noqa: ASYNC110 - only a parent is told
                await anyio.sleep(_POLL_SECONDS)
        with anyio.move_on_after(_KILL_SECONDS) as scope:
            await self._strike(signal.SIGKILL)
            await self.exited()
            while await self._living():
                await self._strike(signal.SIGKILL)
                await anyio.sleep(_POLL_SECONDS)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        if scope.cancelled_caught:
            log.error("process %d or a descendant did not end within %g s of SIGKILL", self.pid, _KILL_SECONDS)
        else:
            await run_sync(GUARD.release, self.pid)
        return self._process.poll()

    def _is_zombie(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    async def _living(self) -> list[int]:
        return await run_sync(guardian.members, (self.pid,), self._mark)

    async def _strike(self, number: int) -> None:
        await run_sync(guardian.strike, (self.pid,), self._mark, number)


def how_it_ended(status: int | None) -> str:
    """`status` of a process in words: "exited with status 1", "was killed by SIGSEGV"."""
    if status is None:
        return "did not end"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
