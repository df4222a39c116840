"""Many deadlines, one task: arming one costs an assignment and a comparison, and no scope."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from time import monotonic

import anyio

__all__ = ["Timer", "Timers"]

log = logging.getLogger("daemun.transport")

_TICK_SECONDS = 0.05
_STALL_SECONDS = 3 * _TICK_SECONDS
"""After a longer sleep than this the whole process stood still: what came meanwhile is read before anything fires."""


def _nothing() -> None:
    """What a timer does that has ended."""


class Timer:
    """One deadline that is moved often and seldom reached. Call `cancel` when its owner ends."""

    __slots__ = ("_bucket", "_fire", "_looked_at", "_timers", "at")

    def __init__(self, timers: Timers, fire: Callable[[], None]) -> None:
        self.at = math.inf
        """`time.monotonic()` at which it fires; up to one tick later, two after the process stood still."""
        self._timers = timers
        self._fire = fire
        self._bucket = -1
        self._looked_at = math.inf  # a time before it needs an earlier bucket

    def set(self, at: float) -> None:
        """Fires at `at` and at no other time; inf disarms."""
        self.at = at
        if at < self._looked_at:
            bucket = max(int(at / _TICK_SECONDS), self._timers.done) + 1
            if self._bucket < 0 or bucket < self._bucket:
                self._timers.move(self, bucket)

    def start(self, seconds: float) -> None:
        """Fires `seconds` from now, up to three ticks later. Cheaper than `set`: it asks no clock."""
        timers = self._timers
        self.at = at = (timers.now if timers.ticking else timers.look()) + seconds + _TICK_SECONDS
        if at < self._looked_at:
            self.set(at)

    def cancel(self) -> None:
        """Ends it: it never fires again, and knows nobody any more, so that its owner is no garbage in a circle."""
        self.at = math.inf
        self._fire = _nothing
        if self._bucket >= 0:
            self._timers.move(self, -1)


class Timers:
    """The timers of one worker. A timer that was moved later stays where it is until its old time comes."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[Timer]] = {}
        self._wake = anyio.Event()
        self.ticking = False
        """Something is armed, and `now` is kept."""
        self.now = 0.0
        """`time.monotonic()` as it was at the last tick."""
        self.done = -1
        """The last bucket that was looked at; nothing is put into it or before it."""

    def timer(self, fire: Callable[[], None]) -> Timer:
        """A disarmed timer. `fire` is called outside of any task: it may not block or raise."""
        return Timer(self, fire)

    def look(self) -> float:
        """`now`, from the clock."""
        self.now = monotonic()
        return self.now

    def move(self, timer: Timer, bucket: int) -> None:
        """Puts `timer` in another bucket; -1: in none."""
        buckets = self._buckets
        old = timer._bucket
        if old >= 0:
            among = buckets.get(old)
            if among is not None:
                among.discard(timer)
                if not among:
                    del buckets[old]
        timer._bucket = bucket
        timer._looked_at = (bucket - 1) * _TICK_SECONDS if bucket >= 0 else math.inf
        if bucket >= 0:
            among = buckets.get(bucket)
            if among is None:
                if not buckets:
                    self._wake.set()
                buckets[bucket] = {timer}
            else:
                among.add(timer)

    async def run(self) -> None:
        """Fires what is due, until cancelled. Sleeps without a tick while nothing is armed."""
        while True:
            if not self._buckets:
                self.ticking = False
                self._wake = anyio.Event()
                await self._wake.wait()
                self.look()
                self.ticking = True
                continue
            slept = self.now
            await anyio.sleep(_TICK_SECONDS)
            if self.look() - slept > _STALL_SECONDS:
                await anyio.sleep(_TICK_SECONDS)
            now = self.look()
            current = int(now / _TICK_SECONDS)
            span = range(self.done + 1, current + 1)
            due = span if len(span) < len(self._buckets) else [b for b in self._buckets if b <= current]
            self.done = current
            for bucket in due:
                for timer in self._buckets.pop(bucket, ()):
                    timer._bucket, timer._looked_at = -1, math.inf
                    if timer.at <= now:
                        timer.at = math.inf
                        _fire(timer)
                    elif timer.at != math.inf:
                        timer.set(timer.at)


def _fire(timer: Timer) -> None:
    try:
        timer._fire()
    except Exception:
        log.exception("a timer's call-back failed")
