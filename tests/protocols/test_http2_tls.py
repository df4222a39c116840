"""HTTP/2 over TLS: ALPN decides, and the name of the handshake binds the connection where it is asked to."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream
from hyperframe.frame import SettingsFrame

from daemun.testing import Answer, CutOff, Http2Proxy, Http2Scene, Http2Wire, eventually, proxying2, running

pytestmark = pytest.mark.anyio

BIG = bytes(range(256)) * 2000


def listener(certificate: Path) -> dict[str, Any]:
    """A listener with TLS."""
    return {"tls": {"certificate": str(certificate / "cert.pem"), "key": str(certificate / "key.pem")}}


@asynccontextmanager
async def secured(proxy: Http2Proxy, certificate: Path, *alpn: str) -> AsyncIterator[TLSStream]:
    """A client's connection that offers `alpn`."""
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    if alpn:
        context.set_alpn_protocols(list(alpn))
    async with await anyio.connect_tcp(
        "127.0.0.1", proxy.gateway.port, ssl_context=context, tls_hostname="a.test", tls_standard_compatible=False
    ) as stream:
        yield stream


async def asked(wire: Http2Wire, *, scheme: bytes = b"https", authority: bytes = b"a.test") -> Answer:
    """The answer to a request."""
    pseudo = ((b":method", b"GET"), (b":scheme", scheme), (b":path", b"/"), (b":authority", authority))
    return await wire.answer(await wire.open(pseudo))


@pytest.mark.parametrize("alpn", [["h2"], ["http/1.1", "h2"], ["h2", "http/1.1"]])
async def test_a_client_that_offers_it_gets_it(alpn: list[str], certificate: Path) -> None:
    async with proxying2(listener=listener(certificate)) as proxy, secured(proxy, certificate, *alpn) as stream:
        assert stream.extra(TLSAttribute.alpn_protocol) == "h2"
        wire = Http2Wire(stream)
        await wire.start()
        assert (await asked(wire)).body == b"ok"
        assert proxy.upstream.asked[0].field(b"x-forwarded-proto") == b"https"


@pytest.mark.parametrize("alpn", [[], ["http/1.1"]])
async def test_a_client_that_does_not_offer_it_speaks_http1(alpn: list[str], certificate: Path) -> None:
    async with proxying2(listener=listener(certificate)) as proxy, secured(proxy, certificate, *alpn) as stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        received = b""
        while not received.endswith(b"ok"):
            received += await stream.receive()
        assert received.startswith(b"HTTP/1.1 200 ")


async def test_much_goes_both_ways(certificate: Path) -> None:
    async def echo(scene: Http2Scene) -> None:
        while stream := await scene.request():
            await scene.respond(stream, 200, (), scene.asked(stream).body)

    async with (
        proxying2(None, echo, listener=listener(certificate)) as proxy,
        secured(proxy, certificate, "h2") as stream,
    ):
        wire = Http2Wire(stream, {SettingsFrame.INITIAL_WINDOW_SIZE: 1_000_000})
        await wire.start()
        pseudo = ((b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.test"))
        number = await wire.open(pseudo, ended=False)
        await wire.content(number, BIG, ended=True)
        assert (await wire.answer(number)).body == BIG


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
async def test_a_client_that_leaves_in_the_middle_of_an_answer_is_nobodys_fault(alpn: str, certificate: Path) -> None:
    async def endless(scene: Http2Scene) -> None:
        stream = await scene.request()
        await scene.respond(stream, ended=False)
        while True:
            await scene.content(stream, BIG)

    async with proxying2(None, endless, listener=listener(certificate)) as proxy:
        async with secured(proxy, certificate, alpn) as stream:
            if alpn == "h2":
                wire = Http2Wire(stream, {SettingsFrame.INITIAL_WINDOW_SIZE: 1_000_000})
                await wire.start()
                pseudo = ((b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"a.test"))
                number = await wire.open(pseudo)
                await wire.until(lambda: bool(wire.hear(number).body), "content")
            else:
                await stream.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                await stream.receive()
        await eventually(lambda: proxy.upstream.open == 0 or proxy.in_flight == 0, "the end of the exchange")


async def test_a_scheme_that_is_not_the_listeners_is_misdirected(certificate: Path) -> None:
    async with proxying2(listener=listener(certificate)) as proxy, secured(proxy, certificate, "h2") as stream:
        wire = Http2Wire(stream)
        await wire.start()
        assert (await asked(wire, scheme=b"http")).status == 421
        assert (await asked(wire)).status == 200


@pytest.mark.parametrize("strict", [True, False])
async def test_another_host_than_the_handshake_named_is_misdirected_where_that_is_asked_for(
    strict: bool, certificate: Path
) -> None:
    async with (
        proxying2(listener=listener(certificate), http2={"strict_server_name": strict}) as proxy,
        secured(proxy, certificate, "h2") as stream,
    ):
        wire = Http2Wire(stream)
        await wire.start()
        assert (await asked(wire, authority=b"b.test")).status == (421 if strict else 200)
        for authority in (b"a.test", b"A.test:443"):
            assert (await asked(wire, authority=authority)).status == 200


@pytest.mark.parametrize("alpn", ["h2", "http/1.1"])
async def test_an_upstream_over_tls_is_spoken_to_if_it_agrees(alpn: str, certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    context.set_alpn_protocols([alpn])
    fields: list[tuple[bytes, bytes]] = []

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                scene = Http2Scene(await TLSStream.wrap(stream, ssl_context=context, standard_compatible=False))
                await scene.start()
            except (anyio.BrokenResourceError, anyio.EndOfStream, CutOff):
                return  # the gateway does not like what was chosen
            while number := await scene.request():
                fields.extend(scene.asked(number).headers)
                await scene.respond(number, 200, (), b"ok")

    upstream = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = upstream.extra(anyio.abc.SocketAttribute.local_port)
    endpoint = {"url": f"https://127.0.0.1:{port}", "protocol": "http2", "server_name": "a.test"}
    backend = {"endpoints": [endpoint], "settings": {"tls": {"ca": str(certificate / "cert.pem")}}}
    source = {"type": "inline", "backends": {"up": backend}, "routes": [{"name": "all", "to": "up"}]}
    async with upstream, anyio.create_task_group() as tasks:
        tasks.start_soon(upstream.serve, serve)
        async with (
            running({"sources": [source]}) as gateway,
            await anyio.connect_tcp("127.0.0.1", gateway.port) as stream,
        ):
            wire = Http2Wire(stream)
            await wire.start()
            answer = await wire.exchange()
            if alpn == "h2":
                assert (answer.status, answer.body) == (200, b"ok")
                assert (b":scheme", b"https") in fields
            else:
                assert answer.status == 502
        tasks.cancel_scope.cancel()
