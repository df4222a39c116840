"""Plugins that break their word: the client gets a 500 or can tell that the answer is cut, and nobody else is hurt."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import anyio
import pytest

from daemun import (
    EMPTY,
    Body,
    Buffered,
    FilterType,
    Handler,
    Headers,
    Layer,
    NoContent,
    NoSettings,
    Request,
    Response,
)
from daemun.testing import CutOff, Scene, built, make_plugin, proxying

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
ROUTE = {"filters": [{"type": "odd"}]}


class Pieces:
    """A body of pieces that says what it likes about itself."""

    def __init__(self, *pieces: bytes, length: int | None = None, trailers: Headers = ()) -> None:
        self.length = length
        self.trailers = trailers
        self.closed = 0
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def aclose(self) -> None:
        self.closed += 1


class Failing(Pieces):
    """A body that fails where it should end."""

    async def read(self) -> bytes:
        if not self._pieces:
            raise ValueError("the body is broken")
        return await super().read()


def filtering(layer: Layer, buffer_bytes: int = 0) -> list[ModuleType]:
    """A plugin with the filter `odd`."""
    kind = FilterType("odd", NoSettings, built(layer), buffer_bytes=buffer_bytes)
    return [make_plugin("odd", daemun_filters=lambda: [kind])]


def changing_responses(change: Callable[[Response], Response]) -> list[ModuleType]:
    """A plugin whose filter passes every response through `change`."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return change(await handler(request))

        return handle

    return filtering(layer)


def changing_requests(change: Callable[[Request], Request]) -> list[ModuleType]:
    """A plugin whose filter passes every request through `change`."""

    def layer(handler: Handler) -> Handler:
        return lambda request: handler(change(request))

    return filtering(layer)


def answering(make: Callable[[], Response]) -> list[ModuleType]:
    """A plugin whose filter answers everything by itself."""

    def layer(_: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return make()

        return handle

    return filtering(layer)


UNSENDABLE: list[tuple[bytes, object]] = [
    (b"x-a", b"1\r\nSet-Cookie: a=b"),
    (b"x-a", b"1\nSet-Cookie: a=b"),
    (b"x-a", b"1\rSet-Cookie: a=b"),
    (b"x-a\r\nx-b", b"1"),
    (b"x-a", b"1\r\n\r\nHTTP/1.1 200 OK"),
    (b"x-a", b"a\x00b"),
    (b"x-a", "text"),
    (b"x-a", None),
]


@pytest.mark.parametrize(("name", "value"), UNSENDABLE)
@pytest.mark.parametrize("request_", [GET, UPLOAD], ids=["get", "upload"])
async def test_a_response_field_that_cannot_be_sent_is_a_500_and_nothing_of_it_is_on_the_wire(
    name: bytes, value: bytes, request_: bytes, faults: object
) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = changing_responses(lambda response: response.with_header(name, value))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(request_)
            answer = await wire.answer()
            assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
            assert {b"set-cookie", b"x-b", b"x-a"}.isdisjoint(name for name, _ in answer.headers)


@pytest.mark.parametrize(("name", "value"), UNSENDABLE)
async def test_a_request_field_that_cannot_be_sent_is_a_500_and_reaches_nobody(
    name: bytes, value: bytes, faults: object
) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = changing_requests(lambda request: request.with_header(name, value))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        for request in (GET, UPLOAD):
            answer = await proxy.ask(request)
            assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        assert proxy.upstream.requests == []


@pytest.mark.parametrize("change", ["target", "authority", "method"])
async def test_a_rewrite_that_would_break_the_request_line_reaches_nobody(change: str, faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    bad = b"x\r\nX-Injected: 1"
    changes: dict[str, Callable[[Request], Request]] = {
        "target": lambda request: request.with_target(b"/" + bad),
        "authority": lambda request: request.with_authority(bad),
        "method": lambda request: Request(
            bad, request.target, request.authority, request.headers, request.body, request.exchange
        ),
    }
    async with proxying(route=ROUTE, extra=changing_requests(changes[change])) as proxy:
        assert (await proxy.ask(GET)).status == 500
        assert proxy.upstream.requests == []


@pytest.mark.parametrize("status", [0, 99, 1000, 100, 101, 199])
@pytest.mark.parametrize("body", [EMPTY, Buffered(b"x"), None], ids=["none", "whole", "streamed"])
async def test_a_status_that_ends_no_exchange_is_a_500(status: int, body: Body | None, faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = answering(lambda: Response(status, (), body if body is not None else Pieces(b"x")))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.status, answer.interim) == (500, ())


async def test_a_body_longer_than_it_said_is_cut_where_it_said_it_ends(faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = answering(lambda: Response(200, (), Pieces(b"abc", b"defgh", length=5)))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        with pytest.raises(CutOff):
            await wire.answer()


async def test_a_body_shorter_than_it_said_is_cut_off(faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = answering(lambda: Response(200, (), Pieces(b"abc", length=5)))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect()
        await wire.send(GET + GET)
        with pytest.raises(CutOff):
            await wire.answer()


@pytest.mark.parametrize("length", [None, 5])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_body_that_fails_is_cut_off_and_never_looks_complete(
    length: int | None, version: bytes, faults: object
) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    bodies: list[Failing] = []

    def make() -> Response:
        bodies.append(Failing(b"abc", length=length))
        return Response(200, (), bodies[-1])

    async with proxying(route=ROUTE, extra=answering(make)) as proxy:
        wire = await proxy.connect()
        await wire.send(GET.replace(b"1.1", version))
        with pytest.raises(CutOff):
            await wire.answer()
        assert [body.closed for body in bodies] == [1]


async def test_a_trailer_that_cannot_be_sent_is_cut_off_before_it(faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    extra = answering(lambda: Response(200, (), Pieces(b"abc", trailers=((b"x-a", b"1\r\nx-b: 2"),))))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        await wire.until(b"abc")
        assert b"x-" not in await wire.rest()


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "make", [lambda: Buffered(b"abc"), lambda: Pieces(b"abc"), lambda: Pieces(b"abc", length=3), lambda: NoContent(3)]
)
async def test_a_status_without_content_sends_none_whatever_a_plugin_gives(
    status: int, make: Callable[[], Body]
) -> None:
    async with proxying(route=ROUTE, extra=answering(lambda: Response(status, (), make()))) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(GET)
            answer = await wire.answer()
            assert (answer.status, answer.body, wire.received) == (status, b"", b"")


@pytest.mark.parametrize(
    "make", [lambda: Buffered(b"abc"), lambda: Pieces(b"abc"), lambda: Pieces(b"abc", length=3), lambda: NoContent(3)]
)
async def test_head_sends_no_content_whatever_a_plugin_gives(make: Callable[[], Body]) -> None:
    async with proxying(route=ROUTE, extra=answering(lambda: Response(200, (), make()))) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            answer = await wire.answer("HEAD")
            assert (answer.status, answer.body, wire.received) == (200, b"", b"")


async def test_a_plugin_may_stream_with_trailers() -> None:
    extra = answering(lambda: Response(200, (), Pieces(b"abc", b"de", length=5, trailers=((b"x-sum", b"5"),))))
    async with proxying(route=ROUTE, extra=extra) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.body, answer.trailers) == (b"abcde", ((b"x-sum", b"5"),))
        assert (await proxy.ask(b"GET / HTTP/1.0\r\n\r\n")).body == b"abcde"


@pytest.mark.parametrize("request_", [GET, UPLOAD], ids=["get", "upload"])
async def test_a_filter_that_raises_is_a_500_and_keeps_the_connection(request_: bytes, faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]

    def layer(_: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            raise RuntimeError("broken")

        return handle

    async with proxying(route=ROUTE, extra=filtering(layer)) as proxy:
        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(request_)
            answer = await wire.answer()
            assert answer.status == 500
            assert b"broken" not in answer.body


class FailingContent(Pieces):
    """A request's content that fails on its way."""

    async def read(self) -> bytes:
        raise ValueError("the content is broken")


async def test_request_content_that_fails_in_a_plugin_is_a_500(faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]

    async def wait(scene: Scene) -> None:
        await scene.gone()
        assert not scene.received.endswith(b"0\r\n\r\n")

    extra = changing_requests(lambda request: request.with_body(FailingContent()))
    async with proxying(wait, route=ROUTE, extra=extra) as proxy:
        answer = await proxy.ask(UPLOAD)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")


async def test_a_task_of_a_plugin_that_fails_is_a_500(faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]

    async def fail() -> None:
        raise RuntimeError("broken")

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            assert request.exchange.tasks is not None
            request.exchange.tasks.start_soon(fail)
            await anyio.sleep_forever()
            raise AssertionError("never comes here")

        return handle

    async with proxying(route=ROUTE, extra=filtering(layer)) as proxy:
        answer = await proxy.ask(UPLOAD)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")


async def test_buffered_content_is_sent_with_its_trailers() -> None:
    extra = filtering(lambda handler: handler, buffer_bytes=1000)
    async with proxying(route=ROUTE, extra=extra) as proxy:
        await proxy.ask(UPLOAD.replace(b"0\r\n\r\n", b"0\r\nX-Sum: 3\r\n\r\n"))
        await proxy.ask(UPLOAD)
        with_trailers, without = proxy.upstream.asked
        assert (with_trailers.body, with_trailers.trailers) == (b"abc", ((b"x-sum", b"3"),))
        assert (without.body, without.field(b"content-length")) == (b"abc", b"3")


async def test_a_big_post_that_was_sent_in_part_is_not_sent_twice() -> None:
    size = 8 * 1024 * 1024

    async def half(scene: Scene) -> None:
        if proxy.upstream.connections == 1:
            await scene.request()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await scene.head()
        while len(scene.received) < 100_000:
            await scene.more()

    extra = filtering(lambda handler: handler, buffer_bytes=2 * size)
    async with proxying(half, route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        assert (await wire.answer()).body == b"ok"
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
        assert (await wire.answer()).status == 502
        assert proxy.upstream.connections == 1
