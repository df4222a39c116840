"""How long a connection lives, and in which order its requests are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from daemun.testing import CutOff, Proxy, Scene, eventually, proxying

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio

GET = b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n"


async def echo_target(scene: Scene) -> None:
    """Answers each request with its target, and with its content if it has some."""
    while message := await scene.request():
        head, _, content = message.partition(b"\r\n\r\n")
        body = head.split(b" ")[1] + content
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def test_a_connection_serves_many_requests_and_so_does_the_upstreams(codec: str) -> None:
    async with proxying(echo_target, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        for number in range(5):
            await wire.send(GET % number)
            answer = await wire.answer()
            assert answer.body == b"/%d" % number
            assert answer.field(b"connection") is None
        assert proxy.upstream.connections == 1


async def test_connection_close_ends_it_after_the_answer(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        answer = await wire.answer()
        assert answer.field(b"connection") == b"close"
        assert await wire.rest() == b""


async def test_what_follows_connection_close_is_not_answered() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET /1 HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n" + GET % 2)
        assert (await wire.answer()).status == 200
        assert await wire.rest() == b""
        assert [asked.target for asked in proxy.upstream.asked] == [b"/1"]


async def test_http10_ends_the_connection_unless_asked_otherwise(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.0\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.field(b"connection")) == (200, b"close")
        assert await wire.rest() == b""

        wire = await proxy.connect()
        for _ in range(2):
            await wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = await wire.answer()
            assert answer.field(b"connection") == b"keep-alive"
            assert answer.body == b"ok"


async def test_an_http10_client_gets_content_of_unknown_length_up_to_the_close() -> None:
    async def chunked(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        await scene.gone()

    async with proxying(chunked) as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await wire.answer()
        assert answer.field(b"transfer-encoding") is None
        assert answer.field(b"connection") == b"close"
        assert answer.body == b"abcde"


async def test_a_connection_without_a_request_is_closed_after_keep_alive_seconds(clock: Clock) -> None:
    async with proxying(http1={"keep_alive_seconds": 10}) as proxy:
        silent, used = await proxy.connect(), await proxy.connect()
        await used.send(GET % 1)
        assert (await used.answer()).status == 200
        async with clock.running():
            assert await silent.rest() == b""
            assert await used.rest() == b""


async def test_a_request_may_take_longer_than_keep_alive_seconds(clock: Clock) -> None:
    async def late(scene: Scene) -> None:
        await scene.request()
        async with clock.running():
            await anyio.sleep(0.15)
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        await scene.gone()

    async with proxying(late, http1={"keep_alive_seconds": 10}) as proxy:
        assert (await proxy.ask(GET % 1)).body == b"late"


async def test_pipelined_requests_are_answered_in_order_with_their_contents(codec: str) -> None:
    requests = [
        b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\n",
        b"POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc",
        b"POST /3 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1\r\nf\r\n0\r\n\r\n",
        b"GET /4 HTTP/1.1\r\nHost: a.test\r\n\r\n",
    ]
    async with proxying(echo_target, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"".join(requests))
        assert [(await wire.answer()).body[:2] for _ in requests] == [b"/1", b"/2", b"/3", b"/4"]
        assert [asked.body for asked in proxy.upstream.asked] == [b"", b"abc", b"def", b""]


async def test_pipelined_requests_are_the_same_however_the_bytes_come() -> None:
    async with proxying(echo_target) as proxy:
        wire = await proxy.connect()
        data = (GET % 1) + b"POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc" + (GET % 3)
        for position in range(len(data)):
            await wire.send(data[position : position + 1])
            await anyio.lowlevel.checkpoint()
        assert [(await wire.answer()).body for _ in range(3)] == [b"/1", b"/2abc", b"/3"]


async def test_a_slow_answer_holds_back_the_ones_behind_it() -> None:
    first_may_end = anyio.Event()

    async def uneven(scene: Scene) -> None:
        while message := await scene.request():
            if message.startswith(b"GET /1 "):
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
                await first_may_end.wait()
                await scene.send(b"1")
            else:
                await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n22")

    async with proxying(uneven) as proxy:
        wire = await proxy.connect()
        await wire.send(GET % 1 + GET % 2)
        assert (await wire.until(b"\r\n\r\n1")).count(b"HTTP/1.1") == 1
        first_may_end.set()
        await wire.until(b"1")
        assert (await wire.answer()).body == b"22"


async def test_empty_lines_before_a_request_are_passed_over(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"\r\n" + GET % 1)
        assert (await wire.answer()).status == 200
        await wire.send(b"\r\n\r\n" + GET % 2)
        assert (await wire.answer()).status == 200


async def test_a_client_that_has_finished_sending_is_still_answered() -> None:
    async with proxying(echo_target) as proxy:
        wire = await proxy.connect()
        await wire.send(GET % 1 + GET % 2)
        await wire.finish()
        assert (await wire.answer()).body == b"/1"
        assert (await wire.answer()).body == b"/2"
        assert await wire.rest() == b""


async def test_a_client_that_finishes_while_the_upstream_works_is_still_answered() -> None:
    asked = anyio.Event()
    may_answer = anyio.Event()

    async def late(scene: Scene) -> None:
        await scene.request()
        asked.set()
        await may_answer.wait()
        await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
        await scene.gone()

    async with proxying(late) as proxy:
        wire = await proxy.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc")
        await wire.finish()
        await asked.wait()
        may_answer.set()
        assert (await wire.answer()).body == b"late"
        assert await wire.rest() == b""


async def test_a_head_that_ends_in_the_middle_is_refused() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.")
        await wire.finish()
        assert (await wire.answer()).status == 400
        assert await wire.rest() == b""
        assert proxy.upstream.requests == []


async def test_a_connection_that_never_says_a_word_is_closed_without_an_answer() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.finish()
        assert await wire.rest() == b""


async def test_a_malformed_request_is_refused_and_nothing_behind_it_is_read(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(GET % 1 + b"GET / HTTP/1.1\r\nHost : a.test\r\n\r\n" + GET % 3)
        assert (await wire.answer()).status == 200
        refused = await wire.answer()
        assert (refused.status, refused.field(b"connection")) == (400, b"close")
        assert refused.field(b"x-daemun-reason") == b"bad_request"
        assert await wire.rest() == b""
        assert [asked.target for asked in proxy.upstream.asked] == [b"/1"]


async def test_a_refusal_after_a_head_request_has_its_content() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await wire.answer("HEAD")).body == b""
        await wire.send(b"GET nowhere HTTP/1.1\r\nHost: a.test\r\n\r\n")
        refused = await wire.answer()
        assert refused.status == 400
        assert b"downstream" in refused.body


async def test_a_refusal_reaches_a_client_that_goes_on_sending() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(b"GET / HTTP/9.9\r\nHost: a.test\r\n\r\n")
        await wire.send(b"x" * 200_000)
        assert (await wire.answer()).status == 505


async def stop(proxy: Proxy, tasks: anyio.abc.TaskGroup) -> None:
    """Begins to drain, as a stopping gateway does."""
    tasks.start_soon(proxy.gateway.gateway.connections.drain, 5.0)
    await anyio.lowlevel.checkpoint()


async def test_draining_ends_idle_connections_and_lets_running_exchanges_finish() -> None:
    may_answer = anyio.Event()
    asked = anyio.Event()

    async def late(scene: Scene) -> None:
        while message := await scene.request():
            if message.startswith(b"GET /9"):
                asked.set()
                await may_answer.wait()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    async with proxying(late) as proxy, anyio.create_task_group() as tasks:
        idle, busy = await proxy.connect(), await proxy.connect()
        await idle.send(GET % 1)
        assert (await idle.answer()).status == 200
        await busy.send(GET % 9)
        await asked.wait()
        await stop(proxy, tasks)
        assert await idle.rest() == b""
        may_answer.set()
        answer = await busy.answer()
        assert (answer.body, answer.field(b"connection")) == (b"late", b"close")
        assert await busy.rest() == b""


async def test_the_preface_of_http2_is_refused_where_only_http1_is_spoken() -> None:
    async with proxying(listener={"protocols": ["http1"]}) as proxy:
        wire = await proxy.connect()
        await wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert (await wire.answer()).status == 505


async def test_a_client_that_resets_an_idle_connection_is_forgotten() -> None:
    async with proxying() as proxy:
        wire = await proxy.connect()
        await wire.send(GET % 1)
        await wire.answer()
        await wire.reset()
        await eventually(lambda: proxy.connections == 0, "the end of the connection")
        with pytest.raises(CutOff):
            await wire.answer()
