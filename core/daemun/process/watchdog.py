"""Says which plugin keeps the event loop from turning, and interrupts it where only what it does itself is hurt.

A thread looks whether the loop turns; a request pays nothing. It counts its own looks and not seconds: after a pause of
the whole machine nobody is late. The interruption is a signal whose handler raises, in the thread of the event loop, at
the line where the plugin blocks: only if no code of ours stands between that line and the plugin, and only within what
catches the faults of plugins. So nothing is torn but the plugin's own work.
"""

from __future__ import annotations

import logging
import math
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import FrameType

import anyio

from daemun.downstream.exchange import DownstreamConnection
from daemun.errors import PluginError
from daemun.extend.culprit import Blame, Culprit, Thing, frames_of
from daemun.process.source_run import SourceRun
from daemun.settings import BlockingSettings
from daemun.upstream.activation import WaitingRoom
from daemun.upstream.health import Checks

__all__ = ["Watchdog"]

log = logging.getLogger("daemun.watchdog")

_SIGNAL = signal.SIGURG
"""Ignored by default, and sent by nobody who is not asked to."""
_LOOKS = 4
"""Within `warn_seconds`."""
_LONGEST_LOOK_SECONDS = 0.5
_CATCHERS = frozenset(
    catcher.__code__
    for catcher in (
        DownstreamConnection.run_exchange,
        SourceRun._serve,
        WaitingRoom.run_activation,
        Checks.fault,
    )
)
"""What has an answer to whatever a plugin raises inside it."""


class Watchdog:
    """Watches the event loop in which `run` runs."""

    def __init__(
        self,
        settings: BlockingSettings,
        blame: Blame,
        things: Callable[[str], Sequence[Thing]] = lambda route: (),
    ) -> None:
        """`things` are what plugins brought that a route uses, by its name."""
        self._blame = blame
        self._things = things
        self._look_seconds = look = min(settings.warn_seconds / _LOOKS, _LONGEST_LOOK_SECONDS) or math.inf
        self._warn_after = math.ceil(settings.warn_seconds / look) + 1
        self._interrupt_after = math.ceil(settings.interrupt_seconds / look) + 1 if settings.interrupt_seconds else 0
        self.turns = 0
        """How often it has seen the loop turn."""
        self._turned = 0.0
        self._blocked_seconds = 0.0
        """The longest that the loop did not turn, since the thread looked last."""
        self._over = threading.Event()
        self._thread = 0
        self._sentenced = -1
        """The turn in which the loop is to be interrupted."""
        self._sentenced_after = 0.0
        """How long it had been blocked then."""
        self._interrupted: Culprit | None = None
        """Who was, until it is told."""

    async def run(self) -> None:
        """Watches until cancelled."""
        if self._look_seconds == math.inf:
            return
        self._thread = threading.get_ident()
        heard = self._interrupt_after > 0 and _free_signal()
        if heard:
            signal.signal(_SIGNAL, self._interrupt)
        else:
            self._interrupt_after = 0
        threading.Thread(target=self._watch, name="daemun watchdog", daemon=True).start()
        try:
            self._turned = monotonic()
            while True:
                await anyio.sleep(self._look_seconds)
                now = monotonic()
                self._blocked_seconds = max(self._blocked_seconds, now - self._turned - self._look_seconds)
                self._turned = now
                self.turns += 1
        finally:
            self._over.set()
            if heard:
                signal.signal(_SIGNAL, signal.SIG_DFL)

    # --- in the thread ---

    def _watch(self) -> None:
        seen, missed = -1, 0
        while not self._over.wait(self._look_seconds):
            self._tell()
            if self.turns != seen:
                if missed >= self._warn_after:
                    log.warning("the event loop turns again; it was blocked for %.1f s", self._blocked_seconds)
                seen, missed, self._blocked_seconds = self.turns, 0, 0.0
                continue
            missed += 1
            if missed == self._warn_after:
                log.warning("the event loop is blocked for %.1f s by %s", self._late_seconds, self._words())
            if self._interrupt_after and missed >= self._interrupt_after:
                self._sentence(seen, first=missed == self._interrupt_after)

    @property
    def _late_seconds(self) -> float:
        return monotonic() - self._turned - self._look_seconds

    def _words(self) -> str:
        """Who blocks, and in what."""
        frames = list(frames_of(sys._current_frames().get(self._thread)))
        found = self._blame.in_frames(frames)
        if found is None:
            return f"no plugin, at {frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "nobody"
        route = _route(frames)
        if not route:
            return str(found[0])
        return f"{self._blame.described(found[0], self._things(route))} on route {route}"

    def _sentence(self, turn: int, *, first: bool) -> None:
        self._sentenced = turn
        if first and self._victim(sys._current_frames().get(self._thread)) is None:
            log.error("the event loop is still blocked, and cannot be interrupted there: %s", self._words())
        self._sentenced_after = self._late_seconds
        signal.pthread_kill(self._thread, _SIGNAL)
        self._over.wait(self._look_seconds / 4)
        self._tell()

    def _tell(self) -> None:
        """Who was interrupted. On a busy machine the handler runs long after its signal."""
        culprit = self._interrupted
        if culprit is not None:
            self._interrupted = None
            log.error("interrupted after %.1f s: %s", self._sentenced_after, culprit)

    # --- in the thread of the event loop ---

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.turns != self._sentenced:
            return
        culprit = self._victim(frame)
        if culprit is not None:
            self._interrupted = culprit
            raise PluginError("it blocked the event loop for too long and was interrupted", plugin=culprit.plugin)

    def _victim(self, frame: FrameType | None) -> Culprit | None:
        """The plugin that may be interrupted, if it may."""
        frames = list(frames_of(frame))
        found = self._blame.in_frames(frames)
        if found is None:
            return None
        inside = frames.index(found[1])
        if any(self._blame.is_ours(one.f_globals.get("__name__", "")) for one in frames[:inside]):
            return None
        return found[0] if any(one.f_code in _CATCHERS for one in frames[inside:]) else None


def _free_signal() -> bool:
    """Whether the signal is ours to use: in the main thread, where nobody else took it."""
    if threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(_SIGNAL) in (signal.SIG_DFL, signal.SIG_IGN)


def _route(frames: Sequence[FrameType]) -> str:
    for frame in frames:
        if frame.f_code is DownstreamConnection.run_exchange.__code__:
            exchange = frame.f_locals.get("exchange")
            return exchange.route if exchange is not None else ""
    return ""
