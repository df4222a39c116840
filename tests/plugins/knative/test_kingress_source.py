"""The source as the gateway, the cluster and Knative see it: what it publishes, what it asks, and what it writes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import yaml
from tests.plugins.kubernetes.api_server import ApiServer, Call, api_server
from tests.plugins.kubernetes.clusters import kubeconfig
from tests.plugins.kubernetes.store import Store

from daemun import Applied, Snapshot, SourceContext
from daemun.testing import Scene, ScriptedUpstream, eventually, read_asked, scripted
from daemun_knative.kingress import probe, releasing
from daemun_knative.kingress import source as source_module
from daemun_knative.kingress.fronts import cluster_domain
from daemun_knative.kingress.settings import INGRESS_CLASS, KnativeSettings
from daemun_knative.kingress.source import open_knative
from daemun_knative.kingress.types import CLASS_ANNOTATION, KINGRESS
from daemun_kubernetes import Elector
from daemun_kubernetes.client.lease import Terms

from .kingresses import path, rule, split

pytestmark = pytest.mark.anyio

INGRESSES = KINGRESS.path()
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
LEASES = "/apis/coordination.k8s.io/v1/leases"
LEASE = {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z"}
SECRETS = "/api/v1/secrets"
PEM = {
    "tls.crt": "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    "tls.key": "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
}
HASH = "knative-probe"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, but that it is never said of what is not ready yet."""
    monkeypatch.setattr(probe, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(probe, "_LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(source_module, "_QUIET_SECONDS", 3600.0)
    monkeypatch.setattr(source_module, "Elector", partial(Elector, terms=Terms(30, 20.0, 0.05)))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a second changes nothing of what is said."""
    monkeypatch.setattr(source_module, "_QUIET_SECONDS", 15.0)


@pytest.fixture
def impatient(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said soon."""
    monkeypatch.setattr(source_module, "_QUIET_SECONDS", 0.05)


class Gate:
    """A gateway: it tells of the versions that were published, unless it is to lag behind."""

    def __init__(self) -> None:
        self.upstream: ScriptedUpstream
        self.snapshot = Snapshot()
        self.shut = False
        """Whether it serves nothing yet."""

    async def serve(self, scene: Scene) -> None:
        if request := await scene.request():
            token = "" if self.shut else self.token((read_asked(request).field(b"host") or b"").decode())
            fields = f"K-Network-Hash: {token}\r\n" if token else ""
            await scene.send(f"HTTP/1.1 {200 if token else 404} X\r\nContent-Length: 0\r\n{fields}\r\n".encode())

    def token(self, host: str) -> str:
        for route in self.snapshot.routes:
            if any(match.value == host for match in route.hosts):
                return str(next(one.settings["hash"] for one in route.filters if one.type == HASH))
        return ""

    @property
    def hosts(self) -> list[str]:
        """Those that it was asked for."""
        return [(one.field(b"host") or b"").decode() for one in self.upstream.asked]


class Cluster(Store):
    """A store with gateways in front of which are the Services `home/daemun` and `home/daemun-internal`."""

    def __init__(self, *gates: Gate) -> None:
        super().__init__()
        self.gates = list(gates) or [Gate()]
        self.conflicts = 0
        """How many writes of statuses somebody else is faster than."""
        self.patched: list[str] = []
        """The names of KIngresses whose statuses were written, or tried to be."""
        self.refusals = 0
        """How many finalizers may not be taken off."""

    def open_doors(self) -> None:
        for name in ("daemun", "daemun-internal"):
            self.put(SERVICES, "home", name, spec={"ports": [{"name": "http", "port": 80}]})
            self.slices("home", name, *(gate.upstream.port for gate in self.gates))

    def slices(self, namespace: str, name: str, *ports: int) -> None:
        for number in range(max(len(ports), 4)):
            self.remove(SLICES, namespace, f"{name}-{number}")
        for number, port in enumerate(ports):
            self.put(
                SLICES,
                namespace,
                f"{name}-{number}",
                metadata={"labels": {"kubernetes.io/service-name": name}},
                endpoints=[{"addresses": ["127.0.0.1"]}],
                ports=[{"name": "http", "port": port}],
            )

    def service(self, name: str, *ports: int) -> None:
        """A Service of Serving with endpoints."""
        self.put(SERVICES, "default", name, spec={"ports": [{"name": "http", "port": 80}]})
        self.slices("default", name, *ports or (1,))

    def ingress(
        self,
        name: str = "web",
        *hosts: str,
        to: str = "one",
        ingress_class: str | None = INGRESS_CLASS,
        created: str = "2026-01-01T00:00:00Z",
        **more: Any,
    ) -> None:
        """A new KIngress, or its next version."""
        kept = self.objects.get(INGRESSES, {}).get(("default", name), {"metadata": {"generation": 0}})
        spec = {
            "rules": [rule(path(split(to, 100)), hosts=hosts or (f"{name}.test",), visibility="ExternalIP")],
            **more,
        }
        metadata = {
            "generation": kept["metadata"]["generation"] + (kept.get("spec") != spec),
            "creationTimestamp": created,
            "annotations": {} if ingress_class is None else {CLASS_ANNOTATION: ingress_class},
        }
        status = {"status": kept["status"]} if "status" in kept else {}
        self.put(INGRESSES, "default", name, metadata=metadata, spec=spec, **status)

    def status(self, name: str = "web") -> dict[str, Any]:
        found: dict[str, Any] = self.objects[INGRESSES]["default", name].get("status", {})
        return found

    def condition(self, name: str = "web", kind: str = "Ready") -> tuple[str, str, str]:
        """Status, reason and message."""
        return condition(self.status(name), kind)

    def is_ready(self, name: str = "web") -> bool:
        """As Serving sees it."""
        generation = self.objects[INGRESSES]["default", name]["metadata"]["generation"]
        return self.status(name).get("observedGeneration") == generation and self.condition(name)[0] == "True"

    def told(self, name: str = "web") -> list[tuple[int, str]]:
        """Every generation with what was said of it, in order, since the beginning."""
        found: list[tuple[int, str]] = []
        for _, where, _, value in self.history:
            if where == INGRESSES and value["metadata"]["name"] == name and "status" in value:
                one = (value["status"]["observedGeneration"], condition(value["status"], "Ready")[0])
                if one not in found[-1:]:
                    found.append(one)
        return found

    async def handle(self, call: Call) -> None:
        if call.method != "GET" and "/ingresses/" in call.path:
            name = call.path.partition("/ingresses/")[2].partition("/")[0]
            if call.path == KINGRESS.path("default", name):
                await self._release(call, name)
                return
            assert (call.method, call.path) == ("PATCH", KINGRESS.path("default", name, "status"))
            self.patched.append(name)
            if self.conflicts:
                self.conflicts -= 1
                kept = self.objects[INGRESSES]["default", name]
                metadata = {**kept["metadata"], "labels": {"conflict": str(self.conflicts)}}
                self.put(INGRESSES, "default", name, **{**kept, "metadata": metadata})
        await super().handle(call)

    async def _release(self, call: Call, name: str) -> None:
        """Finalizers are taken off, over what was seen; the last one lets go."""
        assert (call.method, set(call.json["metadata"])) == ("PATCH", {"finalizers", "resourceVersion"})
        if self.refusals:
            self.refusals -= 1
            await call.refuse(403, "Forbidden", "not for you")
            return
        await super().handle(call)
        kept = self.objects[INGRESSES]["default", name]["metadata"]
        if "deletionTimestamp" in kept and not kept["finalizers"]:
            self.remove(INGRESSES, "default", name)

    def delete(self, name: str, *finalizers: str) -> None:
        """Is asked to go, and kept by finalizers."""
        kept = self.objects[INGRESSES]["default", name]
        metadata = {**kept["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": list(finalizers)}
        self.put(INGRESSES, "default", name, **{**kept, "metadata": metadata})


def condition(status: dict[str, Any], kind: str) -> tuple[str, str, str]:
    for one in status.get("conditions", ()):
        if one["type"] == kind:
            return one["status"], one.get("reason", ""), one.get("message", "")
    return "", "", ""


class Published:
    """What the source publishes, as it comes, and when it is in use."""

    def __init__(self, cluster: Cluster, server: ApiServer) -> None:
        self.server = server
        self.snapshots: list[Snapshot] = []
        self.go = anyio.Event()
        self.go.set()
        self._cluster = cluster

    async def publish(self, snapshot: Snapshot) -> Applied:
        await anyio.lowlevel.checkpoint()
        self.snapshots.append(snapshot)
        await self.go.wait()
        for gate in self._cluster.gates:
            gate.snapshot = snapshot
        return Applied(len(self.snapshots), ())

    @property
    def routes(self) -> set[str]:
        return {route.name for route in self.snapshots[-1].routes} if self.snapshots else {"nothing was published"}

    def endpoints(self, name: str) -> list[str]:
        (backend,) = [one for one in self.snapshots[-1].backends if one.name == name]
        return [one.address for one in backend.endpoints]


@asynccontextmanager
async def gateway(
    cluster: Cluster, *, workers: int = 1, held: bool = False, **settings: Any
) -> AsyncIterator[Published]:
    """The source at work on `cluster`; `held`: no publish comes to its end."""
    async with AsyncExitStack() as stack:
        for gate in cluster.gates:
            gate.upstream = await stack.enter_async_context(scripted(gate.serve))
        cluster.open_doors()
        server = await stack.enter_async_context(api_server(cluster.handle))
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "config").write_text(yaml.safe_dump(kubeconfig(server.url)))
        decoded = KnativeSettings(kubeconfig="config", **{"cluster_domain": "cluster.test", **settings})
        context = SourceContext(name="knative", base_dir=folder, workers=workers)
        published = Published(cluster, server)
        if held:
            published.go = anyio.Event()
        async with open_knative(decoded, context) as source, anyio.create_task_group() as tasks:
            tasks.start_soon(source.run, published.publish)
            yield published
            tasks.cancel_scope.cancel()


async def test_ready_is_written_when_every_gateway_serves_the_version_and_not_before() -> None:
    slow = Gate()
    cluster = Cluster(Gate(), slow)
    cluster.service("one", 8080)
    cluster.ingress()
    slow.shut = True
    async with gateway(cluster) as published:
        await eventually(lambda: slow.upstream.connections > 4)
        assert (published.routes, published.endpoints("default/one:80")) == ({"default/web:0.0"}, ["127.0.0.1:8080"])
        assert cluster.patched == [], "it is not said at once what may be over soon"
        slow.shut = False
        await eventually(cluster.is_ready)
        assert cluster.told() == [(1, "True")]
        assert cluster.patched == ["web"]
        assert {gate.hosts[0] for gate in cluster.gates} == {"web.test"}


async def test_the_status_is_whole_and_publishes_each_service_once() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster):
        await eventually(cluster.is_ready)
    status = cluster.status()
    kinds = [one["type"] for one in status["conditions"]]
    assert kinds == ["LoadBalancerReady", "NetworkConfigured", "Ready"]
    assert all(one["status"] == "True" and one["lastTransitionTime"].endswith("Z") for one in status["conditions"])
    assert all("reason" not in one and "message" not in one for one in status["conditions"])
    assert status["publicLoadBalancer"] == {"ingress": [{"domainInternal": "daemun.home.svc.cluster.test"}]}
    assert status["privateLoadBalancer"] == {"ingress": [{"domainInternal": "daemun-internal.home.svc.cluster.test"}]}


async def test_services_of_the_settings_are_published() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster, external_service="home/daemun", internal_service="", cluster_domain="example.org"):
        await eventually(cluster.is_ready)
        assert cluster.gates[0].upstream.connections == 1, "nobody comes from inside"
    assert cluster.status()["publicLoadBalancer"] == {"ingress": [{"domainInternal": "daemun.home.svc.example.org"}]}
    assert "privateLoadBalancer" not in cluster.status()


async def test_a_new_generation_is_ready_when_it_is_served() -> None:
    cluster = Cluster()
    for name in ("one", "two"):
        cluster.service(name)
    cluster.ingress()
    async with gateway(cluster):
        await eventually(cluster.is_ready)
        cluster.ingress(to="two")
        await eventually(cluster.is_ready)
        assert cluster.told() == [(1, "True"), (2, "True")]
        assert cluster.patched == ["web", "web"]


@pytest.mark.usefixtures("impatient")
async def test_a_new_generation_that_is_not_served_soon_is_said_not_to_be() -> None:
    cluster = Cluster()
    (gate,) = cluster.gates
    for name in ("one", "two"):
        cluster.service(name)
    cluster.ingress()
    async with gateway(cluster):
        await eventually(cluster.is_ready)
        gate.shut = True
        cluster.ingress(to="two")
        await eventually(lambda: cluster.condition()[:2] == ("Unknown", "Probing"))
        assert f"127.0.0.1:{gate.upstream.port}: web.test: status 404" in cluster.condition(kind="LoadBalancerReady")
        assert cluster.condition(kind="NetworkConfigured")[0] == "True"
        gate.shut = False
        await eventually(cluster.is_ready)
        assert [one for one in cluster.told() if one[1] == "True"] == [(1, "True"), (2, "True")]
        assert (2, "Unknown") in cluster.told()


async def test_a_version_that_comes_back_is_asked_for_anew() -> None:
    cluster = Cluster()
    (gate,) = cluster.gates
    for name in ("one", "two"):
        cluster.service(name)
    cluster.ingress()
    async with gateway(cluster) as published:
        await eventually(cluster.is_ready)
        gate.shut = True
        published.go = anyio.Event()
        cluster.ingress(to="two")
        await eventually(lambda: len(published.snapshots) == 2)
        cluster.ingress(to="one")
        asked = gate.upstream.connections
        published.go.set()
        await eventually(lambda: len(published.snapshots) == 3 and gate.upstream.connections > asked + 3)
        assert cluster.told() == [(1, "True")]
        gate.shut = False
        await eventually(cluster.is_ready)
        assert cluster.told() == [(1, "True"), (3, "True")]


async def test_who_does_not_lead_serves_all_and_writes_and_asks_nothing_until_it_leads() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    cluster.put(LEASES, "home", "daemun-knative", spec=LEASE)
    async with gateway(cluster) as published:
        await eventually(lambda: sum("/leases/" in call.path for call in published.server.calls) > 1)
        cluster.ingress("more")
        await eventually(lambda: published.routes == {"default/web:0.0", "default/more:0.0"})
        assert (cluster.patched, cluster.gates[0].upstream.connections) == ([], 0)
        cluster.put(LEASES, "home", "daemun-knative", spec={**LEASE, "holderIdentity": ""})
        await eventually(lambda: cluster.is_ready("web") and cluster.is_ready("more"))
        assert sorted(cluster.patched) == ["more", "web"]


async def test_who_leads_no_more_asks_and_writes_nothing() -> None:
    cluster = Cluster()
    (gate,) = cluster.gates
    gate.shut = True
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster) as published:
        await eventually(lambda: gate.upstream.connections > 2)
        cluster.put(LEASES, "home", "daemun-knative", spec=LEASE)
        seen = len(published.server.calls)
        await eventually(lambda: sum("/leases/" in call.path for call in published.server.calls[seen:]) > 3)
        asked = gate.upstream.connections
        gate.shut = False
        cluster.ingress("more")
        await eventually(lambda: len(published.routes) == 2)
        assert (cluster.patched, gate.upstream.connections) == ([], asked)


async def test_an_ingress_of_another_class_is_not_touched() -> None:
    cluster = Cluster()
    cluster.service("one")
    classes = {"none": None, "empty": "", "wrong": "incorrect", "longer": f"{INGRESS_CLASS}.more"}
    for name, value in classes.items():
        cluster.ingress(name, ingress_class=value)
    before = {name: cluster.objects[INGRESSES]["default", name] for name in classes}
    async with gateway(cluster) as published:
        cluster.ingress("ours")
        await eventually(lambda: cluster.is_ready("ours"))
        assert (published.routes, cluster.patched) == ({"default/ours:0.0"}, ["ours"])
        cluster.ingress("ours", ingress_class="other")
        await eventually(lambda: published.routes == set())
        cluster.ingress("web")
        await eventually(lambda: cluster.is_ready("web"))
    assert {name: cluster.objects[INGRESSES]["default", name] for name in classes} == before
    assert cluster.patched == ["ours", "web"]


async def test_an_ingress_that_was_anothers_is_asked_for_before_its_addresses_are_ours() -> None:
    cluster = Cluster()
    (gate,) = cluster.gates
    gate.shut = True
    cluster.service("one")
    cluster.ingress(ingress_class="other")
    status = {"observedGeneration": 1, "conditions": [{"type": "Ready", "status": "True"}]}
    balancer = {"ingress": [{"domainInternal": "other.other.svc.cluster.test"}]}
    kept = cluster.objects[INGRESSES]["default", "web"]
    kept["status"] = {**status, "publicLoadBalancer": balancer, "privateLoadBalancer": balancer}
    async with gateway(cluster):
        cluster.ingress()
        await eventually(lambda: gate.upstream.connections > 2)
        assert cluster.status()["publicLoadBalancer"] == balancer
        gate.shut = False
        await eventually(lambda: cluster.status()["publicLoadBalancer"] != balancer)
        assert cluster.is_ready()


async def test_a_conflict_is_tried_again_on_what_is_there_then() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    cluster.conflicts = 2
    async with gateway(cluster):
        await eventually(cluster.is_ready)
    assert cluster.objects[INGRESSES]["default", "web"]["metadata"]["labels"] == {"conflict": "0"}
    assert cluster.patched == ["web"] * 3


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_restart_with_all_ready_writes_nothing_and_asks_nothing(workers: int) -> None:
    cluster = Cluster()
    cluster.service("one")
    for number in range(3):
        cluster.ingress(f"web{number}")
    async with gateway(cluster, workers=workers):
        await eventually(lambda: all(cluster.is_ready(f"web{number}") for number in range(3)))
    cluster.patched.clear()
    async with gateway(cluster, workers=workers) as published:
        cluster.ingress("more")
        await eventually(lambda: cluster.is_ready("more"))
        assert len(published.routes) == 4
        assert cluster.patched == ["more"]
        assert set(cluster.gates[0].hosts) == {"more.test"}


@pytest.mark.usefixtures("impatient")
async def test_a_restart_says_nothing_of_what_is_not_served_yet_here() -> None:
    """The first publish of many routes takes longer than others are waited for."""
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster):
        await eventually(cluster.is_ready)
    cluster.patched.clear()
    async with gateway(cluster, held=True) as published:
        await eventually(lambda: len(published.snapshots) == 1)
        await anyio.sleep(0.3)  # several times what is waited for
        assert cluster.patched == []
        published.go.set()
        cluster.ingress("more")
        await eventually(lambda: cluster.is_ready("more"))
    assert set(cluster.patched) == {"more"}


async def test_endpoints_move_without_a_word() -> None:
    cluster = Cluster()
    cluster.service("one", 8012)
    cluster.ingress()
    async with gateway(cluster) as published:
        await eventually(cluster.is_ready)
        cluster.slices("default", "one", 8112, 8113)
        await eventually(lambda: published.endpoints("default/one:80") == ["127.0.0.1:8112", "127.0.0.1:8113"])
        cluster.slices("default", "one")
        await eventually(lambda: published.endpoints("default/one:80") == [])
        cluster.remove(SERVICES, "default", "one")
        cluster.ingress("more", to="two")
        cluster.service("two")
        await eventually(lambda: cluster.is_ready("more"))
        assert published.routes == {"default/web:0.0", "default/more:0.0"}
        assert (cluster.patched, cluster.told()) == (["web", "more"], [(1, "True")])


@pytest.mark.usefixtures("impatient")
async def test_what_is_missing_is_said_and_waited_for() -> None:
    cluster = Cluster()
    cluster.ingress()
    async with gateway(cluster) as published:
        words = ("Unknown", "ServiceNotReady", "service default/one not found")
        await eventually(lambda: cluster.condition() == cluster.condition(kind="NetworkConfigured") == words)
        assert published.routes == set()
        cluster.service("one")
        await eventually(cluster.is_ready)
        assert published.routes == {"default/web:0.0"}


@pytest.mark.usefixtures("impatient")
async def test_without_its_secret_or_a_door_for_it_an_ingress_waits_and_no_other_does() -> None:
    cluster = Cluster()
    cluster.service("one")
    tls = [{"hosts": ["web.test"], "secretName": "pair", "secretNamespace": "default"}]
    cluster.ingress(tls=tls)
    cluster.ingress("more")
    async with gateway(cluster) as published:
        words = ("Unknown", "SecretNotReady", "secret default/pair not found")
        await eventually(lambda: cluster.condition() == words and cluster.is_ready("more"))
        patched = cluster.patched.count("more")
        assert published.routes == {"default/more:0.0"}
        data = {name: b64encode(PEM[name].encode()).decode() for name in PEM}
        cluster.put(SECRETS, "default", "pair", type="kubernetes.io/tls", data=data)
        words = ("Unknown", "Probing", "no gateway is ready behind the external Service")
        await eventually(lambda: cluster.condition() == words)
        (pair,) = published.snapshots[-1].certificates
        assert (pair.hosts, pair.listeners, pair.certificate) == (("web.test",), ("https",), PEM["tls.crt"])
        assert (cluster.told("more")[-1], cluster.patched.count("more")) == ((1, "True"), patched)


async def test_what_is_wrong_is_said_at_once() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress("wrong", rules=[rule(path(split("one", 60)))])
    cluster.ingress()
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.is_ready() and cluster.told("wrong") == [(1, "False")])
        words = "spec.rules[0].http.paths[0].splits: traffic split percentage must total to 100, but was 60"
        assert cluster.condition("wrong") == ("False", "Invalid", words)
        assert published.routes == {"default/web:0.0"}
        cluster.ingress("wrong")
        await eventually(lambda: cluster.is_ready("wrong"))


async def test_a_host_that_is_anothers_is_a_domain_conflict_until_it_goes() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress("first", "x.test")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.is_ready("first"))
        cluster.ingress("second", "x.test", "y.test", created="2020-01-01T00:00:00Z")
        await eventually(lambda: cluster.told("second") == [(1, "False")])
        words = "host x.test belongs to Ingress default/first, which was served first"
        assert cluster.condition("second", "LoadBalancerReady") == ("False", "DomainConflict", words)
        assert cluster.condition("second", "NetworkConfigured")[0] == "True"
        assert (cluster.is_ready("first"), cluster.patched) == (True, ["first", "second"])
        cluster.ingress("third")
        await eventually(lambda: cluster.is_ready("third"))
        assert "y.test" not in cluster.gates[0].hosts, "it is not asked for in vain"
        cluster.remove(INGRESSES, "default", "first")
        await eventually(lambda: cluster.is_ready("second"))
        assert published.routes == {"default/second:0.0", "default/third:0.0"}
        assert set(cluster.gates[0].hosts[-4:]) == {"x.test", "y.test"}


async def test_what_was_deleted_and_made_again_is_asked_for_anew() -> None:
    cluster = Cluster()
    (gate,) = cluster.gates
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster):
        await eventually(cluster.is_ready)
        gate.shut = True
        asked = gate.upstream.connections
        cluster.remove(INGRESSES, "default", "web")
        cluster.ingress()
        await eventually(lambda: gate.upstream.connections > asked + 2)
        assert cluster.status() == {}
        gate.shut = False
        await eventually(cluster.is_ready)


async def test_with_many_workers_a_probe_finds_a_version_that_all_of_them_serve() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress()
    async with gateway(cluster, workers=2) as published:
        await eventually(cluster.is_ready)
        told = [route.filters[0].settings["hash"] for one in published.snapshots for route in one.routes]
        assert told[0] == "0" * 64
        assert told[-1] == cluster.gates[0].token("web.test") != "0" * 64
        assert len(published.snapshots) == 2


def test_the_domain_of_the_cluster_is_what_the_resolver_of_a_pod_says(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    assert cluster_domain(file) == "cluster.local"
    for text, domain in (
        ("nameserver 10.96.0.10\nsearch home.svc.k8s.example svc.k8s.example k8s.example\n", "k8s.example"),
        ("search svc.k8s.example.\n", "k8s.example"),
        ("search home.example svc.\nnameserver svc.no\n", "cluster.local"),
        ("search\n\noptions ndots:5\n", "cluster.local"),
    ):
        file.write_text(text)
        assert cluster_domain(file) == domain, text


FINALIZER = "ingresses.networking.internal.knative.dev"


async def test_what_is_deleted_is_gone_however_long_a_finalizer_keeps_it_and_its_host_is_free() -> None:
    cluster = Cluster()
    cluster.service("one")
    cluster.ingress("old", "shop.test")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.is_ready("old"))
        cluster.delete("old", "example.com/x")
        await eventually(lambda: published.routes == set())
        before = cluster.patched.count("old")
        cluster.ingress("new", "shop.test", created="2026-01-03T00:00:00Z")
        await eventually(lambda: cluster.is_ready("new"))
        assert published.routes == {"default/new:0.0"}
        assert cluster.patched.count("old") == before
        assert cluster.objects[INGRESSES]["default", "old"]["metadata"]["finalizers"] == ["example.com/x"]


@pytest.mark.parametrize("others", [[], ["example.com/x"]], ids=["alone", "beside another"])
async def test_the_finalizer_of_the_gateway_from_before_is_taken_off_what_is_deleted(
    others: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(releasing, "_AGAIN_SECONDS", 0.01)
    cluster = Cluster()
    cluster.refusals = 2
    cluster.service("one")
    for name in ("then", "now", "alive"):
        cluster.ingress(name)
    cluster.ingress("theirs", ingress_class="kourier.test")
    for name in ("then", "theirs"):
        cluster.delete(name, FINALIZER, *others)
    async with gateway(cluster):
        await eventually(lambda: kept_by(cluster, "then") == others)
        cluster.delete("now", *others, FINALIZER)
        await eventually(lambda: kept_by(cluster, "now") == others)
        assert kept_by(cluster, "theirs") == [FINALIZER, *others]
        await eventually(lambda: cluster.is_ready("alive"))
    (words,) = [record.getMessage() for record in caplog.records if "finalizer" in record.getMessage()]
    assert words.startswith("KIngress default/then is deleted, and its finalizer stays: ")


def kept_by(cluster: Cluster, name: str) -> list[str]:
    """The finalizers of a KIngress; none if it is gone."""
    found = cluster.objects[INGRESSES].get(("default", name), {"metadata": {"finalizers": []}})
    finalizers: list[str] = found["metadata"].get("finalizers", ["alive"])
    return finalizers


async def test_who_does_not_lead_takes_no_finalizer_off() -> None:
    cluster = Cluster()
    cluster.put(LEASES, "home", "daemun-knative", spec=LEASE)
    cluster.service("one")
    cluster.ingress("web")
    cluster.ingress("old")
    cluster.delete("old", FINALIZER)
    async with gateway(cluster) as published:
        await eventually(lambda: published.routes == {"default/web:0.0"})
        await anyio.wait_all_tasks_blocked()
        assert kept_by(cluster, "old") == [FINALIZER]
