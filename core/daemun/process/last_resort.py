"""A stop that does not come to its end is brought to one: what will not be cancelled is named, and the process ends."""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from time import monotonic, sleep
from types import FrameType
from typing import Any

from daemun.downstream.exchange import DownstreamConnection
from daemun.extend.culprit import Blame, frames_of
from daemun.transport.standing import Standing

__all__ = ["LastResort"]

log = logging.getLogger("daemun.watchdog")

_LOOK_SECONDS = 1.0
_EXCHANGE = DownstreamConnection.run_exchange.__code__
"""What stands in it is waited for first: sources go on until no exchange is left."""


class LastResort:
    """Ends the process of the event loop in which it was made, from a thread: that loop may be what hangs."""

    def __init__(self, blame: Blame) -> None:
        self._blame = blame
        self._standing = Standing()
        self._thread = threading.get_ident()
        self._deadline = math.inf
        threading.Thread(target=self._wait, name="daemun last resort", daemon=True).start()

    def end_within(self, seconds: float) -> None:
        """Ends the process in `seconds`, with exit code 1, unless it is told another time, or to `cancel`, before. From
        a signal handler too: it takes no lock."""
        self._deadline = monotonic() + seconds

    def cancel(self) -> None:
        """It has come to its end."""
        self._deadline = math.inf

    def heed(self, seconds: float, *numbers: int) -> None:
        """`end_within` such a signal, also while the event loop is blocked. To be called by the main thread, when the
        event loop has its own handlers, which go on to be called."""
        for number in numbers:
            before = signal.getsignal(number)

            def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
                if self._deadline == math.inf:
                    self.end_within(seconds)
                if callable(before):
                    before(number, frame)

            signal.signal(number, handle)

    def _wait(self) -> None:
        while monotonic() < self._deadline:
            sleep(_LOOK_SECONDS)
        log.error("the gateway does not stop and is ended: what hangs is %s", self._words())
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(1)

    def _words(self) -> str:
        blocked = self._blame.in_frames(frames_of(sys._current_frames().get(self._thread)))
        if blocked is not None:
            return str(blocked[0])
        stacks = list(self._standing.stacks())
        of_exchanges = [stack for stack in stacks if any(frame.f_code is _EXCHANGE for frame in stack)]
        return self._blame.standing_in(None, of_exchanges or stacks)
