"""The supervisor's side of the fork server: asking for workers, and learning how they ended."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import anyio
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from daemun.process.workers.backoff import Backoff
from daemun.process.workers.zygote import Forked, decode_reply, spawn_zygote
from daemun.settings import PluginSettings

__all__ = ["Child", "Forking", "how_it_ended"]

log = logging.getLogger("daemun.workers")

_REPORT_SECONDS = 1.0
_FORK_SECONDS = 10.0
_MAX_MESSAGE_BYTES = 256


class Child:
    """A worker's process."""

    def __init__(self, pid: int, handle: int) -> None:
        """`handle` is a descriptor of the process (pidfd), which is taken over."""
        self.pid = pid
        self.status: int | None = None
        """How it ended, as `subprocess` has it; None: not known."""
        self.exited = anyio.Event()
        self.told = anyio.Event()
        """The fork server told how it ended, or nobody will."""
        self._handle = handle

    async def watch(self) -> None:
        """Returns once the process has ended, and it is known how."""
        await anyio.wait_readable(self._handle)
        with anyio.move_on_after(_REPORT_SECONDS):
            await self.told.wait()
        if self.status is None:
            self.status = _reaped(self.pid)
        self.exited.set()

    def kill(self) -> None:
        """Ends it at once."""
        if not self.exited.is_set():
            try:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def close(self) -> None:
        """Gives the handle back."""
        os.close(self._handle)


class Forking:
    """Has workers forked. `run` must run meanwhile."""

    def __init__(self, control: socket.socket, pid: int, plugins: PluginSettings, shared_dir: Path) -> None:
        self.pid = pid
        """Of the fork server."""
        self._control = control
        self._control.setblocking(False)
        self._plugins = plugins
        self._shared_dir = shared_dir
        self._backoff = Backoff()
        self._began = monotonic()
        self._lock = anyio.Lock()
        self._children: dict[int, Child] = {}
        self._answer: Child | None = None
        self._answered = anyio.Event()

    async def run(self, tasks: TaskGroup) -> None:
        """Hears what the fork server says; replaces it if it dies."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, _MAX_MESSAGE_BYTES, 1)
            except BlockingIOError:
                await anyio.wait_readable(self._control)
                continue
            except OSError:
                data, descriptors = b"", []
            if not data:
                await self._replace()
                continue
            reply = decode_reply(data)
            if isinstance(reply, Forked):
                os.set_inheritable(descriptors[0], False)
                child = self._children[reply.pid] = Child(reply.pid, descriptors[0])
                tasks.start_soon(self._watch, child)
                self._answer = child
                self._answered.set()
            elif reply.pid in self._children:
                self._children[reply.pid].status = reply.status
                self._children[reply.pid].told.set()

    async def fork(self, descriptors: Sequence[int]) -> Child:
        """A new worker that gets copies of `descriptors`. Raises nothing: a fork server that dies is replaced."""
        answer: Child | None = None
        with anyio.CancelScope(shield=True):
            async with self._lock:
                while answer is None:
                    self._answer, self._answered = None, anyio.Event()
                    try:
                        socket.send_fds(self._control, [b"fork"], list(descriptors))
                    except OSError as error:
                        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EBADF):
                            raise
                    with anyio.move_on_after(_FORK_SECONDS) as waiting:
                        await self._answered.wait()
                    answer = self._answer
                    if waiting.cancelled_caught and answer is None:
                        os.kill(self.pid, signal.SIGKILL)  # it is our child; its end is heard by `run`
        assert answer is not None
        return answer

    async def _watch(self, child: Child) -> None:
        await child.watch()
        del self._children[child.pid]

    async def _replace(self) -> None:
        """Workers live on without it; only new ones need it, and they are what makes a gateway survive."""
        pause = self._backoff.pause_seconds(monotonic() - self._began)
        log.error("the fork server (process %d) ended; another one is started in %g s", self.pid, pause)
        self._control.close()
        os.kill(self.pid, signal.SIGKILL)  # it is our child: a closed socket is its end at any rate
        await run_sync(os.waitpid, self.pid, 0)
        for child in self._children.values():
            child.told.set()
        await anyio.sleep(pause)
        self._control, self.pid = await run_sync(spawn_zygote, self._plugins, self._shared_dir)
        self._control.setblocking(False)
        self._began = monotonic()
        self._answered.set()

    def close(self) -> None:
        """Lets the fork server end, which it does at once."""
        self._control.close()
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def _reaped(pid: int) -> int | None:
    """The status of a child of ours that ended; None if it is not ours."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if found else None


def how_it_ended(status: int | None) -> str:
    """`status` of a process in words: "exited with status 1", "was killed by SIGSEGV"."""
    if status is None:
        return "ended, nobody knows how"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
