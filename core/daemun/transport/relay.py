"""Bytes on their way from one socket to another: no task runs for them, and nothing copies them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["End", "Relay"]


class End(Protocol):
    """What a relay needs of a stream on a socket."""

    transport: asyncio.Transport
    relayed_bytes: int
    on_stall: Callable[[bool], None] | None


class Relay:
    """`left` bytes that `source` passes to `sink`, from the call-back that brings them to the write."""

    __slots__ = ("_came", "_sink", "_source", "_stalled", "left", "over")

    def __init__(self, source: End, sink: End, length: int, came: Callable[[memoryview], None] | None) -> None:
        self.left = length
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._came = came
        self._source = source
        self._sink = sink
        self._stalled = False

    def pass_on(self, data: memoryview) -> bool:
        """Writes `data`, no more than is `left`; whether the sink goes on needing its memory."""
        sink = self._sink
        if sink.transport.is_closing():
            self.finish()
            return False
        self.left -= len(data)
        sink.relayed_bytes += len(data)
        if self._came is not None:
            self._came(data)
        sink.transport.write(data)
        if self.left == 0:
            self.finish()
        if sink.transport.is_closing():  # the write met an error; the sink is about to say that it is lost
            return True
        held = sink.transport.get_write_buffer_size() > 0
        if held and not self._stalled:
            self._stalled = True
            self._source.transport.pause_reading()
            if sink.on_stall is not None:
                sink.on_stall(True)
        return held

    def go_on(self) -> None:
        """The sink has taken everything."""
        if self._stalled:
            self._stalled = False
            if not self._source.transport.is_closing():
                self._source.transport.resume_reading()
            if self._sink.on_stall is not None:
                self._sink.on_stall(False)

    def finish(self) -> None:
        """No more will come, or is wanted."""
        if not self.over.done():
            self.over.set_result(None)
