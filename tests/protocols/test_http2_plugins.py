"""Plugins that break their word: one stream is reset or answered with 500, and nothing else is hurt."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from daemun import Body, FilterType, Handler, Headers, NoSettings, Request, Response
from daemun.testing import Http2Scene, Scene, built, eventually, make_plugin, proxying2

pytestmark = pytest.mark.anyio

CANCEL, INTERNAL_ERROR = 8, 2
ROUTE = {"filters": [{"type": "odd"}]}


async def half(scene: Scene) -> None:
    """Answers `/ok`, and begins an answer to anything else."""
    while head := await scene.head():
        if b" /ok " in head:
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        else:
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await scene.gone()


class Pieces:
    """A body that fails behind its pieces, or says a length that is not theirs."""

    def __init__(self, *pieces: bytes, length: int | None = None, trailers: Headers = (), fails: bool = False) -> None:
        self.length = length
        self.trailers = trailers
        self.closed = 0
        self._pieces = list(pieces)
        self._fails = fails

    async def read(self) -> bytes:
        if not self._pieces and self._fails:
            raise ValueError("the body is broken")
        return self._pieces.pop(0) if self._pieces else b""

    async def aclose(self) -> None:
        self.closed += 1


def answering(make: Callable[[Request], Response | None]) -> list[ModuleType]:
    """A plugin whose filter `odd` answers by itself, or passes on what it gives None for."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return make(request) or await handler(request)

        return handle

    kind = FilterType("odd", NoSettings, built(layer))
    return [make_plugin("odd", daemun_filters=lambda: [kind])]


BROKEN: dict[str, Callable[[], Body]] = {
    "fails": lambda: Pieces(b"abc", fails=True),
    "fails with a length": lambda: Pieces(b"abc", length=5, fails=True),
    "longer than it said": lambda: Pieces(b"abc", b"def", length=5),
    "shorter than it said": lambda: Pieces(b"abc", length=5),
    "trailers that cannot be sent": lambda: Pieces(b"abc", trailers=((b"x-sum", b"1\r\nx-b: 2"),)),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_body_of_a_plugin_that_breaks_resets_its_stream_and_nothing_else(what: str, faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    bodies: list[Body] = []

    def make(request: Request) -> Response | None:
        if request.target != b"/odd":
            return None
        bodies.append(BROKEN[what]())
        return Response(200, (), bodies[-1])

    async with proxying2(half, route=ROUTE, extra=answering(make)) as proxy:
        wire = await proxy.connect2()
        neighbour = await wire.ask(target=b"/half")
        stream = await wire.ask(target=b"/odd")
        assert await wire.code_of(stream) == INTERNAL_ERROR
        assert wire.hear(stream).body == b"abc"
        assert not wire.hear(stream).ended
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        assert wire.hear(neighbour).code is None
        assert [body.closed for body in bodies] == [1]  # type: ignore[attr-defined]
        await wire.cancel(neighbour)


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_content_of_a_request_that_breaks_in_a_plugin_is_a_500_and_cancels_the_upstream(
    upstream: str, faults: object
) -> None:
    faults.expected = True  # type: ignore[attr-defined]

    def layer(handler: Handler) -> Handler:
        return lambda request: handler(
            request.with_body(Pieces(b"abc", fails=True)) if request.target == b"/odd" else request
        )

    kind = FilterType("odd", NoSettings, built(layer))
    extra = [make_plugin("odd", daemun_filters=lambda: [kind])]
    begun = ended = 0
    codes: list[int] = []

    async def wait1(scene: Scene) -> None:
        nonlocal begun, ended
        while head := await scene.head():
            if head.startswith(b"GET /ok "):
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            begun += 1
            await scene.gone()
            ended += 1

    async def wait2(scene: Http2Scene) -> None:
        nonlocal begun, ended
        while stream := await scene.begun():
            if dict(scene.hear(stream).heads[0])[b":path"] == b"/ok":
                await scene.respond(stream, 200, (), b"ok")
                continue
            begun += 1
            codes.append(await scene.code_of(stream))
            ended += 1

    script = wait1 if upstream == "http1" else None
    async with proxying2(script, wait2, route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", b"/odd", content=b"x", ended=False)
        answer = await wire.answer(stream)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        await eventually(lambda: ended == begun, "the end of the exchange")
        assert set(codes) <= {CANCEL}
        assert (await wire.exchange(target=b"/ok")).body == b"ok"


@pytest.mark.parametrize("status", [0, 99, 1000, 100, 101])
async def test_a_status_that_ends_no_exchange_is_a_500(status: int, faults: object) -> None:
    faults.expected = True  # type: ignore[attr-defined]
    async with proxying2(route=ROUTE, extra=answering(lambda _: Response(status))) as proxy:
        wire = await proxy.connect2()
        answer = await wire.exchange()
        assert (answer.status, answer.interim) == (500, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-a", b"1\r\nx-b: 2"),
        (b"x\r\na", b"1"),
        (b"x-a", b"\0"),
        (b"x-a", "text"),
        (b"x-a", None),
        (b":status", b"201"),
    ],
)
async def test_a_field_that_cannot_be_sent_is_a_500_in_either_direction(
    name: bytes, value: bytes, faults: object
) -> None:
    faults.expected = True  # type: ignore[attr-defined]

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if request.target == b"/request":
                return await handler(request.with_header(name, value))
            return (await handler(request)).with_header(name, value)

        return handle

    kind = FilterType("odd", NoSettings, built(layer))
    extra = [make_plugin("odd", daemun_filters=lambda: [kind])]
    async with proxying2(route=ROUTE, extra=extra) as proxy:
        wire = await proxy.connect2()
        for target in (b"/request", b"/response"):
            answer = await wire.exchange(target=target)
            assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        assert [asked.target for asked in proxy.upstream.asked] == [b"/response"]
