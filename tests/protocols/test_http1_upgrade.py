"""Connections that stop to speak HTTP: `Upgrade` and CONNECT, switched when the upstream has agreed, not before."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import anyio
import pytest
from anyio.streams.tls import TLSStream

from daemun.testing import CutOff, Scene, Wire, eventually, proxying

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
CONNECT = b"CONNECT db.test:5432 HTTP/1.1\r\nHost: db.test:5432\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BIG = bytes(range(256)) * 4096


async def shout(scene: Scene) -> None:
    """Agrees to switch, and sends everything back in capitals until the client has finished."""
    await scene.head()
    await scene.send(SWITCHING)
    while scene.received or await scene.more():
        data, scene.received = scene.received, b""
        await scene.send(data.upper())


async def switched(wire: Wire) -> bytes:
    """The head of the switch."""
    await wire.send(UPGRADE)
    return await wire.until(b"\r\n\r\n")


async def test_bytes_go_both_ways_after_the_switch(codec: str) -> None:
    async with proxying(shout, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        head = (await switched(wire)).lower()
        assert head.startswith(b"http/1.1 101 ")
        assert b"\r\nupgrade: websocket\r\n" in head
        assert b"\r\nconnection: upgrade\r\n" in head
        for word in (b"one", b"two"):
            await wire.send(word)
            assert await wire.until(word.upper()) == word.upper()
        await wire.finish()
        assert await wire.rest() == b""


async def test_the_upstream_is_asked_to_switch_with_the_clients_fields() -> None:
    heads: list[bytes] = []

    async def look(scene: Scene) -> None:
        heads.append(await scene.head())
        await scene.send(SWITCHING)

    async with proxying(look) as proxy:
        wire = await proxy.connect()
        await switched(wire)
        (head,) = heads
        assert head.count(b"\r\nconnection: upgrade\r\n") == 1
        assert head.count(b"\r\nupgrade: websocket\r\n") == 1
        assert b"\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n" in head


async def test_bytes_behind_the_request_wait_for_the_switch(codec: str) -> None:
    early: list[bytes] = []
    may_switch = anyio.Event()

    async def slow(scene: Scene) -> None:
        await scene.head()
        await may_switch.wait()
        early.append(scene.received)
        await scene.send(SWITCHING + b"hello")
        while scene.received != b"early":
            await scene.more()
        await scene.send(b" and bye")

    async with proxying(slow, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(UPGRADE + b"early")
        await eventually(lambda: proxy.in_flight == 1, "the exchange")
        may_switch.set()
        await wire.until(b"\r\n\r\n")
        assert await wire.until(b"bye") == b"hello and bye"
        assert early == [b""]


async def test_a_refused_upgrade_goes_on_as_plain_http(codec: str) -> None:
    async def refuse(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")

    async with proxying(refuse, http1={"codec": codec}) as proxy:
        wire = await proxy.connect()
        await wire.send(UPGRADE + b"GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert ((await wire.answer()).status, (await wire.answer()).status) == (426, 426)
        assert [asked.target for asked in proxy.upstream.asked] == [b"/chat", b"/2"]
        assert proxy.upstream.connections == 1


async def test_a_refused_upgrade_with_streamed_content_goes_on_as_plain_http() -> None:
    async def refuse(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await scene.send(b"5\r\nplain\r\n0\r\n\r\n")

    async with proxying(refuse) as proxy:
        wire = await proxy.connect()
        await wire.send(UPGRADE)
        assert (await wire.answer()).body == b"plain"
        await wire.send(b"GET /2 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await wire.answer()).body == b"plain"


@pytest.mark.parametrize(
    "fields",
    [
        b"Connection: Upgrade\r\nUpgrade: irc/6.9",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        b"Connection: Upgrade\r\nUpgrade: h2c, websocket",
        b"Connection: Upgrade\r\nUpgrade: websocket, h2c",
        b"Connection: keep-alive\r\nUpgrade: websocket",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Connection: Upgrade\r\nUpgrade:",
    ],
)
async def test_what_cannot_be_switched_to_is_ignored(fields: bytes, codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        answer = await proxy.ask(b"GET / HTTP/1.1\r\nHost: a.test\r\n%b\r\n\r\n" % fields)
        assert answer.body == b"ok"
        (asked,) = proxy.upstream.asked
        assert {b"upgrade", b"connection", b"http2-settings"}.isdisjoint(name for name, _ in asked.headers)


async def test_an_upgrade_by_http10_or_with_content_is_ignored() -> None:
    async with proxying() as proxy:
        assert (await proxy.ask(UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"))).body == b"ok"
        with_content = UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx")
        assert (await proxy.ask(with_content)).body == b"ok"
        assert all(asked.field(b"upgrade") is None for asked in proxy.upstream.asked)


async def test_other_protocols_can_be_allowed_by_a_setting() -> None:
    async def agree(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING.replace(b"websocket", b"irc/6.9") + b"welcome")

    async with proxying(agree, http1={"upgrades": ["irc/6.9"]}) as proxy:
        wire = await proxy.connect()
        await wire.send(UPGRADE.replace(b": WebSocket", b": IRC/6.9"))
        assert b"upgrade: irc/6.9" in (await wire.until(b"\r\n\r\n")).lower()
        assert await wire.rest() == b"welcome"


async def test_a_switch_to_another_protocol_than_asked_is_refused() -> None:
    async def other(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING.replace(b"websocket", b"irc/6.9"))
        await scene.gone()

    async with proxying(other) as proxy:
        wire = await proxy.connect()
        await wire.send(UPGRADE)
        assert (await wire.answer()).status == 502


async def test_the_clients_fin_is_passed_on_at_once_and_the_other_direction_stays_open() -> None:
    async def after(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        await scene.gone()
        await scene.send(b"you said " + scene.received)

    async with proxying(after) as proxy:
        wire = await proxy.connect()
        await switched(wire)
        await wire.send(b"this")
        await wire.finish()
        assert await wire.rest() == b"you said this"


async def test_the_upstreams_fin_is_passed_on_at_once_and_the_other_direction_stays_open() -> None:
    heard: list[bytes] = []

    async def speak_first(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING + b"all I have")
        await scene.finish()
        await scene.gone()
        heard.append(scene.received)

    async with proxying(speak_first) as proxy:
        wire = await proxy.connect()
        await switched(wire)
        assert await wire.rest() == b"all I have"
        await wire.send(b"thank you")
        await wire.finish()
        await eventually(lambda: heard == [b"thank you"], "what the client said last")


async def test_nothing_is_lost_when_the_client_ends_last_and_the_upstream_reads_slowly() -> None:
    may_read = anyio.Event()
    heard: list[bytes] = []

    async def slow(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        await scene.finish()
        await may_read.wait()
        await scene.gone()
        heard.append(scene.received)

    async with proxying(slow) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect()
        await switched(wire)
        assert await wire.rest() == b""
        data = BIG * 8

        async def talk() -> None:
            await wire.send(data)
            await wire.finish()

        tasks.start_soon(talk)
        await anyio.wait_all_tasks_blocked()
        may_read.set()
        await eventually(lambda: bool(heard), "the upstream's end")
        assert len(heard[0]) == len(data)
        assert heard[0] == data


async def test_much_goes_through_a_tunnel_in_both_directions_at_once() -> None:
    async def mirror(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        while scene.received or await scene.more():
            data, scene.received = scene.received, b""
            await scene.send(data)

    async with proxying(mirror) as proxy, anyio.create_task_group() as tasks:
        wire = await proxy.connect()
        await switched(wire)

        async def talk() -> None:
            for _ in range(4):
                await wire.send(BIG)
            await wire.finish()

        tasks.start_soon(talk)
        assert await wire.rest() == BIG * 4


@pytest.mark.parametrize("way", ["close", "reset"])
async def test_an_upstream_that_ends_a_tunnel_ends_it_for_the_client(way: str) -> None:
    async def leave(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        await scene.more()
        await (scene.close() if way == "close" else scene.reset())

    async with proxying(leave) as proxy:
        wire = await proxy.connect()
        await switched(wire)
        await wire.send(b"go")
        if way == "close":
            assert await wire.rest() == b""
        else:
            with pytest.raises(CutOff):
                await wire.rest()


async def test_a_client_that_resets_a_tunnel_ends_it_for_the_upstream() -> None:
    gone = anyio.Event()

    async def watch(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING)
        await scene.gone()
        gone.set()

    async with proxying(watch) as proxy:
        wire = await proxy.connect()
        await switched(wire)
        await wire.reset()
        await gone.wait()
        await proxy.settled()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate that nobody vouches for."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl on this machine")
    folder = tmp_path_factory.mktemp("certificate")
    made = (
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=a.test",
    )
    subprocess.run(
        [program, *made, "-keyout", "key.pem", "-out", "cert.pem"], cwd=folder, check=True, capture_output=True
    )
    return folder


async def test_over_tls_an_upstream_that_has_finished_ends_the_clients_connection(certificate: Path) -> None:
    """TLS has no half of an end: a client that waited for one would wait for ever."""

    async def leave(scene: Scene) -> None:
        await scene.head()
        await scene.send(SWITCHING + b"goodbye")

    tls = {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}
    async with proxying(leave, listener={"tls": tls}) as proxy:
        context = ssl.create_default_context(cafile=certificate / "cert.pem")
        context.check_hostname = False
        wire = await proxy.connect()
        stream = await TLSStream.wrap(wire.stream, server_side=False, ssl_context=context, standard_compatible=False)
        await stream.send(UPGRADE)
        received = b""
        with anyio.fail_after(10):
            try:
                while True:
                    received += await stream.receive()
            except anyio.EndOfStream:
                pass
        assert received.endswith(b"\r\n\r\ngoodbye")


async def test_connect_is_refused_unless_it_is_allowed(codec: str) -> None:
    async with proxying(http1={"codec": codec}) as proxy:
        assert (await proxy.ask(CONNECT)).status == 501
        assert proxy.upstream.requests == []


async def test_connect_tunnels_where_it_is_allowed(codec: str) -> None:
    heads: list[bytes] = []

    async def database(scene: Scene) -> None:
        heads.append(await scene.head())
        await scene.send(ESTABLISHED + b"hello")
        while scene.received or await scene.more():
            data, scene.received = scene.received, b""
            await scene.send(data.upper())

    async with proxying(database, http1={"codec": codec, "connect": True}) as proxy:
        wire = await proxy.connect()
        await wire.send(CONNECT + b"early")
        assert (await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await wire.until(b"EARLY") == b"helloEARLY"
        await wire.finish()
        assert await wire.rest() == b""
        assert heads[0].startswith(b"CONNECT db.test:5432 HTTP/1.1\r\nhost: db.test:5432\r\n")


async def test_a_refused_connect_is_answered_as_plain_http() -> None:
    async def refuse(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    async with proxying(refuse, http1={"connect": True}) as proxy:
        wire = await proxy.connect()
        await wire.send(CONNECT)
        answer = await wire.answer("CONNECT")
        assert (answer.status, answer.body) == (403, b"no")
        await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await wire.answer()).status == 403


@pytest.mark.parametrize(
    "target", [b"db.test", b"/", b"http://db.test:1/", b"db.test:", b"db.test:99999", b":80", b"*"]
)
async def test_connect_needs_a_host_and_a_port(target: bytes) -> None:
    async with proxying(http1={"connect": True}) as proxy:
        assert (await proxy.ask(b"CONNECT %b HTTP/1.1\r\nHost: db.test\r\n\r\n" % target)).status == 400
        assert proxy.upstream.connections == 0
