"""WebSockets by extended CONNECT (RFC 8441) and by `Upgrade`, whatever either side speaks: bytes both ways."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hyperframe.frame import SettingsFrame

from daemun.testing import CutOff, Http2Scene, Scene, Wire, eventually, proxying2

pytestmark = pytest.mark.anyio

CONNECT = (
    (b":method", b"CONNECT"),
    (b":protocol", b"websocket"),
    (b":scheme", b"http"),
    (b":path", b"/chat"),
    (b":authority", b"a.test"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-protocol", b"chat, superchat"),
    (b"origin", b"http://a.test"),
)
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: " + KEY + b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
CONNECTS = {SettingsFrame.ENABLE_CONNECT_PROTOCOL: 1}
BIG = hashlib.shake_256(b"tunnel").digest(400_000)


def accepted(key: bytes) -> bytes:
    """What a server says to a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())


async def shout1(scene: Scene) -> None:
    """Agrees to switch, and sends everything back in capitals until the client has finished."""
    head = await scene.head()
    key = head.lower().split(b"sec-websocket-key:")[1].split(b"\r\n")[0].strip()
    start = head.lower().index(key)
    await scene.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
    await scene.send(b"Sec-WebSocket-Accept: %b\r\n\r\n" % accepted(head[start : start + len(key)]))
    while scene.received or await scene.more():
        data, scene.received = scene.received, b""
        await scene.send(data.upper())


async def shout2(scene: Http2Scene) -> None:
    """The same on a stream."""
    if not (stream := await scene.begun()):
        return
    heard = scene.hear(stream)
    await scene.respond(stream, 200, ((b"sec-websocket-protocol", b"chat"),), ended=False)
    while True:
        await scene.until(lambda: bool(heard.body) or heard.ended or heard.code is not None, "content")
        data = bytes(heard.body)
        heard.body.clear()
        if data:
            await scene.content(stream, data.upper())
        elif heard.ended:
            await scene.content(stream, b"", ended=True)
            break
        elif heard.code is not None:
            break
    await scene.gone()


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_bytes_go_both_ways_in_a_stream(upstream: str) -> None:
    script = shout1 if upstream == "http1" else None
    async with proxying2(script, shout2, upstream_settings=CONNECTS) as proxy:
        wire = await proxy.connect2()
        assert wire.settings[SettingsFrame.ENABLE_CONNECT_PROTOCOL] == 1
        stream = await wire.open(CONNECT, ended=False)
        heard = wire.hear(stream)
        await wire.until(lambda: bool(heard.heads), "the head")
        head = dict(heard.heads[0])
        assert head[b":status"] == b"200"
        assert {b"sec-websocket-accept", b"upgrade", b"connection", b"content-length"}.isdisjoint(head)
        for word in (b"one", b"two"):
            await wire.content(stream, word)
            await wire.until(lambda word=word: heard.body.endswith(word.upper()), "an echo")  # type: ignore[misc]
        await wire.content(stream, BIG)
        await wire.content(stream, b"", ended=True)
        assert (await wire.end_of(stream)).body == b"ONETWO" + BIG.upper()
        assert (await wire.end_of(stream)).code is None


async def test_the_upstream_of_http1_is_asked_with_a_key_of_our_own() -> None:
    heads: list[bytes] = []

    async def look(scene: Scene) -> None:
        while head := await scene.head():
            heads.append(head)
            await scene.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")

    async with proxying2(look) as proxy:
        wire = await proxy.connect2()
        for _ in range(2):
            stream = await wire.open((*CONNECT, (b"sec-websocket-key", b"of-the-client")), ended=False)
            answer = await wire.answer(stream)
            assert (answer.status, answer.body) == (426, b"no")
    keys = []
    for head in heads:
        assert head.startswith(b"GET /chat HTTP/1.1\r\n")
        lower = head.lower()
        assert lower.count(b"\r\nupgrade: websocket\r\n") == lower.count(b"\r\nconnection: upgrade\r\n") == 1
        assert b"\r\nsec-websocket-version: 13\r\n" in lower
        assert lower.count(b"sec-websocket-key:") == 1
        keys.append(head[lower.index(b"sec-websocket-key:") + 18 :].split(b"\r\n")[0].strip())
    assert b"of-the-client" not in keys
    assert [len(base64.b64decode(key)) for key in keys] == [16, 16]
    assert keys[0] != keys[1]


async def switched(wire: Wire) -> bytes:
    """The head of the switch."""
    await wire.send(UPGRADE)
    return await wire.until(b"\r\n\r\n")


async def test_a_client_of_http1_reaches_an_upstream_of_http2() -> None:
    async with proxying2(None, shout2, upstream_settings=CONNECTS) as proxy:
        wire = await proxy.connect()
        head = await switched(wire)
        lower = head.lower()
        assert lower.startswith(b"http/1.1 101 ")
        assert b"\r\nupgrade: websocket\r\n" in lower
        assert b"\r\nconnection: upgrade\r\n" in lower
        assert b"\r\nsec-websocket-protocol: chat\r\n" in lower
        assert b": " + accepted(KEY) + b"\r\n" in head
        await wire.send(b"one")
        assert await wire.until(b"ONE") == b"ONE"
        await wire.send(b"two" + BIG)
        await wire.finish()
        assert await wire.rest() == b"TWO" + BIG.upper()
        fields = dict(proxy.upstream.scenes[0].streams[1].heads[0])
        assert (fields[b":method"], fields[b":protocol"], fields[b":path"]) == (b"CONNECT", b"websocket", b"/chat")
        assert (fields[b":scheme"], fields[b":authority"]) == (b"http", b"a.test")
        assert {b"sec-websocket-key", b"upgrade", b"connection", b"host"}.isdisjoint(fields)


@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_an_upstream_that_takes_no_extended_connect_is_not_asked(client: str) -> None:
    async with proxying2(None, shout2) as proxy:
        if client == "http1":
            wire1 = await proxy.connect()
            await wire1.send(UPGRADE)
            answer = await wire1.answer()
        else:
            wire = await proxy.connect2()
            answer = await wire.answer(await wire.open(CONNECT, ended=False))
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_protocol")
        assert b"upstream: the upstream takes no extended CONNECT (RFC 8441), which websocket" in answer.body
        assert [scene.streams for scene in proxy.upstream.scenes] == [{}]


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_tunnel_that_its_client_resets_ends_upstream(upstream: str) -> None:
    script = shout1 if upstream == "http1" else None
    async with proxying2(script, shout2, upstream_settings=CONNECTS) as proxy:
        wire = await proxy.connect2()
        stream = await wire.open(CONNECT, ended=False)
        await wire.content(stream, b"one")
        await wire.until(lambda: wire.hear(stream).body == b"ONE", "an echo")
        await wire.cancel(stream)
        if upstream == "http1":
            await eventually(lambda: proxy.upstream.open == 0, "the end of the upstream's connection")
        else:
            heard = proxy.upstream.scenes[0].streams[1]
            await eventually(lambda: heard.code is not None, "a reset")
            assert heard.code == 8
        await proxy.settled()
        assert not wire.over


@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_a_tunnel_that_the_upstream_resets_is_cut_off(client: str) -> None:
    async def cut(scene: Http2Scene) -> None:
        stream = await scene.begun()
        await scene.respond(stream, 200, (), b"hello", ended=False)
        await scene.until(lambda: bool(scene.hear(stream).body), "content")
        await scene.cancel(stream, 2)
        await scene.gone()

    async with proxying2(None, cut, upstream_settings=CONNECTS) as proxy:
        if client == "http1":
            wire1 = await proxy.connect()
            await switched(wire1)
            await wire1.send(b"x")
            try:
                assert (await wire1.rest()) == b"hello"
            except CutOff:
                pass  # a reset is an end as well
        else:
            wire = await proxy.connect2()
            stream = await wire.open(CONNECT, ended=False)
            await wire.content(stream, b"x")
            assert await wire.code_of(stream) in (2, 8)
            assert wire.hear(stream).body == b"hello"


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_connect_by_itself_is_a_tunnel_where_it_is_allowed(upstream: str) -> None:
    async def shout(scene: Scene) -> None:
        assert (await scene.head()).startswith(b"CONNECT db.test:5432 HTTP/1.1\r\n")
        await scene.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while scene.received or await scene.more():
            data, scene.received = scene.received, b""
            await scene.send(data.upper())

    script = shout if upstream == "http1" else None
    async with proxying2(script, shout2, http2={"connect": True}) as proxy:
        wire = await proxy.connect2()
        stream = await wire.open(((b":method", b"CONNECT"), (b":authority", b"db.test:5432")), ended=False)
        await wire.content(stream, b"one")
        await wire.until(lambda: wire.hear(stream).body == b"ONE", "an echo")
        await wire.content(stream, b"two", ended=True)
        heard = await wire.end_of(stream)
        assert (bytes(heard.body), dict(heard.heads[0])[b":status"]) == (b"ONETWO", b"200")
        if upstream == "http2":
            assert dict(proxy.upstream.scenes[0].streams[1].heads[0]).keys() & {b":path", b":scheme"} == set()
