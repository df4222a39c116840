"""The next request of a connection: its head, whole, bounded, in time, and read strictly."""

from __future__ import annotations

import math

import anyio

from daemun import Connection, ExchangeError, Reason, Stream
from daemun_http1 import grammar
from daemun_http1.codec import Codec, HeadError
from daemun_http1.reader import Reader
from daemun_http1.settings import Http1Settings
from daemun_http1.translate import Incoming, read_request
from daemun_http1.watch import Cause, Watch

__all__ = ["Heads"]


class Heads:
    """The heads of the requests of one connection, one after the other."""

    __slots__ = ("_codec", "_connection", "_reader", "_settings", "_stream", "_watch")

    def __init__(
        self,
        stream: Stream,
        reader: Reader,
        connection: Connection,
        settings: Http1Settings,
        codec: Codec,
        watch: Watch,
    ) -> None:
        self._stream = stream
        self._reader = reader
        self._connection = connection
        self._settings = settings
        self._codec = codec
        self._watch = watch

    async def next(self) -> Incoming | None:
        """The next request, or None if the connection ends in order. Raises `ExchangeError`."""
        reader, watch = self._reader, self._watch
        head = None
        if reader.waiting:
            reader.skip_empty_line()
            head = reader.head(grammar.REQUEST)
        while head is None:
            waiting = reader.waiting
            if not waiting:
                if self._connection.draining or (self._stream.at_eof and not self._stream.unread_bytes):
                    return None
                watch.wait_for(Cause.IDLE, self._settings.keep_alive_seconds)
            elif watch.waits_for is Cause.IDLE or watch.timer.at == math.inf:
                watch.wait_for(Cause.HEAD, self._settings.head_timeout_seconds)
            seen = reader.seen
            try:
                reader.feed(await self._stream.receive())
            except anyio.EndOfStream:
                if waiting:
                    raise ExchangeError(Reason.BAD_REQUEST, "the head ends in the middle") from None
                return None
            if seen < 2 and reader.waiting[:1] == b"\r":
                reader.skip_empty_line()
            head = reader.head(grammar.REQUEST)
            if head is None and reader.waiting:
                self._check_start(seen)
        watch.rest()
        watch.waits_for = Cause.IDLE
        return self._read(*head)

    def _check_start(self, seen: int) -> None:
        waiting = self._reader.waiting
        if len(waiting) > self._settings.max_head_bytes:
            raise self._too_large(waiting)
        fault = grammar.early_fault(waiting, seen)
        if fault is not None:
            raise fault

    def _too_large(self, block: bytes) -> ExchangeError:
        limit = self._settings.max_head_bytes
        if 0 <= block.find(b"\r\n") <= limit:
            return ExchangeError(Reason.HEAD_TOO_LARGE, f"the head is longer than {limit} bytes")
        return ExchangeError(Reason.TARGET_TOO_LONG, f"the request line is longer than {limit} bytes")

    def _read(self, block: bytes, match: object) -> Incoming:
        settings = self._settings
        if len(block) > settings.max_head_bytes:
            raise self._too_large(block)
        if block.count(b"\n") > settings.max_fields + 2:
            raise ExchangeError(Reason.HEAD_TOO_LARGE, f"the head has more than {settings.max_fields} fields")
        if match is None:
            raise grammar.request_fault(block)
        method, target, minor, lines = match.groups()  # type: ignore[attr-defined]
        if settings.underscores != "keep" and b"_" in lines:
            lines = self._without_underscores(lines)
        try:
            fields = self._codec.request_fields(lines)
        except HeadError as error:
            if error.coding:
                raise ExchangeError(Reason.NOT_IMPLEMENTED, "the only transfer coding taken is chunked") from None
            raise grammar.request_fault(block) from None
        return read_request(method, target, 0 if minor == b"0" else 1, fields, self._connection.peer.scheme, settings)

    def _without_underscores(self, lines: bytes) -> bytes:
        kept = [line for line in lines.splitlines(keepends=True) if b"_" not in line.partition(b":")[0]]
        if self._settings.underscores == "refuse" and len(kept) < lines.count(b"\n"):
            raise ExchangeError(Reason.BAD_REQUEST, "field names with an underscore are refused here")
        return b"".join(kept)
