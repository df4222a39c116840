"""HTTP/1 over TLS: what passes from socket to socket arrives whole, however slowly it is read."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSStream

from daemun.testing import Proxy, Scene, proxying, running

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


def _says_all_and_leaves(listening: socket.socket, certificate: Path) -> None:
    """Answers over TLS, and ends the connection without a word."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    accepted, _ = listening.accept()
    with accepted, context.wrap_socket(accepted, server_side=True) as stream:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += stream.recv(1000)
        stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BIG) + BIG)
        os.close(stream.detach())  # nothing of TLS is said any more


async def test_an_upstream_that_ends_its_tls_without_a_word_has_said_all_that_it_said(certificate: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, anyio.fail_after(30):
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        backends = {"up": {"endpoints": [{"url": url}], "settings": {"tls": {"verify": False}}}}
        sources = [{"type": "inline", "backends": backends, "routes": [{"name": "all", "to": "up"}]}]
        async with running({"sources": sources}) as gateway, anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, _says_all_and_leaves, listening, certificate)
            async with await gateway.connect() as stream:
                stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                await stream.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                digest, size, head = hashlib.sha256(), 0, b""
                while not head.endswith(b"\r\n\r\n"):
                    head += await stream.receive(1)
                await anyio.sleep(0.2)  # the gateway has more to read than it may hold
                while size < len(BIG):
                    data = await stream.receive(64 * 1024)
                    size += len(data)
                    digest.update(data)
                assert digest.digest() == hashlib.sha256(BIG).digest()
