"""Plugins that answer with rubbish: 500, or an answer that is plainly cut off; the log names them; the next one is served."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun import (
    BackendType,
    Buffered,
    Dialect,
    FilterType,
    Handler,
    Headers,
    NoContent,
    NoSettings,
    Request,
    Response,
)
from daemun.testing import CutOff, Http2Wire, RunningGateway, Wire, built, eventually, make_plugin, running

pytestmark = pytest.mark.anyio

GET = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n"
UPLOAD = b"POST %b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"


class Odd:
    """A body that does what it likes."""

    def __init__(self, *pieces: Any, length: Any = None, trailers: Any = (), closes: bool = True) -> None:
        self.length = length
        self.trailers: Headers = trailers
        self._pieces = list(pieces)
        self._closes = closes

    async def read(self) -> Any:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        if not self._closes:
            raise OSError("stuck")


REFUSED: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a str": lambda: "hello",
    "a number": lambda: 200,
    "a class": lambda: Response,
    "status 0": lambda: Response(0),
    "status 99": lambda: Response(99, (), Buffered(b"x")),
    "status 1000": lambda: Response(1000, (), Odd(b"x")),
    "status in words": lambda: Response("200"),  # type: ignore[arg-type]
    "status in words, with content": lambda: Response("200", (), Buffered(b"x")),  # type: ignore[arg-type]
    "status in words, streamed": lambda: Response("200", (), Odd(b"x")),  # type: ignore[arg-type]
    "status None": lambda: Response(None),  # type: ignore[arg-type]
    "status a list": lambda: Response([], (), Odd(b"x")),  # type: ignore[arg-type]
    "body None": lambda: Response(200, (), None),  # type: ignore[arg-type]
    "body bytes": lambda: Response(200, (), b"hello"),  # type: ignore[arg-type]
    "body str": lambda: Response(200, (), "hello"),  # type: ignore[arg-type]
    "content str": lambda: Response(200, (), Buffered("hello")),  # type: ignore[arg-type]
    "content None": lambda: Response(200, (), Buffered(None)),  # type: ignore[arg-type]
    "fields None": lambda: Response(200, None),  # type: ignore[arg-type]
    "fields a dict": lambda: Response(200, {b"x-a": b"1"}),  # type: ignore[arg-type]
    "fields a str": lambda: Response(200, "x-a: 1"),  # type: ignore[arg-type]
    "fields of str": lambda: Response(200, (("x-a", "1"),)),  # type: ignore[arg-type]
    "fields of three": lambda: Response(200, ((b"x-a", b"1", b"2"),)),  # type: ignore[arg-type]
    "a field with CRLF": lambda: Response(200, ((b"x-a", b"1\r\nset-cookie: b"),), Odd(b"x")),
    "a field with a colon in its name": lambda: Response(200, ((b"x-a: 1\t", b"2"),)),
    "a field with a blank in its name": lambda: Response(200, ((b"x a", b"2"),)),
    "a field without a name": lambda: Response(200, ((b"", b"2"),)),
    "a field with NUL": lambda: Response(200, ((b"x-a", b"\0"),)),
    "a length in words": lambda: Response(200, (), Odd(b"x", length="1")),
}
CUT: dict[str, Callable[[], Any]] = {
    "nothing at all": lambda: Response(200, (), Odd(None)),
    "nothing later": lambda: Response(200, (), Odd(b"abc", None)),
    "nothing in place of the rest": lambda: Response(200, (), Odd(b"abc", None, length=5)),
    "a piece str": lambda: Response(200, (), Odd(b"abc", "def")),
    "a piece of a known length str": lambda: Response(200, (), Odd(b"abc", "def", length=6)),
    "a piece a number": lambda: Response(200, (), Odd(b"abc", 7)),
    "more than its length": lambda: Response(200, (), Odd(b"abc", b"defg", length=5)),
    "less than its length": lambda: Response(200, (), Odd(b"abc", length=5)),
    "raises behind a piece": lambda: Response(200, (), Odd(b"abc", LookupError("late"))),
    "raises at once": lambda: Response(200, (), Odd(LookupError("early"), length=3)),
    "trailers None": lambda: Response(200, (), Odd(b"abc", trailers=[None])),
}


class Odder:
    """A gateway whose path `/odd` is answered by a plugin as a test says."""

    def __init__(self) -> None:
        self.answer: Callable[[], Any] = lambda: None

    async def handle(self, request: Request) -> Any:
        return self.answer() if request.path == b"/odd" else Response(200, (), Buffered(b"fine"))


@asynccontextmanager
async def gateway_of(odder: Odder, **more: Any) -> AsyncIterator[RunningGateway]:
    kind = BackendType("odd", NoSettings, built(odder.handle))
    plugin = make_plugin("joker", daemun_backends=lambda: [kind], **more)
    source = {"type": "inline", "backends": {"up": {"type": "odd"}}, "routes": [{"name": "all", "to": "up"}]}
    raw = {"sources": [source], "drain": {"grace_seconds": 5}}
    async with running(raw, only=["http1", "http2", "file"], extra=[plugin]) as gateway:
        yield gateway
        await eventually(lambda: gateway.gateway.table.leases == 0, "the end of every exchange")


def blamed(caplog: pytest.LogCaptureFixture) -> str:
    """The one line of the log about a fault."""
    (line,) = [one.getMessage() for one in caplog.records if one.name == "daemun.exchange"]
    assert "plugin joker (back end type odd)" in line
    assert line.startswith("route all: ")
    return line


@pytest.mark.parametrize("method", [GET, UPLOAD], ids=["get", "upload"])
async def test_http1_refuses_an_answer_that_cannot_be_sent_and_goes_on(
    method: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    odder = Odder()
    async with gateway_of(odder) as gateway:
        wire = Wire(await gateway.connect())
        for what, make in REFUSED.items():
            caplog.clear()
            odder.answer = make
            await wire.send(method % b"/odd")
            answer = await wire.answer("POST")
            assert (what, answer.status, answer.field(b"x-daemun-reason")) == (what, 500, b"plugin_fault")
            said = blamed(caplog)
            if what == "status in words":
                assert "a Response with the status '200'; accepted: a number from 100 to 999" in said
            await wire.send(GET % b"/fine")
            assert (what, (await wire.answer()).body) == (what, b"fine")
        await wire.aclose()


async def test_http2_refuses_an_answer_that_cannot_be_sent_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    odder = Odder()
    async with gateway_of(odder) as gateway:
        wire = Http2Wire(await gateway.connect())
        await wire.start()
        for what, make in REFUSED.items():
            caplog.clear()
            odder.answer = make
            answer = await wire.exchange(target=b"/odd")
            assert (what, answer.status, answer.field(b"x-daemun-reason")) == (what, 500, b"plugin_fault")
            blamed(caplog)
            assert (what, (await wire.exchange(target=b"/fine")).body) == (what, b"fine")
        await wire.aclose()


class Panic(BaseException):
    """As extensions in other languages raise it."""


@pytest.mark.parametrize("raised", [KeyboardInterrupt, Panic, SystemExit, GeneratorExit])
@pytest.mark.parametrize("wire", [Wire, Http2Wire])
@pytest.mark.parametrize("deep", [False, True])
async def test_what_is_no_exception_ends_its_exchange_and_nothing_else(
    raised: type[BaseException], wire: type[Any], deep: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """In a gateway that takes SIGINT itself; in a test Ctrl-C is not for plugins."""

    async def handle(request: Request) -> Response:
        if request.path == b"/fine":
            return Response(200, (), Buffered(b"fine"))
        if not deep:
            raise raised
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.sleep_forever)
            raise raised
        raise AssertionError

    odder = Odder()
    odder.handle = handle  # type: ignore[method-assign]
    with anyio.open_signal_receiver(signal.SIGINT):
        async with gateway_of(odder) as gateway:
            client = wire(await gateway.connect())
            if wire is Http2Wire:
                await client.start()
            for target, status in ((b"/odd", 500), (b"/fine", 200), (b"/odd", 500)):
                if wire is Http2Wire:
                    answer = await client.exchange(target=target)
                else:
                    await client.send(GET % target)
                    answer = await client.answer()
                assert (target, answer.status) == (target, status)
            await client.aclose()
    assert "plugin joker (back end type odd)" in caplog.text
    assert raised.__name__ in caplog.text


async def test_http1_cuts_an_answer_off_that_breaks_on_its_way(caplog: pytest.LogCaptureFixture) -> None:
    odder = Odder()
    async with gateway_of(odder) as gateway:
        other = Wire(await gateway.connect())
        for what, make in CUT.items():
            caplog.clear()
            odder.answer = make
            wire = Wire(await gateway.connect())
            await wire.send(GET % b"/odd")
            with pytest.raises(CutOff):
                await wire.answer()
            await wire.aclose()
            blamed(caplog)
            await other.send(GET % b"/fine")
            assert (what, (await other.answer()).body) == (what, b"fine")
        await other.aclose()


async def test_http2_resets_an_answer_that_breaks_on_its_way(caplog: pytest.LogCaptureFixture) -> None:
    odder = Odder()
    async with gateway_of(odder) as gateway:
        wire = Http2Wire(await gateway.connect())
        await wire.start()
        for what, make in CUT.items():
            caplog.clear()
            odder.answer = make
            stream = await wire.ask(target=b"/odd")
            assert (what, await wire.code_of(stream)) == (what, 2)
            blamed(caplog)
            assert (what, (await wire.exchange(target=b"/fine")).body) == (what, b"fine")
        await wire.aclose()


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_body_that_does_not_close_hurts_nobody(*, streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    odder = Odder()
    odder.answer = lambda: Response(200, (), Odd(b"abc", closes=False, length=None if streamed else 3))
    async with gateway_of(odder) as gateway:
        wire = Wire(await gateway.connect())
        for _ in range(2):
            caplog.clear()
            await wire.send(GET % b"/odd")
            assert (await wire.answer()).body == b"abc"
            await wire.send(GET % b"/fine")
            assert (await wire.answer()).body == b"fine"
            assert "OSError('stuck')" in blamed(caplog)
        await wire.aclose()


FRAMING: list[tuple[bytes, bytes]] = [
    (b"Content-Length", b"99"),
    (b"transfer-encoding", b"chunked"),
    (b"Connection", b"close"),
    (b"keep-alive", b"timeout=5"),
    (b"proxy-connection", b"close"),
]


@pytest.mark.parametrize(("name", "value"), FRAMING)
async def test_fields_of_the_connection_are_not_a_plugins_to_set(name: bytes, value: bytes) -> None:
    odder = Odder()
    odder.answer = lambda: Response(200, ((name, value), (b"X-Upper", b"1")), Buffered(b"abc"))
    async with gateway_of(odder) as gateway:
        wire, wire2 = Wire(await gateway.connect()), Http2Wire(await gateway.connect())
        await wire2.start()
        for _ in range(2):
            await wire.send(GET % b"/odd")
            answer = await wire.answer()
            assert (answer.status, answer.body, answer.field(b"x-upper")) == (200, b"abc", b"1")
            assert answer.values(b"content-length") == [b"3"]
            assert answer.field(name.lower()) in (None, b"3")
            answer2 = await wire2.exchange(target=b"/odd")
            assert (answer2.status, answer2.body, answer2.field(b"x-upper")) == (200, b"abc", b"1")
            assert answer2.field(name.lower()) in (None, b"3")
        await wire.aclose()
        await wire2.aclose()


@pytest.mark.parametrize("rendered", [None, "sorry", Response(0), Response(500, None), LookupError("mute")])  # type: ignore[arg-type]
async def test_a_dialect_that_renders_rubbish_is_passed_by(rendered: Any, caplog: pytest.LogCaptureFixture) -> None:
    def render(request: Request, error: Exception) -> Any:
        if isinstance(rendered, Exception):
            raise rendered
        return rendered

    dialect = Dialect("mumbling", lambda request: True, render)
    odder = Odder()
    odder.answer = lambda: None
    async with gateway_of(odder, daemun_dialects=lambda: [dialect]) as gateway:
        wire = Wire(await gateway.connect())
        for _ in range(2):
            await wire.send(GET % b"/odd")
            answer = await wire.answer()
            assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        await wire.aclose()
    faults = [one.getMessage() for one in caplog.records if one.name == "daemun.exchange"]
    assert all("plugin joker" in one for one in faults)
    assert len(faults) == 4


async def test_who_stands_before_the_culprit_is_not_blamed(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(request: Request) -> Response:
        raise LookupError("inside")

    def layer(handler: Handler) -> Handler:
        async def pass_on(request: Request) -> Response:
            async with anyio.create_task_group():
                response = await handler(request)
            return response.with_header(b"x-passed", b"1")

        return pass_on

    odder = Odder()
    odder.handle = handle  # type: ignore[method-assign]
    kind = FilterType("grouping", NoSettings, built(layer))
    async with gateway_of(odder, daemun_filters=lambda: [kind]) as gateway:
        wire = Wire(await gateway.connect())
        await wire.send(GET % b"/odd")
        assert (await wire.answer()).status == 500
        await wire.aclose()
    line = f"{__file__}:{handle.__code__.co_firstlineno + 1}"
    assert blamed(caplog) == f"route all: plugin joker (back end type odd) at {line} raised LookupError('inside')"


async def test_a_body_without_content_may_be_anything_that_has_none() -> None:
    odder = Odder()
    odder.answer = lambda: Response(204, (), NoContent(None))
    async with gateway_of(odder) as gateway:
        wire = Wire(await gateway.connect())
        for _ in range(2):
            await wire.send(GET % b"/odd")
            assert (await wire.answer()).status == 204
        await wire.aclose()
