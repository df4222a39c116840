"""The task that formats and writes, and the bounded backlog that it empties.

It sleeps while nothing is there, gathers for a moment when something is, and formats on the event loop in slices
that are too small to be felt: in a thread it would hold the interpreter's lock for 5 ms at a time. Only the write,
which gives the lock away, is made in a thread.
"""

from __future__ import annotations

from time import monotonic, time

import anyio
from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint

from daemun_accesslog.formats import Format
from daemun_accesslog.losses import Losses
from daemun_accesslog.record import Record, batch_of
from daemun_accesslog.sink import Sink

__all__ = ["Writer"]

_GATHER_SECONDS = 0.2
_SLICE_LINES = 64
_GIVE_UP_SECONDS = 1.0
"""How long a write that was told to give up may take to notice."""


class Writer:
    """Empties `pending` into a sink."""

    def __init__(self, sink: Sink, format_: Format, max_pending: int) -> None:
        self.pending: list[Record] = []
        """What waits to be written; always the same list. Whoever makes it non-empty calls `wake`."""
        self._sink = sink
        self._format = format_
        self._max_pending = max_pending
        self._losses = Losses(sink.name)
        self._in_hand = 0
        """Lines that were taken from the backlog and whose end is not known."""
        self._reopen = False
        self._closing = False
        self._woken = anyio.Event()
        self._hurried = anyio.Event()
        self._done = anyio.Event()
        self._limiter = CapacityLimiter(1)
        self._scope: CancelScope | None = None

    def wake(self) -> None:
        """Something is pending."""
        self._woken.set()

    def overflow(self) -> None:
        """A record was not taken because the backlog is full."""
        self._losses.add(1, f"more than {self._max_pending} lines wait to be written")

    def reopen(self) -> None:
        """The next lines go to the file that has the name then; it is opened at once."""
        self._reopen = True
        self._hurry()

    async def run(self) -> None:
        """Writes until `finish`, whatever else is cancelled."""
        with CancelScope(shield=True) as self._scope:
            closing = False
            while not closing:
                await self._woken.wait()
                with anyio.move_on_after(_GATHER_SECONDS):
                    await self._hurried.wait()
                self._woken, self._hurried = anyio.Event(), anyio.Event()
                closing = self._closing
                try:
                    await self._flush()
                except Exception as error:  # no thread, no memory: the gateway goes on without these lines
                    self._losses.add(self._in_hand, f"cannot be written ({error!r})")
                    self._in_hand = 0
            self._done.set()

    async def finish(self, timeout_seconds: float) -> bool:
        """Ends `run` once everything pending is written, or after the timeout.

        False: a write hangs in its thread for longer than that, and nobody may close the sink.
        """
        self._closing = True
        self._hurry()
        with anyio.move_on_after(timeout_seconds):
            await self._done.wait()
        if not self._done.is_set():
            self._sink.given_up = True
            with anyio.move_on_after(_GIVE_UP_SECONDS):
                await self._done.wait()
        if self._scope is not None:
            self._scope.cancel()
        left = self._in_hand + len(self.pending)
        if left:
            self._losses.add(left, "did not take the last lines in time")
        self._losses.close()
        return self._done.is_set()

    def _hurry(self) -> None:
        self._woken.set()
        self._hurried.set()

    async def _flush(self) -> None:
        records = self.pending.copy()
        self.pending.clear()
        self._in_hand = len(records)
        offset = time() - monotonic()
        pieces: list[bytes] = []
        for begin in range(0, len(records), _SLICE_LINES):
            pieces.append(self._lines(records[begin : begin + _SLICE_LINES], offset))
            await checkpoint()
        records.clear()
        reopen, self._reopen = self._reopen, False
        outcome = await to_thread.run_sync(
            lambda: self._sink.write(b"".join(pieces), reopen=reopen), abandon_on_cancel=True, limiter=self._limiter
        )
        self._in_hand = 0
        if outcome.fault:
            self._losses.add(outcome.lost, outcome.fault)
        elif pieces:
            self._losses.written()

    def _lines(self, records: list[Record], offset: float) -> bytes:
        """The lines of `records`, without those that cannot be made: a value of a plugin's that is no text."""
        try:
            return self._format(batch_of(records, offset))
        except Exception as error:
            if len(records) > 1:
                return b"".join(self._lines([record], offset) for record in records)
            self._losses.add(1, f"a line cannot be made ({type(error).__name__})")
            return b""
