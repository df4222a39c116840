"""Accepted and dialled sockets as `Stream`s, whatever the event loop."""

from __future__ import annotations

import socket
import ssl
from typing import Protocol

import anyio
from anyio.abc import ByteStream, SocketStream, TaskGroup
from anyio.streams.tls import TLSStream

from daemun.transport.loop import asyncio_loop
from daemun.transport.sockets import SocketStream as LoopStream
from daemun.transport.stream import Stream
from daemun.transport.watched import WatchedStream

__all__ = ["Dial", "dial", "wrap_accepted"]


class Dial(Protocol):
    """Who opens connections to endpoints; `dial` does, unless there is no network."""

    async def __call__(
        self,
        tasks: TaskGroup,
        *,
        host: str = "",
        port: int = 0,
        path: str = "",
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> Stream: ...


async def wrap_accepted(
    sock: socket.socket, tasks: TaskGroup, context: ssl.SSLContext | None, handshake_seconds: float
) -> Stream:
    """The stream of an accepted socket, after its TLS handshake if `context` is given. Takes over the socket.

    Raises `OSError` (`ssl.SSLError` included) or `TimeoutError` when the handshake fails.
    """
    loop = asyncio_loop()
    if loop is not None:
        stream = LoopStream()  # kept by name: with TLS, uvloop gives its own protocol back
        await loop.connect_accepted_socket(
            lambda: stream, sock, ssl=context, ssl_handshake_timeout=handshake_seconds if context else None
        )
        return stream
    plain: ByteStream = await SocketStream.from_socket(sock)
    if context is not None:
        with anyio.fail_after(handshake_seconds):
            plain = await _handshake(plain, context, server_side=True)
    return WatchedStream(plain, tasks)


async def dial(
    tasks: TaskGroup,
    *,
    host: str = "",
    port: int = 0,
    path: str = "",
    context: ssl.SSLContext | None = None,
    server_name: str = "",
) -> Stream:
    """A stream to `host:port`, or to the Unix socket `path`; TLS if `context` is given.

    Raises `OSError`. A deadline is the caller's.
    """
    name = server_name or host
    loop = asyncio_loop()
    if loop is not None:
        name_or_none = name if context is not None else None
        stream = LoopStream()
        if path:
            await loop.create_unix_connection(lambda: stream, path, ssl=context, server_hostname=name_or_none)
        else:
            await loop.create_connection(lambda: stream, host, port, ssl=context, server_hostname=name_or_none)
        return stream
    plain: ByteStream = await (anyio.connect_unix(path) if path else anyio.connect_tcp(host, port))
    if context is not None:
        plain = await _handshake(plain, context, server_side=False, name=name)
    return WatchedStream(plain, tasks)


async def _handshake(plain: ByteStream, context: ssl.SSLContext, *, server_side: bool, name: str = "") -> ByteStream:
    try:
        return await TLSStream.wrap(
            plain,
            server_side=server_side,
            hostname=name or None,
            ssl_context=context,
            standard_compatible=False,
        )
    except (anyio.BrokenResourceError, anyio.EndOfStream) as error:
        await anyio.aclose_forcefully(plain)
        raise ConnectionResetError("the peer ended the TLS handshake") from error
    except BaseException:
        await anyio.aclose_forcefully(plain)
        raise
