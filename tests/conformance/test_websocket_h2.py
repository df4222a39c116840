"""The core of WebSocket frame by frame, over HTTP/1 and HTTP/2 on either side, as bytes and through the lens; and openings."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from . import echo_websocket, h2_bridge
from .conftest import GatewayProcess, Start
from .echo_websocket import MODES
from .websocket_client import BINARY, BYE, CLOSE, MORE, PING, PONG, TEXT, Client, Frame, Heard, closing, frame

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(120)]

Port = Callable[[], int]


SIZES = (0, 1, 125, 126, 127, 128, 65535, 65536, 200_000)
KAPPA = "Hello-µ@ßöäüàá-UTF-8!! \N{GREEK SMALL LETTER KAPPA}\N{LINEAR B SYLLABLE B008 A}".encode()

ECHOED: dict[str, tuple[bytes, list[Frame]]] = {
    **{f"text of {size}": (frame(TEXT, b"*" * size), [(TEXT, b"*" * size)]) for size in SIZES},
    **{f"binary of {size}": (frame(BINARY, b"\xfe" * size), [(BINARY, b"\xfe" * size)]) for size in SIZES},
    "utf-8": (frame(TEXT, KAPPA), [(TEXT, KAPPA)]),
    "every byte": (frame(BINARY, bytes(range(256))), [(BINARY, bytes(range(256)))]),
    "ping": (frame(PING), [(PONG, b"")]),
    "ping with content": (frame(PING, b"\0\xff" * 62), [(PONG, b"\0\xff" * 62)]),
    "pong that nobody asked for": (frame(PONG, b"?") + frame(PING, b"!"), [(PONG, b"!")]),
    "ten pings": (b"".join(frame(PING, b"%d" % n) for n in range(10)), [(PONG, b"%d" % n) for n in range(10)]),
    "fragments": (
        frame(TEXT, b"frag", final=False) + frame(MORE, b"ment", final=False) + frame(MORE, b"s"),
        [(TEXT, b"fragments")],
    ),
    "empty fragments": (frame(TEXT, final=False) + frame(MORE, final=False) + frame(MORE), [(TEXT, b"")]),
    "ping between fragments": (
        frame(BINARY, b"a", final=False) + frame(PING, b"p") + frame(MORE, b"b"),
        [(PONG, b"p"), (BINARY, b"ab")],
    ),
    "fragments that cut characters": (
        frame(TEXT, KAPPA[:1], final=False)
        + b"".join(frame(MORE, KAPPA[at : at + 1], final=False) for at in range(1, len(KAPPA)))
        + frame(MORE),
        [(TEXT, KAPPA)],
    ),
    "messages in a row": (b"".join(frame(TEXT, b"%d" % n) for n in range(50)), [(TEXT, b"%d" % n) for n in range(50)]),
}
"""What is sent before a Close, and the messages and pongs that come back before the answer to it."""

REFUSED: dict[str, tuple[bytes, int]] = {
    **{f"reserved bits {bits:03b}": (frame(TEXT, b"x", reserved=bits), 1002) for bits in range(1, 8)},
    **{f"opcode {kind}": (frame(kind, b"x"), 1002) for kind in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "ping of 126": (frame(PING, b"x" * 126), 1002),
    "fragmented ping": (frame(PING, b"x", final=False), 1002),
    "fragmented close": (frame(CLOSE, closing(1000), final=False), 1002),
    "continuation of nothing": (frame(MORE, b"x"), 1002),
    "text within a message": (frame(TEXT, b"a", final=False) + frame(TEXT, b"b"), 1002),
    "no mask": (frame(TEXT, b"x", masked=False), 1002),
    "close of 1": (frame(CLOSE, b"x"), 1002),
    "close of 126": (frame(CLOSE, closing(1000, "x" * 124)), 1002),
    **{
        f"close {code}": (frame(CLOSE, closing(code)), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000)
    },
    "close without utf-8": (frame(CLOSE, closing(1000) + b"\xce\xba\xff"), 1007),
    **{
        f"text {content!r}": (frame(TEXT, content), 1007)
        for content in (
            b"\xff",
            b"\xc0\x80",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"\xce",
            b"a\x80",
            b"\xf8\x88\x80\x80\x80",
        )
    },
    "text that ends within a character": (frame(TEXT, b"\xce", final=False) + frame(MORE), 1007),
    "text that goes wrong in a fragment": (frame(TEXT, b"\xce", final=False) + frame(MORE, b"a"), 1007),
}
"""What is sent, and the code of the Close that answers it."""

CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
CLOSES: dict[str, bytes] = {
    "without a code": b"",
    **{str(code): closing(code) for code in CODES},
    "with a reason": closing(1000, "gone \N{POUND SIGN}"),
    "with a long reason": closing(4000, "r" * 123),
}
"""The content of a client's Close, and of the server's answer."""


@pytest.fixture(params=["http1", "http2"])
def backend(request: pytest.FixtureRequest, program: Callable[..., None], free_port: Port) -> Iterator[tuple[int, str]]:
    """A port at which messages come back, and the scheme of its version."""
    port, bridge = free_port(), free_port()
    with echo_websocket.serving(port):
        if request.param == "http1":
            yield port, "http"
        else:
            program([sys.executable, h2_bridge.__file__, "up", bridge, port], bridge)
            yield bridge, "h2c"


@pytest.fixture(params=MODES)
def gateway(request: pytest.FixtureRequest, start: Start, backend: tuple[int, str]) -> GatewayProcess:
    port, scheme = backend
    route = {"name": "all", "to": "up", "filters": MODES[request.param]}
    refused = {"name": "refused", "match": {"path": "/refused"}, "respond": {"status": 403}}
    return start(port, speaks=("http2", "http1"), upstream=scheme, routes=[route, refused])


@pytest.fixture(params=["http1", "http2"])
def port(request: pytest.FixtureRequest, gateway: GatewayProcess, program: Callable[..., None], free_port: Port) -> int:
    """Where clients of HTTP/1 open a WebSocket which the gateway takes by either version."""
    if request.param == "http1":
        return gateway.port
    bridge = free_port()
    program([sys.executable, h2_bridge.__file__, "down", bridge, gateway.port], bridge)
    return bridge


def talk(port: int, said: bytes, answers: int = 0, last: bytes = b"") -> list[Frame | None]:
    """What a client hears that says `last` after so many answers, up to the end."""
    with Client(port) as client:
        assert client.status == 101
        client.say(said)
        heard = [client.hear() for _ in range(answers)]
        client.say(last)
        return heard + client.rest()


def test_every_case_goes_as_it_does_without_a_gateway(port: int) -> None:
    heard: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name, (said, back) in ECHOED.items():
        heard[name] = talk(port, said, len(back), BYE)
        wanted[name] = [*back, (CLOSE, closing(1000))]
    for name, (said, code) in REFUSED.items():
        heard[name] = [frame and (frame[0], frame[1][:2]) for frame in talk(port, said)]
        wanted[name] = [(CLOSE, closing(code))]
    for name, content in CLOSES.items():
        heard[f"close {name}"] = talk(port, frame(CLOSE, content))
        wanted[f"close {name}"] = [(CLOSE, content)]
    assert {name: heard[name] for name in heard if heard[name] != wanted[name]} == {}


def test_a_byte_at_a_time(port: int) -> None:
    with Client(port) as client:
        for byte in frame(TEXT, KAPPA):
            client.say(bytes([byte]))
        assert client.hear() == (TEXT, KAPPA)
        for byte in BYE:
            client.say(bytes([byte]))
        assert client.rest() == [(CLOSE, closing(1000))]


def test_the_server_may_close_first(port: int) -> None:
    with Client(port) as client:
        client.say(frame(TEXT, b"close 4321 enough"))
        assert client.hear() == (CLOSE, closing(4321, "enough"))
        client.say(frame(CLOSE, closing(4321)))
        assert client.rest() == []


def test_a_client_that_goes_without_a_word_ends_it(port: int) -> None:
    with Client(port) as client:
        client.say(frame(TEXT, b"x"))
        assert client.hear() == (TEXT, b"x")
        client.say_no_more()
        assert all(heard is not None and heard[0] == CLOSE for heard in client.rest())


def test_a_large_message_comes_back(port: int) -> None:
    content = os.urandom(1 << 20)
    echoed = talk(port, frame(BINARY, content), 1, BYE) == [(BINARY, content), (CLOSE, closing(1000))]
    assert echoed  # and no megabytes shown


@asynccontextmanager
async def session_with(gateway: GatewayProcess) -> AsyncIterator[h2_bridge.Session]:
    """A client's connection of HTTP/2."""
    async with await anyio.connect_tcp("127.0.0.1", gateway.port) as stream, anyio.create_task_group() as group:
        session = h2_bridge.Session(stream, None)
        group.start_soon(session.run)
        yield session
        group.cancel_scope.cancel()


def asking(**changes: str) -> h2_bridge.Fields:
    """The head of an extended CONNECT."""
    pseudo = {"method": "CONNECT", "protocol": "websocket", "scheme": "http", "path": "/chat", "authority": "a.test"}
    head = [(f":{name}", changes.pop(name, value)) for name, value in pseudo.items()]
    fields = {"version": "13", **changes}
    return head + [(f"sec-websocket-{name}", value) for name, value in fields.items() if value]


async def answer(session: h2_bridge.Session, **changes: str) -> tuple[str, dict[str, str]]:
    tunnel = await session.open(asking(**changes))
    head = dict(tunnel.head)
    return head.pop(":status"), head


async def test_openings_over_http2(gateway: GatewayProcess) -> None:
    async with session_with(gateway) as session:
        status, fields = await answer(session)
        assert status == "200"
        assert not {"upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol"} & fields.keys()
        status, fields = await answer(session, protocol="websocket", path="/refused")
        assert status == "403"
        status, fields = await answer(session, version="8")
        assert (status, fields["sec-websocket-version"]) == ("426", "13")
        assert (await answer(session, version=""))[0] == "426"
        assert (await answer(session, extensions="a;;b"))[0] == "400"
        assert (await answer(session, protocol="other"))[0] == "501"


async def test_many_websockets_share_a_connection(gateway: GatewayProcess) -> None:
    contents = [bytes([number]) * 50_000 for number in range(40)]
    echoed: set[int] = set()

    async def talk(number: int) -> None:
        tunnel, heard = await session.open(asking()), Heard()
        await tunnel.send(frame(BINARY, contents[number]))
        while (answer := heard.next()) is None:
            data = await tunnel.receive()
            assert data
            heard.came += data
            await tunnel.taken(data)
        if answer == (BINARY, contents[number]):
            echoed.add(number)
        await tunnel.send(BYE)

    async with session_with(gateway) as session, anyio.create_task_group() as group:
        for number in range(len(contents)):
            group.start_soon(talk, number)
    assert echoed == set(range(len(contents)))


@pytest.fixture
def anyio_backend() -> str:
    """One is enough: the client is no product."""
    return "asyncio"


NO_OPENINGS: dict[str, tuple[dict[str, str | None], int]] = {
    "another version": ({"sec_websocket_version": "8"}, 426),
    "no version": ({"sec_websocket_version": None}, 426),
    "no key": ({"sec_websocket_key": None}, 400),
    "a short key": ({"sec_websocket_key": "c2hvcnQ="}, 400),
    "a key that is no base64": ({"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZ?=="}, 400),
    "an extension that is none": ({"sec_websocket_extensions": "a;;b"}, 400),
    "subprotocols that are none": ({"sec_websocket_protocol": "a;b"}, 400),
}


@pytest.mark.parametrize("name", NO_OPENINGS)
def test_openings_over_http1(name: str, start: Start, free_port: Port) -> None:
    changes, status = NO_OPENINGS[name]
    port = free_port()
    with echo_websocket.serving(port), Client(start(port).port, **changes) as client:
        assert client.status == status
        assert (b"sec-websocket-version: 13" in client.head) == (status == 426)
