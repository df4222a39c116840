"""The lens between two ends that speak by wsproto itself: what passes, what is refused, and how it ends."""

from __future__ import annotations

import gc
import logging
import struct
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import Frame, FrameProtocol, Opcode

import daemun_websocket.lens
from daemun import (
    Body,
    ExchangeError,
    FilterContext,
    FilterType,
    Handler,
    Headers,
    Layer,
    NoSettings,
    Reason,
    Request,
    Response,
    header,
)
from daemun.testing import Pieces, eventually, make_request
from daemun_websocket.deflate import Deflater, Inflater
from daemun_websocket.framing import Framing
from daemun_websocket.kinds import MESSAGES_FILTER, message_filter
from daemun_websocket.lens import Lens
from daemun_websocket.message_filter import MessageFilter, OpenFilter
from daemun_websocket.messages import Binary, Close, CloseWebSocket, Message, Ping, Pong, Text
from daemun_websocket.way import Way

pytestmark = pytest.mark.anyio

EXTENSIONS = b"sec-websocket-extensions"


class Pipe:
    """A body that a test fills while it is read."""

    def __init__(self) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.closed = False
        self._waiting = b""
        self._ended = False
        self._more = anyio.Event()

    def put(self, data: bytes) -> None:
        self._waiting += data
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def read(self) -> bytes:
        while not self._waiting and not self._ended:
            self._more = anyio.Event()
            await self._more.wait()
        data, self._waiting = self._waiting, b""
        return data

    async def aclose(self) -> None:
        self.closed = True


class End:
    """A client, or an upstream."""

    def __init__(self, *, client: bool) -> None:
        self.says = Pipe()
        self.heard: list[Message] = []
        self.raw = b""
        self.ended = False
        self.frames = FrameProtocol(client, [])
        self._client = client
        self._begun = ""

    def agree(self, extension: Extension | None) -> None:
        self.frames = FrameProtocol(self._client, [extension] if extension else [])

    def say(self, *messages: Message) -> None:
        for message in messages:
            match message:
                case Text(data, last) | Binary(data, last):
                    self.says.put(bytes(self.frames.send_data(data, last)))
                case Ping(data):
                    self.says.put(bytes(self.frames.ping(data)))
                case Pong(data):
                    self.says.put(bytes(self.frames.pong(data)))
                case Close(code, reason):
                    self.says.put(bytes(self.frames.close(code, reason)))

    def hear(self, data: bytes) -> None:
        self.raw += data
        if self.raw[:4] == b"\x88\x05\x03\xf6":  # 1014, which wsproto does not know
            return
        self.frames.receive_bytes(data)
        for frame in self.frames.received_frames():
            if not frame.opcode.iscontrol():
                piece: Any = frame.payload
                self._begun += piece if isinstance(piece, str) else piece.decode("latin-1")
                if not frame.frame_finished:
                    continue
                whole, self._begun = self._begun, ""
                payload = whole if isinstance(piece, str) else whole.encode("latin-1")
                frame = frame._replace(payload=payload)
            self.heard.append(message_of(frame))

    async def hears(self, *messages: Message) -> None:
        await eventually(lambda: len(self.heard) >= len(messages), "a message")
        assert self.heard == [*messages]
        self.heard.clear()

    async def hears_until(self, message: Message) -> None:
        """Waits for `message`, which need not be the first; what is heard stays."""
        await eventually(lambda: bool(self.heard) and self.heard[-1] == message, f"{message}")


def message_of(frame: Frame) -> Message:
    payload: Any = frame.payload
    match frame.opcode:
        case Opcode.CLOSE:
            return Close(None if payload[0] == 1005 else int(payload[0]), payload[1] or "")
        case Opcode.PING:
            return Ping(payload)
        case Opcode.PONG:
            return Pong(payload)
    return (
        Text(payload, frame.message_finished) if isinstance(payload, str) else Binary(payload, frame.message_finished)
    )


class Talk:
    """A client and an upstream, with filters between them."""

    def __init__(self) -> None:
        self.client = End(client=True)
        self.upstream = End(client=False)
        self.request: Request
        """As the upstream got it."""
        self.response: Response
        """As the client got it."""
        self.status = 101
        self.answered: Headers = ()

    async def hang_up(self) -> None:
        self.client.says.end()
        self.upstream.says.end()
        await eventually(lambda: self.client.ended and self.upstream.ended, "the end")


Filter = tuple[FilterType, Any]


@asynccontextmanager
async def talking(
    *filters: Filter, offer: bytes = b"", answer: bytes = b"", url: str = "http://a.test/"
) -> AsyncIterator[Talk]:
    """Both ends after the switch; what each hears is read all the time."""
    talk = Talk()

    async def upstream(request: Request) -> Response:
        talk.request = request
        fields = ((b"sec-websocket-accept", b"x"), *(((EXTENSIONS, answer),) if answer else ()))
        return Response(101, fields, talk.upstream.says)

    fields = ((EXTENSIONS, offer),) if offer else ()
    asked = make_request("GET", url, fields, talk.client.says)
    request = msgspec.structs.replace(asked, protocol=b"websocket")
    async with AsyncExitStack() as stack:
        handler: Handler = upstream
        for kind, settings in reversed(filters):
            layer = await stack.enter_async_context(kind.build(settings, FilterContext(kind.name, Path())))
            handler = layer(handler)
        talk.response = await handler(request)
        accepted = header(talk.response.headers, EXTENSIONS)
        if accepted is not None:
            talk.client.agree(deflate(accepted))
        if answer:
            talk.upstream.agree(deflate(answer))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pump, talk.request.body, talk.upstream)
            tasks.start_soon(pump, talk.response.body, talk.client)
            yield talk
            tasks.cancel_scope.cancel()
        await talk.response.body.aclose()


def deflate(accepted: bytes) -> PerMessageDeflate:
    extension = PerMessageDeflate()
    extension.finalize(accepted.decode().replace("=8", "=9"))  # wsproto knows no smaller window
    return extension


async def pump(body: Any, end: End) -> None:
    while data := await body.read():
        end.hear(data)
    end.ended = True


class Seen(MessageFilter):
    """Keeps what passed it."""

    def __init__(self) -> None:
        self.client: list[Message] = []
        self.upstream: list[Message] = []
        self.ends = 0

    async def client_said(self, message: Message) -> Message | None:
        self.client.append(message)
        return message

    async def upstream_said(self, message: Message) -> Message | None:
        self.upstream.append(message)
        return message

    def ended(self) -> None:
        self.ends += 1


def filtering(found: MessageFilter, name: str = "test", *, streamed: bool = False) -> Filter:
    """A filter that is `found`."""

    @asynccontextmanager
    async def build(settings: Any, context: FilterContext) -> AsyncIterator[OpenFilter]:
        yield lambda request: found

    return message_filter(name, NoSettings, build, streamed=streamed), NoSettings()


async def test_messages_pass_both_ways_and_are_seen() -> None:
    seen = Seen()
    said: list[Message] = [Text("grüße"), Binary(b"\x00\xff"), Ping(b"p"), Pong(b"q"), Text(""), Binary(b"x" * 70000)]
    async with talking(filtering(seen)) as talk:
        talk.client.say(*said)
        await talk.upstream.hears(*said)
        talk.upstream.say(*said)
        await talk.client.hears(*said)
        talk.client.say(Close(1000, "bye"))
        await talk.upstream.hears(Close(1000, "bye"))
        talk.upstream.say(Close(1000, "bye"))
        await talk.client.hears(Close(1000, "bye"))
        talk.upstream.says.end()
        await eventually(lambda: talk.client.ended, "the end")
        assert not talk.upstream.ended
        await talk.hang_up()
        before = seen.ends
    assert seen.client == seen.upstream == [*said, Close(1000, "bye")]
    assert (before, seen.ends) == (0, 1)


async def test_what_is_no_websocket_passes_untouched() -> None:
    async def plain(request: Request) -> Response:
        return Response(200, request.headers, request.body)

    kind, settings = filtering(Seen())
    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        request = make_request("GET", headers=((EXTENSIONS, b"permessage-deflate"),), body=Pipe())
        response = await layer(plain)(request)
    assert response.headers is request.headers
    assert response.body is request.body


async def test_a_refused_opening_leaves_bytes_alone() -> None:
    seen = Seen()

    async def refuse(request: Request) -> Response:
        return Response(403, (), request.body)

    kind, settings = filtering(seen)
    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        body = Pipe()
        body.put(b"no frame")
        request = msgspec.structs.replace(make_request(body=body), protocol=b"websocket")
        response = await layer(refuse)(request)
        assert await response.body.read() == b"no frame"
    assert not seen.ends


async def test_nothing_is_read_before_the_switch() -> None:
    async def early(request: Request) -> Response:
        with anyio.move_on_after(0) as scope:
            await request.body.read()
        assert scope.cancelled_caught
        return Response(101, (), Pipe())

    kind, settings = filtering(Seen())
    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        body = Pipe()
        body.put(b"\x81\x80mask")
        request = msgspec.structs.replace(make_request(body=body), protocol=b"websocket")
        await layer(early)(request)
        assert await body.read() == b"\x81\x80mask"


@pytest.mark.parametrize("outside", [True, False])
async def test_a_filter_that_tries_again_brings_no_message_past_a_filter_or_twice(outside: bool) -> None:
    seen, body, tries = Seen(), Pipe(), 0

    async def upstream(request: Request) -> Response:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ExchangeError(Reason.UPSTREAM_CLOSED)
        return Response(101, (), body)

    def again(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            while True:
                try:
                    return await handler(request)
                except ExchangeError:
                    continue

        return handle

    kinds = filtering(Seen(), "first", streamed=True), filtering(seen, "second", streamed=True)
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(kind.build(settings, FilterContext(kind.name, Path())))
            for kind, settings in kinds
        ]
        handler = again(first(second(upstream))) if outside else first(again(second(upstream)))
        request = msgspec.structs.replace(make_request(body=Pipe()), protocol=b"websocket")
        response = await handler(request)
        body.put(bytes(FrameProtocol(False, []).send_data("hello")))
        client = End(client=True)
        client.hear(await response.body.read())
        assert client.heard == seen.upstream == [Text("hello")]


# --- filters ---


class Words(MessageFilter):
    """Adds a letter to what is said; drops pings."""

    def __init__(self, letter: str) -> None:
        self.letter = letter

    def _changed(self, message: Message) -> Message | None:
        if isinstance(message, Ping):
            return None
        return Text(message.data + self.letter) if isinstance(message, Text) else message

    async def client_said(self, message: Message) -> Message | None:
        return self._changed(message)

    async def upstream_said(self, message: Message) -> Message | None:
        return self._changed(message)


async def test_filters_share_a_lens_and_have_their_order() -> None:
    seen = Seen()
    async with talking(filtering(Words("a")), filtering(seen), filtering(Words("b"))) as talk:
        talk.client.say(Text("1"), Ping(), Text("2"))
        await talk.upstream.hears(Text("1ab"), Text("2ab"))
        talk.upstream.say(Text("3"))
        await talk.client.hears(Text("3ba"))
    assert seen.client == [Text("1a"), Text("2a")]
    assert seen.upstream == [Text("3b")]
    assert seen.ends == 1


async def test_fragments_are_joined_and_pings_between_them_keep_their_place() -> None:
    seen = Seen()
    async with talking(filtering(Seen(), streamed=True), filtering(seen)) as talk:
        talk.client.say(Text("a", last=False), Ping(b"1"), Text("b", last=False), Text("", last=False), Text("c"))
        await talk.upstream.hears(Ping(b"1"), Text("abc"))
    assert seen.client == [Ping(b"1"), Text("abc")]


async def test_pieces_pass_as_they_come_if_every_filter_is_for_it() -> None:
    seen = Seen()
    async with talking(filtering(seen, streamed=True), filtering(Seen(), streamed=True)) as talk:
        talk.client.say(Binary(b"a", last=False))
        await talk.upstream.hears(Binary(b"a", last=False))
        talk.client.say(Ping(), Binary(b"", last=False), Binary(b"b"))
        await talk.upstream.hears(Ping(), Binary(b"b"))
        frame = bytes(talk.client.frames.send_data("grüße"))
        talk.client.says.put(frame[:9])  # in the middle of the ü
        await talk.upstream.hears(Text("gr", last=False))
        talk.client.says.put(frame[9:])
        await talk.upstream.hears(Text("üße"))
    assert seen.client[-2:] == [Text("gr", last=False), Text("üße")]


async def test_a_message_whose_last_piece_is_dropped_still_ends() -> None:
    class NoEnd(MessageFilter):
        async def client_said(self, message: Message) -> Message | None:
            return None if message == Text("c") or message == Text("alone") else message

    async with talking(filtering(NoEnd(), streamed=True)) as talk:
        talk.client.say(Text("a", last=False), Text("c"), Text("alone"), Text("next"))
        await talk.upstream.hears(Text("a", last=False), Text(""), Text("next"))


async def test_a_filter_may_end_the_websocket() -> None:
    class Strict(Seen):
        async def client_said(self, message: Message) -> Message | None:
            if message == Text("leave"):
                raise CloseWebSocket(4001, "as you like")
            return message

    strict = Strict()
    async with talking(filtering(strict)) as talk:
        talk.client.say(Text("hello"), Text("leave"), Text("too late"))
        await talk.upstream.hears(Text("hello"), Close(1001))
        talk.upstream.say(Text("answer"), Close(1001), Text("too late"))
        await talk.client.hears(Text("answer"), Close(4001, "as you like"))
        await eventually(lambda: talk.client.ended, "the end of what the client hears")
        talk.client.say(Close(4001))
        await eventually(lambda: talk.upstream.ended, "the end of what the upstream hears")
        assert not talk.upstream.heard
    assert strict.ends == 1


async def test_a_filter_may_end_the_websocket_over_what_the_upstream_says() -> None:
    class Strict(MessageFilter):
        async def upstream_said(self, message: Message) -> Message | None:
            raise CloseWebSocket(1008)

    async with talking(filtering(Strict())) as talk:
        talk.upstream.say(Text("hello"))
        await talk.client.hears(Close(1008))
        await talk.upstream.hears(Close(1001))
        await eventually(lambda: talk.client.ended, "the end")


@pytest.mark.parametrize("what", ["raises", "returns", "kind", "surrogate", "code"])
async def test_a_filter_that_fails_ends_its_websocket_and_is_named(
    what: str, faults: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Seen):
        async def client_said(self, message: Message) -> Message | None:
            if what == "raises":
                raise KeyError(what)
            if what == "code":
                raise CloseWebSocket(1006)
            if what == "kind":
                return Text("piece", last=False) if message == Text("a") else message
            return Text("\ud800") if what == "surrogate" else "no message"  # type: ignore[return-value]

        def ended(self) -> None:
            super().ended()
            raise KeyError(what)

    faults.expected = True
    failing = Failing()
    async with talking(filtering(failing, "bad")) as talk:
        talk.client.say(Text("a"), Binary(b"b"))
        await talk.upstream.hears_until(Close(1001))
        talk.upstream.says.end()
        await talk.client.hears(Close(1011, "a plugin of the gateway failed"))
        exchange = talk.request.exchange
        assert (exchange.reason, exchange.plugin) == (Reason.PLUGIN_FAULT, "bad")
    assert failing.ends == 1
    assert all("filter bad failed" in record.getMessage() for record in caplog.records)


async def test_a_filter_that_cannot_open_fails_the_opening() -> None:
    seen = Seen()

    @asynccontextmanager
    async def build(settings: Any, context: FilterContext) -> AsyncIterator[OpenFilter]:
        def fail(request: Request) -> MessageFilter:
            raise KeyError(request.target)

        yield fail

    body = Pipe()

    async def upstream(request: Request) -> Response:
        return Response(101, (), body)

    kind, settings = filtering(seen)
    failing = message_filter("failing", NoSettings, build)
    async with (
        kind.build(settings, FilterContext("a", Path())) as outer,
        failing.build(settings, FilterContext("b", Path())) as inner,
    ):
        request = msgspec.structs.replace(make_request(body=Pipe()), protocol=b"websocket")
        with pytest.raises(KeyError):
            await outer(inner(upstream))(request)
    assert body.closed
    assert seen.ends == 1


async def test_a_filter_that_waits_holds_up_its_own_direction_only() -> None:
    go = anyio.Event()

    class Slow(MessageFilter):
        async def client_said(self, message: Message) -> Message | None:
            if message == Text("slow"):
                await go.wait()
            return message

    async with talking(filtering(Slow())) as talk:
        talk.client.say(Text("fast"), Text("slow"), Text("after"))
        await talk.upstream.hears(Text("fast"))
        talk.upstream.say(Text("hello"))
        await talk.client.hears(Text("hello"))
        assert not talk.upstream.heard
        go.set()
        await talk.upstream.hears(Text("slow"), Text("after"))


async def test_many_messages_at_once_leave_others_their_turn() -> None:
    turns = 0

    class Deaf(MessageFilter):
        """Drops all, and keeps how many turns others had."""

        def __init__(self) -> None:
            self.turns: list[int] = []

        async def client_said(self, message: Message) -> Message | None:
            self.turns.append(turns)
            return None

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    deaf = Deaf()
    async with talking(filtering(deaf)) as talk, anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        talk.client.say(*[Ping()] * 1000)
        await eventually(lambda: len(deaf.turns) == 1000, "the messages")
        tasks.cancel_scope.cancel()
    assert deaf.turns[-1] - deaf.turns[0] >= 20


async def test_a_read_that_is_cancelled_loses_nothing() -> None:
    class Slow(MessageFilter):
        """Waits a bit; and counts."""

        def __init__(self) -> None:
            self.calls = 0
            self.go = anyio.Event()

        async def client_said(self, message: Message) -> Message | None:
            self.calls += 1
            await self.go.wait()
            return message

    slow, body = Slow(), Pipe()
    end = End(client=True)

    async def upstream(request: Request) -> Response:
        return Response(101, (), Pipe())

    kind, settings = filtering(slow)
    kept: list[Request] = []

    def keep(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            kept.append(request)
            return await handler(request)

        return handle

    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        request = msgspec.structs.replace(make_request(body=body), protocol=b"websocket")
        await layer(keep(upstream))(request)
        body.put(bytes(end.frames.send_data("one")) + bytes(end.frames.send_data("two")))
        way, far = kept[0].body, End(client=False)
        for _ in range(3):
            with anyio.CancelScope() as scope:
                scope.deadline = anyio.current_time() + 0.01
                await way.read()
            assert scope.cancelled_caught
        assert slow.calls == 3
        slow.go.set()
        far.hear(await way.read())
        far.hear(await way.read())
        assert far.heard == [Text("one"), Text("two")]
        assert slow.calls == 5


async def test_what_is_over_holds_nothing_even_while_a_filter_does_not_let_go() -> None:
    entered, go = anyio.Event(), anyio.Event()

    class Clinging(MessageFilter):
        async def client_said(self, message: Message) -> Message | None:
            entered.set()
            with anyio.CancelScope(shield=True):
                await go.wait()
            return message if message == Text("1") else None

    for said in (Text("1"), Text("2")):
        entered, go = anyio.Event(), anyio.Event()
        async with talking(filtering(Clinging())) as talk:
            talk.client.say(said)
            await entered.wait()
            await talk.response.body.aclose()
            go.set()
            await eventually(lambda: talk.upstream.ended and talk.client.ended, "both ends")
            assert not talk.upstream.heard


async def test_what_is_over_is_freed_without_the_garbage_collector() -> None:
    field = (EXTENSIONS, b"permessage-deflate")
    extension = deflate(b"permessage-deflate")
    said = bytes(FrameProtocol(True, [extension]).send_data("words " * 100))

    async def one(layer: Layer) -> None:
        bodies: list[Body] = []

        async def upstream(request: Request) -> Response:
            bodies.append(request.body)
            return Response(101, (field,), Pieces(b"\x82\x02ab"))

        asked = make_request(headers=(field,), body=Pieces(said))
        response = await layer(upstream)(msgspec.structs.replace(asked, protocol=b"websocket"))
        assert len(await bodies[0].read()) > 10
        assert len(await response.body.read()) > 2
        await response.body.aclose()
        bodies.clear()

    def alive() -> list[object]:
        kinds = (Framing, Way, Lens, Inflater, Deflater, FrameProtocol)
        return [thing for thing in gc.get_objects() if isinstance(thing, kinds)]

    kind, settings = filtering(MessageFilter())
    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        gc.collect()
        before = len(alive())
        gc.disable()
        try:
            await one(layer)
            assert len(alive()) <= before
        finally:
            gc.enable()


# --- how it ends ---


async def test_a_close_passes_and_nothing_behind_it() -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Close(), Text("more"))
        talk.client.says.put(b"\xff" * 100)
        await talk.upstream.hears(Close())
        talk.upstream.say(Text("still"), Close(1000))
        await talk.client.hears(Text("still"), Close(1000))
        await talk.hang_up()
        assert not talk.client.heard
        assert not talk.upstream.heard


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999])
async def test_every_code_that_may_be_said_passes(code: int) -> None:
    said = Close(code, "why")
    async with talking(filtering(Seen())) as talk:
        talk.upstream.say(said)
        await eventually(lambda: bool(talk.client.raw), "a close")
        assert talk.client.raw == bytes(FrameProtocol(False, []).close(code, "why"))


@pytest.mark.parametrize("who", ["client", "upstream"])
async def test_an_end_without_a_close_passes_at_once(who: str) -> None:
    async with talking(filtering(Seen())) as talk:
        ends, hears = (talk.client, talk.upstream) if who == "client" else (talk.upstream, talk.client)
        ends.say(Text("hi"))
        ends.says.put(b"\x81")  # half a head
        ends.says.end()
        await hears.hears(Text("hi"))
        await eventually(lambda: hears.ended, "the end")
        assert not ends.ended
    assert not talk.request.exchange.reason


async def test_a_client_that_hears_nothing_of_its_end_is_not_waited_for() -> None:
    bounds = msgspec.convert({"close_timeout_seconds": 0.05}, MESSAGES_FILTER.settings)
    async with talking((MESSAGES_FILTER, bounds), filtering(Seen())) as talk:
        talk.client.says.put(b"\xff\xff")
        await talk.client.hears(Close(1002, "the frames break the protocol"))
        await eventually(lambda: talk.client.ended and talk.upstream.ended, "both ends")
        assert talk.client.says.closed
        assert talk.upstream.heard == [Close(1001)]


async def test_a_client_that_does_not_stop_is_not_listened_to_for_ever() -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.says.put(b"\xff\xff")
        talk.upstream.says.end()
        await eventually(lambda: talk.client.ended, "the client's end")
        for _ in range(40):
            if not talk.upstream.ended:
                talk.client.says.put(bytes(512 * 1024))
                await anyio.wait_all_tasks_blocked()
        assert talk.upstream.ended
        assert talk.client.says.closed


async def test_what_was_said_before_a_mistake_is_answered_first() -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Text("question"))
        talk.client.says.put(b"\x83\x80mask")
        await talk.upstream.hears(Text("question"), Close(1001))
        talk.upstream.say(Text("answer"), Close(1001))
        await talk.client.hears(Text("answer"), Close(1002, "the frames break the protocol"))
        await eventually(lambda: talk.client.ended, "the end")
        assert talk.request.exchange.reason is Reason.BAD_REQUEST


async def test_where_nothing_was_asked_before_a_mistake_no_answer_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemun_websocket.lens, "_GRACE_SECONDS", 600.0)
    bounds = msgspec.convert({"close_timeout_seconds": 3600}, MESSAGES_FILTER.settings)
    async with talking(filtering(Seen()), (MESSAGES_FILTER, bounds)) as talk:
        talk.client.says.put(b"\x83\x80mask")
        await talk.client.hears(Close(1002, "the frames break the protocol"))
        await eventually(lambda: talk.client.ended, "the end")


async def test_a_filter_that_fails_after_a_mistake_changes_nothing_about_the_end() -> None:
    class Strict(MessageFilter):
        async def upstream_said(self, message: Message) -> Message | None:
            raise CloseWebSocket(4000)

    async with talking(filtering(Strict())) as talk:
        talk.client.say(Text("question"))
        talk.client.says.put(b"\x83\x80mask")
        await talk.upstream.hears(Text("question"), Close(1001))
        talk.upstream.say(Text("answer"), Close(1001))
        await talk.client.hears(Close(1002, "the frames break the protocol"))


async def test_an_upstream_that_answers_nothing_does_not_delay_a_close_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(daemun_websocket.lens, "_GRACE_SECONDS", 0.3)
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Text("question"))
        talk.client.says.put(b"\x83\x80mask")
        before = anyio.current_time()
        await talk.client.hears(Close(1002, "the frames break the protocol"))
        assert 0.2 < anyio.current_time() - before < 10
        talk.upstream.say(Text("too late"))
        await eventually(lambda: talk.client.ended, "the end")
        assert not talk.client.heard


@pytest.mark.parametrize(("said", "code"), [(b"\x83\x00", 1002), (b"\x81\x80mask", 1002), (b"\x81\x02\xff\xfe", 1007)])
async def test_an_upstream_that_breaks_the_protocol_is_told_and_the_client_too(said: bytes, code: int) -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Text("hello"))
        await talk.upstream.hears(Text("hello"))
        talk.upstream.say(Text("hi"))
        talk.upstream.says.put(said)
        await talk.client.hears(Text("hi"), Close(1011, "the upstream broke the protocol"))
        await eventually(lambda: talk.client.ended and bool(talk.upstream.heard), "both ends")
        (close,) = talk.upstream.heard
        assert isinstance(close, Close)
        assert close.code == code
        assert talk.request.exchange.reason is Reason.UPSTREAM_PROTOCOL


async def test_an_upstream_that_breaks_a_limit_is_told_which_and_the_client_whose_fault_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "daemun.websocket")
    limit = "messages of at most 1048576 bytes are taken"
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Text("hello"))
        await talk.upstream.hears(Text("hello"))
        talk.upstream.say(Text("hi"))
        talk.upstream.says.put(b"\x82\x7f\0\0\0\0\0\x20\0\0")
        await talk.client.hears(Text("hi"), Close(1009, f"the upstream broke a limit: {limit}"))
        await talk.upstream.hears(Close(1009, limit))
        assert talk.request.exchange.reason is Reason.UPSTREAM_PROTOCOL
    (record,) = caplog.records
    assert record.getMessage() == (
        "route -: a WebSocket was closed by the gateway, 1009: the upstream sent a binary message of 2097152 bytes or "
        f"more; {limit}"
    )


async def test_over_tls_the_connection_ends_when_the_client_has_heard_its_close() -> None:
    async with talking(filtering(Seen()), url="https://a.test/") as talk:
        talk.client.says.put(b"\x83\x80mask")
        await talk.upstream.hears(Close(1001))
        talk.upstream.say(Close(1001))
        await talk.client.hears(Close(1002, "the frames break the protocol"))
        await anyio.wait_all_tasks_blocked()
        assert not talk.client.ended
        talk.client.says.end()
        await eventually(lambda: talk.client.ended and talk.upstream.ended, "both ends")


async def test_two_mistakes_end_it_once() -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.says.put(b"\x83\x80mask")
        talk.upstream.says.put(b"\x83\x00")
        await eventually(lambda: bool(talk.client.heard and talk.upstream.heard), "two closes")
        assert len(talk.client.heard) == len(talk.upstream.heard) == 1
        await eventually(lambda: talk.client.ended, "the end")


# --- what is refused ---


def head(opcode: int, length: int, *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    """The head of a frame with a mask that changes nothing."""
    first, bit = bytes([fin << 7 | rsv << 4 | opcode]), mask << 7
    if length < 126:
        size = bytes([bit | length])
    elif length < 1 << 16:
        size = bytes([bit | 126]) + struct.pack(">H", length)
    else:
        size = bytes([bit | 127]) + struct.pack(">Q", length)
    return first + size + bytes(4 if mask else 0)


BOUNDS: dict[str, int] = {"max_message_bytes": 1000, "max_frame_bytes": 600, "max_fragments": 5}
DEFLATED = zlib.compressobj(9, zlib.DEFLATED, -15)
BOMB = DEFLATED.compress(bytes(1 << 20)) + DEFLATED.flush(zlib.Z_SYNC_FLUSH)[:-4]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (head(2, 1 << 62), 1009),
        (head(2, 1 << 63), 1002),
        (head(2, 601), 1009),
        (head(2, 600, fin=False) + bytes(600) + head(0, 401), 1009),
        (head(2, 0, fin=False) + head(0, 0, fin=False) * 5, 1009),
        (head(2, 4, rsv=4) + b"abcd", 1002),
        (head(2, 0, rsv=2), 1002),
        (head(1, 2) + b"\xff\xfe", 1007),
        (head(1, 10, fin=False) + b"\xff", 1007),
        (head(1, 2, mask=False) + b"hi", 1002),
        (head(9, 126), 1002),
        (head(9, 1, fin=False), 1002),
        (head(3, 1), 1002),
        (head(0, 1), 1002),
        (head(1, 1, fin=False) + b"x" + head(1, 1), 1002),
        (head(8, 1) + b"x", 1002),
        (head(8, 2) + struct.pack(">H", 999), 1002),
        (head(8, 4) + struct.pack(">H", 1000) + b"\xff\xff", 1007),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
async def test_what_a_client_may_not_send_is_refused_when_it_shows(said: bytes, code: int, step: int) -> None:
    bounds = msgspec.convert(BOUNDS, MESSAGES_FILTER.settings)
    seen = Seen()
    async with talking(filtering(seen), (MESSAGES_FILTER, bounds)) as talk:
        for place in range(0, len(said), step):
            talk.client.says.put(said[place : place + step])
            if len(said) < 50:
                await anyio.wait_all_tasks_blocked()
        await talk.upstream.hears(Close(1001))
        talk.upstream.say(Close(1001))
        await eventually(lambda: talk.client.ended, "the end")
        (close,) = talk.client.heard
        assert isinstance(close, Close)
        assert close.code == code
        assert talk.request.exchange.reason is (Reason.CONTENT_TOO_LARGE if code == 1009 else Reason.BAD_REQUEST)
        assert not seen.client


@pytest.mark.parametrize(
    ("said", "limit", "refused"),
    [
        (head(2, 1001), "messages of at most 1000 bytes are taken", "binary message of 1001 bytes"),
        (
            head(1, 600, fin=False) + bytes(600) + head(0, 401),
            "messages of at most 1000 bytes are taken",
            "text message of 1001 bytes",
        ),
        (head(1, 601), "frames of at most 600 bytes are taken", "text message of 601 bytes"),
        (
            head(2, 1, fin=False) + b"x" + head(0, 0, fin=False) * 4 + head(0, 3),
            "messages in at most 5 frames are taken",
            "binary message of 4 bytes",
        ),
        (
            head(1, len(BOMB), rsv=4),
            "frames of at most 600 bytes are taken",
            f"text message of {len(BOMB)} compressed bytes",
        ),
        (
            head(2, 500, fin=False, rsv=4) + BOMB[:500],
            "messages of at most 1000 bytes are taken",
            "binary message of 1001 bytes",
        ),
    ],
)
async def test_a_client_is_told_the_limit_that_it_broke_and_the_log_of_the_message(
    said: bytes, limit: str, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "daemun.websocket")
    bounds = msgspec.convert(BOUNDS, MESSAGES_FILTER.settings)
    async with talking(filtering(Seen()), (MESSAGES_FILTER, bounds), offer=b"permessage-deflate") as talk:
        talk.client.says.put(said)
        await talk.client.hears(Close(1009, limit))
        await talk.upstream.hears(Close(1001))
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.getMessage() == (
        f"route -: a WebSocket was closed by the gateway, 1009: the client sent a {refused} or more; {limit}"
    )


async def test_bounds_are_there_without_settings_and_are_met() -> None:
    async with talking(filtering(Seen())) as talk:
        talk.client.say(Binary(bytes(1024 * 1024)))
        await eventually(lambda: bool(talk.upstream.heard), "the longest message")
        talk.client.says.put(head(2, 1024 * 1024 + 1))
        await talk.upstream.hears_until(Close(1001))


async def test_a_message_in_many_small_pieces_passes_where_it_may() -> None:
    bounds = msgspec.convert({"max_fragments": 5000}, MESSAGES_FILTER.settings)
    async with talking(filtering(Seen()), (MESSAGES_FILTER, bounds)) as talk:
        talk.client.say(*[Text("ab", last=False)] * 4998, Text("end"))
        await talk.upstream.hears(Text("ab" * 4998 + "end"))


# --- compression ---


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        (b"permessage-deflate", b""),
        (b"permessage-deflate", b"permessage-deflate"),
        (b"permessage-deflate; client_max_window_bits", b"permessage-deflate; client_max_window_bits=9"),
        (b"permessage-deflate; server_no_context_takeover", b"permessage-deflate; client_no_context_takeover"),
        (
            b"permessage-deflate; client_no_context_takeover",
            b"permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
        ),
        (b"permessage-deflate; server_max_window_bits=9; client_max_window_bits=9", b"permessage-deflate"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_each_side_is_compressed_as_it_agreed(offer: bytes, answer: bytes, streamed: bool) -> None:
    seen = Seen()
    text = "the same words again and again, " * 40
    said: list[Message] = [Text(text), Text("short"), Text(text), Binary(text.encode() * 300), Ping(b"ping"), Text("")]
    async with talking(filtering(seen, streamed=streamed), offer=offer, answer=answer) as talk:
        for speaker, listener in ((talk.client, talk.upstream), (talk.upstream, talk.client)):
            speaker.say(*said)
            await listener.hears_until(Text(""))
            assert joined(listener.heard) == said
            deflated = answer if listener is talk.upstream else offer
            assert (len(listener.raw) < 50_000) is bool(deflated)
    assert joined(seen.client) == joined(seen.upstream) == said


def joined(messages: Sequence[Message]) -> list[Message]:
    """Messages whose pieces were put together."""
    found: list[Message] = []
    text, data = "", b""
    for message in messages:
        match message:
            case Text(piece, last):
                text += piece
                if last:
                    found.append(Text(text))
                    text = ""
            case Binary(block, last):
                data += block
                if last:
                    found.append(Binary(data))
                    data = b""
            case _:
                found.append(message)
    return found


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_bomb_goes_off_in_a_small_room(streamed: bool) -> None:
    bounds = msgspec.convert({"max_message_bytes": 100_000}, MESSAGES_FILTER.settings)
    seen = Seen()
    look = filtering(seen, streamed=streamed)
    async with talking((MESSAGES_FILTER, bounds), look, offer=b"permessage-deflate") as talk:
        talk.client.says.put(head(2, len(BOMB), rsv=4) + BOMB)
        await talk.upstream.hears_until(Close(1001))
        talk.upstream.says.end()
        await eventually(lambda: talk.client.ended, "the end")
        assert talk.client.heard == [Close(1009, "messages of at most 100000 bytes are taken")]
        assert sum(len(message.data) for message in seen.client if isinstance(message, Binary)) <= 100_000


async def test_a_block_that_is_longer_than_its_message_stays_in_its_bounds() -> None:
    bounds = msgspec.convert({"max_message_bytes": 5}, MESSAGES_FILTER.settings)
    async with talking(filtering(Seen()), (MESSAGES_FILTER, bounds), offer=b"permessage-deflate") as talk:
        talk.client.says.put(head(2, 8, rsv=4) + b"\x00\x0a\x00\xf5\xffabc")
        await talk.upstream.hears(Close(1001))
        talk.upstream.says.end()
        await talk.client.hears(Close(1009, "messages of at most 5 bytes are taken"))


async def test_what_is_not_compressed_though_it_says_so_is_refused() -> None:
    async with talking(filtering(Seen()), offer=b"permessage-deflate") as talk:
        talk.client.says.put(head(2, 1000, rsv=4) + b"\xff" * 1000)
        await talk.upstream.hears(Close(1001))
        talk.upstream.says.end()
        await talk.client.hears(Close(1007, "the content of a message is malformed"))


@pytest.mark.parametrize(
    "said",
    [head(9, 1, rsv=4) + b"x", head(2, 1, fin=False) + b"x" + head(0, 1, rsv=4) + b"x"],
)
async def test_a_mark_of_compression_in_the_wrong_place_is_refused(said: bytes) -> None:
    async with talking(filtering(Seen()), offer=b"permessage-deflate") as talk:
        talk.client.says.put(said)
        await talk.upstream.hears(Close(1001))


async def test_the_opening_has_the_gateways_own_offer_and_answer() -> None:
    offer = b"x-other, permessage-deflate; server_max_window_bits=10; client_max_window_bits"
    answer = b"permessage-deflate; client_max_window_bits=8"
    async with talking(filtering(Seen()), offer=offer, answer=answer) as talk:
        asked = [value for name, value in talk.request.headers if name == EXTENSIONS]
        assert asked == [
            b"permessage-deflate; client_max_window_bits; server_max_window_bits=12, "
            b"permessage-deflate; client_max_window_bits"
        ]
        accepted = [value for name, value in talk.response.headers if name == EXTENSIONS]
        assert accepted == [b"permessage-deflate; server_max_window_bits=10; client_max_window_bits=12"]
        talk.client.say(Text("words " * 100))
        await talk.upstream.hears(Text("words " * 100))  # 8 bits are kept by not compressing
        assert len(talk.upstream.raw) > 600


@pytest.mark.parametrize("settings", [{"compression": False}, {}])
@pytest.mark.parametrize("inner", [True, False])
async def test_nothing_is_compressed_unless_both_the_route_and_the_client_want_it(
    settings: dict[str, Any], inner: bool
) -> None:
    offer = b"permessage-deflate" if settings else b"x-webkit-deflate-frame"
    bounds = MESSAGES_FILTER, msgspec.convert(settings, MESSAGES_FILTER.settings)
    filters = [filtering(Seen()), bounds] if inner else [bounds, filtering(Seen())]
    async with talking(*filters, offer=offer) as talk:
        assert header(talk.request.headers, EXTENSIONS) is None
        assert header(talk.response.headers, EXTENSIONS) is None
        talk.client.say(Text("words " * 100))
        await talk.upstream.hears(Text("words " * 100))
