"""`ws_log` and `ws_limit`: what is logged of messages and what never is, and who has to wait or to go."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from daemun import ExchangeError, FilterContext, FilterType, Handler, NoSettings, Reason, Request, Response
from daemun.testing import make_request
from daemun_websocket.framing import Bounds, Framing
from daemun_websocket.kinds import message_filter
from daemun_websocket.limit import LIMIT_FILTER
from daemun_websocket.log import LOG_FILTER
from daemun_websocket.message_filter import MessageFilter, OpenFilter
from daemun_websocket.messages import Binary, Close, CloseWebSocket, Message, Ping, Pong, Text

pytestmark = pytest.mark.anyio

BOUNDS = Bounds(1 << 20, 1 << 20, 1000)
BLAME = {"client": "", "upstream": "the upstream broke a limit: "}
"""What the client is told before the limit."""


class Bytes:
    """A body that a test fills; it ends only if the test says so."""

    length = None
    trailers = ()

    def __init__(self) -> None:
        self.waiting = b""
        self.ended = False
        self.broken = False

    async def read(self) -> bytes:
        if self.broken:
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "it sent a reset")
        if not self.waiting and not self.ended:
            await anyio.sleep_forever()
        data, self.waiting = self.waiting, b""
        return data

    async def aclose(self) -> None:
        return None


class Sides:
    """A WebSocket through filters; a test says and hears what it wants on either side."""

    def __init__(self) -> None:
        self.client = Framing(client=True, bounds=BOUNDS, joined=False)
        self.upstream = Framing(client=False, bounds=BOUNDS, joined=False)
        self.from_client = Bytes()
        self.from_upstream = Bytes()
        self.request: Request
        self.response: Response

    async def client_hears(self) -> Message:
        return await self._heard(self.response, self.client)

    async def upstream_hears(self) -> Message:
        return await self._heard(self.request, self.upstream)

    async def client_says(self, *messages: Message) -> list[Message]:
        """What the upstream hears of it, as many messages as were said, or a Close of ours instead."""
        self.from_client.waiting += b"".join(map(self.client.write, messages))
        return [await self.upstream_hears() for _ in messages]

    async def upstream_says(self, *messages: Message) -> list[Message]:
        """What the client hears of it."""
        self.from_upstream.waiting += b"".join(map(self.upstream.write, messages))
        return [await self.client_hears() for _ in messages]

    async def _heard(self, message: Request | Response, side: Framing) -> Message:
        while (heard := side.read()) is None:
            side.feed(await message.body.read())
        return heard


@asynccontextmanager
async def through(
    kind: FilterType, settings: dict[str, Any], inner: FilterType | None = None, within: dict[str, Any] | None = None
) -> AsyncIterator[Sides]:
    """Through `kind` with `settings`, and behind it `inner` with those of `within`."""
    sides = Sides()

    async def upstream(request: Request) -> Response:
        sides.request = request
        return Response(101, (), sides.from_upstream)

    request = msgspec.structs.replace(make_request(body=sides.from_client), protocol=b"websocket")
    request.exchange.route = "chat"
    async with AsyncExitStack() as stack:
        handler: Handler = upstream
        for one, values in ((inner, within or {}), (kind, settings)):
            if one is not None:
                built = one.build(msgspec.convert(values, one.settings), FilterContext(one.name, Path()))
                handler = (await stack.enter_async_context(built))(handler)
        sides.response = await handler(request)
        with anyio.fail_after(20):
            yield sides
        await sides.response.body.aclose()


# --- log ---


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "daemun.websocket")
    return caplog


def said(log: pytest.LogCaptureFixture) -> list[str]:
    """What `ws_log` logged."""
    head = "route chat, 127.0.0.1:0, "
    lines = [record.getMessage() for record in log.records]
    return [line.removeprefix(head) for line in lines if line.startswith(head)]


async def test_who_said_what_kind_of_message_is_logged_but_not_what_it_says(log: pytest.LogCaptureFixture) -> None:
    talk: list[Message] = [Text("grüße"), Binary(b"12"), Ping(b"p"), Pong(b"q"), Close(1000, "bye")]
    async with through(LOG_FILTER, {}) as sides:
        assert await sides.client_says(*talk) == talk
        assert await sides.upstream_says(Text("x"), Close()) == [Text("x"), Close()]
    assert said(log) == [
        "client: text, 7 bytes",
        "client: binary, 2 bytes",
        "client: close, 1000",
        "upstream: text, 1 bytes",
        "upstream: close, no code",
        "end: closed by the client, 1000",
    ]


async def test_a_message_in_pieces_is_one_line_and_pings_are_logged_if_asked_for(
    log: pytest.LogCaptureFixture,
) -> None:
    talk: list[Message] = [Text("abc", last=False), Ping(b"p"), Text("def", last=False), Text("ghi"), Pong()]
    async with through(LOG_FILTER, {"pings": True, "excerpt_chars": 5}) as sides:
        assert await sides.client_says(*talk) == talk
    assert said(log) == [
        "client: ping, 1 bytes",
        "client: text, 9 bytes: 'abcde'...",
        "client: pong, 0 bytes",
        "end: cut off",
    ]


async def test_an_excerpt_is_one_line_of_printable_ascii(log: pytest.LogCaptureFixture) -> None:
    talk: list[Message] = [Text("a\n\x1b[31mü"), Binary(b"\n"), Text(""), Close(4000, "b\n")]
    async with through(LOG_FILTER, {"excerpt_chars": 100}) as sides:
        assert await sides.client_says(*talk) == talk
    assert said(log) == [
        "client: text, 9 bytes: 'a\\n\\x1b[31m\\xfc'",
        "client: binary, 1 bytes",
        "client: text, 0 bytes",
        "client: close, 4000: 'b\\n'",
        "end: closed by the client, 4000",
    ]


@pytest.mark.parametrize("sample", ["message", "socket"])
async def test_a_share_is_logged(log: pytest.LogCaptureFixture, sample: str) -> None:
    counts = []
    for _ in range(40):
        before = len(log.records)
        async with through(LOG_FILTER, {"fraction": 0.5, "sample": sample}) as sides:
            await sides.client_says(*[Text("x")] * 10)
        counts.append(len(log.records) - before)
    assert 0 < sum(counts) < 440
    assert (set(counts) == {0, 11}) is (sample == "socket")


async def test_nothing_is_logged_of_a_share_of_nothing(log: pytest.LogCaptureFixture) -> None:
    for sample in ("message", "socket"):
        async with through(LOG_FILTER, {"fraction": 0, "sample": sample}) as sides:
            await sides.client_says(Text("x"))
    assert not log.records


# --- the end in the log ---


class Failing(MessageFilter):
    """Fails over texts, and ends the WebSocket over a binary message."""

    async def client_said(self, message: Message) -> Message | None:
        if isinstance(message, Text):
            raise KeyError("text")
        if isinstance(message, Binary):
            raise CloseWebSocket(4000, "no\nline")
        raise CloseWebSocket(1000)


@asynccontextmanager
async def _build(settings: NoSettings, context: FilterContext) -> AsyncIterator[OpenFilter]:
    yield lambda request: Failing()


FAILING = message_filter("strict", NoSettings, _build)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Binary(b"x"), r"closed by the filter strict, 4000, over a binary message of the client: no\nline"),
        (Ping(), "closed by the filter strict, 1000, over a ping of the client"),
    ],
)
async def test_a_filter_that_ended_it_is_named(message: Message, words: str, log: pytest.LogCaptureFixture) -> None:
    async with through(LOG_FILTER, {"sample": "socket"}, FAILING) as sides:
        assert await sides.client_says(message) == [Close(1001)]
    assert said(log)[-1] == f"end: {words}"


async def test_a_filter_that_failed_is_named(log: pytest.LogCaptureFixture, faults: Any) -> None:
    faults.expected = True
    async with through(LOG_FILTER, {}, FAILING) as sides:
        assert await sides.client_says(Text("x")) == [Close(1001)]
    assert said(log) == ["client: text, 1 bytes", "end: closed by the gateway, 1011: the filter strict failed"]


async def test_a_limit_that_ended_it_is_named(log: pytest.LogCaptureFixture) -> None:
    async with through(LOG_FILTER, {}, LIMIT_FILTER, {"upstream": {"max_message_bytes": 10}}) as sides:
        await sides.upstream_says(Text("x" * 11))
    assert said(log) == [
        "end: closed by the filter ws_limit, 1009, over a text message of the upstream: "
        "the upstream broke a limit: messages of at most 10 bytes are taken"
    ]


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_a_message_that_the_lens_refused_is_in_the_log(who: str, log: pytest.LogCaptureFixture) -> None:
    async with through(LOG_FILTER, {}) as sides:
        if who == "client":
            sides.from_client.waiting += b"\x81\xff" + (1 << 21).to_bytes(8, "big") + bytes(4)
            await sides.upstream_hears()
        else:
            sides.from_upstream.waiting += b"\x81\x7f" + (1 << 21).to_bytes(8, "big")
            await sides.client_hears()
    assert said(log) == [
        f"end: closed by the gateway, 1009: the {who} sent a text message of 2097152 bytes or more; "
        "messages of at most 1048576 bytes are taken"
    ]


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_frames_that_break_the_protocol_are_in_the_log(who: str, log: pytest.LogCaptureFixture) -> None:
    async with through(LOG_FILTER, {}) as sides:
        if who == "client":
            sides.from_client.waiting += b"\x83\x80mask"
            await sides.upstream_hears()
        else:
            sides.from_upstream.waiting += b"\x83\x00"
            await sides.client_hears()
    assert said(log) == [f"end: closed by the gateway, 1002: the {who} is at fault: the frames break the protocol"]


@pytest.mark.parametrize("who", ["client", "upstream"])
@pytest.mark.parametrize("broken", [False, True])
async def test_a_side_that_left_without_a_close_is_in_the_log(
    who: str, broken: bool, log: pytest.LogCaptureFixture
) -> None:
    async with through(LOG_FILTER, {}) as sides:
        if who == "client":
            body, other = sides.from_client, sides.request.body
        else:
            body, other = sides.from_upstream, sides.response.body
        body.ended, body.broken = not broken, broken
        try:
            assert await other.read() == b""
        except ExchangeError:
            assert broken
    words = "was lost: it sent a reset" if broken else "left without a close"
    assert said(log) == [f"end: the {who} {words}"]


async def test_an_exchange_that_was_cut_off_says_why(log: pytest.LogCaptureFixture) -> None:
    async with through(LOG_FILTER, {}) as sides:
        sides.request.exchange.reason = Reason.ROUTE_TIMEOUT
    assert said(log) == ["end: cut off, route_timeout"]


# --- limit ---


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_who_says_too_much_is_closed_and_the_other_side_is_not_counted(who: str) -> None:
    settings = {who: {"messages_per_second": 0.001, "burst_messages": 3}}
    async with through(LIMIT_FILTER, settings) as sides:
        talks, other = sides.client_says, sides.upstream_says
        if who == "upstream":
            talks, other = other, talks
        assert await other(*[Text("x")] * 20) == [Text("x")] * 20
        pieces: list[Message] = [Text("a", last=False), Ping(), Text("b", last=False), Text("c"), Binary(b"d")]
        assert await talks(*pieces) == pieces
        (last,) = await talks(Pong())
        assert isinstance(last, Close)
        if who == "client":
            assert last == Close(1001)
            last = await sides.client_hears()
        assert last == Close(1008, f"{BLAME[who]}at most 0.001 messages a second are taken, 3 at once")


async def test_bytes_are_counted_and_a_message_may_be_longer_than_the_burst() -> None:
    settings = {"upstream": {"bytes_per_second": 0.001, "burst_bytes": 100}}
    async with through(LIMIT_FILTER, settings) as sides:
        assert await sides.upstream_says(Text("ü" * 40), Binary(bytes(1000))) == [Text("ü" * 40), Binary(bytes(1000))]
        (last,) = await sides.upstream_says(Text("x"))
        assert last == Close(1008, f"{BLAME['upstream']}at most 0.001 bytes a second are taken, 100 at once")


async def test_a_close_always_passes() -> None:
    settings = {"client": {"messages_per_second": 0.001, "burst_messages": 1}}
    async with through(LIMIT_FILTER, settings) as sides:
        assert await sides.client_says(Text("x"), Close(1000)) == [Text("x"), Close(1000)]


async def test_who_is_too_fast_waits_where_that_is_the_policy() -> None:
    settings = {"client": {"messages_per_second": 50, "burst_messages": 2}, "policy": "delay"}
    async with through(LIMIT_FILTER, settings) as sides:
        before = anyio.current_time()
        assert await sides.client_says(*[Text("x")] * 7) == [Text("x")] * 7
        assert anyio.current_time() - before >= 0.09


async def test_a_message_that_waited_is_counted_once() -> None:
    settings = {"client": {"messages_per_second": 20, "burst_messages": 1}, "policy": "delay"}
    async with through(LIMIT_FILTER, settings) as sides:
        await sides.client_says(Text("1"))
        before = anyio.current_time()
        sides.from_client.waiting += sides.client.write(Text("2"))
        while sides.upstream.read() is None:
            with anyio.move_on_after(0.01):
                sides.upstream.feed(await sides.request.body.read())
        assert 0.04 <= anyio.current_time() - before < 10  # counted at each turn, it would not come at all


@pytest.mark.parametrize(
    "messages", [[Text("ü" * 6)], [Binary(bytes(11))], [Text("abcdef", last=False), Text("ghijk")]]
)
async def test_a_message_that_is_too_long_is_refused_whatever_its_pieces(messages: list[Message]) -> None:
    async with through(LIMIT_FILTER, {"upstream": {"max_message_bytes": 10}, "policy": "delay"}) as sides:
        fine: list[Message] = [Text("abcdef", last=False), Text("ghij"), Binary(bytes(10)), Ping(bytes(20))]
        assert await sides.upstream_says(*fine) == fine
        assert (await sides.upstream_says(*messages))[-1] == Close(
            1009, f"{BLAME['upstream']}messages of at most 10 bytes are taken"
        )


async def test_bounds_of_the_lens_hold_behind_a_filter_that_takes_pieces() -> None:
    async with through(LOG_FILTER, {}) as sides:
        frame = sides.upstream.write(Binary(bytes(1 << 20)))
        sides.from_upstream.waiting += frame[:2] + (1 << 20 | 1).to_bytes(8, "big") + frame[10:]
        assert await sides.client_hears() == Close(
            1009, f"{BLAME['upstream']}messages of at most 1048576 bytes are taken"
        )
