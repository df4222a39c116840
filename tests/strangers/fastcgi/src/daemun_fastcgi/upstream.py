"""One connection to an upstream: one request at a time, its content and the response both ways at once."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Endpoint,
    ExchangeError,
    Headers,
    NoContent,
    Reason,
    Request,
    Response,
    Retry,
    Stream,
    UpstreamConnection,
)
from daemun_fastcgi.params import FastCgiSettings, params_of
from daemun_fastcgi.records import HEAD_BYTES, Kind, decode_head, encode, encode_params, records

__all__ = ["FastCgi"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
_RESPONDER_KEEP = b"\0\1\1\0\0\0\0\0"
"""The role of a responder, on a connection that stays."""
_MAX_HEAD_BYTES = 64 * 1024
_HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer", b"content-length"))


class FastCgi:
    """A FastCGI connection to an endpoint."""

    def __init__(self, stream: Stream, endpoint: Endpoint, settings: FastCgiSettings) -> None:
        self.capacity = 1
        self.released: Callable[[UpstreamConnection], None]
        self._stream = stream
        self._settings = settings
        self._timer = endpoint.timers.timer(self._silent)
        self._timeout_seconds = endpoint.response_timeout_seconds
        self._waiting = b""
        self._running = False
        self._timed_out = False
        self._whole = True
        """All of the request's content was sent."""
        stream.on_eof = stream.on_lost = self._gone

    async def send(self, request: Request) -> Response:
        """The response once its head is there."""
        self._running, self._timed_out = True, False
        sent = False
        try:
            if request.body.length is None:
                raise ExchangeError(Reason.NOT_IMPLEMENTED, "FastCGI needs a content whose length is known", status=411)
            params = encode_params(params_of(request, self._settings))
            start = encode(Kind.BEGIN_REQUEST, _RESPONDER_KEEP)
            start += b"".join(records(Kind.PARAMS, params)) + encode(Kind.PARAMS)
            sent = True
            await self._stream.send(start)
            await self._send_content(request)
            if self._timeout_seconds:
                self._timer.set(self._timeout_seconds)
            return await self._response(request)
        except _GONE:
            self.finish(reusable=False)
            raise self._broken(Retry.IDEMPOTENT) from None
        except BaseException:
            self.finish(reusable=not sent)
            raise

    async def _send_content(self, request: Request) -> None:
        body = request.body
        if isinstance(body, NoContent):
            await self._stream.send(encode(Kind.STDIN))
        elif isinstance(body, Buffered):
            await self._stream.send(b"".join(records(Kind.STDIN, body.data)) + encode(Kind.STDIN))
        else:
            assert request.exchange.tasks is not None
            self._whole = False
            request.exchange.tasks.start_soon(self._pump, body)

    async def _pump(self, body: Body) -> None:
        try:
            while data := await body.read():
                for record in records(Kind.STDIN, data):
                    await self._stream.send(record)
            await self._stream.send(encode(Kind.STDIN))
            self._whole = True
        except (*_GONE, ExchangeError):
            self._stream.abort()

    async def _response(self, request: Request) -> Response:
        head = b""
        while (end := _head_end(head)) is None:
            if len(head) > _MAX_HEAD_BYTES:
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, f"a head of more than {_MAX_HEAD_BYTES} bytes")
            data = await self.read()
            if not data:
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a response without a head")
            head += data
        self._timer.cancel()
        status, headers, length = _read_head(head[: end[0]])
        if request.method == b"HEAD" or status in (204, 304):
            while await self.read():
                pass
            self.finish(reusable=self._whole)
            return Response(status, headers, NoContent(length) if length is not None else EMPTY)
        return Response(status, headers, _Content(self, head[end[1] :], length))

    async def read(self) -> bytes:
        """The next bytes of the response; b"" at its end. Raises that the upstream is gone."""
        while True:
            kind, content = await self._record()
            if kind == Kind.STDOUT and content:
                return content
            if kind == Kind.END_REQUEST:
                if len(content) < 5 or content[4]:
                    raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "the upstream did not take the request")
                return b""

    async def _record(self) -> tuple[int, bytes]:
        try:
            kind, content_bytes, padding_bytes = decode_head(await self._exactly(HEAD_BYTES))
        except ValueError as error:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, str(error)) from None
        content = await self._exactly(content_bytes)
        await self._exactly(padding_bytes)
        return kind, content

    async def _exactly(self, size: int) -> bytes:
        while len(self._waiting) < size:
            self._waiting += await self._stream.receive()
        data, self._waiting = self._waiting[:size], self._waiting[size:]
        return data

    def finish(self, *, reusable: bool) -> None:
        """The exchange is over."""
        if not self._running:
            return
        self._running = False
        self._timer.cancel()
        if not (reusable and self._whole):
            self.close()
        else:
            self._whole = True
        self.released(self)

    def _broken(self, retry: Retry) -> ExchangeError:
        if self._timed_out:
            words = f"no response within {self._timeout_seconds:g} s"
            return ExchangeError(Reason.UPSTREAM_TIMEOUT, words)
        return ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream closed the connection", retry=retry)

    def _silent(self) -> None:
        self._timed_out = True
        self._stream.abort()

    def _gone(self) -> None:
        if not self._running:
            self.close()

    def close(self) -> None:
        self.capacity = 0
        self._timer.cancel()
        self._stream.on_eof = self._stream.on_lost = None
        self._stream.abort()


class _Content:
    """The content of a response, from the connection."""

    def __init__(self, connection: FastCgi, start: bytes, length: int | None) -> None:
        self.length = length
        self.trailers: Headers = ()
        self._connection = connection
        self._start = start
        self._came_bytes = 0
        self._over = False

    async def read(self) -> bytes:
        if self._over:
            return b""
        data, self._start = self._start, b""
        try:
            data = data or await self._connection.read()
            self._came_bytes += len(data)
            if self.length is not None and (
                self._came_bytes > self.length or (not data and self._came_bytes < self.length)
            ):
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a content of another length than its head says")
        except _GONE:
            self._end(reusable=False)
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream closed the connection") from None
        except BaseException:
            self._end(reusable=False)
            raise
        if not data:
            self._end(reusable=True)
        return data

    async def aclose(self) -> None:
        self._end(reusable=False)

    def _end(self, *, reusable: bool) -> None:
        if not self._over:
            self._over = True
            self._connection.finish(reusable=reusable)


def _head_end(data: bytes) -> tuple[int, int] | None:
    """Where the head ends, and where the content begins."""
    found = [(at, at + len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (at := data.find(mark)) >= 0]
    return min(found, default=None)


def _read_head(head: bytes) -> tuple[int, Headers, int | None]:
    """Status, fields, and how long the content is if the head says it (RFC 3875 §6.3)."""
    status, headers, length = 0, [], None
    for line in head.replace(b"\r\n", b"\n").split(b"\n"):
        name, colon, value = line.partition(b":")
        name, value = name.strip().lower(), value.strip()
        if not colon or not name:
            raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a head with a line that is no field")
        if name == b"status":
            if not value[:3].isdigit():
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a status that is no number")
            status = int(value[:3])
        elif name == b"content-length":
            if not value.isdigit():
                raise ExchangeError(Reason.UPSTREAM_PROTOCOL, "a length that is no number")
            length = int(value)
        elif name not in _HOP_BY_HOP:
            headers.append((name, value))
    located = any(name == b"location" for name, _ in headers)
    return status or (302 if located else 200), tuple(headers), length
