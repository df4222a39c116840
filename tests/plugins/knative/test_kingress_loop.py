"""A DomainMapping: its KIngress leads, over a Service of type ExternalName, to the gateway's own internal listener."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSStream
from bench.peers.origin import certificate

from daemun.testing import running, scripted
from daemun_kubernetes.install.configuration import settings_of
from daemun_kubernetes.install.plan import Mode, Plan

pytestmark = pytest.mark.anyio

INSTALLED = settings_of(Plan(Mode.KNATIVE, "daemun:1"))
VANITY, INNER = "vanity.test", "hello.default.svc.cluster.local"


def gateway(door: str, upstream: str, *, rewrite: str = "", tls: dict[str, str] | None = None) -> dict[str, Any]:
    """Settings of the installed gateway, as far as this one of its listeners goes."""
    (listener,) = [one for one in INSTALLED["listeners"] if one["name"] == door]
    listener = {**listener, "bind": "127.0.0.1:0", **({"tls": tls} if tls else {})}
    routes = [{"name": "all", "to": "next", **({"rewrite": {"host": rewrite}} if rewrite else {})}]
    source = {"type": "inline", "backends": {"next": {"endpoints": [upstream]}}, "routes": routes}
    return {"listeners": [listener], "sources": [source], "protocols": INSTALLED["protocols"]}


@pytest.mark.parametrize("scheme", ["http", "h2c"])
async def test_the_application_hears_how_the_client_asked(scheme: str, tmp_path: Path) -> None:
    """Else it would take each request for one of http, and send it to https for ever."""
    if why_not := certificate(tmp_path / "c.pem", tmp_path / "k.pem"):
        pytest.skip(why_not)
    files = {"certificate": "c.pem", "key": "k.pem"}
    async with scripted() as application, running(gateway("internal", application.url)) as inner:
        outside = gateway("https", f"{scheme}://127.0.0.1:{inner.port}", rewrite=INNER, tls=files)
        async with running(outside, tmp_path) as outer:
            context = ssl.create_default_context(cafile=tmp_path / "c.pem")
            plain = await anyio.connect_tcp("127.0.0.1", outer.port)
            stream = await TLSStream.wrap(plain, hostname="localhost", ssl_context=context, standard_compatible=False)
            fields = "X-Forwarded-For: 192.0.2.66\r\nX-Forwarded-Proto: gopher\r\nConnection: close\r\n"
            async with stream:
                await stream.send(f"GET / HTTP/1.1\r\nHost: {VANITY}\r\n{fields}\r\n".encode())
                answer = await stream.receive()
    assert answer.startswith(b"HTTP/1.1 200 ")
    (asked,) = application.asked
    assert asked.field(b"host") == INNER.encode()
    assert asked.field(b"x-forwarded-proto") == b"https"
    assert asked.field(b"x-forwarded-host") == VANITY.encode()
    hops = (asked.field(b"x-forwarded-for") or b"").split(b", ")
    assert hops == [b"127.0.0.1", b"127.0.0.1"], "the client's own word counts for nothing"


async def test_who_comes_to_the_internal_listener_directly_is_believed_one_hop() -> None:
    """Whoever is in the cluster: the client's address is no proof of anything there."""
    async with scripted() as application, running(gateway("internal", application.url)) as inner:
        fields = b"X-Forwarded-For: 192.0.2.66, 192.0.2.67\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n"
        answer = await inner.exchange(b"GET / HTTP/1.1\r\nHost: a.test\r\n" + fields)
    assert answer.startswith(b"HTTP/1.1 200 ")
    (asked,) = application.asked
    assert asked.field(b"x-forwarded-for") == b"192.0.2.67, 127.0.0.1"
    assert asked.field(b"x-forwarded-proto") == b"https"
