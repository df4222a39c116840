"""WebSocket where other parts of the gateway have a say: retries, matchers, the order of filters, clients that leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hyperframe.frame import SettingsFrame

from daemun import Matcher, MatcherContext, MatcherType, NoSettings, Peek, Request
from daemun.testing import Http2Scene, make_plugin, running, scripted
from daemun.testing.upstreams2 import scripted2

from .stage import ASKS, End, End2, Stage, Version, echo, staged

pytestmark = pytest.mark.anyio

CONNECT = ((b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http"), (b":path", b"/chat"))


@asynccontextmanager
async def _build(settings: NoSettings, context: MatcherContext) -> AsyncIterator[Matcher]:
    async def match(request: Request, peek: Peek) -> bool:
        return b"x" in await peek.more()

    yield match


async def _answers_late(scene: Http2Scene) -> None:
    """Is busy with the first that asks, and echoes what the others say."""
    asked = 0
    while stream := await scene.begun():
        asked += 1
        if asked == 1:
            await scene.respond(stream, 503, (), b"busy")
            continue
        await scene.respond(stream, 200, (), b"", ended=False)
        await echo(End2(scene, stream))


async def test_an_opening_that_is_tried_again_loses_nothing_that_its_client_says() -> None:
    async with scripted2(_answers_late, {SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1}) as upstream:
        retries = {"attempts": 1, "on_status": [503], "backoff_seconds": 0.01}
        backends = {"up": {"endpoints": [{"url": upstream.url, "protocol": "http2"}]}}
        routes = [{"name": "chat", "to": "up", "retries": retries}]
        settings = {"sources": [{"type": "inline", "backends": backends, "routes": routes}]}
        async with running(settings) as gateway:
            stage = Stage(gateway, upstream)
            try:
                asked = await stage.begin("http2", ASKS)
                assert isinstance(asked, tuple)
                wire, stream = asked
                await wire.content(stream, b"hello")
                await wire.until(lambda: bool(wire.hear(stream).heads), "the head")
                client = End2(wire, stream)
                assert await client.exactly(5) == b"hello"
                await client.send(b"again")
                assert await client.exactly(5) == b"again"
            finally:
                await stage.leave()


@pytest.mark.parametrize("down", ["http1", "http2"])
async def test_a_matcher_finds_no_content_in_an_opening(down: Version) -> None:
    plugin = make_plugin("peeks", daemun_matchers=lambda: [MatcherType("peeks", NoSettings, _build)])
    routes = [
        {"name": "x", "match": {"matchers": [{"type": "peeks"}]}, "respond": {"body": "x"}},
        {"name": "rest", "respond": {"status": 404, "body": "rest"}},
    ]
    settings = {"sources": [{"type": "inline", "routes": routes}]}
    async with scripted(lambda scene: scene.gone()) as upstream, running(settings, extra=[plugin]) as gateway:
        stage = Stage(gateway, upstream)
        try:
            answer = await stage.refused(down)
            assert (answer.status, answer.body) == (404, b"rest")
        finally:
            await stage.leave()


@pytest.mark.parametrize("up", ["http1", "http2"])
async def test_a_tunnel_whose_client_ends_at_once_is_opened_and_ends(up: Version) -> None:
    async with staged(echo, up) as stage:
        wire = await stage.connect2()
        stream = await wire.open((*CONNECT, (b":authority", b"a.test"), *ASKS), ended=True)
        assert (await wire.answer(stream)).status == 200


@pytest.mark.parametrize("order", [["ws_log", "websocket"], ["websocket", "ws_log"]], ids="-".join)
async def test_rules_come_before_the_lens_however_a_route_lists_them(order: list[str]) -> None:
    offered: list[bytes | None] = []

    async def look(far: End) -> None:
        offered.append(far.fields.get(b"sec-websocket-extensions"))
        await echo(far)

    filters = [{"type": name, "settings": {"extensions": False} if name == "websocket" else {}} for name in order]
    async with staged(look, "http1", filters=filters) as stage:
        client = await stage.opened("http1", (b"sec-websocket-extensions", b"permessage-deflate"))
        assert client.fields.get(b"sec-websocket-extensions") is None
        assert offered == [None]
        await client.finish()
        with anyio.fail_after(5):
            await client.rest()
