"""How long one exchange may take, wait for its client's content, and wait for its client to take any."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

from daemun import Connection
from daemun_http2.inflow import Inflow
from daemun_http2.settings import Http2Settings

__all__ = ["Patience"]

_INF = math.inf


class Patience:
    """The timers of an exchange, and after it of another one: they stay where they are among the worker's."""

    __slots__ = (
        "_content",
        "_cut_off",
        "_deadline",
        "_inflow",
        "_settings",
        "_since",
        "_slow_seconds",
        "_stall",
        "over",
    )

    def __init__(self, connection: Connection, settings: Http2Settings) -> None:
        self.over: Callable[[str], None] | None = None
        """Set by the exchange: told which ran out."""
        self._settings = settings
        timer = connection.timers.timer
        self._deadline = timer(lambda: self._tell("DEADLINE"))
        self._content = timer(lambda: self._tell("CONTENT"))
        self._stall = timer(lambda: self._tell("STALLED"))
        self._cut_off = False
        self._inflow: Inflow | None = None
        self._slow_seconds = 0.0
        self._since = 0.0

    def _tell(self, what: str) -> None:
        if self.over is not None:
            self.over("STUCK" if self._cut_off else what)

    def cut_off(self, seconds: float) -> None:
        """The exchange was cancelled: if it does not end within `seconds`, it is `STUCK`."""
        self._cut_off = True
        self._content.at = self._stall.at = _INF
        self._deadline.start(seconds)

    def set_deadline(self, when: float) -> None:
        """The exchange ends at `time.monotonic()` = `when`."""
        self._deadline.set(when)

    def watch(self, inflow: Inflow) -> None:
        """Content may not come slower than the settings allow, while somebody waits for it."""
        self._inflow = inflow
        inflow.on_wait = self._waits

    def _waits(self, waits: bool) -> None:
        settings, inflow = self._settings, self._inflow
        assert inflow is not None
        now = monotonic()
        if not waits:
            self._slow_seconds += now - self._since
            self._content.at = _INF
            return
        self._since = now
        if inflow.length is not None and settings.body_min_bytes_per_second:
            allowed = settings.body_grace_seconds + inflow.came_bytes / settings.body_min_bytes_per_second
            self._content.start(max(0.0, allowed - self._slow_seconds))
        elif settings.content_timeout_seconds:
            self._content.start(settings.content_timeout_seconds)

    def stalled(self, waits: bool) -> None:
        """A send begins to wait for the client, or goes on."""
        if waits and self._settings.send_timeout_seconds:
            self._stall.start(self._settings.send_timeout_seconds)
        else:
            self._stall.at = _INF

    def rest(self) -> None:
        """The exchange is over: nothing fires until another one begins."""
        self.over = None
        self._cut_off = False
        self._deadline.at = self._content.at = self._stall.at = _INF
        if self._inflow is not None:
            self._inflow.on_wait = None
            self._inflow = None
        self._slow_seconds = 0.0

    def forget(self) -> None:
        """Nothing fires any more."""
        self._deadline.cancel()
        self._content.cancel()
        self._stall.cancel()
