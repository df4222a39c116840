"""WebSockets of applications, on both wire protocols, as a client nobody here wrote sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from anyio import to_thread
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, TextMessage

from daemun.testing import eventually

from .applications import seen
from .stage import Stage, errors, serving

pytestmark = pytest.mark.anyio


async def talk(stage: Stage, path: str, say: Callable[[ClientConnection], Any], **options: Any) -> Any:
    """What `say` returns, which has a WebSocket in a thread of its own."""

    def run() -> Any:
        with connect(f"ws://127.0.0.1:{stage.gateway.port}{path}", compression=None, **options) as client:
            return say(client)

    return await to_thread.run_sync(run)


async def test_messages_pass_both_ways_and_the_opening_says_what_it_should() -> None:
    def say(client: ClientConnection) -> Any:
        assert client.response is not None
        room = client.response.headers["x-room"]
        client.send("words")
        client.send(b"bytes" * 20_000)
        client.send(["in ", "", "pieces"])
        heard = [client.recv() for _ in range(3)]
        client.ping().wait(10)
        return room, client.subprotocol, heard

    async with serving("talk", lifespan="off") as stage:
        names = [Subprotocol("a"), Subprotocol("b")]
        room, subprotocol, heard = await talk(stage, "/", say, subprotocols=names)
        assert (room, subprotocol) == ("7", "b")
        assert heard == ["words", b"bytes" * 20_000, "in pieces"]
        await eventually(lambda: len(seen) == 3, "the end of the application")
        assert seen[0] == ("ws", ["a", "b"], "1.1")
        assert seen[1] == ("websocket.disconnect", 1000, "")
        assert seen[2] == "the client left"


@pytest.mark.parametrize(
    ("word", "code", "reason"), [("bye", 4001, "as you say"), ("leave", 1000, "")], ids=["close", "return"]
)
async def test_the_application_ends_it(word: str, code: int, reason: str) -> None:
    def say(client: ClientConnection) -> Any:
        client.send(word)
        with pytest.raises(ConnectionClosed):
            client.recv(10)
        return client.close_code, client.close_reason

    async with serving("talk", lifespan="off") as stage:
        assert await talk(stage, "/", say) == (code, reason)


async def test_the_client_ends_it_with_its_own_words() -> None:
    async with serving("talk", lifespan="off") as stage:
        await talk(stage, "/", lambda client: client.close(4002, "enough"))
        await eventually(lambda: len(seen) == 3, "the end of the application")
        assert seen[1] == ("websocket.disconnect", 4002, "enough")


async def test_a_client_that_vanishes_is_told_as_1006() -> None:
    async with serving("talk", lifespan="off") as stage:
        await talk(stage, "/", lambda client: client.socket.close())
        await eventually(lambda: len(seen) == 3, "the end of the application")
        assert seen[1] == ("websocket.disconnect", 1006, "")


@pytest.mark.parametrize(("path", "status", "body"), [("/refuse", 403, b""), ("/deny", 401, b"who are you")])
async def test_an_application_refuses(path: str, status: int, body: bytes) -> None:
    async with serving("talk", lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, path, lambda client: None)
        response = caught.value.response
        assert (response.status_code, response.body) == (status, body)
        assert response.headers.get("x-why") == ("secret" if path == "/deny" else None)


@pytest.mark.parametrize("path", ["/silent", "/before"])
async def test_a_fault_before_the_opening_is_a_500(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving("talk", lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, path, lambda client: None)
        assert caught.value.response.status_code == 500
        (logged,) = errors(caplog)
        assert "applications:talk" in logged


async def test_a_fault_after_the_opening_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    def say(client: ClientConnection) -> Any:
        with pytest.raises(ConnectionClosed):
            client.recv(10)
        return client.close_code

    async with serving("talk", lifespan="off") as stage:
        assert await talk(stage, "/after", say) == 1011
        (logged,) = errors(caplog)
        assert "applications:talk raised in a WebSocket" in logged


@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_message_that_is_too_long_closes_with_1009(pieces: int) -> None:
    def say(client: ClientConnection) -> Any:
        with pytest.raises(ConnectionClosed):  # maybe before the last piece
            client.send([b"x" * (140 // pieces) for _ in range(pieces)] if pieces > 1 else b"x" * 140)
            client.recv(10)
        return client.close_code

    async with serving("talk", lifespan="off", max_message_bytes=100) as stage:
        assert await talk(stage, "/", say) == 1009


async def test_a_client_that_does_not_read_holds_the_application_up() -> None:
    async with serving("talk", lifespan="off") as stage, stage.http2() as http2:
        http2.crediting = False
        stream = await opened(http2, b"/flood")
        await http2.until(lambda: len(http2.streams[stream].body) > 30_000, "some of it")
        await anyio.wait_all_tasks_blocked()
        assert len(seen) < 20
        await http2.cancel(stream)
        await eventually(lambda: seen[-1] == "the client left", "the end of the application")


async def opened(http2: Any, path: bytes) -> int:
    """The stream of a WebSocket."""
    stream: int = await http2.open(
        (
            (b":method", b"CONNECT"),
            (b":protocol", b"websocket"),
            (b":scheme", b"http"),
            (b":path", path),
            (b":authority", b"a.test"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-protocol", b"a, b"),
        ),
        ended=False,
    )
    await http2.until(lambda: bool(http2.streams[stream].heads), "the head")
    return stream


async def test_a_websocket_over_http2() -> None:
    async with serving("talk", lifespan="off") as stage, stage.http2() as http2:
        stream = await opened(http2, b"/")
        head = http2.streams[stream].heads[0]
        assert head[0] == (b":status", b"200")
        assert (b"sec-websocket-protocol", b"b") in head
        frames = Connection(ConnectionType.CLIENT)
        events: list[Any] = []
        body = http2.streams[stream].body

        async def say(event: Any, answers: int) -> None:
            await http2.content(stream, frames.send(event), ended=False)
            while len(events) < answers:
                await http2.until(lambda: bool(body), "an answer")
                frames.receive_data(bytes(body))
                body.clear()
                events.extend(frames.events())

        await say(TextMessage("words"), 1)
        await say(BytesMessage(b"bytes"), 2)
        await say(TextMessage("bye"), 3)
        assert [events[0].data, bytes(events[1].data)] == ["words", b"bytes"]
        assert isinstance(events[2], CloseConnection)
        assert (int(events[2].code), events[2].reason) == (4001, "as you say")
        await http2.content(stream, frames.send(events[2].response()), ended=True)
        await http2.end_of(stream)
        assert seen[0] == ("ws", ["a", "b"], "2")


async def test_an_application_of_wsgi_takes_no_websocket() -> None:
    async with serving("plain", kind="wsgi") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", lambda client: None)
        assert caught.value.response.status_code == 501
