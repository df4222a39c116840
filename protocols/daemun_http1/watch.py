"""What can end an exchange from outside, and the timers of a connection: none of it costs a scope of its own."""

from __future__ import annotations

import enum
import fcntl
import math
import termios
from array import array
from collections.abc import Callable
from time import monotonic

import anyio
from anyio.abc import SocketAttribute

from daemun import Connection, Stream
from daemun_http1.settings import Http1Settings

__all__ = ["STUCK_SECONDS", "Cause", "Watch"]

STUCK_SECONDS = 3.0
"""What an exchange that was cancelled gets to end."""

_STALL_CHECKS = 6


class Cause(enum.Enum):
    """Why the scope of a connection was cancelled."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    CONTENT = enum.auto()
    DEADLINE = enum.auto()
    LEFT = enum.auto()
    TUNNEL = enum.auto()
    STUCK = enum.auto()


class Watch:
    """The one cancel scope of a connection, and what may cancel it."""

    __slots__ = (
        "_settings",
        "_stalled_since",
        "_stream",
        "_unsent",
        "_writes",
        "cause",
        "cut_off",
        "deadline",
        "guard",
        "on_stuck",
        "on_time_out",
        "scope",
        "timer",
        "waits_for",
    )

    def __init__(self, stream: Stream, connection: Connection, settings: Http1Settings) -> None:
        self.scope = anyio.CancelScope()
        self.guard = anyio.CancelScope()
        """Inside `scope`. Shielded, it spares what does not heed a cancellation from hearing it again and again."""
        self.cause: Cause | None = None
        """The first thing that cancelled it."""
        self.waits_for = Cause.IDLE
        """What `timer` would cancel for."""
        self.timer = connection.timers.timer(self._too_slow)
        self.deadline = connection.timers.timer(self._deadline_passed)
        self.on_time_out: Callable[[Cause], None] = lambda _: None
        """Called when a timer has run out, before the exchange is cancelled."""
        self.on_stuck: Callable[[], None] = lambda: None
        """Called, now and then, when what was cancelled does not end."""
        self.cut_off = stream.abort
        """How a client is left that takes no byte."""
        self._stream = stream
        self._settings = settings
        self._writes = connection.timers.timer(self._not_reading)
        self._unsent = -1
        self._stalled_since = 0.0

    def wait_for(self, cause: Cause, seconds: float) -> None:
        """From now on the connection waits for something that may take so long; then `cause` cancels."""
        self.waits_for = cause
        self.timer.start(seconds)

    def rest(self) -> None:
        """Nothing is waited for."""
        self.timer.at = math.inf

    def cancel(self, cause: Cause) -> None:
        """Cancels what runs on the connection; later causes do not count."""
        if self.cause is None:
            self.cause = cause
            self.scope.cancel()
            self.wait_for(Cause.STUCK, STUCK_SECONDS)

    def disarm(self) -> None:
        """Nothing fires any more, until it is set again."""
        self.timer.at = self.deadline.at = self._writes.at = math.inf

    def end(self) -> None:
        """Forgets the timers."""
        self.timer.cancel()
        self.deadline.cancel()
        self._writes.cancel()

    def stalled(self, waits: bool) -> None:
        """The stream's `on_stall`."""
        limit = self._settings.send_timeout_seconds
        if not waits or not limit:
            self._writes.at = math.inf
            return
        self._unsent = -1
        self._stalled_since = now = monotonic()
        self._writes.set(now + limit / _STALL_CHECKS)

    def _too_slow(self) -> None:
        if self.waits_for is Cause.STUCK:
            self.on_stuck()
            return
        if self.waits_for is Cause.IDLE and not self._settings.send_timeout_seconds and _untaken(self._stream):
            self.wait_for(Cause.IDLE, self._settings.keep_alive_seconds)  # it reads on, as late as it likes
            return
        self.on_time_out(self.waits_for)
        self.cancel(self.waits_for)

    def _deadline_passed(self) -> None:
        self.on_time_out(Cause.DEADLINE)
        self.cancel(Cause.DEADLINE)

    def _not_reading(self) -> None:
        """A write waits: cuts the client off once nothing moved for the whole time allowed."""
        unsent, limit, now = _untaken(self._stream), self._settings.send_timeout_seconds, monotonic()
        if unsent != self._unsent:
            if self._unsent >= 0:
                self._stalled_since = now
            self._unsent = unsent
        elif now - self._stalled_since >= limit - limit / _STALL_CHECKS / 2:
            self.cut_off()
            return
        self._writes.set(now + limit / _STALL_CHECKS)


def _untaken(stream: Stream) -> int:
    """Bytes that the client has not taken, with those in the kernel: it takes many before we may write again."""
    raw = stream.extra(SocketAttribute.raw_socket, None)
    if raw is None:
        return stream.unsent_bytes
    held = array("i", [0])
    try:
        fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, held)
    except OSError:
        pass
    return stream.unsent_bytes + held[0]
