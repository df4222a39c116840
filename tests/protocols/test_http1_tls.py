"""HTTP/1 over TLS: what passes from socket to socket arrives whole, however slowly it is read."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from daemun.testing import Proxy, Scene, proxying

pytestmark = pytest.mark.anyio

BIG = hashlib.shake_256(b"tls").digest(6_000_000)
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


@asynccontextmanager
async def secured(proxy: Proxy, certificate: Path) -> AsyncIterator[TLSStream]:
    """A client's connection."""
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    async with await anyio.connect_tcp(
        "127.0.0.1", proxy.gateway.port, ssl_context=context, tls_hostname="a.test", tls_standard_compatible=False
    ) as stream:
        yield stream


def listener(certificate: Path) -> dict[str, object]:
    return {"tls": {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}}


async def read(stream: TLSStream, size: int) -> bytes:
    """The next `size` bytes, in small pieces with pauses in between."""
    data = b""
    while len(data) < size:
        data += await stream.receive(min(100_000, size - len(data)))
        await anyio.lowlevel.checkpoint()
    return data


async def until(stream: TLSStream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += await stream.receive(1)
    return data


@pytest.mark.parametrize("framing", ["length", "tunnel"])
async def test_much_goes_to_a_client_that_reads_late(framing: str, certificate: Path) -> None:
    async def download(scene: Scene) -> None:
        await scene.head()
        head = SWITCHING if framing == "tunnel" else b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG)
        await scene.send(head + BIG[:10])
        await scene.send(BIG[10:])
        await scene.gone()

    async with proxying(download, listener=listener(certificate)) as proxy, secured(proxy, certificate) as stream:
        await stream.send(UPGRADE if framing == "tunnel" else b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        head = await until(stream, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101" if framing == "tunnel" else b"HTTP/1.1 200")
        assert hashlib.sha256(await read(stream, len(BIG))).digest() == hashlib.sha256(BIG).digest()


@pytest.mark.parametrize("framing", ["length", "tunnel"])
async def test_much_comes_from_a_client(framing: str, certificate: Path) -> None:
    async def upload(scene: Scene) -> None:
        await scene.head()
        if framing == "tunnel":
            await scene.send(SWITCHING)
        while len(scene.received) < len(BIG):
            assert await scene.more()
        digest = hashlib.sha256(scene.received).digest()
        head = b"" if framing == "tunnel" else b"HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n"
        await scene.send(head + digest)
        await scene.gone()

    async with proxying(upload, listener=listener(certificate)) as proxy, secured(proxy, certificate) as stream:
        if framing == "tunnel":
            await stream.send(UPGRADE)
            await until(stream, b"\r\n\r\n")
        else:
            await stream.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % len(BIG))
        await stream.send(BIG)
        if framing == "length":
            await until(stream, b"\r\n\r\n")
        assert await read(stream, 32) == hashlib.sha256(BIG).digest()


async def test_small_messages_go_back_and_forth(certificate: Path) -> None:
    async def echo(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        while scene.received or await scene.more():
            data, scene.received = scene.received, b""
            await scene.send(data)

    async with proxying(echo, listener=listener(certificate)) as proxy, secured(proxy, certificate) as stream:
        await stream.send(UPGRADE)
        await until(stream, b"\r\n\r\n")
        for size in (1, 100, 3, 70_000, 5):
            await stream.send(BIG[:size])
            assert await read(stream, size) == BIG[:size]
