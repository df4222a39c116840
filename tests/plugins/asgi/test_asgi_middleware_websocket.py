"""WebSockets and tunnels in front of which a middleware stands: none passes it by."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from anyio import from_thread
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection

from daemun import Body, Headers, Request, Response
from daemun.testing import Pieces, eventually
from daemun_websocket import accept_key

from .applications import gates, seen
from .stage import Stage, errors, middleware, serving
from .test_asgi_middleware import STARLETTE, behind
from .test_asgi_websocket import opened, talk

pytestmark = pytest.mark.anyio


def echo(client: ClientConnection) -> list[Any]:
    """What comes back."""
    client.send("words")
    client.send(b"bytes" * 20_000)
    client.send(["in ", "", "pieces"])
    return [client.recv(20) for _ in range(3)]


ECHOED = ["words", b"bytes" * 20_000, "in pieces"]


async def test_who_may_open_a_websocket_is_the_decision_of_the_middleware() -> None:
    async with serving("talk", filters=[middleware("Keyed")], lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", echo)
        assert caught.value.response.status_code == 403
        assert seen == [("kept out", "websocket", None)]
        assert await talk(stage, "/", echo, additional_headers={"x-key": "k"}) == ECHOED


async def test_it_decides_over_http2_too() -> None:
    async with serving("talk", filters=[middleware("Keyed")], lifespan="off") as stage, stage.http2() as http2:
        stream = await opened(http2, b"/")
        assert http2.streams[stream].heads[0][0] == (b":status", b"403")


async def test_it_may_refuse_with_a_response() -> None:
    async with serving("talk", filters=[middleware("Denying")], lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", echo)
        response = caught.value.response
        assert (response.status_code, response.headers["retry-after"], response.body) == (429, "7", b"later")
        assert seen == []


async def test_starlettes_own_refuses_hosts_that_are_not_trusted() -> None:
    trusted = middleware(STARLETTE + "trustedhost:TrustedHostMiddleware", allowed_hosts=["b.test"])
    async with serving("talk", filters=[trusted], lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", echo)
        assert (caught.value.response.status_code, caught.value.response.body) == (400, b"Invalid host header")
        assert seen == []


async def test_a_fault_of_it_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    async with serving("talk", filters=[middleware("Raising")], lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", echo)
        assert caught.value.response.status_code == 500
        assert seen == []
    assert "LookupError" in errors(caplog)[0]


SESSIONS = middleware(STARLETTE + "sessions:SessionMiddleware", secret_key="not told")
TRUSTED = middleware(STARLETTE + "trustedhost:TrustedHostMiddleware", allowed_hosts=["127.0.0.1"])


@pytest.mark.parametrize(
    "filters",
    [[TRUSTED], [SESSIONS], [middleware("Marking")], [middleware("Timing"), SESSIONS, middleware("Passing"), TRUSTED]],
    ids=["untouched", "sessions", "marking", "four"],
)
async def test_messages_pass_both_ways_behind_middlewares(filters: list[dict[str, Any]]) -> None:
    def say(client: ClientConnection) -> Any:
        heard = echo(client)
        client.ping().wait(20)
        return client.subprotocol, heard

    async with serving("talk", filters=filters, lifespan="off") as stage:
        assert await talk(stage, "/", say, subprotocols=[Subprotocol("a"), Subprotocol("b")]) == ("b", ECHOED)
        await eventually(lambda: ("websocket.disconnect", 1000, "") in seen, "the end of the application")


async def test_what_it_puts_into_the_head_of_the_answer_is_there() -> None:
    def say(client: ClientConnection) -> Any:
        assert client.response is not None
        return client.response.headers["x-room"], client.response.headers["x-mark"]

    async with serving("talk", filters=[middleware("Marking")], lifespan="off") as stage:
        assert await talk(stage, "/", say) == ("7", "1")
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/deny", echo)
        response = caught.value.response
        assert (response.status_code, response.body, response.headers["x-mark"]) == (401, b"who are you", "1")


async def test_one_that_takes_the_opening_back_has_its_way() -> None:
    async with serving("talk", filters=[middleware("Vetoing")], lifespan="off") as stage:
        with pytest.raises(InvalidStatus) as caught:
            await talk(stage, "/", echo)
        assert caught.value.response.status_code == 403
        await eventually(lambda: len(seen) >= 2 and seen[1][0] == "websocket.disconnect", "the end of the application")


async def test_one_that_wraps_messages_sees_and_changes_each() -> None:
    def say(client: ClientConnection) -> Any:
        client.send(["the sec", "ret"])
        client.send(b"secret")
        heard = [client.recv(20) for _ in range(2)]
        client.close(4002, "enough")
        return heard

    async with serving("talk", filters=[middleware("Censoring")], lifespan="off") as stage:
        assert await talk(stage, "/", say) == ["the ******!", b"secret"]
        await eventually(lambda: "over" in seen, "the end of the middleware")
        assert ("websocket.disconnect", 4002, "enough") in seen
        assert [one for one in seen if isinstance(one, str) and one.startswith("websocket")] == [
            "websocket.connect",
            "websocket.receive",
            "websocket.receive",
            "websocket.disconnect",
        ]


@pytest.mark.parametrize("name", ["Passing", "Censoring", "Marking"])
async def test_the_close_of_the_application_reaches_the_client(name: str) -> None:
    def say(client: ClientConnection) -> Any:
        client.send("bye")
        with pytest.raises(ConnectionClosed):
            client.recv(20)
        return client.close_code, client.close_reason

    async with serving("talk", filters=[middleware(name)], lifespan="off") as stage:
        assert await talk(stage, "/", say) == (4001, "as you say")


@pytest.mark.parametrize("names", [("Passing",), ("Marking",), ("Marking", "Passing", "Marking")])
async def test_messages_pass_to_an_upstream_elsewhere(names: tuple[str, ...]) -> None:
    def say(client: ClientConnection) -> Any:
        heard = echo(client)
        client.ping().wait(20)
        client.send("bye")
        with pytest.raises(ConnectionClosed):
            client.recv(20)
        return heard, client.close_code, client.close_reason

    async with serving("talk", lifespan="off") as upstream:
        elsewhere = {"endpoints": [f"http://127.0.0.1:{upstream.gateway.port}"]}
        filters = [middleware(name) for name in names]
        async with serving("talk", filters=filters, backend=elsewhere) as stage:
            assert await talk(stage, "/", say) == (ECHOED, 4001, "as you say")
            with pytest.raises(InvalidStatus) as caught:
                await talk(stage, "/deny", echo)
            assert (caught.value.response.status_code, caught.value.response.body) == (401, b"who are you")
            seen.clear()
            await talk(stage, "/", lambda client: client.socket.close())
            await eventually(lambda: ("websocket.disconnect", 1006, "") in seen, "the end of the application")


@pytest.mark.parametrize("name", ["Passing", "Censoring"])
async def test_the_end_of_a_client_that_vanishes_reaches_the_application(name: str) -> None:
    filters = [middleware("Counting"), middleware(name)]
    async with serving("talk", filters=filters, lifespan="off") as stage:
        await talk(stage, "/", lambda client: client.socket.close())
        await eventually(lambda: ("websocket.disconnect", 1006, "") in seen, "the end of the application")
        await eventually(lambda: "out" in seen, "the end of the middleware")


async def test_the_inner_application_runs_as_long_as_the_websocket() -> None:
    def say(client: ClientConnection) -> Any:
        heard = echo(client)
        return heard, list(seen)

    async with serving("talk", filters=[middleware("Counting")], lifespan="off") as stage:
        heard, meanwhile = await talk(stage, "/", say)
        assert heard == ECHOED
        assert "in" in meanwhile
        assert "out" not in meanwhile
        await eventually(lambda: "out" in seen, "the end of the middleware")


async def test_one_that_wants_a_word_first_hears_it() -> None:
    def say(client: ClientConnection) -> Any:
        client.send("sesame")
        return echo(client)

    def knock(client: ClientConnection) -> Any:
        client.send("open")
        with pytest.raises(ConnectionClosed):
            client.recv(20)
        return client.close_code, client.close_reason

    async with serving("talk", filters=[middleware("FirstWord")], lifespan="off") as stage:
        assert await talk(stage, "/", knock) == (4403, "who are you")
        assert seen == []
        assert await talk(stage, "/", say) == ECHOED


async def test_one_that_talks_beside_bytes_that_pass_is_told() -> None:
    def told() -> bool:
        return any("its messages pass as bytes" in str(one) for one in seen)

    def say(client: ClientConnection) -> Any:
        heard = echo(client)
        from_thread.run_sync(gates["go"].set)
        from_thread.run(eventually, told, "the words")
        return heard

    async with serving("talk", filters=[middleware("Meddling")], lifespan="off") as stage:
        assert await talk(stage, "/", say) == ECHOED


async def test_one_that_has_had_enough_ends_the_websocket() -> None:
    def say(client: ClientConnection) -> Any:
        heard = echo(client)
        from_thread.run_sync(gates["go"].set)
        with pytest.raises(ConnectionClosed):
            client.recv(20)
        return heard

    async with serving("talk", filters=[middleware("Bounded")], lifespan="off") as stage:
        assert await talk(stage, "/", say) == ECHOED
        await eventually(lambda: ("websocket.disconnect", 1006, "") in seen, "the end of the application")


@pytest.mark.parametrize(("name", "offered"), [("Passing", b"permessage-deflate"), ("Censoring", None)])
async def test_compression_passes_who_does_not_look(name: str, offered: bytes | None) -> None:
    got: list[bytes | None] = []

    async def hand(request: Request) -> Response:
        got.append(request.header(b"sec-websocket-extensions"))
        return Response(101, ((b"sec-websocket-accept", accept_key(KEY)),), Pieces())

    async with serving("hello", **behind(hand, name)) as stage:
        head = await upgraded(stage, "websocket", **OPENING, Sec_WebSocket_Extensions="permessage-deflate")
        assert head.startswith(b"HTTP/1.1 101")
        assert got == [offered]


KEY = base64.b64encode(bytes(16))
OPENING = {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": KEY.decode()}


async def upgraded(stage: Stage, protocol: str, **fields: str) -> bytes:
    """The head that answers who wants to switch."""
    async with stage.wire() as wire:
        await wire.send(stage.head("GET / HTTP/1.1", Connection="Upgrade", Upgrade=protocol, **fields))
        return await wire.until(b"\r\n\r\n")


@pytest.mark.parametrize(
    "fields",
    [
        ((b"sec-websocket-accept", b"nonsense"),),
        ((b"sec-websocket-accept", accept_key(KEY)), (b"sec-websocket-extensions", b"permessage-deflate")),
        ((b"sec-websocket-accept", accept_key(KEY)), (b"sec-websocket-protocol", b"c")),
    ],
    ids=["key", "extension", "subprotocol"],
)
async def test_an_answer_that_does_not_fit_opens_nothing(fields: Headers) -> None:
    async def hand(request: Request) -> Response:
        return Response(101, fields, Pieces())

    async with serving("hello", **behind(hand, "Censoring")) as stage:
        head = await upgraded(stage, "websocket", **OPENING, Sec_WebSocket_Extensions="permessage-deflate")
        assert head.startswith(b"HTTP/1.1 502")


class Upstream:
    """A WebSocket's server, by hand: says `words` at once, and shows what it hears."""

    def __init__(self, words: bytes) -> None:
        self.heard = b""
        self.closed = False
        self._words = words

    async def answer(self, request: Request) -> Response:
        request.exchange.tasks.start_soon(self._listen, request.body)  # type: ignore[union-attr]
        return Response(101, ((b"sec-websocket-accept", accept_key(KEY)),), self)

    async def _listen(self, body: Body) -> None:
        while data := await body.read():
            self.heard += data
        self.closed = True
        await body.aclose()

    length = None
    trailers: Headers = ()

    async def read(self) -> bytes:
        words, self._words = self._words, b""
        if not words:
            await eventually(lambda: self.closed, "the end of what the client says")
        return words

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("words", "code", "answer"),
    [
        (b"\x89\x02hi\x88\x02\x03\xe8", 1000, b"\x8a\x82"),  # a ping, which is answered, and a close
        (b"\x88\x00", 1000, b"\x88\x80"),
        (b"\x02\x03abc\x80\x7e\x01\x00" + bytes(256), 1009, b"\x88"),
        (b"\x82\x7e\x01\x00" + bytes(256), 1009, b"\x88"),
        (b"\xf2\x00", 1002, b"\x88"),
    ],
    ids=["ping", "close", "fragments", "long", "nonsense"],
)
async def test_what_the_far_side_says_beside_messages(words: bytes, code: int, answer: bytes) -> None:
    upstream = Upstream(words)
    options = behind(upstream.answer) | {"filters": [censoring(max_message_bytes=200)]}
    async with serving("hello", **options) as stage, stage.wire() as wire:
        await wire.send(stage.head("GET / HTTP/1.1", Connection="Upgrade", Upgrade="websocket", **OPENING))
        await wire.until(b"\r\n\r\n")
        frames, heard = Connection(ConnectionType.CLIENT), list[Any]()
        while not heard:
            assert wire.received or await wire.more()
            data, wire.received = wire.received, b""
            frames.receive_data(data)
            heard.extend(frames.events())
        assert isinstance(heard[-1], CloseConnection)
        assert heard[-1].code == code
        await eventually(lambda: upstream.closed, "the end of the upstream")
        assert upstream.heard.startswith(answer)


def censoring(**settings: int) -> dict[str, Any]:
    """The middleware that sees all messages."""
    made = middleware("Censoring")
    return {**made, "settings": {**made["settings"], **settings}}


TUNNELS = {"http1": {"upgrades": ["websocket", "other"], "connect": True}}


async def hand_tunnel(request: Request) -> Response:
    seen.append((request.method, request.protocol))
    return Response(101 if request.method == b"GET" else 200, ((b"x-room", b"7"),), Pieces(b"said at once"))


@pytest.mark.parametrize("name", ["Passing", "Marking", "Keyed", "Vetoing", "Raising"])
@pytest.mark.parametrize("way", ["other", "connect"])
async def test_other_tunnels_are_its_decision_too(name: str, way: str, caplog: pytest.LogCaptureFixture) -> None:
    async def ask(**fields: str) -> tuple[bytes, bytes]:
        async with stage.wire() as wire:
            if way == "other":
                fields |= {"Connection": "Upgrade", "Upgrade": "other"}
            await wire.send(stage.head("GET / HTTP/1.1" if way == "other" else "CONNECT a.test:80 HTTP/1.1", **fields))
            head = await wire.until(b"\r\n\r\n")
            return head, await wire.until(b"said at once") if b"x-room" in head else b""

    opened = b"HTTP/1.1 101" if way == "other" else b"HTTP/1.1 200"
    async with serving("hello", **behind(hand_tunnel, name), protocols=TUNNELS) as stage:
        head, body = await ask()
        match name:
            case "Keyed":
                assert head.startswith(b"HTTP/1.1 401")
                assert seen == [("kept out", "http", "GET" if way == "other" else "CONNECT")]
                head, body = await ask(X_Key="k")
            case "Vetoing":
                assert head.startswith(b"HTTP/1.1 451")
                return
            case "Raising":
                assert head.startswith(b"HTTP/1.1 500")
                assert not seen
                return
        assert head.startswith(opened)
        assert (b"x-mark: 1" in head) == (name == "Marking")
        assert body == b"said at once"
        assert not errors(caplog)
