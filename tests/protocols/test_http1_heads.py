"""The whole reading path of a connection, from bytes alone: all codecs agree, and h11 is never the stricter one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import anyio
import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemun import Buffered, Exchange, ExchangeError, Headers, Peer, Reason, Request, Response, Stream, render
from daemun.transport.timers import Timers
from daemun_http1 import HTTP1, Http1Settings


class Fed(Stream):
    """A stream that receives the pieces it was given, and keeps what was sent."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.sent = b""
        self.closed = False
        self._pieces = [piece for piece in pieces if piece]

    @property
    def unsent_bytes(self) -> int:
        return 0

    def receive_nowait(self) -> bytes:
        if not self._pieces:
            if not self.at_eof:
                self.at_eof = True
                if self.on_eof is not None:
                    self.on_eof()
            raise anyio.EndOfStream
        return self._pieces.pop(0)

    async def wait_readable(self) -> None:
        return None

    def unread(self, data: bytes) -> None:
        self._pieces.insert(0, data)

    def send_nowait(self, item: bytes) -> bool:
        assert not self.closed
        self.sent += item
        return True

    async def wait_writable(self) -> None:
        return None

    async def send_eof(self) -> None:
        return None

    async def flush(self) -> None:
        return None

    async def aclose(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


class Told(NamedTuple):
    """A request as handlers see it."""

    method: bytes
    target: bytes
    authority: bytes
    headers: Headers
    protocol: bytes
    body: bytes
    trailers: Headers


class NoForwarding:
    """Tells nothing about the client."""

    def fields(self, authority: bytes, version: bytes, received: Iterable[tuple[bytes, bytes]]) -> Headers:
        return ()


class Lent:
    """What the core lends to a connection: here, a handler that reads everything and says `ok`."""

    def __init__(self) -> None:
        self.peer = Peer(address="127.0.0.1")
        self.forwarding: Any = NoForwarding()
        self.timers = Timers()
        self.on_drain: Callable[[], None] | None = None
        self.leaving = False
        self.draining = False
        self.told: list[Told] = []

    def dialect(self, content_type: bytes | None, protocol: bytes = b"") -> None:
        return None

    async def run_exchange(self, request: Request, respond: Callable[[Response], Awaitable[None] | None]) -> None:
        body = b""
        try:
            while not request.protocol and (data := await request.body.read()):
                body += data
        except ExchangeError as error:
            assert respond(render(error)) is None
            return
        self.told.append(
            Told(
                request.method,
                request.target,
                request.authority,
                request.headers,
                request.protocol,
                body,
                request.body.trailers,
            )
        )
        assert respond(Response(200, (), Buffered(b"ok"))) is None

    async def run_streaming(
        self,
        request: Request,
        respond: Callable[[Response], Awaitable[None] | None],
        unanswered: Callable[[], bool],
    ) -> None:
        await self.run_exchange(request, respond)

    def refused(self, error: ExchangeError) -> None:
        """Nobody observes."""

    def fault(self, exchange: Exchange, error: BaseException, giver: object = None) -> ExchangeError:
        """As it is."""
        return error if isinstance(error, ExchangeError) else ExchangeError(Reason.PLUGIN_FAULT)

    def stuck(self, exchange: Exchange) -> None:
        """Nobody is told."""

    def render(self, request: Request, error: ExchangeError) -> Response:
        return render(error, request)


def served(*pieces: bytes, **limits: Any) -> tuple[list[Told], bytes]:
    """What handlers saw of the bytes, and what was sent back. The connection is always closed."""

    async def main() -> tuple[list[Told], bytes]:
        stream, lent = Fed(pieces), Lent()
        assert HTTP1.serve is not None
        await HTTP1.serve(stream, lent, Http1Settings(**limits))
        assert stream.closed
        return lent.told, stream.sent

    return anyio.run(main)


def statuses(sent: bytes, methods: Iterable[bytes]) -> list[int]:
    """The statuses of the answers in `sent`; it holds whole answers and nothing else."""
    found = []
    left = list(methods)
    while sent:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        parser.send(h11.Request(method=left.pop(0) if left else "GET", target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(sent)
        while isinstance(event := parser.next_event(), h11.InformationalResponse):
            pass
        assert isinstance(event, h11.Response)
        found.append(event.status_code)
        while isinstance(event := parser.next_event(), h11.Data):
            pass
        assert isinstance(event, h11.EndOfMessage)
        sent = parser.trailing_data[0]
    return found


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` in pieces."""
    places = sorted({place % (len(data) + 1) for place in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


NAMES = st.sampled_from(
    [
        b"Host",
        b"host",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Connection",
        b"Upgrade",
        b"Expect",
        b"TE",
        b"Trailer",
        b"X-A",
        b"x-a",
        b"X_A",
        b"Content_Length",
        b"Cookie",
        b"",
        b"X-A ",
        b" X-A",
        b"X A",
        b"X-\xe9",
        b"X:",
        b"Keep-Alive",
        b"Proxy-Connection",
        b"HTTP2-Settings",
        b"X-Forwarded-For",
        b"Authorization",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            b"",
            b"a.test",
            b"a.test:80",
            b"0",
            b"3",
            b"03",
            b"+3",
            b"-3",
            b"3, 3",
            b"3 3",
            b"0x3",
            b"\xb2",
            b"9" * 19,
            b"9" * 400,
            b"chunked",
            b"Chunked",
            b"chunked, chunked",
            b"gzip",
            b"gzip, chunked",
            b"identity",
            b"chunked;a",
            b"\x0bchunked",
            b"close",
            b"keep-alive",
            b"upgrade",
            b"Upgrade, X-A",
            b"x-a",
            b"websocket",
            b"h2c",
            b"100-continue",
            b"trailers",
            b" a ",
            b"\ta\t",
            b"a\x00b",
            b"a\rb",
            b"a\nb",
            b"a\x7fb",
            b"a\x01b",
            b"caf\xe9",
            b'"a b"',
            b"a,b",
            b"a\r\n b",
        ]
    ),
    st.binary(max_size=8),
)
COLONS = st.sampled_from([b": "] * 8 + [b":", b" :", b"", b":\t", b"::"])
BREAKS = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n", b""])
FIELD = st.tuples(NAMES, COLONS, VALUES, BREAKS).map(b"".join)
GOOD_FIELD = st.sampled_from([b"Host: a.test\r\n", b"X-A: 1\r\n", b"Cookie: a=b\r\n", b"X-B:\r\n"])
LINES = st.one_of(
    st.sampled_from(
        [b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n"]
    ),
    st.tuples(
        st.sampled_from(
            [b"GET", b"get", b"G T", b"", b"HEAD", b"CONNECT", b"TRACE", b"M-SEARCH", b"G\x00", b"\xe9", b"GET:"]
        ),
        st.sampled_from([b" "] * 6 + [b"  ", b"\t", b""]),
        st.sampled_from(
            [b"/", b"http://b.test/", b"https://b.test/", b"*", b"", b"a", b"/\xe9", b"/\x00", b"/a b", b"b.test:1"]
        ),
        st.sampled_from(
            [b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.2", b" HTTP/2.0", b" http/1.1", b"", b" HTTP/1.1 ", b" HTTP/01.1"]
        ),
        BREAKS,
    ).map(b"".join),
)
HEADS = st.tuples(
    LINES,
    st.lists(st.one_of(GOOD_FIELD, GOOD_FIELD, FIELD), max_size=5).map(b"".join),
    st.sampled_from([b"\r\n"] * 9 + [b"\n"]),
).map(b"".join)
CONTENTS = st.sampled_from(
    [b"", b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n", b"0\r\n\r\n", b"x\r\n"]
)
POLICIES = st.sampled_from(["drop", "keep", "refuse"])


@settings(max_examples=300)
@given(st.lists(st.tuples(HEADS, CONTENTS).map(b"".join), min_size=1, max_size=3).map(b"".join), POLICIES)
@example(b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "keep")
@example(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "keep")
@example(b"GET / HTTP/1.1\r\nHost: a.test\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n", "keep")
def test_all_codecs_see_the_same_requests(data: bytes, policy: str) -> None:
    told, sent = served(data, codec="plain", underscores=policy)
    methods = [request.method for request in told]
    answers = [status < 400 for status in statuses(sent, methods)]
    for codec in ("h11", "httptools"):
        also_told, also_sent = served(data, codec=codec, underscores=policy)
        assert told == also_told
        assert answers == [status < 400 for status in statuses(also_sent, methods)]


def refused_by_h11(head: bytes) -> bool:
    """Whether h11 refuses a request head. It cannot pass over empty lines before it, which we may."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(head.lstrip(b"\r\n"))
    try:
        parser.next_event()
    except h11.RemoteProtocolError:
        return True
    return False


@settings(max_examples=400)
@given(HEADS, st.sampled_from(["plain", "h11", "httptools"]))
def test_what_h11_refuses_of_a_head_reaches_nobody(head: bytes, codec: str) -> None:
    if refused_by_h11(head):
        told, _ = served(head, codec=codec, connect=True, underscores="keep")
        assert told == []


@given(
    st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5), st.sampled_from(["plain", "h11", "httptools"])
)
def test_any_bytes_end_in_answers_and_a_closed_connection(data: bytes, cuts: list[int], codec: str) -> None:
    told, sent = served(*cut(data, cuts), codec=codec)
    assert told == []
    assert len(statuses(sent, [])) <= 1


@settings(max_examples=300)
@given(
    st.lists(st.tuples(HEADS, CONTENTS).map(b"".join), min_size=1, max_size=3).map(b"".join),
    st.lists(st.integers(0, 400), max_size=6),
)
@example(b"\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", [1])
@example(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n", [33, 34, 35, 36])
def test_the_pieces_in_which_requests_come_change_nothing(data: bytes, cuts: list[int]) -> None:
    told, sent = served(data)
    for pieces in (cut(data, cuts), [data[place : place + 1] for place in range(len(data))]):
        again, sent_again = served(*pieces)
        assert [request._replace(headers=()) for request in again] == [request._replace(headers=()) for request in told]
        methods = [request.method for request in told]
        answers, answers_again = statuses(sent, methods), statuses(sent_again, methods)
        assert [status < 400 for status in answers] == [status < 400 for status in answers_again]


def test_requests_end_where_the_next_one_begins() -> None:
    told, sent = served(
        b"POST /1 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"
        b"POST /2 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\nX-Sum: 1\r\n\r\n"
        b"GET /3 HTTP/1.1\r\nHost: a.test\r\n\r\n"
    )
    assert [(request.target, request.body, request.trailers) for request in told] == [
        (b"/1", b"abc", ()),
        (b"/2", b"def", ((b"x-sum", b"1"),)),
        (b"/3", b"", ()),
    ]
    assert statuses(sent, [b"POST", b"POST", b"GET"]) == [200, 200, 200]
