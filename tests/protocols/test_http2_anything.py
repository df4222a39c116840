"""Whatever the content, its pieces, the windows on either side and the filters between: the same bytes arrive."""

from __future__ import annotations

from types import ModuleType

import anyio
import pytest
from hyperframe.frame import SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from daemun import Body, FilterType, Handler, Headers, NoSettings, Request, Response
from daemun.testing import Http2Scene, Scene, built, make_plugin, proxying2

pytestmark = pytest.mark.anyio


class Recut:
    """A body in other pieces."""

    def __init__(self, body: Body, size: int) -> None:
        self.length = body.length
        self._body = body
        self._size = size
        self._left = b""

    @property
    def trailers(self) -> Headers:
        return self._body.trailers

    async def read(self) -> bytes:
        data = self._left or await self._body.read()
        self._left = data[self._size :]
        return data[: self._size]

    async def aclose(self) -> None:
        await self._body.aclose()


def recutting(name: str, size: int) -> FilterType:
    """A filter that passes content on in pieces of `size` bytes, both ways."""

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            response = await handler(request.with_body(Recut(request.body, size)))
            return response.with_body(Recut(response.body, size))

        return handle

    return FilterType(name, NoSettings, built(layer))


def same(handler: Handler) -> Handler:
    """A layer that changes nothing."""
    return handler


FILTERS = [
    recutting("by_seven", 7),
    recutting("by_many", 5000),
    FilterType("whole", NoSettings, built(same), buffer_bytes=10_000_000),
]
PLUGINS: list[ModuleType] = [make_plugin("several", daemun_filters=lambda: FILTERS)]


async def echo1(scene: Scene) -> None:
    """Gives back content and trailers."""
    while message := await scene.request():
        head, _, content = message.partition(b"\r\n\r\n")
        framing = b"Transfer-Encoding: chunked"
        if b"transfer-encoding: chunked" not in head.lower():
            framing = b"Content-Length: %d" % len(content)
        await scene.send(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n%b" % (framing, content))


async def echo2(scene: Http2Scene) -> None:
    """The same over HTTP/2."""
    while stream := await scene.request():
        asked = scene.asked(stream)
        await scene.respond(stream, 200, (), asked.body, asked.trailers)


contents = st.one_of(
    st.binary(max_size=50),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 3000)).map(lambda c: c[0] * c[1]),
)
messages = st.lists(
    st.tuples(
        contents,
        st.lists(st.integers(1, 9000), min_size=1, max_size=4),
        st.lists(st.tuples(st.sampled_from([b"x-a", b"x-b"]), st.binary(max_size=3).map(bytes.hex).map(str.encode))),
        st.integers(0, 20),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)
windows = st.sampled_from([1000, 65_535, 1_000_000])


@settings(max_examples=12)
@given(
    sent=messages,
    upstream=st.sampled_from(["http1", "http2"]),
    stack=st.lists(st.sampled_from([kind.name for kind in FILTERS]), max_size=3),
    client_window=windows,
    upstream_window=windows,
    gateway_window=st.sampled_from([1024, 20_000, 65_536]),
)
async def test_the_same_bytes_and_trailers_come_back(
    sent: list[tuple[bytes, list[int], list[tuple[bytes, bytes]], int, bool]],
    upstream: str,
    stack: list[str],
    client_window: int,
    upstream_window: int,
    gateway_window: int,
) -> None:
    async with proxying2(
        echo1 if upstream == "http1" else None,
        echo2,
        upstream_settings={SettingsFrame.INITIAL_WINDOW_SIZE: upstream_window},
        http2={"window_bytes": gateway_window, "max_window_bytes": 2 * gateway_window},
        route={"filters": [{"type": name} for name in stack]},
        extra=PLUGINS,
    ) as proxy:
        wire = await proxy.connect2({SettingsFrame.INITIAL_WINDOW_SIZE: client_window})

        async def exchange(
            content: bytes, sizes: list[int], trailers: list[tuple[bytes, bytes]], padding: int, announced: bool
        ) -> None:
            announced = announced and not trailers  # HTTP/1 has no place for trailers behind a length
            fields = ((b"content-length", b"%d" % len(content)),) if announced else ()
            stream = await wire.ask(b"POST", headers=fields, ended=False)
            position = turn = 0
            while position < len(content):
                size = sizes[turn % len(sizes)]
                await wire.content(stream, content[position : position + size], padding=padding)
                position, turn = position + size, turn + 1
            if trailers:
                await wire.head(stream, trailers, ended=True)
            else:
                await wire.content(stream, b"", ended=True)
            answer = await wire.answer(stream)
            assert (answer.status, answer.body) == (200, content)
            found = answer.trailers or tuple(field for field in answer.headers if field[0] in (b"x-a", b"x-b"))
            assert found == tuple(trailers)

        async with anyio.create_task_group() as tasks:
            for message in sent:
                tasks.start_soon(exchange, *message)
