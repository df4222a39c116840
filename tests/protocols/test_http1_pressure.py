"""A slow reader slows the writer down: the gateway reads no more ahead than its buffers and the kernel's hold. Where the
kernel could choose the size of its buffers, they would grow as the machine happens to run."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from daemun.testing import CutOff, Scene, proxying, read_asked

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
PIECE = hashlib.shake_256(b"piece").digest(64 * 1024)
PIECES = 320
AHEAD = 16 * MIB
KERNEL_BYTES = MIB // 4
UPGRADE = (
    b"Connection: upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def fixed(sock: socket.socket) -> None:
    """The kernel holds so much for this connection, or for those that are accepted here, and no more."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)


def fix(stream: ByteStream) -> None:
    """The same for the test's end of a connection."""
    fixed(stream.extra(SocketAttribute.raw_socket))


@pytest.fixture
def listener() -> Iterator[dict[str, str]]:
    """Where the gateway listens."""
    with socket.socket() as sock:
        fixed(sock)
        sock.bind(("127.0.0.1", 0))
        yield {"bind": f"fd:{sock.fileno()}"}


async def stalled(count: Callable[[], int]) -> int:
    """`count()`, once it has begun and has not changed for many turns of all tasks."""
    last = turns = 0
    while turns < 15:
        await anyio.sleep(0.01)
        now = count()
        turns = turns + 1 if now == last and now else 0
        last = now
    return last


@pytest.mark.parametrize("framing", ["length", "chunked", "tunnel"])
async def test_a_client_that_does_not_read_stops_the_upstream_and_gets_everything_later(
    framing: str, listener: dict[str, str]
) -> None:
    sent = 0

    async def download(scene: Scene) -> None:
        nonlocal sent
        fix(scene.stream)
        await scene.head()
        if framing == "tunnel":
            await scene.send(SWITCHING)
        elif framing == "chunked":
            await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        else:
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _ in range(PIECES):
            await scene.send(b"10000\r\n%b\r\n" % PIECE if framing == "chunked" else PIECE)
            sent += len(PIECE)
        if framing == "chunked":
            await scene.send(b"0\r\n\r\n")

    async with proxying(download, listener=listener) as proxy:
        wire = await proxy.connect()
        fix(wire.stream)
        upgrade = UPGRADE if framing == "tunnel" else b"Connection: close\r\n"
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + upgrade + b"\r\n")
        assert 0 < await stalled(lambda: sent) < AHEAD
        if framing == "tunnel":
            await wire.until(b"\r\n\r\n")
            await wire.finish()
            body = await wire.rest()
        else:
            body = (await wire.answer()).body
        assert len(body) == PIECES * len(PIECE)
        assert hashlib.sha256(body).digest() == hashlib.sha256(PIECE * PIECES).digest()


@pytest.mark.parametrize("framing", ["length", "chunked", "tunnel"])
async def test_an_upstream_that_does_not_read_stops_the_client_and_gets_everything_later(
    framing: str, listener: dict[str, str]
) -> None:
    may_read = anyio.Event()
    digests: list[bytes] = []
    sent = 0

    async def upload(scene: Scene) -> None:
        fix(scene.stream)
        await scene.head()
        if framing == "tunnel":
            await scene.send(SWITCHING)
        await may_read.wait()
        received: list[bytes] = []
        left, end = PIECES * len(PIECE), b""
        while left > 0 or (framing == "chunked" and not end.endswith(b"\r\n0\r\n\r\n")):
            assert scene.received or await scene.more()
            received.append(scene.received)
            left -= len(scene.received)
            end = (end + scene.received)[-7:]
            scene.received = b""
        content = b"".join(received)
        if framing == "chunked":
            head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            content = read_asked(head + content).body
        digests.append(hashlib.sha256(content).digest())
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await scene.gone()

    async def send() -> None:
        nonlocal sent
        for _ in range(PIECES):
            with anyio.CancelScope(shield=True):
                await wire.stream.send(b"10000\r\n%b\r\n" % PIECE if framing == "chunked" else PIECE)
            sent += len(PIECE)
        if framing == "chunked":
            await wire.send(b"0\r\n\r\n")

    async with proxying(upload, listener=listener) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect()
        fix(wire.stream)
        fields = {
            "length": b"Content-Length: %d\r\n" % (PIECES * len(PIECE)),
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "tunnel": UPGRADE,
        }
        method = b"GET" if framing == "tunnel" else b"POST"
        await wire.send(method + b" / HTTP/1.1\r\nHost: a.test\r\n" + fields[framing] + b"\r\n")
        if framing == "tunnel":
            await wire.until(b"\r\n\r\n")
        tasks.start_soon(send)
        assert 0 < await stalled(lambda: sent) < AHEAD
        may_read.set()
        assert (await wire.answer()).body == b"ok"
        assert digests == [hashlib.sha256(PIECE * PIECES).digest()]


async def test_many_pipelined_requests_wait_in_the_kernel_and_not_in_the_gateway(listener: dict[str, str]) -> None:
    may_answer = anyio.Event()
    sent = 0
    request = b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Long: " + b"x" * 8000 + b"\r\n\r\n"

    async def late(scene: Scene) -> None:
        while await scene.request():
            await may_answer.wait()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async def send() -> None:
        nonlocal sent
        with suppress(CutOff):
            while True:
                await wire.send(request)
                sent += len(request)

    async with proxying(late, listener=listener) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect()
        fix(wire.stream)
        tasks.start_soon(send)
        assert 0 < await stalled(lambda: sent) < AHEAD
        tasks.cancel_scope.cancel()
        may_answer.set()
        await wire.reset()
