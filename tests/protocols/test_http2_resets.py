"""Exchanges that end early: by the client, by the upstream, by a plugin. One stream ends, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import anyio
import pytest
from hyperframe.frame import SettingsFrame

from daemun import Body, FilterType, Handler, Headers, NoSettings, Request, Response
from daemun.testing import CutOff, Http2Scene, Scene, StreamReset, built, eventually, make_plugin, proxying2

pytestmark = pytest.mark.anyio

CANCEL, INTERNAL_ERROR, REFUSED_STREAM, PROTOCOL_ERROR = 8, 2, 7, 1
ROUTE = {"filters": [{"type": "odd"}]}


class Slow:
    """An upstream that answers `/ok` at once, begins an answer to `/half`, and never answers anything else."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        """Exchanges that the gateway has ended."""
        self.codes: list[int] = []

    async def script1(self, scene: Scene) -> None:
        while head := await scene.head():
            if head.startswith(b"GET /ok"):
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            self.begun += 1
            if b" /half" in head:
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
            await scene.gone()
            self.ended += 1

    async def script2(self, scene: Http2Scene) -> None:
        async def serve(stream: int) -> None:
            heard = scene.hear(stream)
            target = dict(heard.heads[0])[b":path"]
            if target == b"/ok":
                await scene.respond(stream, 200, (), b"ok")
                return
            self.begun += 1
            if target == b"/half":
                await scene.respond(stream, 200, (), b"half", ended=False)
            try:
                self.codes.append(await scene.code_of(stream))
            except CutOff:
                pass
            self.ended += 1

        async with anyio.create_task_group() as tasks:
            while stream := await scene.begun():
                tasks.start_soon(serve, stream)


@pytest.mark.parametrize("upstream", ["http1", "http2"])
@pytest.mark.parametrize("when", ["waiting", "half", "upload"])
async def test_a_client_that_cancels_ends_the_upstreams_exchange_and_no_other(upstream: str, when: str) -> None:
    slow = Slow()
    async with proxying2(slow.script1 if upstream == "http1" else None, slow.script2) as proxy:
        wire = await proxy.connect2()
        neighbour = await wire.ask(target=b"/half")
        await wire.until(lambda: wire.hear(neighbour).body == b"half", "half of an answer")
        if when == "upload":
            stream = await wire.ask(b"POST", b"/wait", content=b"abc", ended=False)
        else:
            stream = await wire.ask(target=b"/half" if when == "half" else b"/wait")
        await eventually(lambda: slow.begun == 2, "the exchange")
        if when == "half":
            await wire.until(lambda: wire.hear(stream).body == b"half", "half of an answer")
        await wire.cancel(stream)
        await eventually(lambda: slow.ended == 1, "the end of the exchange")
        if upstream == "http2":
            assert slow.codes == [CANCEL]
            assert proxy.upstream.connections == 1
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        assert (slow.ended, wire.hear(neighbour).code) == (1, None)
        await wire.cancel(neighbour)


@pytest.mark.parametrize("upstream", ["http1", "http2"])
@pytest.mark.parametrize("way", ["close", "reset", "finish"])
async def test_a_client_that_leaves_ends_all_its_exchanges(upstream: str, way: str) -> None:
    slow = Slow()
    async with proxying2(slow.script1 if upstream == "http1" else None, slow.script2) as proxy:
        wire = await proxy.connect2()
        for target in (b"/wait", b"/half", b"/half"):
            await wire.ask(target=target)
        await wire.ask(b"POST", b"/wait", content=b"abc", ended=False)
        await eventually(lambda: slow.begun == 4, "the exchanges")
        await {"close": wire.aclose, "reset": wire.reset, "finish": wire.finish}[way]()
        await eventually(lambda: slow.ended == 4, "the end of the exchanges")
        await eventually(lambda: proxy.connections == 0, "the end of the connection")
        assert slow.codes == ([CANCEL] * 4 if upstream == "http2" else [])
        assert (await (await proxy.connect2()).exchange(target=b"/ok")).body == b"ok"


async def test_requests_that_are_cancelled_at_once_never_run() -> None:
    slow = Slow()
    async with proxying2(slow.script1) as proxy:
        wire = await proxy.connect2()
        said = b""
        for number in range(20):
            head = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/wait"), (b":authority", b"a.test"))
            stream = 1 + 2 * number
            said += (
                wire.head_frames(stream, head, ended=True) + b"\0\0\4\3\0" + stream.to_bytes(4, "big") + b"\0\0\0\x08"
            )
        await wire.send(said)
        wire.next_stream = 41
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        await eventually(lambda: proxy.in_flight == 0 and slow.begun == slow.ended, "the end of the exchanges")
        assert proxy.upstream.connections <= 2


@pytest.mark.parametrize("code", [0, 1, 2, 5, 7, 8, 11, 99])
@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_an_answer_that_the_upstream_resets_never_looks_complete(code: int, client: str) -> None:
    async def reset(scene: Http2Scene) -> None:
        while stream := await scene.request():
            if scene.asked(stream).target == b"/ok":
                await scene.respond(stream, 200, (), b"ok")
                continue
            await scene.respond(stream, 200, (), b"half", ended=False)
            await scene.round_trip()
            await scene.cancel(stream, code)

    async with proxying2(None, reset) as proxy:
        if client == "http1":
            wire1 = await proxy.connect()
            await wire1.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            with pytest.raises(CutOff):
                await wire1.answer()
        else:
            wire = await proxy.connect2()
            stream = await wire.ask()
            assert await wire.code_of(stream) == INTERNAL_ERROR
            assert wire.hear(stream).body == b"half"
            assert (await wire.exchange(target=b"/ok")).body == b"ok"
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize("upstream", ["http1", "http2"])
@pytest.mark.parametrize("way", ["close", "reset"])
async def test_an_upstream_that_leaves_in_the_middle_of_an_answer_resets_the_stream(upstream: str, way: str) -> None:
    may_leave = anyio.Event()

    async def leave1(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await may_leave.wait()
        await (scene.close() if way == "close" else scene.reset())

    async def leave2(scene: Http2Scene) -> None:
        await scene.respond(await scene.request(), 200, (), b"half", ended=False)
        await may_leave.wait()
        await (scene.aclose() if way == "close" else scene.reset())

    async with proxying2(leave1 if upstream == "http1" else None, leave2) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask()
        await wire.until(lambda: wire.hear(stream).body == b"half", "half of an answer")
        may_leave.set()
        assert await wire.code_of(stream) == INTERNAL_ERROR
        await wire.round_trip()


@pytest.mark.parametrize("content", [b"", b"abc"], ids=["get", "post"])
@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_what_an_upstream_refuses_is_sent_again_on_another_connection(content: bytes, client: str) -> None:
    async def refuse(scene: Http2Scene) -> None:
        while stream := await scene.request():
            if proxy.upstream.connections == 1 and scene.asked(stream).target != b"/first":
                await scene.cancel(stream, REFUSED_STREAM)
            else:
                await scene.respond(stream, 200, (), b"ok")

    async with proxying2(None, refuse) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange(target=b"/first")).body == b"ok"
        method = b"POST" if content else b"GET"
        if client == "http1":
            length = b"Content-Length: %d\r\n" % len(content) if content else b""
            answer = await proxy.ask(b"%b / HTTP/1.1\r\nHost: a.test\r\n%b\r\n%b" % (method, length, content))
        else:
            answer = await wire.exchange(method, content=content)
        assert (answer.status, answer.body) == (200, b"ok")
        assert proxy.upstream.connections == 2
        assert [asked.body for asked in proxy.upstream.asked] == [b"", content, content]


async def test_content_that_streams_is_not_sent_again() -> None:
    async def refuse(scene: Http2Scene) -> None:
        while stream := await scene.begun():
            if dict(scene.hear(stream).heads[0])[b":path"] == b"/first":
                await scene.respond(stream, 200, (), b"ok")
            else:
                await scene.until(lambda stream=stream: bool(scene.hear(stream).body), "content")  # type: ignore[misc]
                await scene.cancel(stream, REFUSED_STREAM)

    async with proxying2(None, refuse) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange(target=b"/first")).body == b"ok"
        stream = await wire.ask(b"POST", content=b"abc", ended=False)
        answer = await wire.answer(stream)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_closed")
        assert proxy.upstream.connections == 1


async def test_a_request_refused_on_the_connection_that_it_opened_is_sent_again() -> None:
    async def refuse(scene: Http2Scene) -> None:
        while stream := await scene.request():
            if proxy.upstream.connections == 1:
                await scene.cancel(stream, REFUSED_STREAM)
            else:
                await scene.respond(stream, 200, (), b"ok")

    async with proxying2(None, refuse) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange()).body == b"ok"
        assert proxy.upstream.connections == 2


@pytest.mark.parametrize("served", [0, 1, 2])
async def test_what_an_upstream_that_leaves_will_not_serve_is_sent_again_and_the_rest_ends_in_peace(
    served: int,
) -> None:
    async def leave(scene: Http2Scene) -> None:
        if proxy.upstream.connections > 1:
            while stream := await scene.request():
                await scene.respond(stream, 200, (), b"second")
            return
        await scene.respond(await scene.request(), 200, (), b"ok")
        streams = [await scene.request() for _ in range(2)]
        await scene.goaway(([1, *streams])[served])
        await scene.round_trip()
        for stream in streams[:served]:
            await scene.respond(stream, 200, (), b"first")
        await scene.gone()

    async with proxying2(None, leave) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange()).body == b"ok"
        asked = [await wire.ask(target=b"/%d" % number) for number in range(2)]
        answers = [(await wire.answer(stream)).body for stream in asked]
        assert sorted(answers) == [b"first"] * served + [b"second"] * (2 - served)
        await eventually(lambda: proxy.upstream.open == proxy.upstream.connections - 1, "the end of the connection")
        assert (await wire.exchange()).body == b"second"
        assert proxy.upstream.connections == 2


@pytest.mark.parametrize("status", [200, 502])
async def test_a_request_that_may_have_been_served_is_repeated_only_if_its_method_allows(status: int) -> None:
    async def moody(scene: Http2Scene) -> None:
        while stream := await scene.request():
            if proxy.upstream.connections == 1 and scene.asked(stream).target == b"/":
                await scene.cancel(stream, INTERNAL_ERROR)
            else:
                await scene.respond(stream, 200, (), b"ok")

    async with proxying2(None, moody) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange(target=b"/first")).status == 200
        method = b"GET" if status == 200 else b"POST"
        assert (await wire.exchange(method)).status == status
        assert len(proxy.upstream.asked) == (3 if status == 200 else 2)


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
    faults.expected = what.startswith("fails")  # type: ignore[attr-defined]
    bodies: list[Body] = []

    def make(request: Request) -> Response | None:
        if request.target != b"/odd":
            return None
        bodies.append(BROKEN[what]())
        return Response(200, (), bodies[-1])

    slow = Slow()
    async with proxying2(slow.script1, route=ROUTE, extra=answering(make)) as proxy:
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
    slow = Slow()
    async with proxying2(
        slow.script1 if upstream == "http1" else None, slow.script2, route=ROUTE, extra=extra
    ) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", b"/odd", content=b"x", ended=False)
        answer = await wire.answer(stream)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        await eventually(lambda: slow.ended == slow.begun, "the end of the exchange")
        assert set(slow.codes) <= {CANCEL}
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


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ((b"x-a", b"1"),),
        ((b":status", b"20"),),
        ((b":status", b"2000"),),
        ((b":status", b"abc"),),
        ((b":status", b"200"), (b":status", b"200")),
        ((b":status", b"200"), (b":path", b"/")),
        ((b":status", b"200"), (b"X-A", b"1")),
        ((b":status", b"200"), (b"x-a", b"1\r\nx-b: 2")),
        ((b":status", b"200"), (b"connection", b"close")),
        ((b":status", b"200"), (b"transfer-encoding", b"chunked")),
        ((b":status", b"200"), (b"content-length", b"x")),
        ((b":status", b"200"), (b"content-length", b"5")),
        ((b":status", b"101"),),
        ((b":status", b"103"),),
    ],
)
@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_a_malformed_response_is_a_502_and_its_stream_is_reset(fields: Headers, client: str) -> None:
    async def odd(scene: Http2Scene) -> None:
        while stream := await scene.request():
            if scene.asked(stream).target == b"/ok":
                await scene.respond(stream, 200, (), b"ok")
            else:
                await scene.head(stream, fields, ended=True)

    async with proxying2(None, odd) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        if client == "http1":
            answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        else:
            answer = await wire.exchange()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        (scene,) = proxy.upstream.scenes
        await eventually(lambda: scene.hear(3).code == PROTOCOL_ERROR, "a reset")
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        assert proxy.upstream.connections == 1


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", b"\0\0\x08\6\0\0\0\0\0" + b"x" * 8]
)
async def test_an_upstream_that_speaks_no_http2_is_a_502(said: bytes) -> None:
    async def other(scene: Scene) -> None:
        await scene.more()
        await scene.send(said)

    from daemun.testing import running, scripted

    async with scripted(other) as upstream:
        endpoint = {"url": upstream.url, "protocol": "http2"}
        source = {
            "type": "inline",
            "backends": {"up": {"endpoints": [endpoint]}},
            "routes": [{"name": "all", "to": "up"}],
        }
        async with running({"sources": [source]}) as gateway:
            received = await gateway.exchange(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            assert received.startswith(b"HTTP/1.1 502 ")


async def test_an_upstream_that_breaks_the_rules_of_its_connection_loses_all_its_exchanges() -> None:
    async def broken(scene: Http2Scene) -> None:
        if proxy.upstream.connections > 1:
            while stream := await scene.request():
                await scene.respond(stream, 200, (), b"ok")
            return
        await scene.respond(await scene.request(), 200, (), b"half", ended=False)
        await scene.round_trip()
        await scene.send(b"\0\0\0\6\0\0\0\0\0")
        await scene.gone()

    async with proxying2(None, broken) as proxy:
        wire = await proxy.connect2()
        with pytest.raises(StreamReset):
            await wire.exchange()
        assert (await wire.exchange()).body == b"ok"


async def test_no_more_streams_than_allowed_run_at_once_and_the_rest_is_refused() -> None:
    slow = Slow()
    async with proxying2(slow.script1, http2={"max_concurrent_streams": 3}) as proxy:
        wire = await proxy.connect2()
        assert wire.settings[SettingsFrame.MAX_CONCURRENT_STREAMS] == 3
        running = [await wire.ask(target=b"/half") for _ in range(3)]
        refused = [await wire.ask(target=b"/half") for _ in range(2)]
        assert [await wire.code_of(stream) for stream in refused] == [REFUSED_STREAM] * 2
        await wire.cancel(running[0])
        await eventually(lambda: slow.ended == 1, "the end of an exchange")
        assert (await wire.exchange(target=b"/ok")).body == b"ok"
        assert slow.begun == 3
        for stream in running[1:]:
            await wire.cancel(stream)
