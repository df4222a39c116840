"""Readiness probes, against servers that answer all sorts of things."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from time import monotonic

import anyio
import pytest

from daemun_process import Readiness
from daemun_process.place import Place
from daemun_process.readiness import Probe

pytestmark = pytest.mark.anyio


class Server:
    """Gives one canned answer after the other, the last one for ever; b"" closes, None stays silent."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            with stream, suppress(ConnectionError):
                self.heads.append(stream.recv(65536))
                if answer:
                    stream.sendall(answer)
                if answer is None or answer.endswith(b"..."):
                    stream.recv(1)


@contextmanager
def serving(server: Server) -> Iterator[Place]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield Place(port=listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


HTTP = Readiness(kind="http")
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


async def succeeds(probe: Probe, seconds: float = 5) -> bool:
    with anyio.move_on_after(seconds):
        await probe.succeed()
        return True
    return False


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 399 Odd\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n...",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
    ],
    ids=["plain", "http/1.0", "399", "early hints", "endless", "cut short"],
)
async def test_good_answers(answer: bytes) -> None:
    with serving(Server(answer)) as place:
        assert await succeeds(Probe(HTTP, place))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "status 404"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "no answer in HTTP/1.1"),
        (b"SSH-2.0-OpenSSH\r\n", "no answer in HTTP/1.1"),
        (b"", "no answer in HTTP/1.1"),
    ],
    ids=["404", "only 100", "ssh", "closed"],
)
async def test_bad_answers(answer: bytes, words: str) -> None:
    with serving(Server(answer)) as place:
        probe = Probe(HTTP, place)
        assert not await succeeds(probe, 0.8)
        assert probe.last == f"{words} on port {place.port}"


async def test_what_a_get_looks_like() -> None:
    server = Server(OK)
    with serving(server) as place:
        assert await succeeds(Probe(Readiness(kind="http", path="/up?full=1", host="shop.test"), place))
    head = server.heads[0].lower()
    assert head.startswith(b"get /up?full=1 http/1.1\r\nhost: shop.test\r\n")
    assert b"\r\nconnection: close\r\n" in head
    assert head.endswith(b"\r\n\r\n")


async def test_a_slow_answer_gets_twice_the_time_next_time() -> None:
    server = Server(None, None, None, OK)
    with serving(server) as place:
        probe = Probe(Readiness(kind="http", timeout_seconds=0.1), place)
        began = monotonic()
        assert await succeeds(probe)
    assert monotonic() - began >= 0.1 + 0.2 + 0.4
    assert len(server.heads) >= 4


async def test_a_port_on_which_nobody_listens(free_port: int) -> None:
    place = Place(port=free_port)
    probe = Probe(Readiness(), place)
    assert not await succeeds(probe, 0.2)
    assert probe.last == f"connection refused on port {place.port}"


async def test_a_connection_to_itself_is_nobody(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    with socket.socket() as lonely:
        lonely.bind(("127.0.0.1", free_port))
        lonely.connect(("127.0.0.1", free_port))
        assert lonely.getsockname() == lonely.getpeername(), "the kernel does this"

    class Unlucky(socket.socket):
        """Gets the port that it connects to as its own."""

        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(address)
            super().connect(address)

    monkeypatch.setattr(socket, "socket", Unlucky)
    probe = Probe(Readiness(), Place(port=free_port))
    assert not await succeeds(probe, 0.2)


async def test_readiness_is_seen_at_once(free_port: int) -> None:
    delays = [1.0]
    while min(delays) >= 0.01 and len(delays) <= 20:  # whatever else the machine does, it is not always late
        ready_at: list[float] = []

        async def listen(ready_at: list[float]) -> None:
            await anyio.sleep(0.05)
            with socket.create_server(("127.0.0.1", free_port)):
                ready_at.append(monotonic())
                await anyio.sleep(1)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen, ready_at)
            assert await succeeds(Probe(Readiness(), Place(port=free_port)))
            delays.append(monotonic() - ready_at[0])
            tasks.cancel_scope.cancel()
    assert min(delays) < 0.01
