"""Where a request goes, and when it goes again: never twice to who may have done the work."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun import BalancerType, Endpoint, NoSettings, Request
from daemun.testing import Answer, CutOff, Proxy, Scene, Wire, eventually, make_plugin, proxying, running, scripted

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi"
PUT_CHUNKED = b"PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"


class Script:
    """Answers the n-th request of all connections with the n-th answer; None: closes without one."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)

    async def __call__(self, scene: Scene) -> None:
        while await scene.request():
            answer = self.answers.pop(0)
            if answer is None:
                return
            await scene.send(answer)


def retries(**how: Any) -> dict[str, Any]:
    return {"retries": {"backoff_seconds": 0, **how}}


@pytest.fixture
def refused() -> Iterator[str]:
    """The address of nobody."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@asynccontextmanager
async def gateway_to(*urls: str, extra: Sequence[ModuleType] = (), **settings: Any) -> AsyncIterator[Any]:
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": list(urls), "settings": settings}},
        "routes": [{"name": "all", "to": "up"}],
    }
    raw = {"sources": [source], "drain": {"grace_seconds": 1}}
    async with running(raw, only=["http1", "file"], extra=extra) as gateway:
        yield gateway


async def ask(gateway: Any, request: bytes = GET) -> Answer:
    wire = Wire(await gateway.connect())
    try:
        await wire.send(request)
        return await wire.answer()
    finally:
        await wire.aclose()


# --- nothing was sent: the next one, for any method ---


@pytest.mark.parametrize("request_", [GET, POST, PUT_CHUNKED], ids=["get", "post", "streamed"])
async def test_an_endpoint_that_refuses_is_followed_by_the_next(refused: str, request_: bytes) -> None:
    async with scripted() as upstream, gateway_to(refused, upstream.url) as gateway:
        for _ in range(4):
            assert (await ask(gateway, request_)).status == 200
        assert len(upstream.requests) == 4


class First:
    """A balancer that knows one answer."""

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint:
        return endpoints[0]


async def test_who_refused_is_not_asked_again_while_there_are_others(refused: str) -> None:
    plugin = make_plugin("first", daemun_balancers=lambda: [BalancerType("first", NoSettings, lambda _: First())])
    async with (
        scripted() as upstream,
        gateway_to(refused, upstream.url, extra=[plugin], balancer="first") as gateway,
    ):
        for _ in range(3):
            assert (await ask(gateway)).status == 200


async def test_when_all_refuse_the_client_is_told(refused: str) -> None:
    async with gateway_to(refused) as gateway:
        answer = await ask(gateway)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"connect_failed")
        assert b"upstream: cannot connect" in answer.body
        assert refused.rpartition(":")[2].encode() not in answer.body


async def test_a_back_end_without_endpoints_says_so_at_once() -> None:
    source = {
        "type": "inline",
        "backends": {"up": {"activator": "", "type": "endpoints", "endpoints": ["http://127.0.0.1:1"]}},
        "routes": [{"name": "all", "to": "up"}],
    }
    async with running({"sources": [source]}, only=["http1", "file"]) as gateway:
        backend = gateway.gateway.table.current.routes[0].resources[0].value
        backend.endpoints.update([])
        answer = await ask(gateway)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (503, b"no_endpoint")
        assert answer.field(b"retry-after") == b"1"


async def test_endpoints_whose_weights_are_all_0_are_none() -> None:
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [{"url": "http://127.0.0.1:1", "weight": 0}]}},
        "routes": [{"name": "all", "to": "up"}],
    }
    async with running({"sources": [source]}, only=["http1", "file"]) as gateway:
        answer = await ask(gateway)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (503, b"no_endpoint")


# --- a connection that was used before ---


async def used_before(proxy: Proxy) -> Wire:
    """A client whose gateway holds one idle upstream connection."""
    wire = await proxy.connect()
    await wire.send(GET)
    assert (await wire.answer()).status == 200
    return wire


async def test_a_get_is_repeated_when_a_kept_connection_closes_under_it() -> None:
    async with proxying(Script(OK, None, OK)) as proxy:
        wire = await used_before(proxy)
        await wire.send(GET)
        assert (await wire.answer()).status == 200
        assert (len(proxy.upstream.requests), proxy.upstream.connections) == (3, 2)


async def test_a_post_is_not_repeated_when_a_kept_connection_closes_under_it() -> None:
    async with proxying(Script(OK, None, OK), route=retries(attempts=5)) as proxy:
        wire = await used_before(proxy)
        await wire.send(POST)
        answer = await wire.answer()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_closed")
        assert len(proxy.upstream.requests) == 2


async def test_a_get_on_a_fresh_connection_is_not_repeated_unless_asked() -> None:
    async with proxying(Script(None, OK)) as proxy:
        assert (await proxy.ask(GET)).status == 502
        assert len(proxy.upstream.requests) == 1


# --- retries, where a route asks ---


async def test_retries_repeat_what_may_be_repeated() -> None:
    async with proxying(Script(None, None, OK), route=retries(attempts=2)) as proxy:
        assert (await proxy.ask(GET)).status == 200
        assert len(proxy.upstream.requests) == 3


async def test_retries_end() -> None:
    async with proxying(Script(None, None, None, OK), route=retries(attempts=2)) as proxy:
        assert (await proxy.ask(GET)).status == 502
        assert len(proxy.upstream.requests) == 3


@pytest.mark.parametrize("request_", [POST, PUT_CHUNKED], ids=["post", "streamed"])
async def test_retries_never_repeat_what_was_sent_and_may_not_be_sent_twice(request_: bytes) -> None:
    async with proxying(Script(None, OK), route=retries(attempts=5)) as proxy:
        assert (await proxy.ask(request_)).status == 502
        assert len(proxy.upstream.requests) == 1


async def test_retries_on_a_status() -> None:
    async with proxying(Script(BUSY, OK), route=retries(attempts=1, on_status=[503])) as proxy:
        assert (await proxy.ask(GET)).status == 200
        assert len(proxy.upstream.requests) == 2


async def test_an_answer_that_is_not_wanted_is_let_go_in_the_middle() -> None:
    begun = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n"
    async with proxying(Script(begun, OK), route=retries(attempts=1, on_status=[503])) as proxy:
        assert (await proxy.ask(GET)).body == b"ok"
        await proxy.settled()
        assert proxy.upstream.connections == 2


async def test_the_last_try_on_a_status_is_the_answer() -> None:
    async with proxying(Script(BUSY, BUSY, OK), route=retries(attempts=1, on_status=[503])) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.status, answer.body) == (503, b"busy")


@pytest.mark.parametrize("request_", [POST, PUT_CHUNKED], ids=["post", "streamed"])
async def test_a_status_is_no_reason_to_send_twice_what_may_not_be(request_: bytes) -> None:
    async with proxying(Script(BUSY, OK), route=retries(attempts=1, on_status=[503])) as proxy:
        assert (await proxy.ask(request_)).status == 503
        assert len(proxy.upstream.requests) == 1


async def test_another_status_is_an_answer() -> None:
    async with proxying(Script(BUSY, OK), route=retries(attempts=1, on_status=[502])) as proxy:
        assert (await proxy.ask(GET)).status == 503


async def half(scene: Scene) -> None:
    await scene.request()
    await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")


async def test_nothing_is_repeated_once_a_response_has_begun() -> None:
    async with proxying(half, route=retries(attempts=5)) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        with pytest.raises(CutOff):
            await wire.answer()
        assert len(proxy.upstream.requests) == 1


async def half_a_head(scene: Scene) -> None:
    await scene.request()
    await scene.send(b"HTTP/1.1 200 OK\r\nContent-Le")


async def test_nothing_is_repeated_once_the_head_of_a_response_has_begun() -> None:
    async with proxying(half_a_head, route=retries(attempts=5)) as proxy:
        assert (await proxy.ask(GET)).status == 502
        assert len(proxy.upstream.requests) == 1


async def test_a_try_that_takes_too_long_is_followed_by_the_next() -> None:
    connections = iter(range(10))

    async def silent_at_first(scene: Scene) -> None:
        await scene.request()
        if next(connections):
            await scene.send(OK)
        await scene.gone()

    async with proxying(silent_at_first, route=retries(attempts=9, per_try_timeout_seconds=0.3)) as proxy:
        assert (await proxy.ask(GET)).status == 200
        assert len(proxy.upstream.requests) >= 2  # more where the machine stood still


async def silent(scene: Scene) -> None:
    await scene.request()
    await scene.gone()


async def test_the_last_try_that_takes_too_long_is_told() -> None:
    async with proxying(silent, route=retries(attempts=1, per_try_timeout_seconds=0.3)) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"upstream_timeout")
        assert b"within 0.3 s" in answer.body
        assert len(proxy.upstream.requests) == 2


async def test_a_post_that_takes_too_long_is_not_sent_again() -> None:
    async with proxying(silent, route=retries(attempts=3, per_try_timeout_seconds=0.3)) as proxy:
        assert (await proxy.ask(POST)).status == 504
        assert len(proxy.upstream.requests) == 1


async def test_the_timeout_of_a_route_ends_all_tries() -> None:
    route = {**retries(attempts=10, per_try_timeout_seconds=0.25), "timeout_seconds": 0.6}
    async with proxying(silent, route=route) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        assert 1 <= len(proxy.upstream.requests) <= 6


async def test_an_upstream_that_is_silent_for_too_long_is_told() -> None:
    async with proxying(silent, backend={"response_timeout_seconds": 0.05}) as proxy:
        answer = await proxy.ask(GET)
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"upstream_timeout")
        assert b"silent for 0.05 s" in answer.body


# --- counting ---


async def test_exchanges_are_counted_while_they_run_and_a_client_that_leaves_is_counted_off() -> None:
    async with proxying(silent) as proxy:
        wire = await proxy.connect()
        await wire.send(GET)
        await eventually(lambda: proxy.in_flight == 1)
        await wire.reset()
        await eventually(lambda: proxy.in_flight == 0)
        await eventually(lambda: proxy.upstream.open == 0, "the end of the upstream connection")


async def test_idle_connections_are_kept_and_used_again() -> None:
    async with proxying() as proxy:
        for _ in range(5):
            assert (await proxy.ask(GET)).status == 200
        assert proxy.upstream.connections == 1


async def test_a_unix_socket_is_an_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "up.sock"

    async def answer(stream: Any) -> None:
        async with stream:
            await stream.receive()
            await stream.send(OK)

    async with await anyio.create_unix_listener(path) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        async with gateway_to(f"unix:{path}") as gateway:
            assert (await ask(gateway)).body == b"ok"
        tasks.cancel_scope.cancel()
