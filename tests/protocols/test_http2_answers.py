"""Upstreams that break the rules: a malformed response costs its stream, a broken connection its exchanges."""

from __future__ import annotations

import pytest

from daemun import Headers
from daemun.testing import Http2Scene, Scene, StreamReset, eventually, proxying2, running, scripted

pytestmark = pytest.mark.anyio

PROTOCOL_ERROR = 1


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
