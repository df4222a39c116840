"""Certificates that sources publish: who gets which, what a bad one means, and that listeners present them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.streams.tls import TLSAttribute, TLSStream
from bench.peers.origin import certificate

from daemun import CertificateSpec, HostKind, HostMatch, Respond, RouteSpec, SettingsError
from daemun.extend.loading import load_plugins
from daemun.process.gateway import Gateway, open_gateway
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing import HandSource
from daemun.testing.routes import routed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Chains and keys, all different."""
    found = []
    for number in range(3):
        folder = tmp_path_factory.mktemp(f"pair{number}")
        reason = certificate(folder / "chain.pem", folder / "key.pem")
        if reason:
            pytest.skip(reason)
        found.append(((folder / "chain.pem").read_text(), (folder / "key.pem").read_text()))
    return found


def spec(name: str, pair: tuple[str, str], *hosts: str, listeners: tuple[str, ...] = ()) -> CertificateSpec:
    return CertificateSpec(name, hosts, *pair, listeners=listeners, origin=f"here#{name}")


async def test_the_name_that_is_asked_for_chooses_exact_before_one_label_before_any(
    pairs: list[tuple[str, str]],
) -> None:
    async with routed() as table:
        applied = await table.source.publish(
            certificates=[
                spec("any", pairs[0]),
                spec("wild", pairs[1], "*.example.com"),
                spec("exact", pairs[2], "a.example.com"),
                spec("late", pairs[0], "a.example.com"),
                spec("inside", pairs[0], "b.test", listeners=("inside",)),
            ]
        )
        assert not applied.refused
        found = {
            (listener, name): getattr(table.table.certificates.find(listener, name), "spec", None)
            for listener in ("inside", "outside")
            for name in ("a.example.com", "A.Example.com.", "x.example.com", "x.y.example.com", "b.test", "")
        }
        assert {key: one.name for key, one in found.items() if one is not None} == {
            ("inside", "a.example.com"): "exact",
            ("inside", "A.Example.com."): "exact",
            ("inside", "x.example.com"): "wild",
            ("inside", "x.y.example.com"): "any",
            ("inside", "b.test"): "inside",
            ("inside", ""): "any",
            ("outside", "a.example.com"): "exact",
            ("outside", "A.Example.com."): "exact",
            ("outside", "x.example.com"): "wild",
            ("outside", "x.y.example.com"): "any",
            ("outside", "b.test"): "any",
            ("outside", ""): "any",
        }


async def test_a_pair_that_does_not_fit_is_refused_and_its_last_good_version_stays(
    pairs: list[tuple[str, str]],
) -> None:
    async with routed() as table:
        await table.source.publish(certificates=[spec("one", pairs[0], "a.test"), spec("two", pairs[1], "b.test")])
        mixed = (pairs[1][0], pairs[2][1])
        applied = await table.source.publish(
            certificates=[
                spec("one", mixed, "a.test"),
                spec("new", ("-----BEGIN", ""), "c.test"),
                spec("odd", pairs[0], "*.*.test"),
                spec("two", pairs[2], "b.test"),
                spec("two", pairs[2], "d.test"),
            ]
        )
        assert [(one.kind, one.name, bool(one.error)) for one in applied.objects] == [
            ("certificate", "one", True),
            ("certificate", "new", True),
            ("certificate", "odd", True),
            ("certificate", "two", False),
            ("certificate", "two", True),
        ]
        assert "stays in use" in applied.objects[0].error
        assert not any("PRIVATE" in one.error for one in applied.objects)
        find = table.table.certificates.find
        one, two = find("", "a.test"), find("", "b.test")
        assert one is not None
        assert two is not None
        assert one.spec.certificate == pairs[0][0]
        assert two.spec.certificate == pairs[2][0]
        assert find("", "c.test") is None
        assert find("", "d.test") is None


def test_a_key_is_in_no_repr(pairs: list[tuple[str, str]]) -> None:
    one = spec("one", pairs[0], "a.test")
    assert "PRIVATE" not in repr(one)
    assert "one" in repr(one)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=CertificateSpec) == one


@asynccontextmanager
async def gateway(source: HandSource, folder: Path, **tls: str) -> AsyncIterator[Gateway]:
    listener = {"name": "https", "bind": "127.0.0.1:0", "tls": tls}
    settings = convert({"listeners": [listener], **source.settings}, Settings)
    manager = load_plugins(only=["http1", "http2"], extra=[source.plugin])
    async with open_gateway(settings, manager, folder) as opened:
        yield opened


async def presented(to: Gateway, name: str, alpn: str = "http/1.1") -> tuple[bytes | None, str | None]:
    """The certificate that a client is shown, and the protocol that was agreed on."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    host, _, port = to.info.listeners[0].url.rpartition("/")[2].rpartition(":")
    async with await anyio.connect_tcp(host, int(port)) as plain:
        stream = await TLSStream.wrap(plain, hostname=name, ssl_context=context, standard_compatible=False)
        found = stream.extra(TLSAttribute.peer_certificate_binary)
        agreed = stream.extra(TLSAttribute.alpn_protocol)
        await anyio.aclose_forcefully(stream)
        return found, agreed


async def test_a_listener_presents_what_sources_publish_and_its_own_to_the_rest(
    pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    ders = [ssl.PEM_cert_to_DER_cert(chain) for chain, _ in pairs]
    (tmp_path / "chain.pem").write_text(pairs[2][0])
    (tmp_path / "key.pem").write_text(pairs[2][1])
    source = HandSource()
    async with gateway(source, tmp_path, certificate="chain.pem", key="key.pem") as opened:
        assert (await presented(opened, "a.test"))[0] == ders[2]
        await source.publish(certificates=[spec("one", pairs[0], "a.test")])
        for alpn in ("http/1.1", "h2"):
            assert await presented(opened, "a.test", alpn) == (ders[0], alpn)
        await source.publish(certificates=[spec("one", pairs[1], "a.test")])
        assert (await presented(opened, "a.test"))[0] == ders[1]
        assert (await presented(opened, "b.test"))[0] == ders[2]
        await source.publish()
        assert (await presented(opened, "a.test"))[0] == ders[2]


async def test_without_a_certificate_of_its_own_a_listener_refuses_names_that_nobody_has(
    pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    source = HandSource()
    async with gateway(source, tmp_path) as opened:
        route = RouteSpec("all", Respond(204), hosts=(HostMatch(HostKind.ANY),))
        await source.publish(route, certificates=[spec("one", pairs[0], "a.test")])
        assert (await presented(opened, "a.test"))[0] == ssl.PEM_cert_to_DER_cert(pairs[0][0])
        with pytest.raises((ssl.SSLError, OSError, anyio.EndOfStream, anyio.BrokenResourceError)):
            await presented(opened, "b.test")


async def test_half_a_certificate_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="belong together"):
        async with gateway(HandSource(), tmp_path, key="key.pem"):
            pass
