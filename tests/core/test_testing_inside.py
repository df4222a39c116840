"""A gateway without a socket: what its clients and upstreams see, and what it does not forgive at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun import (
    FilterContext,
    FilterType,
    Handler,
    Layer,
    NoSettings,
    PluginError,
    Request,
    Response,
    SettingsError,
)
from daemun.testing import (
    CutOff,
    Scene,
    Script,
    VirtualClock,
    answer_ok,
    answering,
    built,
    half_closing,
    in_memory,
    make_plugin,
    over_http2,
    resetting,
    slow,
    trickling,
    virtual_backends,
)

pytestmark = pytest.mark.anyio
ONLY = ("http1", "http2", "file")
ON_VIRTUAL_TIME = pytest.mark.parametrize("anyio_backend", virtual_backends)


def forwarding(endpoint: Any = "http://up:80", **route: Any) -> dict[str, Any]:
    """Settings of a gateway with one route."""
    backends = {"up": {"endpoints": [endpoint]}}
    return {"sources": [{"type": "inline", "backends": backends, "routes": [{"name": "all", "to": "up", **route}]}]}


def filtering(kind: FilterType) -> ModuleType:
    """A plugin with one filter."""
    return make_plugin("filtering", daemun_filters=lambda: [kind])


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_request_goes_all_the_way_and_its_answer_comes_back() -> None:
    async with in_memory(
        forwarding(), only=ONLY, upstreams={"up:80": answering(201, [("x-a", "b")], b"made")}
    ) as gateway:
        answer = await gateway.ask("POST", "/a?b", headers=[("X-Own", "c")], content=b"some", host="c.test")
        assert (answer.status, answer.field(b"x-a"), answer.body) == (201, b"b", b"made")
        [asked] = gateway.upstream["up:80"].asked
        assert (asked.method, asked.target, asked.body) == (b"POST", b"/a?b", b"some")
        assert (asked.field(b"host"), asked.field(b"x-own")) == (b"c.test", b"c")
        assert asked.field(b"x-forwarded-for") == b"127.0.0.1"


async def test_it_opens_no_descriptor() -> None:
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        before = descriptors()
        wires = [await gateway.connect() for _ in range(5)]
        for wire in wires:
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.answer()).status == 200
        assert gateway.connections == 5
        assert descriptors() == before


async def test_both_sides_speak_http2() -> None:
    settings = forwarding({"url": "http://up:80", "protocol": "http2"})
    async with in_memory(settings, only=ONLY, upstreams={"up:80": over_http2()}) as gateway:
        wire = await gateway.connect2()
        for content in (b"", b"x" * 300_000):
            answer = await wire.exchange(b"POST", b"/", content=content)
            assert (answer.status, answer.body) == (200, b"ok")
        assert [len(asked.body) for asked in gateway.upstream["up:80"].asked] == [0, 300_000]


async def test_more_than_a_buffer_goes_through_in_both_directions() -> None:
    content = bytes(range(256)) * 8192
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answering(content=content)}) as gateway:
        assert (await gateway.ask("POST", content=content)).body == content
        assert gateway.upstream["up:80"].asked[0].body == content


@pytest.mark.parametrize("script", [resetting(), resetting(10)], ids=["at once", "in the head"])
async def test_an_upstream_that_resets_is_a_502(script: Script) -> None:
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": script}) as gateway:
        assert (await gateway.ask("POST")).status == 502


async def test_an_upstream_that_resets_in_the_content_cuts_the_answer_off() -> None:
    script = resetting(200, answering(content=b"x" * 1000))
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": script}) as gateway:
        with pytest.raises(CutOff):
            await gateway.ask("POST")


async def test_an_upstream_that_half_closes_is_not_used_again() -> None:
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": half_closing()}) as gateway:
        for _ in range(3):
            assert (await gateway.ask()).body == b"ok"
        assert gateway.upstream["up:80"].connections == 3


async def test_endpoints_that_nobody_named_refuse_and_so_does_one_without_a_script() -> None:
    async with in_memory(forwarding("http://other:80"), only=ONLY) as gateway:
        assert (await gateway.ask()).status == 502
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        gateway.upstream["up:80"].script = None
        assert (await gateway.ask()).status == 502
        gateway.upstream["up:80"].script = answer_ok
        assert (await gateway.ask()).status == 200


async def test_a_client_that_resets_is_gone_for_the_gateway() -> None:
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        wire = await gateway.connect()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")
        await wire.reset()
        await gateway.settled()
        with pytest.raises(CutOff):
            await wire.send(b"x")


async def test_a_client_that_gives_up_leaves_and_its_exchange_ends() -> None:
    asked = anyio.Event()

    async def never(stream: Any) -> None:
        asked.set()
        await anyio.sleep_forever()

    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": never}) as gateway:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.ask)
            await asked.wait()
            assert gateway.exchanges == 1
            tasks.cancel_scope.cancel()
        await gateway.settled()
        assert (gateway.exchanges, gateway.connections) == (0, 0)


async def test_what_is_refused_at_start_fails_the_test_unless_that_is_what_it_is_about() -> None:
    settings = forwarding(filters=[{"type": "sean"}])
    with pytest.raises(SettingsError, match=r"^route all refused: unknown filter 'sean'"):
        async with in_memory(settings, only=ONLY):
            pytest.fail("it opened")
    async with in_memory(settings, only=ONLY, refused_ok=True) as gateway:
        assert (await gateway.ask()).status == 404


async def test_plugins_may_be_named_as_they_are_installed_or_imported() -> None:
    for word in ("http1", "daemun_http1"):
        async with in_memory(forwarding(), plugins=[word], only=["file"], upstreams={"up:80": answer_ok}) as gateway:
            assert (await gateway.ask()).status == 200


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("knock_that_nobody_has", "neither installed nor a module that can be imported .*, http1"),
        ("daemun_http1.bodies_that_nobody_has", "neither installed nor a module that can be imported"),
        ("daemun_http1.bodies", "it has no hook .accepted: a module whose functions `hookimpl` marks"),
        (ModuleType("hollow"), "plugin hollow: it has no hook"),
    ],
)
async def test_a_plugin_that_is_none_is_told(plugin: Any, words: str) -> None:
    with pytest.raises(PluginError, match=words):
        async with in_memory(forwarding(), plugins=[plugin], only=ONLY):
            pytest.fail("it opened")


async def test_a_reload_closes_and_opens_what_routes_hold_and_takes_new_settings() -> None:
    opened: list[str] = []

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        opened.append("open")
        yield lambda handler: handler
        opened.append("closed")

    settings = forwarding(filters=[{"type": "seen"}])
    plugin = filtering(FilterType("seen", NoSettings, build))
    async with in_memory(settings, plugins=[plugin], only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        assert await gateway.reload() == ()
        assert opened.count("open") == 2
        [refused] = await gateway.reload(forwarding(filters=[{"type": "sean"}]))
        assert "seen" in refused.error
        await gateway.reload(forwarding(respond={"status": 204}, to=None))
        assert (await gateway.ask()).status in (200, 204)
    assert opened.count("open") == opened.count("closed")


async def test_listeners_are_chosen_by_name_and_none_speaks_tls() -> None:
    settings = {**forwarding(listeners=["b"]), "listeners": [{"name": "a"}, {"name": "b"}]}
    async with in_memory(settings, only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        assert (await gateway.ask(listener="b")).status == 200
        assert (await gateway.ask()).status == 404
        with pytest.raises(ValueError, match="accepted: a, b"):
            await gateway.connect("c")
    with pytest.raises(SettingsError, match="TLS is not spoken in memory"):
        async with in_memory({**settings, "listeners": [{"name": "a", "tls": {}}]}, only=ONLY):
            pass


async def test_what_a_test_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
            await (await gateway.connect()).send(b"GET / HTTP/1.1\r\n")
            raise KeyError


async def test_a_client_is_refused_once_the_gateway_has_stopped() -> None:
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        pass
    with pytest.raises(ConnectionRefusedError):
        await gateway.connect()


@ON_VIRTUAL_TIME
async def test_an_exchange_that_stays_fails_the_test() -> None:
    def stubborn(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(10_000)
            return await handler(request)

        return handle

    plugin = filtering(FilterType("stubborn", NoSettings, built(stubborn)))
    settings = forwarding(filters=[{"type": "stubborn"}])
    with pytest.raises(AssertionError, match="the end of every exchange did not come about"):
        async with in_memory(settings, plugins=[plugin], only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
            await (await gateway.connect()).send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await VirtualClock().advance()
            assert gateway.exchanges == 1


@ON_VIRTUAL_TIME
async def test_a_plugin_that_does_not_close_fails_the_test_by_its_name() -> None:
    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        yield lambda handler: handler
        await anyio.sleep_forever()

    settings = forwarding(filters=[{"type": "lasting"}])
    plugin = filtering(FilterType("lasting", NoSettings, build))
    with pytest.raises(AssertionError, match=r"did not close in time, .*: filter lasting$"):
        async with in_memory(settings, plugins=[plugin], only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
            assert (await gateway.ask()).status == 200


@ON_VIRTUAL_TIME
async def test_slow_and_trickling_upstreams_take_the_time_that_they_say() -> None:
    clock = VirtualClock()
    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": slow(answer_ok, 7)}) as gateway:
        began = clock.now()
        assert (await gateway.ask()).status == 200
        assert clock.now() - began == pytest.approx(7)
        gateway.upstream["up:80"].script = trickling(answering(content=b"four"), 1)
        await clock.advance(40)
        began = clock.now()
        assert (await gateway.ask()).body == b"four"
        assert clock.now() - began == pytest.approx(len(b"HTTP/1.1 200 Scripted\r\ncontent-length: 4\r\n\r\nfour"))


async def test_a_script_of_bytes_may_do_what_it_likes() -> None:
    async def script(scene: Scene) -> None:
        await scene.request()
        await scene.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        await scene.close()

    async with in_memory(forwarding(), only=ONLY, upstreams={"up:80": script}) as gateway:
        assert (await gateway.ask()).body == b"until the end"
