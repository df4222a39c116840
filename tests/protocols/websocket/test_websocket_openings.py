"""Openings: what is refused, what the rules of a route say, and what the upstream answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from daemun import (
    BackendType,
    Body,
    Headers,
    NoSettings,
    Reason,
    Request,
    Response,
    header_values,
)
from daemun.testing import (
    CutOff,
    Wire,
    built,
    eventually,
    make_plugin,
    running,
    scripted,
)

from .stage import (
    ASKS,
    KEY,
    End,
    Stage,
    Version,
    accepted,
    every_client,
    every_way,
    staged,
    stay,
)

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("asks", "status"),
    [
        ((), 426),
        (((b"sec-websocket-key", KEY),), 426),
        (((b"sec-websocket-key", KEY), (b"sec-websocket-version", b"8")), 426),
        (((b"sec-websocket-version", b"13"),), 400),
        (((b"sec-websocket-version", b"13"), (b"sec-websocket-key", b"short")), 400),
        ((*ASKS, (b"sec-websocket-key", KEY)), 400),
        ((*ASKS, (b"sec-websocket-protocol", b"a, , a")), 400),
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
        (["https://App.Test"], b"https://app.test", b"a.test", 101),
        (["https://app.test:443", "http://app.test:80"], b"https://app.test", b"a.test", 101),
        (["https://app.test:443", "http://app.test:80"], b"http://app.test", b"a.test", 101),
        (["https://app.test"], b"https://app.test:443", b"a.test", 101),
        (["https://[::1]:443"], b"https://[::1]", b"a.test", 101),
        (["https://app.test:80"], b"https://app.test", b"a.test", 403),
        (["https://app.test:8443"], b"https://app.test", b"a.test", 403),
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
@every_way
async def test_a_426_of_the_upstream_says_what_to_switch_to(down: Version, up: Version) -> None:
    """RFC 9110 §15.5.22. The upstream's own field ends with its connection; HTTP/2 has none."""
    async with staged(up=up, status=426, said=((b"sec-websocket-version", b"14"),)) as stage:
        answer = await stage.refused(down)
        assert (answer.status, answer.body, answer.field(b"sec-websocket-version")) == (426, b"four", b"14")
        assert answer.values(b"upgrade") == ([b"websocket"] if down == "http1" else [])
        assert (b"upgrade" in answer.values(b"connection")) == (down == "http1")


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
