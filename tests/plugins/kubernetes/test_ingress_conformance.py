"""The scenarios of ingress-controller-conformance (release-1.19), with their names, against a gateway in this process."""

from __future__ import annotations

import ssl
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.streams.tls import TLSAttribute, TLSStream
from bench.peers.origin import certificate

from daemun.testing import Scene, ScriptedUpstream, Wire, scripted
from daemun.testing.wire import Answer

from .ingresses import World, get, ingress, path, rule, serving

pytestmark = pytest.mark.anyio


async def echo(scene: Scene, name: str = "echo-service") -> None:
    """Answers with its name, as the suite's own echo service does."""
    while await scene.request():
        await scene.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: echo\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(name), name.encode())
        )


class Echoes:
    """Services that answer with their names."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.upstreams: dict[str, list[ScriptedUpstream]] = {}
        self._stack = stack

    async def serve(self, world: World, *names: str, replicas: int = 1, port_name: str = "") -> None:
        for name in names:
            upstreams = [
                await self._stack.enter_async_context(scripted(lambda scene, name=name: echo(scene, name)))  # type: ignore[misc]
                for _ in range(replicas)
            ]
            self.upstreams[name] = upstreams
            world.serve(name, *(upstream.port for upstream in upstreams), port_name=port_name)


DEFAULT = [
    ("GET", "my-host", ""),
    ("GET", "my-host", "sub-path"),
    ("POST", "some-host", ""),
    ("PUT", "", "resource"),
    ("DELETE", "some-host", "resource"),
    ("PATCH", "my-host", "resource"),
]


class TestDefaultBackend:
    @pytest.mark.parametrize(("method", "host", "target"), DEFAULT)
    async def test_an_ingress_with_no_rules_should_send_all_requests_to_the_default_backend(
        self, method: str, host: str, target: str
    ) -> None:
        world = World().add(ingress("default-backend", default="echo-service:8080"))
        async with AsyncExitStack() as stack:
            echoes = Echoes(stack)
            await echoes.serve(world, "echo-service")
            async with serving(world) as gateway:
                fields = {"User-Agent": "Go-http-client/1.1"}
                authority = host or f"127.0.0.1:{gateway.port}"
                answer = await get(gateway, authority, f"/{target}", method, **fields)
            (asked,) = echoes.upstreams["echo-service"][0].asked
        assert (answer.status, answer.body) == (200, b"echo-service")
        assert all(answer.field(name) for name in (b"content-length", b"content-type", b"date", b"server"))
        assert (asked.method, asked.target) == (method.encode(), f"/{target}".encode())
        assert asked.field(b"user-agent") == b"Go-http-client/1.1"
        assert asked.field(b"host") == authority.encode()


HOST_RULES = ingress(
    "host-rules",
    rule("*.foo.com", path("/", "wildcard-foo-com:8080")),
    rule("foo.bar.com", path("/", "foo-bar-com:http")),
    tls=[("conformance-tls", ("foo.bar.com",))],
)


async def host_rules(host: str) -> Answer:
    """What a request for `host` gets."""
    world = World().add(HOST_RULES)
    async with AsyncExitStack() as stack:
        echoes = Echoes(stack)
        await echoes.serve(world, "wildcard-foo-com")
        await echoes.serve(world, "foo-bar-com", port_name="http")
        async with serving(world) as gateway:
            return await get(gateway, host)


class TestHostRules:
    async def test_an_ingress_with_a_host_rule_should_send_tls_traffic_to_the_matching_backend_service(
        self, tmp_path: Path
    ) -> None:
        """(host foo.bar.com matches request foo.bar.com)"""
        pair = self_signed(tmp_path, "foo.bar.com")
        world = World().add(HOST_RULES)
        world.keep("conformance-tls", pair)
        context = ssl.create_default_context(cadata=pair[0])
        async with AsyncExitStack() as stack:
            echoes = Echoes(stack)
            await echoes.serve(world, "foo-bar-com", port_name="http")
            listeners = [{"name": "https", "bind": "127.0.0.1:0", "tls": {}}]
            async with serving(world, listeners=listeners) as gateway:
                plain = await anyio.connect_tcp("127.0.0.1", gateway.port)
                stream = await TLSStream.wrap(
                    plain, hostname="foo.bar.com", ssl_context=context, standard_compatible=False
                )
                await stream.send(b"GET / HTTP/1.1\r\nHost: foo.bar.com\r\nConnection: close\r\n\r\n")
                received = b""
                while not received.endswith(b"foo-bar-com"):
                    received += await stream.receive()
                presented: Any = stream.extra(TLSAttribute.peer_certificate)
                await stream.aclose()
        assert received.startswith(b"HTTP/1.1 200 ")
        assert presented["subjectAltName"] == (("DNS", "foo.bar.com"),)
        (asked,) = echoes.upstreams["foo-bar-com"][0].asked
        assert asked.field(b"host") == b"foo.bar.com"
        assert asked.field(b"x-forwarded-proto") == b"https"

    async def test_an_ingress_with_a_host_rule_should_send_traffic_to_the_matching_backend_service(self) -> None:
        """(host foo.bar.com matches request foo.bar.com)"""
        answer = await host_rules("foo.bar.com")
        assert (answer.status, answer.body) == (200, b"foo-bar-com")

    async def test_an_ingress_with_a_host_rule_should_not_route_traffic_when_hostname_does_not_match(self) -> None:
        """(host foo.bar.com does not match request subdomain.bar.com)"""
        assert (await host_rules("subdomain.bar.com")).status == 404

    async def test_an_ingress_with_a_wildcard_host_rule_should_send_traffic_to_the_matching_backend_service(
        self,
    ) -> None:
        """(Matches based on shared suffix)"""
        answer = await host_rules("bar.foo.com")
        assert (answer.status, answer.body) == (200, b"wildcard-foo-com")

    async def test_an_ingress_with_a_wildcard_host_rule_should_not_route_traffic_matching_on_more_than_a_single_dns_label(
        self,
    ) -> None:
        """(No match, wildcard only covers a single DNS label)"""
        assert (await host_rules("baz.bar.foo.com")).status == 404

    async def test_an_ingress_with_a_wildcard_host_rule_should_not_route_traffic_matching_no_dns_label(self) -> None:
        """(No match, wildcard only covers a single DNS label)"""
        assert (await host_rules("foo.com")).status == 404


class TestLoadBalancing:
    async def test_an_ingress_with_no_rules_should_send_all_requests_to_the_default_backend_and_use_all_pods(
        self,
    ) -> None:
        world = World().add(ingress("load-balancing", default="echo-service:8080"))
        async with AsyncExitStack() as stack:
            echoes = Echoes(stack)
            await echoes.serve(world, "echo-service", replicas=10)
            async with serving(world) as gateway:
                wire = Wire(await gateway.connect())
                for _ in range(100):
                    await wire.send(b"GET / HTTP/1.1\r\nHost: load-balancing\r\n\r\n")
                    assert (await wire.answer()).status == 200
                await wire.aclose()
            counts = [len(upstream.requests) for upstream in echoes.upstreams["echo-service"]]
        assert sum(counts) == 100
        assert min(counts) > 0


PATH_RULES = ingress(
    "path-rules",
    rule("exact-path-rules", path("/foo", "foo-exact:8080", "Exact")),
    rule(
        "prefix-path-rules",
        path("/foo", "foo-prefix:8080"),
        path("/aaa/bbb", "aaa-slash-bbb-prefix:8080"),
        path("/aaa", "aaa-prefix:8080"),
    ),
    rule("mixed-path-rules", path("/foo", "foo-prefix:8080"), path("/foo", "foo-exact:8080", "Exact")),
    rule(
        "trailing-slash-path-rules",
        path("/aaa/bbb/", "aaa-slash-bbb-slash-prefix:8080"),
        path("/foo/", "foo-slash-exact:8080", "Exact"),
    ),
)

SCENARIOS = [
    pytest.param(url, name, id=f"{scenario} ({words})")
    for scenario, words, url, name in (
        (
            "An Ingress with exact path rules should send traffic to the matching backend service",
            "exact /foo matches request /foo",
            "exact-path-rules/foo",
            "foo-exact",
        ),
        (
            "An Ingress with exact path rules should not match requests with trailing slash",
            "exact /foo does not match request /foo/",
            "exact-path-rules/foo/",
            "",
        ),
        (
            "An Ingress with exact path rules should be case sensitive",
            "exact /foo does not match request /FOO",
            "exact-path-rules/FOO",
            "",
        ),
        (
            "An Ingress with exact path rules should not match any other label",
            "exact /foo does not match request /bar",
            "exact-path-rules/bar",
            "",
        ),
        (
            "An Ingress with prefix path rules should send traffic to the matching backend service",
            "prefix /foo matches request /foo",
            "prefix-path-rules/foo",
            "foo-prefix",
        ),
        (
            "An Ingress with prefix path rules should ignore the request trailing slash and send traffic to the "
            "matching backend service",
            "prefix /foo matches request /foo/",
            "prefix-path-rules/foo/",
            "foo-prefix",
        ),
        (
            "An Ingress with prefix path rules should be case sensitive",
            "prefix /foo does not match request /FOO",
            "prefix-path-rules/FOO",
            "",
        ),
        (
            "An Ingress with prefix path rules should match multiple labels, match the longest path, and send traffic "
            "to the matching backend service",
            "prefix /aaa/bbb matches request /aaa/bbb",
            "prefix-path-rules/aaa/bbb",
            "aaa-slash-bbb-prefix",
        ),
        (
            "An Ingress with prefix path rules should match multiple labels, match the longest path, and subpaths and "
            "send traffic to the matching backend service",
            "prefix /aaa/bbb matches request /aaa/bbb/ccc",
            "prefix-path-rules/aaa/bbb/ccc",
            "aaa-slash-bbb-prefix",
        ),
        (
            "An Ingress with prefix path rules should and send traffic to the matching backend service",
            "prefix /aaa matches request /aaa/ccc",
            "prefix-path-rules/aaa/ccc",
            "aaa-prefix",
        ),
        (
            "An Ingress with prefix path rules should match each labels string prefix",
            "prefix /aaa does not match request /aaaccc",
            "prefix-path-rules/aaaccc",
            "",
        ),
        (
            "An Ingress with mixed path rules should send traffic to the matching backend service where Exact is "
            "preferred",
            "exact /foo matches request /foo",
            "mixed-path-rules/foo",
            "foo-exact",
        ),
        (
            "An Ingress with a trailing slashes in a prefix path rule should ignore the trailing slash and send "
            "traffic to the matching backend service",
            "prefix /aaa/bbb/ matches request /aaa/bbb",
            "trailing-slash-path-rules/aaa/bbb",
            "aaa-slash-bbb-slash-prefix",
        ),
        (
            "An Ingress with a trailing slashes in a prefix path rule should ignore the trailing slash and send "
            "traffic to the matching backend service",
            "prefix /aaa/bbb/ matches request /aaa/bbb/",
            "trailing-slash-path-rules/aaa/bbb/",
            "aaa-slash-bbb-slash-prefix",
        ),
        (
            "An Ingress with a trailing slashes in an exact path rule should not match requests without a trailing "
            "slash",
            "exact /foo/ does not match request /foo",
            "trailing-slash-path-rules/foo",
            "",
        ),
    )
]


class TestPathRules:
    @pytest.mark.parametrize(("url", "name"), SCENARIOS)
    async def test_path_rules(self, url: str, name: str) -> None:
        world = World().add(PATH_RULES)
        host, slash, target = url.partition("/")
        async with AsyncExitStack() as stack:
            echoes = Echoes(stack)
            if name:
                await echoes.serve(world, name)
            async with serving(world) as gateway:
                answer = await get(gateway, host, slash + target)
        assert (answer.status, answer.body if name else b"") == (200 if name else 404, name.encode())


def self_signed(folder: Path, host: str) -> tuple[str, str]:
    """A certificate for `host` that vouches for itself, with its key."""
    if reason := certificate(folder / "probe.pem", folder / "probe.key"):
        pytest.skip(reason)
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-days", "2", "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}"]
    files = ["-keyout", "key.pem", "-out", "chain.pem"]
    subprocess.run([*made, *name, *files], cwd=folder, check=True, capture_output=True)
    return (folder / "chain.pem").read_text(), (folder / "key.pem").read_text()
