"""Streams keep the same promises on every event loop, dialled or accepted, over TCP or a Unix socket."""

from __future__ import annotations

import hashlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import ByteStream, SocketAttribute, SocketStream, UNIXSocketStream

from daemun.testing import eventually
from daemun.testing.wire import reset
from daemun.transport.open import dial, wrap_accepted
from daemun.transport.stream import READ_AHEAD_BYTES, RECEIVE_BYTES, Stream

pytestmark = pytest.mark.anyio

BIG = hashlib.shake_256(b"stream").digest(6 * 1024 * 1024 + 3)


@pytest.fixture(params=["dialled", "accepted", "unix"])
def kind(request: pytest.FixtureRequest) -> str:
    """How the stream under test was made."""
    name: str = request.param
    return name


@pytest.fixture(params=["dialled", "accepted"])
def tcp_kind(request: pytest.FixtureRequest) -> str:
    """The same for what a Unix socket does not know: a reset."""
    name: str = request.param
    return name


@asynccontextmanager
async def half_pair(kind: str) -> AsyncIterator[tuple[Stream, socket.socket]]:
    """A stream under test, and the socket of its peer."""
    with TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as server:
        path = f"{folder}/socket"
        server.bind(path if kind == "unix" else ("127.0.0.1", 0))
        server.listen()
        async with anyio.create_task_group() as tasks:
            if kind == "accepted":
                peer = socket.create_connection(server.getsockname())
                accepted, _ = server.accept()
                accepted.setblocking(False)
                stream = await wrap_accepted(accepted, tasks, None, 1.0)
            else:
                if kind == "unix":
                    stream = await dial(tasks, path=path)
                else:
                    stream = await dial(tasks, host="127.0.0.1", port=server.getsockname()[1])
                peer, _ = server.accept()
            try:
                with peer:
                    yield stream, peer
            finally:
                stream.abort()
                await stream.aclose()
                await anyio.wait_all_tasks_blocked()  # aborted transports close their sockets
                tasks.cancel_scope.cancel()


@asynccontextmanager
async def pair(kind: str) -> AsyncIterator[tuple[Stream, SocketStream]]:
    """A stream under test and its peer."""
    async with half_pair(kind) as (stream, raw):
        raw.setblocking(False)
        peer = await (UNIXSocketStream if kind == "unix" else SocketStream).from_socket(raw.dup())
        raw.close()
        transport = getattr(peer, "_transport", None)
        if transport is not None:
            transport.pause_reading()  # anyio on asyncio would read on without bound until a receive has waited
        async with peer:
            yield stream, peer


async def everything(stream: ByteStream) -> bytes:
    """What comes until the end."""
    pieces = []
    try:
        while True:
            pieces.append(await stream.receive(RECEIVE_BYTES))
    except anyio.EndOfStream:
        return b"".join(pieces)


async def arrived(stream: Stream, count: int) -> None:
    """Waits until `count` bytes are there to be received."""
    await eventually(lambda: stream.unread_bytes >= count, f"{count} bytes")


async def test_bytes_come_in_order_and_no_more_at_once_than_asked_for(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        await peer.send(b"hello world")
        await arrived(stream, 11)
        assert await stream.receive(5) == b"hello"
        assert stream.unread_bytes == 6
        assert await stream.receive(100) == b" world"
        assert stream.unread_bytes == 0
        await stream.send(b"and ")
        await stream.send(b"back")
        await stream.send_eof()
        assert await everything(peer) == b"and back"


async def test_what_is_put_back_comes_first(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        await peer.send(b"world")
        await arrived(stream, 5)
        stream.unread(b"hello ")
        assert stream.unread_bytes == 11
        await peer.send_eof()
        assert await everything(stream) == b"hello world"
        stream.unread(b"again")
        assert await stream.receive() == b"again"


async def test_a_receive_waits_for_bytes_and_loses_none_when_it_is_cancelled(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        for word in (b"one", b"two"):
            with anyio.move_on_after(0.02) as waiting:
                await stream.receive()
            assert waiting.cancelled_caught
            await peer.send(word)
            assert await stream.receive() == word


async def test_the_end_of_what_the_peer_sends_is_told_once_and_leaves_the_other_direction_open(kind: str) -> None:
    told: list[str] = []
    async with pair(kind) as (stream, peer):
        stream.on_eof = lambda: told.append("eof")
        stream.on_lost = lambda: told.append("lost")
        await peer.send(b"last words")
        await peer.send_eof()
        await eventually(lambda: stream.at_eof, "the end")
        assert await stream.receive() == b"last words"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        await stream.send(b"still here")
        assert await peer.receive() == b"still here"
        assert (told, stream.lost) == (["eof"], False)


async def test_a_peer_that_resets_is_noticed_while_nobody_receives(tcp_kind: str) -> None:
    told: list[str] = []
    async with pair(tcp_kind) as (stream, peer):
        stream.on_lost = lambda: told.append("lost")
        await peer.send(b"last words")
        await arrived(stream, 10)
        await reset(peer)
        await eventually(lambda: stream.lost, "the loss")
        assert told == ["lost"]
        assert stream.unsent_bytes == 0
        assert await stream.receive() == b"last words"
        for _ in range(2):
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"anybody?")


async def test_what_the_peer_said_before_it_broke_off_is_heard_after_a_send_that_failed(kind: str) -> None:
    async with half_pair(kind) as (stream, peer):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.send(b"refused")
        peer.close()
        try:
            for _ in range(20):
                await stream.send(b"x" * 50_000)
        except anyio.BrokenResourceError:
            pass
        assert await stream.receive() == b"refused"
        with pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream)):
            await stream.receive()


async def test_an_end_after_a_send_that_failed_is_no_end_in_order(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        await stream.send(b"x" * 100)
        await peer.send(b"half of it")
        await anyio.wait_all_tasks_blocked()
        await peer.aclose()  # with bytes unread: a reset
        received = b""
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(b"x" * 100_000)
                await anyio.lowlevel.checkpoint()
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                received += await stream.receive()
        assert received == b"half of it"


async def test_much_goes_both_ways_at_once(kind: str) -> None:
    async with pair(kind) as (stream, peer), anyio.create_task_group() as tasks:

        async def talk(end: ByteStream) -> None:
            await end.send(BIG)
            await end.send_eof()

        async def listen() -> None:
            assert await everything(peer) == BIG

        tasks.start_soon(talk, stream)
        tasks.start_soon(talk, peer)
        tasks.start_soon(listen)
        assert await everything(stream) == BIG


async def test_no_more_is_read_ahead_than_promised(kind: str) -> None:
    async with pair(kind) as (stream, peer), anyio.create_task_group() as tasks:

        async def talk() -> None:
            await peer.send(BIG)
            await peer.send_eof()

        tasks.start_soon(talk)
        await arrived(stream, READ_AHEAD_BYTES)
        await anyio.sleep(0.05)
        assert stream.unread_bytes <= READ_AHEAD_BYTES + RECEIVE_BYTES
        received, most = b"", 0
        while len(received) < len(BIG):
            received += await stream.receive(10_000)
            most = max(most, stream.unread_bytes)
        assert received == BIG
        assert most <= READ_AHEAD_BYTES + RECEIVE_BYTES
        assert await everything(stream) == b""


async def test_a_send_waits_for_a_peer_that_does_not_read_and_says_so(kind: str) -> None:
    stalls: list[bool] = []
    done = anyio.Event()
    async with pair(kind) as (stream, peer), anyio.create_task_group() as tasks:
        stream.on_stall = stalls.append

        async def talk() -> None:
            for start in range(0, len(BIG), 100_000):
                await stream.send(BIG[start : start + 100_000])
            await stream.flush()
            done.set()
            await stream.send_eof()

        tasks.start_soon(talk)
        await eventually(lambda: stalls[-1:] == [True] and stream.unsent_bytes > 0, "a stall")
        await anyio.sleep(0.05)
        assert (stalls[-1], done.is_set()) == (True, False)
        assert stream.unsent_bytes < 512 * 1024
        assert await everything(peer) == BIG
        assert done.is_set()
        assert (stalls[-1], stream.unsent_bytes) == (False, 0)


async def test_a_send_that_waits_ends_when_the_peer_resets(kind: str) -> None:
    async with pair(kind) as (stream, peer), anyio.create_task_group() as tasks:
        stalls: list[bool] = []
        stream.on_stall = stalls.append

        async def leave() -> None:
            await eventually(lambda: stalls[-1:] == [True] and stream.unsent_bytes > 0, "a stall")
            await reset(peer)

        tasks.start_soon(leave)
        with pytest.raises(anyio.BrokenResourceError):
            while True:
                await stream.send(BIG)
                await stream.flush()


async def test_flush_waits_until_nothing_is_held_and_can_be_cancelled(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        with anyio.move_on_after(0.05):
            while True:
                await stream.send(b"x" * 60_000)
        with anyio.move_on_after(0.02):
            await stream.flush()
        async with anyio.create_task_group() as tasks:

            async def drain() -> None:
                try:
                    while True:
                        await peer.receive(RECEIVE_BYTES)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass

            tasks.start_soon(drain)
            await stream.flush()
            assert stream.unsent_bytes == 0
            await stream.send(b"more")
            await stream.send_eof()


async def test_closing_delivers_what_was_sent(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        await stream.send(b"last words")
        await stream.aclose()
        await stream.aclose()
        assert await everything(peer) == b"last words"
        for use in (stream.send(b"x"), stream.receive()):
            with pytest.raises(anyio.ClosedResourceError):
                await use


async def test_abort_ends_everything_at_once_and_may_be_called_again(kind: str) -> None:
    lost: list[int] = []
    async with pair(kind) as (stream, peer), anyio.create_task_group() as tasks:
        stream.on_lost = lambda: lost.append(1)

        async def wait() -> None:
            with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
                await stream.receive()

        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        stream.abort()
        stream.abort()
        await eventually(lambda: stream.lost, "the loss")
        with pytest.raises((anyio.BrokenResourceError, anyio.ClosedResourceError)):
            await stream.send(b"x")
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await peer.receive()
        assert lost == [1]
        stream.abort()
        await stream.aclose()
        assert lost == [1]


async def test_abort_from_a_call_back_is_allowed(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        stream.on_eof = stream.abort
        await peer.send_eof()
        await eventually(lambda: stream.lost, "the loss")


async def test_an_end_that_cannot_be_told_does_no_harm(tcp_kind: str) -> None:
    async with pair(tcp_kind) as (stream, peer):
        await reset(peer)
        await stream.send_eof()
        await stream.send_eof()
        await eventually(lambda: stream.lost, "the loss")
        await stream.send_eof()


async def test_two_tasks_may_send_and_neither_breaks_the_others_bytes(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        received: list[bytes] = []

        async def listen() -> None:
            received.append(await everything(peer))

        async def talk(letter: bytes) -> None:
            for _ in range(50):
                await stream.send(letter * 10_000)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            async with anyio.create_task_group() as talking:
                talking.start_soon(talk, b"a")
                talking.start_soon(talk, b"b")
            await stream.send_eof()
        pieces = [received[0][start : start + 10_000] for start in range(0, len(received[0]), 10_000)]
        assert sorted(pieces) == [b"a" * 10_000] * 50 + [b"b" * 10_000] * 50


async def test_the_socket_can_be_reached(kind: str) -> None:
    async with pair(kind) as (stream, _):
        raw = stream.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@pytest.mark.parametrize("words", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
async def test_a_tls_handshake_that_comes_to_nothing_is_an_os_error(words: bytes) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with anyio.create_task_group() as tasks:
            with socket.create_connection(server.getsockname()) as peer:
                accepted, _ = server.accept()
                accepted.setblocking(False)
                peer.sendall(words)
            with accepted, pytest.raises(OSError):
                await wrap_accepted(accepted, tasks, context, 1.0)
            tasks.cancel_scope.cancel()


async def test_a_dialled_peer_that_hangs_up_on_a_tls_handshake_is_an_os_error() -> None:
    context = ssl.create_default_context()
    with socket.create_server(("127.0.0.1", 0)) as server:

        async def hang_up() -> None:
            await anyio.wait_readable(server)
            server.accept()[0].close()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hang_up)
            with pytest.raises(OSError):
                await dial(tasks, host="127.0.0.1", port=server.getsockname()[1], context=context, server_name="a.test")
            tasks.cancel_scope.cancel()


async def test_what_comes_goes_to_a_call_back_once_there_is_one_and_what_came_before_stays(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        taken: list[bytes] = []
        await peer.send(b"before")
        await arrived(stream, 6)
        assert stream.receive_nowait() == b"before"
        stream.on_data = taken.append
        for word in (b"one", b"two"):
            await peer.send(word)
            await eventually(lambda word=word: b"".join(taken).endswith(word), "the word")  # type: ignore[misc]
        assert b"".join(taken) == b"onetwo"
        assert stream.unread_bytes == 0
        await peer.send_eof()
        await eventually(lambda: stream.at_eof, "the end")


async def test_a_call_back_takes_much_while_nobody_receives_and_hears_of_the_end(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        taken: list[bytes] = []
        told: list[str] = []
        stream.on_data = taken.append
        stream.on_eof = lambda: told.append("eof")
        await peer.send(BIG)
        await peer.send_eof()
        await eventually(lambda: told == ["eof"], "the end")
        assert b"".join(taken) == BIG
        assert stream.unread_bytes == 0


async def test_a_call_back_may_send_and_abort(kind: str) -> None:
    async with pair(kind) as (stream, peer):

        def answer(data: bytes) -> None:
            stream.send_soon(data.upper())
            if data.endswith(b"!"):
                stream.abort()

        async def write() -> None:
            while True:
                await stream.wait_writable()
                await anyio.sleep(0.001)

        stream.on_data = answer
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await peer.send(b"one")
            assert await peer.receive() == b"ONE"
            tasks.cancel_scope.cancel()
        await peer.send(b"end!")
        await eventually(lambda: stream.lost, "the loss")


async def test_after_the_call_back_was_taken_away_bytes_are_received_again(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        taken: list[bytes] = []
        stream.on_data = taken.append
        await peer.send(b"one")
        await eventually(lambda: taken == [b"one"], "the word")
        stream.on_data = None
        await peer.send(b"two")
        assert await stream.receive() == b"two"


async def test_what_is_sent_soon_leaves_in_order_whoever_sends_it(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        words = [b"%04d" % number * 1000 for number in range(200)]
        received: list[bytes] = []

        async def listen() -> None:
            received.append(await everything(peer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            for number, word in enumerate(words):
                if not stream.send_soon(word):
                    await stream.wait_writable()
                if number % 7 == 0:
                    await anyio.lowlevel.checkpoint()
            await stream.send_eof()
        assert received == [b"".join(words)]


async def test_flush_waits_for_what_is_sent_soon_as_well(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        if not stream.send_soon(b"soon"):
            await stream.wait_writable()
        with anyio.fail_after(5):
            await stream.flush()
        assert stream.unsent_bytes == 0
        assert await peer.receive() == b"soon"


async def test_what_is_sent_soon_goes_out_by_itself_and_before_the_end(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        if not stream.send_soon(b"one"):
            await stream.wait_writable()
        assert await peer.receive() == b"one"
        if not stream.send_soon(b"two"):
            await stream.wait_writable()
        await stream.send_eof()
        assert await everything(peer) == b"two"


async def test_what_is_sent_soon_is_delivered_by_a_close(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        if not stream.send_soon(b"last words"):
            await stream.wait_writable()
        await stream.aclose()
        assert await everything(peer) == b"last words"
        with pytest.raises(anyio.ClosedResourceError):
            stream.send_soon(b"x")


async def test_sending_soon_to_a_peer_that_does_not_read_says_so_and_goes_on_later(kind: str) -> None:
    async with pair(kind) as (stream, peer):
        sent = 0
        while stream.send_soon(BIG[sent : sent + 50_000]):
            sent += 50_000
            await anyio.lowlevel.checkpoint()
            assert sent < len(BIG)
        sent += 50_000
        assert stream.unsent_bytes <= 1024 * 1024
        received: list[bytes] = []

        async def listen() -> None:
            received.append(await everything(peer))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await stream.wait_writable()
            if not stream.send_soon(BIG[sent:]):
                await stream.wait_writable()
            await stream.send_eof()
        assert received == [BIG]


async def test_sending_soon_on_a_lost_stream_is_told(tcp_kind: str) -> None:
    async with pair(tcp_kind) as (stream, peer):
        await reset(peer)
        await eventually(lambda: stream.lost, "the loss")
        with pytest.raises(anyio.BrokenResourceError):
            stream.send_soon(b"x")
