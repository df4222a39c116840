"""The scenarios of ingress-controller-conformance (release-1.19), with their names, on a real API server.

The gateway's Service has a load balancer, which the status of every Ingress names, and requests go there. Its account
has the rights that the source needs, and no others.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import yaml
from tests.conformance.tools import debian_tool

from daemun.testing.program import soon

from .cluster import Cluster
from .networks import CLUSTER, inside

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built

OWN = "ingress-conformance"
"""Namespace and name of all that belongs to the gateway."""
CONTROLLER = "daemun.dev/ingress-conformance"
ADDRESS = "198.18.110.1"
"""Where the gateway listens: behind the load balancer."""

_READ = ["get", "list", "watch"]
_RULES = [
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses", "ingressclasses"], "verbs": _READ},
    {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["services", "secrets"], "verbs": _READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]},
]

Answer = dict[str, Any]


def made(version: str, kind: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    """An object."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


class Gate:
    """The gateway, and the cluster it serves."""

    def __init__(self, cluster: Cluster, address: str) -> None:
        self.cluster = cluster
        self.address = address
        """Of its load balancer."""

    def ask(self, *requests: dict[str, Any]) -> list[Answer]:
        """What comes back for each."""
        script = Path(__file__).with_name("ingress_asking.py")
        argv = inside(CLUSTER, sys.executable, script, self.address)
        done = subprocess.run(
            argv, input=json.dumps(requests), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        answers: list[Answer] = json.loads(done.stdout)
        return answers

    def get(self, host: str, path: str = "/", **more: Any) -> Answer:
        """What comes back for one."""
        (answer,) = self.ask({"host": host, "path": path, **more})
        return answer

    def published(self, namespace: str, name: str) -> list[dict[str, str]]:
        """The addresses in the status of an Ingress."""
        assert self.cluster.processes.runs(OWN), self.cluster.processes.log(OWN)[-2000:]
        status = self.cluster.get("ingress", "-n", namespace, name)["status"]
        addresses: list[dict[str, str]] = status.get("loadBalancer", {}).get("ingress", [])
        return addresses


def own_objects() -> list[dict[str, Any]]:
    """All that belongs to the gateway; its Service has its address by hand, as it is no Pod."""
    rbac, role = "rbac.authorization.k8s.io", {"kind": "ClusterRole", "name": OWN}
    default = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    labels = {"labels": {"kubernetes.io/service-name": OWN}}
    return [
        made("v1", "Namespace", OWN),
        made("v1", "ServiceAccount", OWN, OWN),
        made(f"{rbac}/v1", "ClusterRole", OWN, rules=_RULES),
        made(
            f"{rbac}/v1",
            "ClusterRoleBinding",
            OWN,
            roleRef={"apiGroup": rbac, **role},
            subjects=[{"kind": "ServiceAccount", "name": OWN, "namespace": OWN}],
        ),
        made("networking.k8s.io/v1", "IngressClass", OWN, metadata=default, spec={"controller": CONTROLLER}),
        made("v1", "Service", OWN, OWN, spec={"type": "LoadBalancer", "ports": ports}),
        made(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            f"{OWN}-1",
            OWN,
            metadata=labels,
            addressType="IPv4",
            endpoints=[{"addresses": [ADDRESS], "conditions": {"ready": True}}],
            ports=[{"name": "http", "port": 8080}, {"name": "https", "port": 8443}],
        ),
    ]


@pytest.fixture(scope="module")
def gate(cluster: Cluster) -> Iterator[Gate]:
    """A gateway that serves the default class."""
    cluster.apply_objects(own_objects())
    try:
        kubeconfig = cluster.folder / f"{OWN}.kubeconfig"
        kubeconfig.write_text(cluster.credentials.kubeconfig(cluster.token(OWN, OWN)))
        settings = {
            "listeners": [
                {"name": "http", "bind": f"{ADDRESS}:8080"},
                {"name": "https", "bind": f"{ADDRESS}:8443", "tls": {}},
            ],
            "sources": [
                {
                    "type": "kubernetes_ingress",
                    "kubeconfig": str(kubeconfig),
                    "namespace": OWN,
                    "controller": CONTROLLER,
                    "service": f"{OWN}/{OWN}",
                }
            ],
        }
        file = cluster.folder / f"{OWN}.yaml"
        file.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "daemun.cli", "run", str(file)]
        cluster.processes.start(OWN, inside(CLUSTER, *command))

        def address() -> str:
            status = cluster.get("service", "-n", OWN, OWN)["status"]
            ingress = status.get("loadBalancer", {}).get("ingress", [])
            return ingress[0]["ip"] if ingress else ""

        yield Gate(cluster, soon(address, 60))
    finally:
        cluster.processes.end(OWN)
        cluster.kubectl("delete", f"namespace/{OWN}", f"ingressclass/{OWN}", "--ignore-not-found")
        cluster.kubectl("delete", f"clusterrole/{OWN}", f"clusterrolebinding/{OWN}", "--ignore-not-found")


def echo(name: str, namespace: str, replicas: int) -> list[dict[str, Any]]:
    """A Service with Pods that tell what they are asked, and who they are."""
    pod_name = {"fieldRef": {"fieldPath": "metadata.name"}}
    container = {
        "name": "echo",
        "image": "local/runtime",
        "env": [
            {"name": "PORT", "value": "8000"},
            {"name": "SERVICE_NAME", "value": name},
            {"name": "POD_NAME", "valueFrom": pod_name},
        ],
        "readinessProbe": {"httpGet": {"port": 8000, "path": "/healthz"}, "periodSeconds": 1},
    }
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    ports = [{"name": "http", "port": 8080, "targetPort": 8000}]
    return [
        made("apps/v1", "Deployment", name, namespace, spec=deployment),
        made("v1", "Service", name, namespace, spec={"selector": labels, "ports": ports}),
    ]


def backend(service: str, port: int | str = 8080) -> dict[str, Any]:
    """A back end of an Ingress."""
    return {"service": {"name": service, "port": {"name" if isinstance(port, str) else "number": port}}}


def rule(host: str, *paths: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """A rule of an Ingress, of paths with their types and back ends."""
    listed = [{"path": path, "pathType": path_type, "backend": to} for path, path_type, to in paths]
    return {"host": host, "http": {"paths": listed}}


@contextmanager
def feature(gate: Gate, name: str, spec: dict[str, Any], *objects: dict[str, Any], replicas: int = 1) -> Iterator[str]:
    """The Ingress of a feature, with the Services that it names, in a namespace of its own, which is yielded.

    Begins when the status shows where the Ingress is exposed, all Pods are ready, and the gateway has heard of that.
    """
    cluster, namespace = gate.cluster, f"{OWN}-{name}-{token_hex(3)}"
    services = sorted({one["name"] for one in _services(spec)})
    placed = [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in objects]
    echoes = [one for service in services for one in echo(service, namespace, replicas)]
    ingress = made("networking.k8s.io/v1", "Ingress", name, namespace, spec=spec)
    try:
        cluster.apply_objects([made("v1", "Namespace", namespace), *placed, *echoes, ingress])
        for service in services:
            cluster.kubectl("rollout", "status", f"deployment/{service}", "-n", namespace, "--timeout=90s")
        soon(lambda: gate.published(namespace, name) == [{"ip": gate.address}], 30)
        soon(lambda: all(answer["status"] != 503 for answer in gate.ask(*_requests(spec))), 30)
        yield namespace
    finally:
        cluster.kubectl("delete", "ingress", "-n", namespace, "--all", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def _requests(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One for each back end."""
    if "defaultBackend" in spec:
        yield {"host": "any.test", "path": "/"}
    for one in spec.get("rules", ()):
        for path in one["http"]["paths"]:
            yield {"host": one["host"].replace("*", "any"), "path": path["path"]}


def _services(value: Any) -> Iterator[dict[str, Any]]:
    """Every `service` in a spec."""
    if isinstance(value, dict):
        if isinstance(value.get("service"), dict):
            yield value["service"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _services(item)


def served_by(answer: Answer) -> str:
    """The Service that an answer comes from; "" if the gateway answered by itself."""
    if answer["status"] != 200:
        return ""
    name: str = json.loads(answer["content"])["host"]["envs"]["SERVICE_NAME"]
    return name


@pytest.fixture(scope="class")
def default_backend(gate: Gate) -> Iterator[str]:
    with feature(gate, "default-backend", {"defaultBackend": backend("echo-service")}) as namespace:
        yield namespace


class TestDefaultBackend:
    @pytest.mark.parametrize(
        ("method", "host", "path"),
        [
            ("GET", "my-host", ""),
            ("GET", "my-host", "sub-path"),
            ("POST", "some-host", ""),
            ("PUT", "", "resource"),
            ("DELETE", "some-host", "resource"),
            ("PATCH", "my-host", "resource"),
        ],
    )
    @pytest.mark.usefixtures("default_backend")
    def test_an_ingress_with_no_rules_should_send_all_requests_to_the_default_backend(
        self, gate: Gate, method: str, host: str, path: str
    ) -> None:
        answer = gate.get(host, f"/{path}", method=method)
        assert served_by(answer) == "echo-service"
        assert answer["version"] == 11
        assert {"content-type", "date"} <= answer["fields"].keys()
        request = json.loads(answer["content"])["request"]
        assert (request["method"], request["uri"]) == (method, f"/{path}")
        assert (request["protoMajor"], request["protoMinor"]) == (1, 1)
        assert request["headers"]["User-Agent"] == ["Go-http-client/1.1"]
        assert request["host"] == (host or gate.address)


@pytest.fixture(scope="class")
def host_rules(gate: Gate, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The certificate that vouches for foo.bar.com."""
    folder = tmp_path_factory.mktemp("tls")
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=foo.bar.com"]
    more = ["-addext", "subjectAltName=DNS:foo.bar.com", "-keyout", "key.pem", "-out", "chain.pem"]
    openssl = debian_tool("openssl", "openssl")
    subprocess.run([openssl, *words, *more], cwd=folder, check=True, capture_output=True)
    data = {
        name: base64.b64encode((folder / file).read_bytes()).decode()
        for name, file in (("tls.crt", "chain.pem"), ("tls.key", "key.pem"))
    }
    secret = made("v1", "Secret", "conformance-tls", type="kubernetes.io/tls", data=data)
    spec = {
        "tls": [{"hosts": ["foo.bar.com"], "secretName": "conformance-tls"}],
        "rules": [
            rule("*.foo.com", ("/", "Prefix", backend("wildcard-foo-com"))),
            rule("foo.bar.com", ("/", "Prefix", backend("foo-bar-com", "http"))),
        ],
    }
    with feature(gate, "host-rules", spec, secret):
        yield (folder / "chain.pem").read_text()


class TestHostRules:
    def test_an_ingress_with_a_host_rule_should_send_tls_traffic_to_the_matching_backend_service(
        self, gate: Gate, host_rules: str
    ) -> None:
        """(host foo.bar.com matches request foo.bar.com)"""
        answer = gate.get("foo.bar.com", authority=host_rules)
        assert answer["names"] == ["foo.bar.com"]
        assert served_by(answer) == "foo-bar-com"
        assert json.loads(answer["content"])["request"]["host"] == "foo.bar.com"

    @pytest.mark.usefixtures("host_rules")
    def test_an_ingress_with_a_host_rule_should_send_traffic_to_the_matching_backend_service(self, gate: Gate) -> None:
        """(host foo.bar.com matches request foo.bar.com)"""
        answer = gate.get("foo.bar.com")
        assert served_by(answer) == "foo-bar-com"
        assert json.loads(answer["content"])["request"]["host"] == "foo.bar.com"

    @pytest.mark.usefixtures("host_rules")
    def test_an_ingress_with_a_host_rule_should_not_route_traffic_when_hostname_does_not_match(
        self, gate: Gate
    ) -> None:
        """(host foo.bar.com does not match request subdomain.bar.com)"""
        assert gate.get("subdomain.bar.com")["status"] == 404

    @pytest.mark.usefixtures("host_rules")
    def test_an_ingress_with_a_wildcard_host_rule_should_send_traffic_to_the_matching_backend_service(
        self, gate: Gate
    ) -> None:
        """(Matches based on shared suffix)"""
        answer = gate.get("bar.foo.com")
        assert served_by(answer) == "wildcard-foo-com"
        assert json.loads(answer["content"])["request"]["host"] == "bar.foo.com"

    @pytest.mark.usefixtures("host_rules")
    def test_an_ingress_with_a_wildcard_host_rule_should_not_route_traffic_matching_on_more_than_a_single_dns_label(
        self, gate: Gate
    ) -> None:
        """(No match, wildcard only covers a single DNS label)"""
        assert gate.get("baz.bar.foo.com")["status"] == 404

    @pytest.mark.usefixtures("host_rules")
    def test_an_ingress_with_a_wildcard_host_rule_should_not_route_traffic_matching_no_dns_label(
        self, gate: Gate
    ) -> None:
        """(No match, wildcard only covers a single DNS label)"""
        assert gate.get("foo.com")["status"] == 404


class TestIngressClass:
    def test_an_ingress_with_an_invalid_ingress_class_should_not_send_traffic_to_the_matching_backend_service(
        self, gate: Gate
    ) -> None:
        spec = {
            "ingressClassName": "some-invalid-class-name",
            "rules": [rule("ingress-class", ("/", "Prefix", backend("ingress-class-prefix")))],
        }
        ours = {"rules": [rule("another-class", ("/", "Prefix", backend("another-class-prefix")))]}
        foreign = made("networking.k8s.io/v1", "Ingress", "test-ingress-class", spec=spec)
        with feature(gate, "ingress-class", ours, foreign) as namespace:  # which is written later than the other
            assert gate.published(namespace, "test-ingress-class") == []
            assert gate.get("ingress-class")["status"] == 404
            assert served_by(gate.get("another-class")) == "another-class-prefix"


class TestLoadBalancing:
    def test_an_ingress_with_no_rules_should_send_all_requests_to_the_default_backend_and_use_all_pods(
        self, gate: Gate
    ) -> None:
        with feature(gate, "load-balancing", {"defaultBackend": backend("echo-service")}, replicas=10):
            answers = gate.ask(*({"host": "load-balancing"} for _ in range(100)))
        assert {answer["status"] for answer in answers} == {200}
        assert len({json.loads(answer["content"])["host"]["envs"]["POD_NAME"] for answer in answers}) == 10


_SENDS = "should send traffic to the matching backend service"
_PATHS = [
    (f"An Ingress with exact path rules {_SENDS}", "exact-path-rules/foo", "foo-exact"),
    ("An Ingress with exact path rules should not match requests with trailing slash", "exact-path-rules/foo/", ""),
    ("An Ingress with exact path rules should be case sensitive", "exact-path-rules/FOO", ""),
    ("An Ingress with exact path rules should not match any other label", "exact-path-rules/bar", ""),
    (f"An Ingress with prefix path rules {_SENDS}", "prefix-path-rules/foo", "foo-prefix"),
    (
        "An Ingress with prefix path rules should ignore the request trailing slash and send traffic to the matching "
        "backend service",
        "prefix-path-rules/foo/",
        "foo-prefix",
    ),
    ("An Ingress with prefix path rules should be case sensitive", "prefix-path-rules/FOO", ""),
    (
        "An Ingress with prefix path rules should match multiple labels, match the longest path, and send traffic to "
        "the matching backend service",
        "prefix-path-rules/aaa/bbb",
        "aaa-slash-bbb-prefix",
    ),
    (
        "An Ingress with prefix path rules should match multiple labels, match the longest path, and subpaths and "
        "send traffic to the matching backend service",
        "prefix-path-rules/aaa/bbb/ccc",
        "aaa-slash-bbb-prefix",
    ),
    (
        "An Ingress with prefix path rules should and send traffic to the matching backend service",
        "prefix-path-rules/aaa/ccc",
        "aaa-prefix",
    ),
    ("An Ingress with prefix path rules should match each labels string prefix", "prefix-path-rules/aaaccc", ""),
    (
        f"An Ingress with mixed path rules {_SENDS} where Exact is preferred",
        "mixed-path-rules/foo",
        "foo-exact",
    ),
    (
        "An Ingress with a trailing slashes in a prefix path rule should ignore the trailing slash and send traffic "
        "to the matching backend service",
        "trailing-slash-path-rules/aaa/bbb",
        "aaa-slash-bbb-slash-prefix",
    ),
    (
        "An Ingress with a trailing slashes in a prefix path rule should ignore the trailing slash and send traffic "
        "to the matching backend service (prefix /aaa/bbb/ matches request /aaa/bbb/)",
        "trailing-slash-path-rules/aaa/bbb/",
        "aaa-slash-bbb-slash-prefix",
    ),
    (
        "An Ingress with a trailing slashes in an exact path rule should not match requests without a trailing slash",
        "trailing-slash-path-rules/foo",
        "",
    ),
]


@pytest.fixture(scope="class")
def path_rules(gate: Gate) -> Iterator[str]:
    exact, prefix = backend("foo-exact"), backend("foo-prefix")
    spec = {
        "rules": [
            rule("exact-path-rules", ("/foo", "Exact", exact)),
            rule(
                "prefix-path-rules",
                ("/foo", "Prefix", prefix),
                ("/aaa/bbb", "Prefix", backend("aaa-slash-bbb-prefix")),
                ("/aaa", "Prefix", backend("aaa-prefix")),
            ),
            rule("mixed-path-rules", ("/foo", "Prefix", prefix), ("/foo", "Exact", exact)),
            rule(
                "trailing-slash-path-rules",
                ("/aaa/bbb/", "Prefix", backend("aaa-slash-bbb-slash-prefix")),
                ("/foo/", "Exact", backend("foo-slash-exact")),
            ),
        ]
    }
    with feature(gate, "path-rules", spec) as namespace:
        yield namespace


class TestPathRules:
    @pytest.mark.parametrize(("url", "service"), [pytest.param(*rest, id=name) for name, *rest in _PATHS])
    @pytest.mark.usefixtures("path_rules")
    def test_path_rules(self, gate: Gate, url: str, service: str) -> None:
        host, slash, path = url.partition("/")
        answer = gate.get(host, slash + path)
        assert answer["status"] == (200 if service else 404)
        assert served_by(answer) == service


class TestTrouble:
    """What is wrong is said at the object, and a change on the real API server reaches requests."""

    def test_a_missing_service_is_503_and_an_event_until_it_comes(self, gate: Gate) -> None:
        spec = {"rules": [rule("trouble", ("/", "Prefix", backend("there")), ("/x", "Prefix", backend("missing")))]}
        kept = {**spec, "rules": [rule("trouble", ("/", "Prefix", backend("there")))]}
        cluster = gate.cluster
        with feature(gate, "trouble", kept) as namespace:
            cluster.apply_objects([made("networking.k8s.io/v1", "Ingress", "trouble", namespace, spec=spec)])
            soon(lambda: gate.get("trouble", "/x")["status"] == 503, 20)
            assert served_by(gate.get("trouble", "/y")) == "there"

            def messages() -> set[str]:
                return {
                    one["message"]
                    for one in cluster.get("events", "-n", namespace)["items"]
                    if one["reason"] == "BackendNotFound"
                }

            soon(lambda: messages() == {f"service {namespace}/missing not found; its paths answer 503"}, 20)
            cluster.apply_objects(echo("missing", namespace, 1))
            soon(lambda: served_by(gate.get("trouble", "/x")) == "missing", 60)
            cluster.kubectl("scale", "-n", namespace, "deployment/missing", "--replicas=0")
            soon(lambda: gate.get("trouble", "/x")["status"] == 503, 30)
