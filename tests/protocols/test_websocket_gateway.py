"""WebSockets through a whole gateway, whatever version of HTTP either side speaks: openings, bytes, ends, drain, silence."""

from __future__ import annotations

import base64
import hashlib
import random
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, cast

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import SocketAttribute, SocketStream
from hyperframe.frame import SettingsFrame

import daemun_websocket.tunnel
from daemun import (
    BackendType,
    Body,
    Exchange,
    Headers,
    NoSettings,
    Observer,
    ObserverType,
    Reason,
    Request,
    Response,
    header_values,
)
from daemun.testing import (
    Answer,
    CutOff,
    Http2Proxy,
    Http2Scene,
    Http2Wire,
    Scene,
    StreamReset,
    Wire,
    built,
    eventually,
    make_plugin,
    proxying,
    running,
    scripted,
    scripted2,
)

pytestmark = pytest.mark.anyio

Version = Literal["http1", "http2"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ASKS: Headers = ((b"sec-websocket-key", KEY), (b"sec-websocket-version", b"13"))
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MIB = 1024 * 1024
PIECE = hashlib.shake_256(b"piece").digest(64 * 1024)
PIECES = 320
AHEAD = 16 * MIB
KERNEL_BYTES = MIB // 4
AWAY, NORMAL = b"\x03\xe9", b"\x03\xe8"
"""1001 and 1000."""

every_way = pytest.mark.parametrize("up", ["http1", "http2"])
every_client = pytest.mark.parametrize("down", ["http1", "http2"])


def accepted(key: bytes) -> bytes:
    """What a server says to a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


def frame(data: bytes, opcode: int = BINARY, *, masked: bool = False) -> bytes:
    """A frame; one of a client has a mask, of zeros."""
    mask, size = 0x80 if masked else 0, len(data)
    if size < 126:
        head = bytes((0x80 | opcode, mask | size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mask | 127)) + size.to_bytes(8, "big")
    return head + bytes(4 if masked else 0) + data


class End(ABC):
    """Either end of a WebSocket: bytes as they are."""

    fields: dict[bytes, bytes]
    """What the other end said in its head."""

    @abstractmethod
    async def send(self, data: bytes) -> None: ...

    @abstractmethod
    def take(self, size: int) -> bytes:
        """What came, up to `size` bytes of it."""

    @abstractmethod
    async def more(self) -> bool:
        """Waits for more; False at the end. Raises `CutOff` after a reset."""

    @abstractmethod
    async def finish(self) -> None: ...

    @abstractmethod
    async def reset(self) -> None: ...

    async def exactly(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size:
            piece = self.take(size)
            if not piece and not await self.more():
                raise CutOff(f"{size} bytes are missing behind {b''.join(pieces)[:100]!r}")
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    async def rest(self) -> bytes:
        pieces = [self.take(1 << 40)]
        while await self.more():
            pieces.append(self.take(1 << 40))
        return b"".join(pieces)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and data."""
        head = await self.exactly(2)
        size = head[1] & 127
        if size > 125:
            size = int.from_bytes(await self.exactly(2 if size == 126 else 8), "big")
        if head[1] & 128:
            assert await self.exactly(4) == bytes(4)
        return head[0] & 15, await self.exactly(size)

    async def closed(self) -> bytes:
        """The data of the Close that comes next."""
        opcode, data = await self.frame()
        assert opcode == CLOSE
        return data


class End1(End):
    """On an HTTP/1 connection that was switched."""

    def __init__(self, stream: Wire | Scene, head: bytes) -> None:
        self.stream = stream
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        self.fields = {name.lower(): value.strip() for name, _, value in lines if name}

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    def take(self, size: int) -> bytes:
        data, self.stream.received = self.stream.received[:size], self.stream.received[size:]
        return data

    async def more(self) -> bool:
        return await self.stream.more()

    async def finish(self) -> None:
        await self.stream.finish()

    async def reset(self) -> None:
        await self.stream.reset()


class End2(End):
    """On a stream of HTTP/2."""

    def __init__(self, connection: Http2Wire | Http2Scene, stream: int) -> None:
        self.connection = connection
        self.stream = stream
        self.heard = connection.hear(stream)
        self.fields = dict(self.heard.heads[0])

    async def send(self, data: bytes) -> None:
        await self.connection.content(self.stream, data)

    def take(self, size: int) -> bytes:
        data = bytes(self.heard.body[:size])
        del self.heard.body[:size]
        return data

    async def more(self) -> bool:
        heard = self.heard
        await self.connection.until(lambda: bool(heard.body) or heard.ended or heard.code is not None, "more")
        if not heard.body and not heard.ended:
            raise CutOff(f"the stream was reset with {heard.code}")
        return bool(heard.body)

    async def finish(self) -> None:
        await self.connection.content(self.stream, b"", ended=True)

    async def reset(self) -> None:
        await self.connection.cancel(self.stream)


Play = Callable[[End], Awaitable[None]]


class Journal(Observer):
    """Remembers exchanges."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.plugin = make_plugin(
            "journal", daemun_observers=lambda: [ObserverType("journal", NoSettings, built(self))]
        )

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


def upgrade(fields: Headers, authority: bytes) -> bytes:
    """An opening by HTTP/1."""
    lines = b"".join(b"%b: %b\r\n" % field for field in fields)
    return b"GET /chat HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%b\r\n" % (authority, lines)


async def switched(wire: Wire) -> End1:
    """The client's end of a WebSocket by HTTP/1, once it was opened."""
    head = await wire.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return End1(wire, head)


class Stage(Http2Proxy):
    """A gateway, with clients of either version."""

    journal: Journal

    async def begin(self, down: Version, fields: Headers, authority: bytes = b"a.test") -> Wire | tuple[Http2Wire, int]:
        """Asks to open a WebSocket."""
        if down == "http1":
            wire1 = await self.connect()
            await wire1.send(upgrade(fields, authority))
            return wire1
        wire = await self.connect2()
        pseudo = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat"))
        return wire, await wire.open((*pseudo, (b":authority", authority), *fields), ended=False)

    async def opened(self, down: Version, *fields: tuple[bytes, bytes], asks: Headers = ASKS) -> End:
        """The client's end of a WebSocket that was opened."""
        asked = await self.begin(down, (*asks, *fields))
        if isinstance(asked, Wire):
            return await switched(asked)
        wire, stream = asked
        await wire.until(lambda: bool(wire.hear(stream).heads), "the head")
        end = End2(wire, stream)
        assert end.fields[b":status"] == b"200"
        return end

    async def refused(
        self, down: Version, *fields: tuple[bytes, bytes], asks: Headers = ASKS, authority: bytes = b"a.test"
    ) -> Answer:
        """What is said to a client whose WebSocket is not opened."""
        asked = await self.begin(down, (*asks, *fields), authority)
        return await asked.answer() if isinstance(asked, Wire) else await asked[0].answer(asked[1])

    async def ask_plainly(self, down: Version) -> Answer:
        """The answer to a request that is no opening."""
        if down == "http2":
            return await (await self.connect2()).exchange()
        return await self.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")


async def echo(far: End) -> None:
    """Sends back what comes, byte for byte, until the client has finished."""
    while await far.more():
        await far.send(far.take(1 << 40))
    await far.finish()


async def stay(far: End) -> None:
    """Says nothing until the client has finished."""
    while await far.more():
        far.take(1 << 40)
    await far.finish()


@asynccontextmanager
async def staged(
    play: Play = echo,
    up: Version = "http1",
    *,
    rules: dict[str, Any] | None = None,
    said: Headers = (),
    status: int = 101,
    fits: bool = True,
    before: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    first: bytes = b"",
    listener: dict[str, Any] | None = None,
    **route: Any,
) -> AsyncIterator[Stage]:
    """A gateway in front of an upstream that opens what it is asked for and plays its part then.

    `rules` are those of the route, `said` are fields of the upstream's answer, whose status is `status`; one that does not
    fit accepts another key; `before` is awaited before it answers, `first` is said with the answer.
    """
    journal = Journal()

    async def script1(scene: Scene) -> None:
        if not (head := await scene.head()):
            return
        await before()
        end = End1(scene, head)
        fields: Headers = said
        if status == 101:
            key = end.fields[b"sec-websocket-key"] if fits else b"another"
            switch = ((b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-accept", accepted(key)))
            fields = (*said, *switch)
        else:
            fields = (*said, (b"content-length", b"4"))
        head = b"HTTP/1.1 %d Whatever\r\n" % status + b"".join(b"%b: %b\r\n" % field for field in fields)
        await scene.send(head + b"\r\n" + (first if status == 101 else b"four"))
        if status == 101:
            await play(end)
        else:
            await scene.gone()

    async def script2(scene: Http2Scene) -> None:
        if not (stream := await scene.begun()):
            return
        await before()
        if status == 101:
            await scene.respond(stream, 200, said, first, ended=False)
            await play(End2(scene, stream))
        else:
            await scene.respond(stream, status, said, b"four")
        await scene.gone()

    settings2 = {SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1}
    upstream_of_either: Any = scripted(script1) if up == "http1" else scripted2(script2, settings2)
    async with upstream_of_either as upstream:
        filters = [] if rules is None else [{"type": "websocket", "settings": rules}]
        settings = {
            "listeners": [{"name": "http", "bind": "127.0.0.1:0", **(listener or {})}],
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [{"url": upstream.url, "protocol": up}]}},
                    "routes": [{"name": "chat", "to": "up", "filters": filters, **route}],
                }
            ],
            "observers": [{"type": "journal"}],
            "drain": {"grace_seconds": 5.0},
        }
        async with running(settings, extra=[journal.plugin]) as gateway:
            stage = Stage(gateway, upstream)
            stage.journal = journal
            try:
                yield stage
            finally:
                await stage.leave()
            await stage.settled()
            await eventually(lambda: stage.connections == 0, "the end of every downstream connection")


# --- openings that are refused ---


@pytest.mark.parametrize(
    ("asks", "status"),
    [
        ((), 426),
        (((b"sec-websocket-key", KEY),), 426),
        (((b"sec-websocket-key", KEY), (b"sec-websocket-version", b"8")), 426),
        (((b"sec-websocket-version", b"13"),), 400),
        (((b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"short")), 400),
        ((*ASKS, (b"sec-websocket-key", KEY)), 400),
        ((*ASKS, (b"sec-websocket-protocol", b"a, , b")), 400),
        ((*ASKS, (b"sec-websocket-extensions", b"a;;")), 400),
    ],
)
async def test_an_opening_that_is_none_is_refused_and_reaches_nobody(asks: Headers, status: int) -> None:
    async with staged() as stage:
        answer = await stage.refused("http1", asks=asks)
        assert answer.status == status
        assert answer.field(b"x-daemun-reason") == (b"upgrade_required" if status == 426 else b"bad_request")
        assert answer.field(b"sec-websocket-version") == (b"13" if status == 426 else None)
        assert answer.field(b"upgrade") == (b"websocket" if status == 426 else None)
        assert (b"upgrade" in answer.values(b"connection")) == (status == 426)
        assert stage.upstream.connections == 0
        await eventually(lambda: [one.status for one in stage.journal.exchanges] == [status], "the end of the exchange")


async def test_an_opening_by_http2_is_checked_as_well() -> None:
    async with staged() as stage:
        answer = await stage.refused("http2", asks=((b"sec-websocket-version", b"8"),))
        assert (answer.status, answer.field(b"sec-websocket-version")) == (426, b"13")
        assert answer.field(b"upgrade") is None
        assert answer.field(b"connection") is None
        answer = await stage.refused("http2", (b"sec-websocket-protocol", b"a, a"))
        assert answer.status == 400
        assert stage.upstream.connections == 0


@every_client
async def test_a_route_can_forbid_websockets(down: Version) -> None:
    async with staged(rules={"mode": "forbid"}, status=200) as stage:
        answer = await stage.refused(down)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (403, b"forbidden")
        assert stage.upstream.connections == 0
        assert (await stage.ask_plainly(down)).body == b"four"


@every_client
async def test_a_route_can_demand_websockets(down: Version) -> None:
    async with staged(rules={"mode": "require"}) as stage:
        answer = await stage.ask_plainly(down)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (426, b"upgrade_required")
        assert answer.field(b"upgrade") == (b"websocket" if down == "http1" else None)
        assert stage.upstream.connections == 0
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.UPGRADE_REQUIRED
        client = await stage.opened(down)
        await client.send(b"hello")
        assert await client.exactly(5) == b"hello"


@every_client
async def test_a_route_that_allows_websockets_takes_other_requests_too(down: Version) -> None:
    async with staged(rules={"mode": "allow"}, status=200) as stage:
        assert (await stage.ask_plainly(down)).body == b"four"


# --- origins, subprotocols, extensions ---


@pytest.mark.parametrize(
    ("origins", "origin", "authority", "status"),
    [
        ([], b"https://evil.test", b"a.test", 101),
        (["https://app.test"], b"https://app.test", b"a.test", 101),
        (["https://app.test"], b"HTTPS://APP.test", b"a.test", 101),
        (["https://app.test"], b"http://app.test", b"a.test", 403),
        (["https://app.test"], b"https://app.test:8443", b"a.test", 403),
        (["https://app.test"], b"https://app.test.evil.test", b"a.test", 403),
        (["https://app.test"], b"null", b"a.test", 403),
        (["https://app.test"], None, b"a.test", 101),
        (["https://one.test", "https://two.test:8443"], b"https://two.test:8443", b"a.test", 101),
        (["*"], b"https://evil.test", b"a.test", 101),
        (["*"], b"null", b"a.test", 101),
        (["same"], b"http://a.test", b"a.test", 101),
        (["same"], b"http://a.test:80", b"a.test", 101),
        (["same"], b"http://a.test", b"a.test:80", 101),
        (["same"], b"https://a.test", b"a.test:443", 101),
        (["same"], b"http://a.test:8080", b"a.test:8080", 101),
        (["same"], b"http://a.test:8080", b"a.test", 403),
        (["same"], b"http://a.test", b"a.test:8080", 403),
        (["same"], b"http://b.test", b"a.test", 403),
        (["same"], b"null", b"a.test", 403),
        (["same"], b"http://a.test:port", b"a.test", 403),
        (["same"], b"http://[::1]:8080", b"[::1]:8080", 101),
        (["same"], b"http://[::1]", b"[::1]:80", 101),
        (["same"], b"http://[::2]", b"[::1]", 403),
        (["same"], b"http://[::1", b"[::1]", 403),
        (["http://[::1]:3000"], b"http://[::1]:3000", b"a.test", 101),
        (["same", "https://app.test"], b"https://app.test", b"a.test", 101),
    ],
)
async def test_pages_of_other_origins_may_be_refused(
    origins: list[str], origin: bytes | None, authority: bytes, status: int
) -> None:
    async with staged(rules={"origins": origins}) as stage:
        fields = (*ASKS, *(((b"origin", origin),) if origin else ()))
        wire = await stage.begin("http1", fields, authority)
        assert isinstance(wire, Wire)
        assert int((await wire.until(b"\r\n\r\n"))[9:12]) == status
        assert stage.upstream.connections == (status == 101)


async def test_two_origins_are_not_taken_for_one() -> None:
    async with staged(rules={"origins": ["https://app.test"]}) as stage:
        answer = await stage.refused("http1", (b"origin", b"https://app.test"), (b"origin", b"https://evil.test"))
        assert answer.status == 403
        assert stage.upstream.connections == 0


@every_client
async def test_an_origin_can_be_demanded(down: Version) -> None:
    async with staged(rules={"require_origin": True, "origins": ["same"]}) as stage:
        assert (await stage.refused(down)).status == 403
        assert stage.upstream.connections == 0
        assert await stage.opened(down, (b"origin", b"http://a.test"))


@every_client
@every_way
async def test_only_subprotocols_of_the_rules_are_offered(down: Version, up: Version) -> None:
    heard: list[bytes] = []

    async def play(far: End) -> None:
        heard.append(far.fields[b"sec-websocket-protocol"])
        await stay(far)

    chosen = ((b"sec-websocket-protocol", b"v2"),)
    async with staged(play, up, rules={"subprotocols": ["v3", "v2"]}, said=chosen) as stage:
        client = await stage.opened(down, (b"sec-websocket-protocol", b"v1, v2"), (b"sec-websocket-protocol", b"v3"))
        assert client.fields[b"sec-websocket-protocol"] == b"v2"
        assert heard == [b"v2, v3"]


@pytest.mark.parametrize("offers", [(), ((b"sec-websocket-protocol", b"v1, V2"),)])
async def test_a_client_that_offers_no_subprotocol_of_the_rules_is_refused(offers: Headers) -> None:
    async with staged(rules={"subprotocols": ["v2"]}) as stage:
        answer = await stage.refused("http1", *offers)
        assert answer.status == 400
        assert b"v2" in answer.body
        assert stage.upstream.connections == 0


@every_client
@every_way
@pytest.mark.parametrize("allowed", [True, False])
async def test_extensions_are_offered_where_they_may_be(down: Version, up: Version, allowed: bool) -> None:
    heard: list[bytes | None] = []

    async def play(far: End) -> None:
        heard.append(far.fields.get(b"sec-websocket-extensions"))
        await stay(far)

    offer = (b"sec-websocket-extensions", b"permessage-deflate; client_max_window_bits")
    said = (offer[0], b"permessage-deflate; server_no_context_takeover")
    async with staged(play, up, rules={"extensions": allowed}, said=(said,) if allowed else ()) as stage:
        client = await stage.opened(down, offer)
        assert heard == [offer[1] if allowed else None]
        assert client.fields.get(said[0]) == (said[1] if allowed else None)


# --- what the upstream says to it ---


@every_client
@every_way
@pytest.mark.parametrize(
    "said",
    [
        ((b"sec-websocket-protocol", b"other"),),
        ((b"sec-websocket-protocol", b"a"), (b"sec-websocket-protocol", b"a")),
        ((b"sec-websocket-extensions", b"permessage-deflate"),),
        ((b"sec-websocket-extensions", b";"),),
    ],
)
async def test_an_answer_that_does_not_fit_is_the_upstreams_fault(down: Version, up: Version, said: Headers) -> None:
    ended = anyio.Event()

    async def play(far: End) -> None:
        try:
            await stay(far)
        except CutOff:
            pass
        ended.set()

    async with staged(play, up, said=said) as stage:
        answer = await stage.refused(down, (b"sec-websocket-protocol", b"a"))
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        await ended.wait()


@every_way
@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"subprotocols": ["v2"]}, (b"sec-websocket-protocol", b"v1")),
        ({"extensions": False}, (b"sec-websocket-extensions", b"permessage-deflate")),
    ],
)
async def test_an_answer_that_agrees_to_what_the_rules_did_not_let_pass_is_the_upstreams_fault(
    up: Version, rules: dict[str, Any], field: tuple[bytes, bytes]
) -> None:
    offers = ((b"sec-websocket-protocol", b"v1, v2"), (b"sec-websocket-extensions", b"permessage-deflate"))
    async with staged(stay, up, rules=rules, said=(field,)) as stage:
        answer = await stage.refused("http1", *offers)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")


@every_client
async def test_an_answer_that_accepts_another_key_is_the_upstreams_fault(down: Version) -> None:
    async with staged(stay, fits=False) as stage:
        assert (await stage.refused(down)).status == 502


@every_client
@every_way
@pytest.mark.parametrize("status", [301, 401, 403, 404, 500, 503])
async def test_another_answer_is_passed_on_as_it_is(down: Version, up: Version, status: int) -> None:
    async with staged(up=up, status=status, said=((b"x-from", b"the upstream"),)) as stage:
        answer = await stage.refused(down)
        assert (answer.status, answer.body, answer.field(b"x-from")) == (status, b"four", b"the upstream")
        assert answer.field(b"x-daemun-reason") is None


@every_client
async def test_a_plain_200_is_no_websocket(down: Version) -> None:
    """By HTTP/1 a client sees that it is none; by HTTP/2 it would pass for one."""
    async with staged(status=200) as stage:
        answer = await stage.refused(down)
        assert (answer.status, answer.body == b"four") == ((200, True) if down == "http1" else (502, False))


class Shouting:
    """What a back end says that hears the client by itself: everything in capitals, until there is a full stop."""

    def __init__(self, client: Body) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.closed = anyio.Event()
        self._client = client
        self._over = False

    async def read(self) -> bytes:
        data = b"" if self._over else await self._client.read()
        self._over = b"." in data
        return data.upper()

    async def aclose(self) -> None:
        self.closed.set()


@asynccontextmanager
async def shouting() -> AsyncIterator[tuple[Stage, list[Shouting]]]:
    """A gateway whose back end is a plugin that answers 101 itself, and what it said."""
    said: list[Shouting] = []

    async def answer(request: Request) -> Response:
        (key,) = header_values(request.headers, b"sec-websocket-key")
        said.append(Shouting(request.body))
        return Response(101, ((b"sec-websocket-accept", accepted(key)),), said[-1])

    plugin = make_plugin("shouts", daemun_backends=lambda: [BackendType("shouts", NoSettings, built(answer))])
    source = {"type": "inline", "backends": {"up": {"type": "shouts"}}, "routes": [{"name": "chat", "to": "up"}]}
    async with scripted() as upstream, running({"sources": [source]}, extra=[plugin]) as gateway:
        stage = Stage(gateway, upstream)
        try:
            yield stage, said
        finally:
            await stage.leave()
        await eventually(lambda: stage.connections == 0, "the end of every downstream connection")


@every_client
async def test_a_back_end_of_a_plugin_may_open_a_websocket_itself(down: Version) -> None:
    async with shouting() as (stage, said):
        client = await stage.opened(down)
        for word in (b"one", b"two"):
            await client.send(word)
            assert await client.exactly(3) == word.upper()
        await client.finish()
        assert await client.rest() == b""
        await said[0].closed.wait()


@every_client
async def test_a_back_end_of_a_plugin_that_ends_first_holds_no_client_that_left(down: Version) -> None:
    async with shouting() as (stage, said):
        client = await stage.opened(down)
        await client.send(b"bye.")
        assert await client.rest() == b"BYE."
        await stage.leave()
        await eventually(said[0].closed.is_set, "the end of the exchange")


# --- bytes ---


def cut(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """`data` in pieces of any size."""
    while data:
        size = chance.choice((1, 2, 3, 7, 130, 5000, 70_000, 400_000))
        yield data[:size]
        data = data[size:]


@every_client
@every_way
async def test_bytes_go_both_ways_unchanged_however_they_are_split(down: Version, up: Version) -> None:
    chance = random.Random(f"{down} {up}")
    sizes = (0, 1, 125, 126, 127, 65_535, 65_536, MIB, 3, 0, 17)
    messages = [
        (chance.choice((TEXT, BINARY, PING)) if size < 126 else BINARY, chance.randbytes(size)) for size in sizes
    ]
    data = b"".join(frame(content, opcode, masked=True) for opcode, content in messages)
    async with staged(up=up) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened(down)

        async def talk() -> None:
            for piece in cut(data, chance):
                await client.send(piece)

        tasks.start_soon(talk)
        assert [await client.frame() for _ in messages] == messages
        await client.finish()
        assert await client.rest() == b""


@every_client
@every_way
async def test_what_the_upstream_says_with_its_head_is_not_lost(down: Version, up: Version) -> None:
    async with staged(up=up, first=frame(b"hello") + frame(b"and so on")[:3]) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (BINARY, b"hello")
        await client.send(frame(b"and so on")[3:])
        assert await client.frame() == (BINARY, b"and so on")


async def test_an_opening_on_a_connection_that_the_upstream_has_just_given_up_goes_to_another() -> None:
    heads: list[bytes] = []

    async def give_up(scene: Scene) -> None:
        while head := await scene.head():
            heads.append(head)
            if b"upgrade" not in head.lower():
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            elif len(heads) == 2:
                return
            else:
                accept = accepted(End1(scene, head).fields[b"sec-websocket-key"])
                switch = (
                    b"HTTP/1.1 101 Go\r\nConnection: UPGRADE\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: %b\r\n\r\n"
                )
                await scene.send(switch % accept)
                await echo(End1(scene, head))

    async with proxying(give_up) as proxy:
        stage = Stage(proxy.gateway, proxy.upstream)
        try:
            assert (await stage.ask_plainly("http1")).body == b"ok"
            client = await stage.opened("http1")
            await client.send(b"x")
            assert await client.exactly(1) == b"x"
            assert len(heads) == 3
        finally:
            await stage.leave()


# --- ends ---


@every_client
@every_way
async def test_the_fin_of_the_upstream_is_passed_on_at_once(down: Version, up: Version) -> None:
    heard: list[bytes] = []

    async def leave(far: End) -> None:
        await far.send(frame(b"bye", TEXT))
        await far.finish()
        if up == "http1":
            heard.append(await far.rest())

    async with staged(leave, up) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (TEXT, b"bye")
        assert await client.rest() == b""
        if down == up == "http1":  # a stream of HTTP/2 ends both ways
            await client.send(b"thanks")
            await client.finish()
            await eventually(lambda: heard == [b"thanks"], "what the client said last")


@every_client
@every_way
async def test_the_fin_of_the_client_is_passed_on_at_once(down: Version, up: Version) -> None:
    async def listen(far: End) -> None:
        said = await far.rest()
        await far.send(b"you said " + said)
        await far.finish()

    async with staged(listen, up) as stage:
        client = await stage.opened(down)
        await client.send(b"this")
        await client.finish()
        assert await client.rest() == b"you said this"


@every_client
@every_way
async def test_a_client_that_resets_ends_it_for_the_upstream(down: Version, up: Version) -> None:
    ended = anyio.Event()

    async def watch(far: End) -> None:
        await far.send(b"x")
        try:
            await far.rest()
        except CutOff:
            pass
        ended.set()

    async with staged(watch, up) as stage:
        client = await stage.opened(down)
        await client.exactly(1)
        await client.reset()
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.CLIENT_LEFT


@every_client
@every_way
async def test_an_upstream_that_resets_ends_it_for_the_client(down: Version, up: Version) -> None:
    async def cut_off(far: End) -> None:
        await far.more()
        await far.reset()

    async with staged(cut_off, up) as stage:
        client = await stage.opened(down)
        await client.send(b"x")
        with pytest.raises(CutOff):
            await client.rest()


@every_client
@every_way
async def test_an_upstream_that_is_killed_ends_it_for_the_client(down: Version, up: Version) -> None:
    async def die(far: End) -> None:
        await far.more()
        if isinstance(far, End2):
            await far.connection.reset()
        else:
            await far.reset()

    async with staged(die, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(b"x", masked=True))
        with pytest.raises(CutOff):
            await client.rest()


# --- drain ---


@asynccontextmanager
async def draining(stage: Stage, over: anyio.Event | None = None) -> AsyncIterator[None]:
    """The gateway drains meanwhile; `over` is set when it has ended."""
    ended = over or anyio.Event()

    async def drain() -> None:
        await stage.gateway.gateway.connections.drain(20.0)
        ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain)
        yield
        tasks.cancel_scope.cancel()


@every_client
@every_way
async def test_a_drain_closes_and_waits_for_the_answer(down: Version, up: Version) -> None:
    heard: list[tuple[int, bytes]] = []

    async def talk(far: End) -> None:
        while (got := await far.frame())[0] != CLOSE:
            heard.append(got)
            await far.send(frame(b"echo", TEXT))
        heard.append(got)
        await far.send(frame(b"too late") + frame(NORMAL, CLOSE))
        await far.finish()

    over = anyio.Event()
    async with staged(talk, up) as stage:
        client = await stage.opened(down)
        await client.send(frame(b"one", masked=True))
        assert await client.frame() == (TEXT, b"echo")
        async with draining(stage, over):
            close = await client.closed()
            assert close[:2] == AWAY
            assert b"stop" in close
            await client.send(frame(b"two", masked=True))
            await eventually(lambda: (BINARY, b"two") in heard, "what the client says meanwhile")
            assert not over.is_set()
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""
            if isinstance(client, End1):
                await client.finish()
            await over.wait()
        assert heard == [(BINARY, b"one"), (BINARY, b"two"), (CLOSE, AWAY)]


@every_client
@every_way
async def test_a_drain_closes_where_nobody_ever_said_anything(down: Version, up: Version) -> None:
    async with staged(stay, up) as stage:
        client = await stage.opened(down)
        async with draining(stage):
            assert (await client.closed())[:2] == AWAY


@every_client
@every_way
async def test_a_drain_in_the_middle_of_a_frame_closes_behind_it(down: Version, up: Version) -> None:
    may_go_on = anyio.Event()
    data = frame(bytes(range(256)) * 4)

    async def slow(far: End) -> None:
        await far.send(frame(b"whole") + data[:300])
        await may_go_on.wait()
        await far.send(data[300:400])
        await far.send(data[400:] + frame(b"more"))
        await stay(far)

    async with staged(slow, up) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (BINARY, b"whole")
        assert await client.exactly(300) == data[:300]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 300) == data[300:]
            assert (await client.closed())[:2] == AWAY
            await client.finish()
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_drain_between_the_bytes_of_a_head_closes_behind_its_frame(down: Version, up: Version) -> None:
    may_go_on = anyio.Event()
    data = frame(b"x" * 70_000)

    async def slow(far: End) -> None:
        await far.send(data[:1])
        await may_go_on.wait()
        await far.send(data[1:3])
        await far.send(data[3:] + frame(b"more"))
        await stay(far)

    async with staged(slow, up) as stage:
        client = await stage.opened(down)
        assert await client.exactly(1) == data[:1]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 1) == data[1:]
            assert (await client.closed())[:2] == AWAY


@every_client
@every_way
async def test_a_drain_while_much_goes_through_closes_between_two_frames(down: Version, up: Version) -> None:
    async def endless(far: End) -> None:
        number = 0
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                assert await far.frame() == (CLOSE, AWAY)
                tasks.cancel_scope.cancel()

            tasks.start_soon(listen)
            while True:
                await far.send(frame(b"%09d" % number + bytes(number * 37 % 3000)))
                number += 1
                await anyio.lowlevel.checkpoint()
        await far.finish()

    async with staged(endless, up) as stage:
        client = await stage.opened(down)
        for number in range(20):
            assert (await client.frame())[1][:9] == b"%09d" % number
        async with draining(stage):
            number = 20
            while (got := await client.frame())[0] == BINARY:
                assert got[1] == b"%09d" % number + bytes(number * 37 % 3000)
                number += 1
            assert got[0] == CLOSE
            assert got[1][:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_websocket_that_is_opened_during_a_drain_is_closed_at_once(down: Version, up: Version) -> None:
    asked, may_answer = anyio.Event(), anyio.Event()

    async def hesitate() -> None:
        asked.set()
        await may_answer.wait()

    async with staged(stay, up, before=hesitate) as stage:
        clients: list[End] = []

        async def open_one() -> None:
            clients.append(await stage.opened(down))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(open_one)
            await asked.wait()
            async with draining(stage):
                await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
                may_answer.set()
                await eventually(lambda: bool(clients), "the opening")
                assert (await clients[0].closed())[:2] == AWAY
                await clients[0].reset()


async def test_over_tls_bytes_pass_and_a_drain_closes_between_two_frames(certificate: Path) -> None:
    may_go_on = anyio.Event()
    data = frame(bytes(range(256)) * 400)

    async def talk(far: End) -> None:
        assert await far.frame() == (BINARY, PIECE * 16)
        await far.send(frame(PIECE * 16) + data[:300])
        await may_go_on.wait()
        await far.send(data[300:] + frame(b"more"))
        assert await far.closed() == AWAY
        await far.finish()

    tls = {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    async with (
        staged(talk, listener={"tls": tls}) as stage,
        await anyio.connect_tcp(
            "127.0.0.1", stage.gateway.port, ssl_context=context, tls_hostname="a.test", tls_standard_compatible=False
        ) as stream,
    ):
        wire = Wire(cast("SocketStream", stream))
        await wire.send(upgrade(ASKS, b"a.test"))
        client = await switched(wire)
        await client.send(frame(PIECE * 16, masked=True))
        assert await client.frame() == (BINARY, PIECE * 16)
        assert await client.exactly(300) == data[:300]
        async with draining(stage):
            await eventually(lambda: stage.gateway.gateway.connections.draining, "the drain")
            may_go_on.set()
            assert await client.exactly(len(data) - 300) == data[300:]
            assert (await client.closed())[:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""


# --- silence ---


@every_client
@every_way
async def test_a_websocket_that_is_quiet_for_too_long_is_closed(down: Version, up: Version) -> None:
    async def talk(far: End) -> None:
        assert await far.frame() == (CLOSE, AWAY)
        await far.send(frame(AWAY, CLOSE))
        await far.finish()

    async with staged(talk, up, rules={"idle_timeout_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        close = await client.closed()
        assert close[:2] == AWAY
        assert b"nobody said anything" in close
        await client.send(frame(AWAY, CLOSE, masked=True))
        assert await client.rest() == b""


@every_client
@every_way
async def test_a_client_that_does_not_answer_that_close_is_cut_off(
    down: Version, up: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemun_websocket.tunnel, "_CLOSE_SECONDS", 0.2)
    ended = anyio.Event()

    async def watch(far: End) -> None:
        try:
            assert await far.rest() == b""
        except CutOff:
            pass
        ended.set()

    async with staged(watch, up, rules={"idle_timeout_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        await client.closed()
        with pytest.raises(CutOff):
            await client.rest()
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.IDLE_TIMEOUT
        assert stage.journal.exchanges[0].status == 101


@every_client
@every_way
async def test_a_websocket_that_lasted_as_long_as_it_may_is_closed_however_busy_it_is(
    down: Version, up: Version
) -> None:
    async with staged(up=up, rules={"max_lifetime_seconds": 0.3}) as stage:
        client = await stage.opened(down)
        opcode, count = PING, 0
        while opcode != CLOSE:
            await client.send(frame(b"%d" % count, PING, masked=True))
            opcode, data = await client.frame()
            assert opcode == CLOSE or data == b"%d" % count
            count += 1
        assert data[:2] == AWAY
        assert count > 1
        await client.finish()
        assert await client.rest() == b""


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_pings_of_either_side_keep_it_open(side: str) -> None:
    async def ping(end: End) -> None:
        with anyio.move_on_after(2.5):
            while True:
                await end.send(frame(b"", PING, masked=side == "client"))
                await anyio.sleep(0.05)
        await end.send(frame(NORMAL, CLOSE, masked=side == "client"))

    async def talk(far: End) -> None:
        if side == "client":
            await echo(far)
        else:
            await ping(far)
            await stay(far)

    async with staged(talk, rules={"idle_timeout_seconds": 1.0}) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened("http1")
        if side == "client":
            tasks.start_soon(ping, client)
        while (got := await client.frame())[0] == PING:
            pass
        assert got == (CLOSE, NORMAL)


@every_client
@every_way
async def test_a_client_that_nothing_is_said_to_is_pinged(down: Version, up: Version) -> None:
    heard: list[bytes] = []
    may_go_on = anyio.Event()

    async def listen(far: End) -> None:
        heard.append(await far.exactly(6))
        await far.send(b"\x82\x7e")  # the first half of a head
        await may_go_on.wait()
        await far.send(frame(bytes(300))[2:])
        heard.append(await far.exactly(6))
        await far.send(frame(NORMAL, CLOSE))
        await stay(far)

    async with staged(listen, up, rules={"ping_interval_seconds": 0.2}) as stage:
        client = await stage.opened(down)
        assert await client.frame() == (PING, b"")
        await client.send(frame(b"", PONG, masked=True))
        while (part := await client.exactly(2)) == frame(b"", PING):
            pass
        assert part == b"\x82\x7e"
        with anyio.move_on_after(0.6):  # no ping in the middle of a head
            assert not await client.exactly(1)
        may_go_on.set()
        assert await client.exactly(302) == frame(bytes(300))[2:]
        assert await client.frame() == (PING, b"")
        await client.send(frame(b"", PONG, masked=True))
        while (got := await client.frame())[0] == PING:
            pass
        assert got == (CLOSE, NORMAL)
        assert heard == [frame(b"", PONG, masked=True)] * 2
        await client.finish()
        assert await client.rest() == b""  # nothing is said behind a Close


# --- who does not read ---


def fixed(sock: socket.socket) -> None:
    """The kernel holds so much for this connection, or for those that are accepted here, and no more."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, KERNEL_BYTES)


def fix(end: End) -> None:
    """The same for the test's end of a connection."""
    inner: Any = end.connection if isinstance(end, End2) else end.stream  # type: ignore[attr-defined]
    stream: SocketStream = inner.stream
    fixed(stream.extra(SocketAttribute.raw_socket))


@pytest.fixture
def listener() -> Iterator[dict[str, str]]:
    """Where the gateway listens."""
    with socket.socket() as sock:
        fixed(sock)
        sock.bind(("127.0.0.1", 0))
        yield {"bind": f"fd:{sock.fileno()}"}


async def stalled(count: Callable[[], int], turns: int = 15) -> int:
    """`count()`, once it has begun and has not changed for so many turns of all tasks."""
    last = same = 0
    while same < turns:
        await anyio.sleep(0.01)
        now = count()
        same = same + 1 if now == last and now else 0
        last = now
    return last


@every_client
@every_way
async def test_a_client_that_does_not_read_stops_the_upstream_and_gets_everything_later(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    sent = 0

    async def talk(far: End) -> None:
        nonlocal sent
        fix(far)
        for _ in range(PIECES):
            await far.send(frame(PIECE))
            sent += len(PIECE)
        await far.finish()

    async with staged(talk, up, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        assert 0 < await stalled(lambda: sent) < AHEAD
        for _ in range(PIECES):
            assert await client.frame() == (BINARY, PIECE)
        assert await client.rest() == b""


@every_client
@every_way
async def test_an_upstream_that_does_not_read_stops_the_client_and_gets_everything_later(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    may_read = anyio.Event()
    sent = 0

    async def listen(far: End) -> None:
        fix(far)
        await may_read.wait()
        for _ in range(PIECES):
            assert await far.frame() == (BINARY, PIECE)
        await far.send(frame(NORMAL, CLOSE))
        await far.finish()

    async def talk() -> None:
        nonlocal sent
        for _ in range(PIECES):
            await client.send(frame(PIECE, masked=True))
            sent += len(PIECE)

    async with staged(listen, up, listener=listener) as stage, anyio.create_task_group() as tasks:
        client = await stage.opened(down)
        fix(client)
        tasks.start_soon(talk)
        assert 0 < await stalled(lambda: sent) < AHEAD
        may_read.set()
        assert await client.closed() == NORMAL


@every_client
@every_way
async def test_a_client_that_does_not_read_is_pinged_and_drained_between_frames(
    down: Version, up: Version, listener: dict[str, str]
) -> None:
    sent = 0

    async def talk(far: End) -> None:
        nonlocal sent
        fix(far)
        for number in range(PIECES):
            await far.send(frame(b"%09d" % number + PIECE))
            sent += len(PIECE)
        assert await far.closed() == AWAY
        await far.finish()

    async with staged(talk, up, rules={"ping_interval_seconds": 0.1}, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        assert 0 < await stalled(lambda: sent, turns=100) < AHEAD
        async with draining(stage):
            assert 0 < await stalled(lambda: sent) < AHEAD
            number = 0
            while (got := await client.frame())[0] != CLOSE:
                if got != (PING, b""):
                    assert got == (BINARY, b"%09d" % number + PIECE)
                    number += 1
            assert got[1][:2] == AWAY
            await client.send(frame(AWAY, CLOSE, masked=True))
            assert await client.rest() == b""


@every_client
@every_way
async def test_a_client_that_does_not_read_is_cut_off_when_its_time_is_over(
    down: Version, up: Version, listener: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemun_websocket.tunnel, "_CLOSE_SECONDS", 0.2)
    ended = anyio.Event()

    async def talk(far: End) -> None:
        fix(far)
        try:
            while True:
                await far.send(frame(PIECE))
        except (anyio.BrokenResourceError, StreamReset, CutOff):
            ended.set()

    async with staged(talk, up, rules={"idle_timeout_seconds": 0.3}, listener=listener) as stage:
        client = await stage.opened(down)
        fix(client)
        await ended.wait()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.IDLE_TIMEOUT


async def test_the_time_of_a_route_counts_for_its_websockets() -> None:
    async with staged(timeout_seconds=0.3) as stage:
        client = await stage.opened("http1")
        with pytest.raises(CutOff):
            await client.rest()
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        assert stage.journal.exchanges[0].reason is Reason.ROUTE_TIMEOUT


# --- what observers learn ---


@every_client
@every_way
async def test_observers_learn_of_the_switch_and_of_all_bytes(down: Version, up: Version) -> None:
    async with staged(up=up) as stage:
        client = await stage.opened(down)
        data = [frame(bytes(size), masked=True) for size in (5, 300, 100_000)]
        for one in data:
            await client.send(one)
            assert await client.exactly(len(one)) == one
        await client.finish()
        assert await client.rest() == b""
        await eventually(lambda: len(stage.journal.exchanges) == 1, "the end of the exchange")
        (exchange,) = stage.journal.exchanges
        total = sum(map(len, data))
        assert (exchange.status, exchange.reason, exchange.route) == (101, None, "chat")
        assert (exchange.received_bytes, exchange.sent_bytes) == (total, total)
        assert exchange.version == ("HTTP/1.1" if down == "http1" else "HTTP/2")
