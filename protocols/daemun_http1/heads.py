"""The next request of a connection: its head, whole, bounded, in time, and read strictly."""

from __future__ import annotations

import math
from collections.abc import Awaitable

import anyio

from daemun import Connection, ExchangeError, Headers, Reason, Stream, header, normal_authority
from daemun_http1 import grammar
from daemun_http1.codec import HeadError
from daemun_http1.incoming import Incoming, first_line, plain_line, read_request
from daemun_http1.lines import Lines
from daemun_http1.reader import Reader
from daemun_http1.roles import HOST
from daemun_http1.settings import Http1Settings
from daemun_http1.watch import Cause, Watch
from daemun_http1.written import Written, field_lines, plain

__all__ = ["Heads"]

_INF = math.inf


class Heads:
    """The heads of the requests of one connection, one after the other."""

    __slots__ = (
        "_added",
        "_added_lines",
        "_authority",
        "_connection",
        "_forwarding",
        "_headers",
        "_lines",
        "_reader",
        "_rest",
        "_scheme",
        "_settings",
        "_stream",
        "_watch",
        "over",
    )

    def __init__(
        self,
        stream: Stream,
        reader: Reader,
        connection: Connection,
        settings: Http1Settings,
        lines: Lines,
        watch: Watch,
    ) -> None:
        self.over = False
        """The client has finished in order; there is no further request."""
        self._stream = stream
        self._reader = reader
        self._scheme = connection.peer.scheme
        self._settings = settings
        self._lines = lines
        self._watch = watch
        self._connection = connection
        self._forwarding = connection.forwarding
        self._rest = b""
        """The last plain head without its first line. A client that says the same again is not read again."""
        self._authority = b""
        self._headers: Headers = ()
        self._added: Headers = ()
        self._added_lines = b""
        """What the connection adds to every request, and its lines."""

    def take(self) -> Incoming | None:
        """The next request if its head is there. None: await `more` and ask again, unless it is `over`.

        Raises `ExchangeError`.
        """
        reader = self._reader
        seen, waiting = reader.seen, reader.waiting
        data = b""
        if seen or not waiting:
            try:
                data = self._stream.receive_nowait()
            except anyio.EndOfStream:
                if waiting:
                    raise ExchangeError(Reason.BAD_REQUEST, "the head ends in the middle") from None
                self.over = True
                return None
        if not waiting and data[-4:] == b"\r\n\r\n" and data[0] != 13 and data.find(b"\r\n\r\n") == len(data) - 4:
            block = data
        else:
            block = self._assembled(data, seen)
            if not block:
                return None
        watch = self._watch
        watch.timer.at = _INF
        watch.waits_for = Cause.IDLE
        return self._read(block)

    def _assembled(self, data: bytes, seen: int) -> bytes:
        """The head that `data` completes, or b""."""
        reader = self._reader
        if seen < 2 and (reader.waiting or data)[:1] == b"\r":
            reader.feed(data)
            reader.skip_empty_line()
            data = b""
        block = reader.head(data)
        if not block and reader.waiting:
            self._check_start(seen)
        return block

    def more(self) -> Awaitable[None]:
        """To be awaited: returns once there is something new to look at."""
        watch = self._watch
        if not self._reader.waiting:
            watch.waits_for = Cause.IDLE
            watch.timer.start(self._settings.keep_alive_seconds)
        elif watch.waits_for is Cause.IDLE or watch.timer.at == _INF:
            watch.wait_for(Cause.HEAD, self._settings.head_timeout_seconds)
        return self._stream.wait_readable()

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

    def _read(self, block: bytes) -> Incoming:
        settings = self._settings
        if len(block) > settings.max_head_bytes:
            raise self._too_large(block)
        cut = block.find(b"\r\n")
        first, rest = block[:cut], block[cut:]
        usual = plain_line(first)
        if usual is not None and rest == self._rest:
            return Incoming(*usual, self._authority, self._headers)
        lines = rest[2:-4].split(b"\r\n") if len(rest) > 4 else []
        if len(lines) > settings.max_fields:
            raise ExchangeError(Reason.HEAD_TOO_LARGE, f"the head has more than {settings.max_fields} fields")
        begun = first_line(first) if usual is None else Incoming(*usual)
        if begun is None:
            raise grammar.request_fault(block)
        try:
            fields = self._lines.read(lines)
        except HeadError as error:
            if error.coding:
                raise ExchangeError(Reason.NOT_IMPLEMENTED, "the only transfer coding taken is chunked") from None
            raise grammar.request_fault(block) from None
        found = plain(fields, HOST) if usual is not None else None
        if found is None:
            incoming = read_request(begun, fields, settings, self._scheme)
            version = b"1.1" if incoming.minor else b"1.0"
            added = self._forwarding.fields(incoming.authority, version, incoming.identity)
            incoming.headers = (*incoming.headers, *added)
            if incoming.length or incoming.protocol:
                content_type = header(incoming.headers, b"content-type")
                incoming.dialect = self._connection.dialect(content_type, incoming.protocol)
            return incoming
        own, host = found
        self._authority = begun.authority = normal_authority(host)
        added = self._forwarding.fields(begun.authority, b"1.1", ())
        if added is not self._added:
            self._added, self._added_lines = added, field_lines(added)
        self._headers = begun.headers = Written.of((*own, *added), own.lines + self._added_lines)
        self._rest = rest
        return begun
