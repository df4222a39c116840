"""Exchanges that end early, by the client or by the upstream. One stream ends, and nothing else."""

from __future__ import annotations

import anyio
import pytest
from hyperframe.frame import SettingsFrame

from daemun.testing import CutOff, Http2Scene, Scene, eventually, proxying2

pytestmark = pytest.mark.anyio

CANCEL, INTERNAL_ERROR, REFUSED_STREAM = 8, 2, 7


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
