"""A stand-in for kube-apiserver: a real HTTP server on the loopback that answers as a test says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import anyio
import h11
import msgspec
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSListener

__all__ = ["ApiServer", "Call", "Handle", "api_server", "status_of"]

_GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)


def status_of(code: int, reason: str, message: str = "", **details: Any) -> dict[str, Any]:
    """An object `Status`."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return {**status, "code": code, **({"details": details} if details else {})}


@dataclass
class Call:
    """A request, and the ways to answer it."""

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    body: bytes
    peer: dict[str, Any]
    _stream: ByteStream
    _connection: h11.Connection

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    async def answer(self, value: Any, status: int = 200, **fields: str) -> None:
        """JSON, or bytes as they are; fields as `retry_after="1"`."""
        body = value if isinstance(value, bytes) else msgspec.json.encode(value)
        more = [(name.replace("_", "-"), text) for name, text in fields.items()]
        await self._send(h11.Response(status_code=status, headers=[*more, ("content-length", str(len(body)))]))
        await self._send(h11.Data(data=body))
        await self._send(h11.EndOfMessage())

    async def refuse(self, code: int, reason: str, message: str = "", **details: Any) -> None:
        await self.answer(status_of(code, reason, message, **details), code)

    async def begin(self) -> None:
        """A watch: `send` what happens, then `end`."""
        await self._send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")]))

    async def send(self, data: bytes) -> None:
        await self._send(h11.Data(data=data))

    async def event(self, type_: str, value: Any) -> None:
        await self.send(msgspec.json.encode({"type": type_, "object": value}) + b"\n")

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def cut(self) -> None:
        """Breaks the connection off."""
        await anyio.aclose_forcefully(self._stream)

    async def _send(self, event: h11.Event) -> None:
        data = self._connection.send(event)
        if data:
            await self._stream.send(data)


Handle = Callable[[Call], Awaitable[None]]


@dataclass
class ApiServer:
    """Where it is, what it was asked, and its connections."""

    url: str
    handle: Handle
    calls: list[Call] = field(default_factory=list)
    streams: set[ByteStream] = field(default_factory=set)
    accepted: int = 0

    def asked(self, **query: str) -> list[Call]:
        """The calls that had these parameters."""
        return [call for call in self.calls if query.items() <= call.query.items()]

    async def cut_all(self) -> None:
        """Breaks all connections off."""
        for stream in list(self.streams):
            await anyio.aclose_forcefully(stream)

    async def _serve(self, stream: ByteStream) -> None:
        self.accepted += 1
        self.streams.add(stream)
        connection = h11.Connection(h11.SERVER)
        peer = {"certificate": stream.extra(TLSAttribute.peer_certificate_binary, None)}
        try:
            while (call := await self._read(stream, connection, peer)) is not None:
                self.calls.append(call)
                await self.handle(call)
                if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                    break
                connection.start_next_cycle()
        except _GONE:
            pass
        finally:
            self.streams.discard(stream)
            await anyio.aclose_forcefully(stream)

    async def _read(self, stream: ByteStream, connection: h11.Connection, peer: dict[str, Any]) -> Call | None:
        request: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                try:
                    connection.receive_data(await stream.receive())
                except anyio.EndOfStream:
                    return None
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                parts = urlsplit(request.target.decode())
                fields = {name.decode(): value.decode() for name, value in request.headers}
                query = dict(parse_qsl(parts.query, keep_blank_values=True))
                return Call(request.method.decode(), parts.path, query, fields, body, peer, stream, connection)
            else:
                return None


@asynccontextmanager
async def api_server(handle: Handle, tls: ssl.SSLContext | None = None) -> AsyncIterator[ApiServer]:
    """The server, while the context lasts; what it says on connections is up to `handle`."""
    listener: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)
    if tls is not None:
        listener = TLSListener(listener, tls, standard_compatible=False)
    server = ApiServer(f"{'https' if tls else 'http'}://127.0.0.1:{port}", handle)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, server._serve)
            yield server
            tasks.cancel_scope.cancel()
    finally:
        await anyio.aclose_forcefully(listener)
