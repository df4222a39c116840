"""What an upstream does wrong, and what becomes of the client's answer; connections used again and requests repeated."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import anyio
import pytest

from daemun.testing import CutOff, Scene, Wire, eventually, proxying, running
from daemun.testing.upstreams import Script

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPLOAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


def once(data: bytes, end: str = "close") -> Script:
    """A script that answers one request with `data` and ends the connection as `end` says."""

    async def script(scene: Scene) -> None:
        await scene.request()
        if data:
            await scene.send(data)
        if end == "reset":
            await anyio.sleep(0.02)  # a reset may overtake what was sent before it
            await scene.reset()
        elif end == "wait":
            await scene.gone()

    return script


TRUNCATED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n",
]


@pytest.mark.parametrize("data", TRUNCATED)
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize(
    "request_", [GET, b"GET / HTTP/1.0\r\n\r\n", UPLOAD + b"1\r\nx\r\n"], ids=["get", "http10", "upload"]
)
async def test_a_truncated_answer_never_looks_complete(data: bytes, end: str, request_: bytes) -> None:
    async def script(scene: Scene) -> None:
        await scene.head()
        await scene.send(data)
        if end == "reset":
            await anyio.sleep(0.02)  # a reset may overtake what was sent before it
            await scene.reset()

    async with proxying(script) as proxy:
        wire = await proxy.connect()
        await wire.send(request_)
        with pytest.raises(CutOff):
            await wire.answer()


async def test_an_answer_up_to_the_close_that_ends_with_a_reset_never_looks_complete() -> None:
    async with proxying(once(b"HTTP/1.1 200 OK\r\n\r\nsome of it", "reset")) as proxy:
        for request in (GET, b"GET / HTTP/1.0\r\n\r\n"):
            wire = await proxy.connect()
            await wire.send(request)
            with pytest.raises(CutOff):
                await wire.answer()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: 1\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 101 + b"Content-Length: 2\r\n\r\nok",
    ],
)
async def test_an_answer_that_is_none_becomes_a_502(data: bytes, codec: str) -> None:
    async with proxying(once(data), http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(POST)
        answer = await wire.answer()
        assert answer.status == 502
        assert answer.field(b"x-daemun-reason") in (b"upstream_protocol", b"upstream_closed")
        await wire.send(POST)
        assert (await wire.answer()).status == 502


async def test_framing_that_breaks_after_the_head_cuts_the_answer_off() -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\nabc\r\n0\r\n\r\n"
    async with proxying(once(data, "wait")) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        with pytest.raises(CutOff):
            await wire.answer()
        await proxy.settled()


async def test_an_endless_head_is_refused() -> None:
    async def endless(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await scene.send(b"x" * 4096)

    async with proxying(endless) as proxy:
        assert (await proxy.ask(GET)).status == 502


async def test_more_than_the_answer_is_never_taken_for_the_next_one() -> None:
    async def generous(scene: Scene) -> None:
        await scene.request()
        await scene.send(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
        await scene.gone()

    async with proxying(generous) as proxy:
        wire = await proxy.connect()
        for _ in range(3):
            await wire.send(GET)
            assert (await wire.answer()).body == b"ok"
        assert proxy.upstream.connections == 3


async def test_bytes_that_come_between_two_requests_are_never_taken_for_an_answer() -> None:
    answered = anyio.Event()
    said = anyio.Event()

    async def talkative(scene: Scene) -> None:
        while await scene.request():
            await scene.send(OK)
            if proxy.upstream.connections == 1:
                await answered.wait()
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
                said.set()

    async with proxying(talkative) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        assert (await wire.answer()).body == b"ok"
        answered.set()
        await said.wait()
        await anyio.wait_all_tasks_blocked()
        for request in (POST, GET):
            await wire.send(request)
            assert (await wire.answer()).body == b"ok"
        assert proxy.upstream.connections == 2


async def test_connections_are_used_again_and_not_after_connection_close() -> None:
    async def closing(scene: Scene) -> None:
        while message := await scene.request():
            if b"/close" in message:
                await scene.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
                await scene.gone()
            else:
                await scene.send(OK)

    async with proxying(closing) as proxy:
        wire = await proxy.connect()
        for target, connections in ((b"/", 1), (b"/", 1), (b"/close", 1), (b"/", 2), (b"/", 2)):
            await wire.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
            assert (await wire.answer()).body == b"ok"
            assert proxy.upstream.connections == connections


async def test_an_http10_upstream_keeps_its_connection_only_if_it_says_so() -> None:
    async def old(scene: Scene) -> None:
        while message := await scene.request():
            keep = b"Connection: keep-alive\r\n" if b"/keep" in message else b""
            await scene.send(b"HTTP/1.0 200 OK\r\n%bContent-Length: 2\r\n\r\nok" % keep)

    async with proxying(old) as proxy:
        wire = await proxy.connect()
        for target, connections in ((b"/keep", 1), (b"/", 1), (b"/keep", 2), (b"/keep", 2)):
            await wire.send(b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % target)
            assert (await wire.answer()).body == b"ok"
            assert proxy.upstream.connections == connections


async def forgetful(scene: Scene) -> None:
    """Answers the first request of a connection and drops the second one, without a word."""
    await scene.request()
    await scene.send(OK)
    await scene.request()


async def test_a_get_that_meets_a_closed_connection_is_sent_once_more() -> None:
    async with proxying(forgetful) as proxy:
        wire = await proxy.connect()
        for _ in range(6):
            await wire.send(GET)
            assert (await wire.answer()).body == b"ok"
        assert len(proxy.upstream.requests) > 6


async def test_a_post_that_meets_a_closed_connection_is_not_sent_twice() -> None:
    async with proxying(forgetful) as proxy:
        wire = await proxy.connect()
        for number in range(6):
            await wire.send(POST)
            assert (await wire.answer()).status == (502 if number % 2 else 200)
        assert len(proxy.upstream.requests) == 6


async def test_a_get_is_not_sent_a_third_time() -> None:
    async def hopeless(scene: Scene) -> None:
        await scene.request()
        if proxy.upstream.connections == 1:
            await scene.send(OK)
            await scene.request()

    async with proxying(hopeless) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        assert (await wire.answer()).body == b"ok"
        await wire.send(GET)
        assert (await wire.answer()).status == 502
        assert len(proxy.upstream.requests) == 3


async def test_nothing_is_repeated_once_an_answer_has_begun() -> None:
    async def half(scene: Scene) -> None:
        await scene.request()
        await scene.send(OK)
        await scene.request()
        await scene.send(b"HTTP/1.1 200 O")

    async with proxying(half) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        assert (await wire.answer()).body == b"ok"
        await wire.send(GET)
        assert (await wire.answer()).status == 502
        assert len(proxy.upstream.requests) == 2


async def test_a_connection_that_the_upstream_closes_while_it_is_idle_costs_no_request() -> None:
    async def brief(scene: Scene) -> None:
        await scene.request()
        await scene.send(OK)

    async with proxying(brief) as proxy:
        wire = await proxy.connect()
        for number in range(1, 4):
            await wire.send(POST)
            assert (await wire.answer()).body == b"ok"
            await eventually(lambda: proxy.upstream.open == 0, "the upstream's close")
            await anyio.wait_all_tasks_blocked()
            assert proxy.upstream.connections == number


async def test_a_streamed_request_is_never_repeated() -> None:
    async def forget(scene: Scene) -> None:
        await scene.request()
        await scene.send(OK)
        await scene.head()

    async with proxying(forget) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        assert (await wire.answer()).body == b"ok"
        await wire.send(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\nx")
        assert (await wire.answer()).status == 502
        assert proxy.upstream.connections == 1


async def test_a_silent_upstream_is_given_up_after_response_timeout_seconds(clock: Clock) -> None:
    gone: list[bool] = []

    async def silent(scene: Scene) -> None:
        while message := await scene.head():
            if b"/fast" in message:
                await scene.send(OK)
        gone.append(True)

    async with proxying(silent, backend={"response_timeout_seconds": 10}) as proxy:
        wire = await proxy.connect()
        for request in (GET, b"GET /fast HTTP/1.1\r\nHost: a.test\r\n\r\n", GET):
            await wire.send(request)
            if b"fast" in request:
                assert (await wire.answer()).status == 200
            else:
                async with clock.running():
                    answer = await wire.answer()
                assert answer.status == 504
                assert answer.field(b"x-daemun-reason") == b"upstream_timeout"
        await eventually(lambda: len(gone) == 2, "the end of both connections")
        assert len(proxy.upstream.requests) == 0


async def test_an_upstream_may_be_slow_after_its_head_and_while_it_gets_content(clock: Clock) -> None:
    async def slow(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
        await begun.wait()
        async with clock.running():
            await anyio.sleep(0.2)
        await scene.send(b"k")
        await scene.gone()

    begun = anyio.Event()
    patient = {"body_grace_seconds": 1000}
    async with proxying(slow, backend={"response_timeout_seconds": 10}, http1=patient) as proxy:
        wire = await proxy.connect()
        await wire.send(UPLOAD + b"1\r\na\r\n")
        async with clock.running():
            await anyio.sleep(0.2)
        await wire.send(b"0\r\n\r\n")
        await wire.until(b"\r\n\r\no")
        begun.set()
        await wire.until(b"k")


async def test_an_upstream_that_does_not_listen_is_a_502() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        backends = {"up": {"endpoints": [f"http://127.0.0.1:{nobody.getsockname()[1]}"]}}
        source = {"type": "inline", "backends": backends, "routes": [{"name": "all", "to": "up"}]}
        async with running({"sources": [source]}) as gateway:
            wire = Wire(await anyio.connect_tcp("127.0.0.1", gateway.port))
            for request in (GET, POST, UPLOAD + b"1\r\na\r\n0\r\n\r\n"):
                await wire.send(request)
                answer = await wire.answer()
                assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"connect_failed")
            await wire.aclose()


async def test_early_answers_reach_a_client_that_goes_on_sending() -> None:
    """An upload that the upstream refuses: it answers, closes, and reads nothing of the content."""

    async def refuse(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")

    async with proxying(refuse) as proxy:
        for framing, wrap in (
            (b"Content-Length: 50000000", b"%b"),
            (b"Transfer-Encoding: chunked", b"100000\r\n%b\r\n"),
        ):
            for _ in range(5):
                wire = await proxy.connect()
                await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\n" + framing + b"\r\n\r\n")

                async def upload(wire=wire, wrap=wrap) -> None:  # type: ignore[no-untyped-def]
                    try:
                        for _ in range(40):
                            await wire.send(wrap % (b"x" * 1048576))
                    except CutOff:
                        pass

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(upload)
                    answer = await wire.answer()
                    assert (answer.status, answer.body) == (413, b"too much")
                    tasks.cancel_scope.cancel()
                await wire.aclose()


async def test_an_early_answer_may_stream_while_the_content_does() -> None:
    async def both(scene: Scene) -> None:
        await scene.head()
        await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not scene.received.endswith(b"0\r\n\r\n"):
            await scene.more()
            await scene.send(b"1\r\n.\r\n")
        await scene.send(b"0\r\n\r\n")
        await scene.gone()

    async with proxying(both) as proxy:
        wire = await proxy.connect()
        await wire.send(UPLOAD)
        await wire.until(b"\r\n\r\n")
        for _ in range(3):
            await wire.send(b"1\r\nx\r\n")
            await wire.until(b".\r\n")
        await wire.send(b"0\r\n\r\n")
        await wire.until(b"0\r\n\r\n")


async def test_an_upstream_that_is_done_before_the_content_is_ends_its_connection_and_not_the_clients() -> None:
    async def hasty(scene: Scene) -> None:
        await scene.head()
        await scene.send(OK)
        await scene.gone()

    async with proxying(hasty) as proxy:
        wire = await proxy.connect()
        for number in range(1, 3):
            await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc")
            assert (await wire.answer()).body == b"ok"
            await wire.send(b"def")
            assert proxy.upstream.connections == number
