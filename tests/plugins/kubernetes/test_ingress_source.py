"""The source as the gateway and the cluster see it: what it publishes, and what it writes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import yaml

from daemun import Applied, Snapshot, SourceContext
from daemun.testing import Wire, eventually, running, scripted
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.source import open_ingress

from .api_server import ApiServer, Call, api_server
from .clusters import kubeconfig
from .store import Store

pytestmark = pytest.mark.anyio

INGRESSES = "/apis/networking.k8s.io/v1/ingresses"
CLASSES = "/apis/networking.k8s.io/v1/ingressclasses"
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
EVENTS = "/api/v1/events"
LEASES = "/apis/coordination.k8s.io/v1/leases"
OURS = "daemun.dev/ingress"


class Cluster(Store):
    """A store with a class of ours, `daemun`, and one of somebody else, `other`."""

    def __init__(self) -> None:
        super().__init__()
        self.closed: Callable[[Call], bool] = lambda call: False
        """Which calls are refused."""
        self.put(CLASSES, "", "daemun", spec={"controller": OURS})
        self.put(CLASSES, "", "other", spec={"controller": "example.com/other"})
        self.put(SERVICES, "gate", "way", status={"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})

    def ingress(
        self, name: str, host: str, service: str = "cart:80", *, namespace: str = "shop", **more: Any
    ) -> dict[str, Any]:
        """An Ingress with one host; `more` goes to its spec, `annotations` to its metadata."""
        service, _, port = service.partition(":")
        backend = {"service": {"name": service, "port": {"number": int(port)}}}
        path = {"path": "/", "pathType": "Prefix", "backend": backend}
        rules = [{"host": host, "http": {"paths": [path]}}]
        metadata = {
            "creationTimestamp": more.pop("created", "2026-01-01T00:00:00Z"),
            "annotations": more.pop("annotations", {}),
        }
        spec = {"ingressClassName": "daemun", "rules": rules, **more}
        kept = self.objects.get(INGRESSES, {}).get((namespace, name), {})
        status = {"status": kept["status"]} if "status" in kept else {}
        return self.put(INGRESSES, namespace, name, metadata=metadata, spec=spec, **status)

    def service(self, name: str, *addresses: str, namespace: str = "shop", port: int = 8080) -> None:
        self.put(SERVICES, namespace, name, spec={"ports": [{"port": 80}]})
        self.move(name, *addresses, namespace=namespace, port=port)

    def move(self, name: str, *addresses: str, namespace: str = "shop", port: int = 8080) -> None:
        """The endpoints of a Service."""
        self.put(
            SLICES,
            namespace,
            f"{name}-x",
            metadata={"labels": {"kubernetes.io/service-name": name}},
            endpoints=[{"addresses": [address]} for address in addresses],
            ports=[{"name": "", "port": port}],
        )

    def published(self, name: str, namespace: str = "shop") -> list[dict[str, str]] | None:
        """The addresses in the status of an Ingress; None: there is no status."""
        status = self.objects[INGRESSES][namespace, name].get("status", {})
        found: list[dict[str, str]] | None = status.get("loadBalancer", {}).get("ingress")
        return found

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """Type, reason and words of what was said of an Ingress."""
        return [
            (one["type"], one["reason"], one["message"])
            for one in self.objects.get(EVENTS, {}).values()
            if one["involvedObject"]["name"] == name
        ]

    async def handle(self, call: Call) -> None:
        if self.closed(call):
            await call.refuse(403, "Forbidden", "not for you")
        else:
            await super().handle(call)


class Published:
    """What the source publishes, as it comes."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.snapshots: list[Snapshot] = []

    async def publish(self, snapshot: Snapshot) -> Applied:
        await anyio.lowlevel.checkpoint()
        self.snapshots.append(snapshot)
        return Applied(len(self.snapshots), ())

    @property
    def routes(self) -> list[str]:
        return [route.name for route in self.snapshots[-1].routes] if self.snapshots else ["nothing was published"]

    def endpoints(self, name: str) -> list[str] | None:
        for backend in self.snapshots[-1].backends if self.snapshots else ():
            if backend.name == name:
                return [one.address for one in backend.endpoints]
        return None

    @property
    def writes(self) -> list[str]:
        """What was written of Ingresses."""
        return [
            f"{call.method} {call.path}"
            for call in self.server.calls
            if call.method != "GET" and INGRESSES[-10:] in call.path
        ]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass by itself is said almost at once."""
    monkeypatch.setattr("daemun_kubernetes.ingress.reporter.SETTLE_SECONDS", 0.05)


@asynccontextmanager
async def gateway(cluster: Cluster, **settings: Any) -> AsyncIterator[Published]:
    """The source at work on `cluster`."""
    with TemporaryDirectory() as folder:
        async with api_server(cluster.handle) as server:
            (Path(folder) / "config").write_text(yaml.safe_dump(kubeconfig(server.url)))
            decoded = IngressSettings(kubeconfig="config", **{"service": "gate/way", **settings})
            context = SourceContext(name="kubernetes_ingress", base_dir=Path(folder))
            published = Published(server)
            async with open_ingress(decoded, context) as source, anyio.create_task_group() as tasks:
                tasks.start_soon(source.run, published.publish)
                yield published
                tasks.cancel_scope.cancel()


async def test_what_is_there_is_published_whole_and_its_address_written() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("web", "a.test")
    cluster.ingress("foreign", "b.test", ingressClassName="other")
    cluster.ingress("unknown", "c.test", ingressClassName="some-invalid-class-name")
    cluster.ingress("none", "d.test", ingressClassName="")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.published("web") == [{"ip": "192.0.2.1"}])
        assert published.routes == ["shop/web:a.test/"]
        assert len(published.snapshots) == 1
        assert published.endpoints("shop/cart:80") == ["10.0.0.1:8080"]
        cluster.ingress("more", "e.test")
        await eventually(lambda: cluster.published("more") is not None)
        assert published.writes == [
            f"PATCH /apis/networking.k8s.io/v1/namespaces/shop/ingresses/{name}/status" for name in ("web", "more")
        ]
    assert [cluster.published(name) for name in ("foreign", "unknown", "none")] == [None, None, None]


async def test_an_ingress_with_an_invalid_ingress_class_should_not_send_traffic_to_the_matching_backend_service() -> (
    None
):
    """The scenario of ingress-controller-conformance: the Ingress status should not contain the IP address or FQDN."""
    cluster = Cluster()
    cluster.ingress("test-ingress-class", "ingress-class", ingressClassName="some-invalid-class-name")
    cluster.ingress("good", "a.test")
    before = cluster.objects[INGRESSES]["shop", "test-ingress-class"]
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.published("good") is not None)
        assert published.routes == ["shop/good:a.test/"]
    assert cluster.objects[INGRESSES]["shop", "test-ingress-class"] is before


async def test_ingresses_without_a_class_belong_to_the_default_class_also_later() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test", ingressClassName="")
    async with gateway(cluster) as published:
        await eventually(lambda: published.routes == [])
        default = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
        cluster.put(CLASSES, "", "daemun", metadata=default, spec={"controller": OURS})
        await eventually(lambda: published.routes == ["shop/web:a.test/"])
        await eventually(lambda: cluster.published("web") == [{"ip": "192.0.2.1"}])
        cluster.remove(CLASSES, "", "daemun")
        await eventually(lambda: published.routes == [])
        await eventually(lambda: cluster.published("web") is None)


async def test_endpoints_that_move_are_published_without_a_new_route() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("web", "a.test")
    async with gateway(cluster) as published:
        await eventually(lambda: published.endpoints("shop/cart:80") == ["10.0.0.1:8080"])
        cluster.move("cart", "10.0.0.2", "10.0.0.3")
        await eventually(lambda: published.endpoints("shop/cart:80") == ["10.0.0.2:8080", "10.0.0.3:8080"])
        assert published.snapshots[-1].routes is published.snapshots[0].routes


async def test_an_ingress_in_a_new_namespace_is_published_once_its_services_are_known() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.service("desk", "10.0.0.2", namespace="office")
    cluster.ingress("web", "a.test")
    async with gateway(cluster) as published:
        await eventually(lambda: published.routes == ["shop/web:a.test/"])
        cluster.ingress("web", "b.test", "desk:80", namespace="office")
        await eventually(lambda: len(published.routes) == 2)
        first = next(one for one in published.snapshots if len(one.routes) == 2)
        assert {one.name: len(one.endpoints) for one in first.backends} == {
            "nowhere": 0,
            "shop/cart:80": 1,
            "office/desk:80": 1,
        }


async def test_what_is_wrong_is_said_once_at_the_object_and_hurts_no_other() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("good", "a.test")
    cluster.ingress("bad", "b.test", "missing:80", tls=[{"hosts": ["b.test"], "secretName": "cert"}])
    wanted = {
        ("Warning", "BackendNotFound", "service shop/missing not found; its paths answer 503"),
        ("Warning", "BadCertificate", "secret shop/cert not found; without it there is no TLS for its hosts"),
    }
    async with gateway(cluster) as published:
        await eventually(lambda: set(cluster.events("bad")) == wanted)
        assert published.routes == ["shop/good:a.test/", "shop/bad:b.test/"]
        cluster.ingress("more", "c.test")
        await eventually(lambda: len(published.routes) == 3)
        await eventually(lambda: cluster.published("more") is not None)
        assert len(cluster.events("bad")) == 2
    assert cluster.events("good") == []


async def test_secrets_that_may_not_be_read_leave_the_rest_as_it_is() -> None:
    cluster = Cluster()
    cluster.closed = lambda call: "/secrets" in call.path
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("good", "a.test")
    cluster.ingress("safe", "b.test", tls=[{"hosts": ["b.test"], "secretName": "cert"}])
    async with gateway(cluster, request_timeout_seconds=0.3) as published:
        await eventually(lambda: published.routes == ["shop/good:a.test/", "shop/safe:b.test/"])
        await eventually(lambda: bool(cluster.events("safe")))
        ((_, reason, words),) = cluster.events("safe")
    assert reason == "BadCertificate"
    assert words.startswith("secret shop/cert is not known: cannot ")


async def test_nothing_is_published_before_the_cluster_has_said_what_there_is() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    cluster.closed = lambda call: "/ingressclasses" in call.path
    async with gateway(cluster) as published:
        await eventually(lambda: sum("/ingressclasses" in call.path for call in published.server.calls) > 2)
        assert published.snapshots == []
        cluster.closed = lambda call: False
        await eventually(lambda: published.routes == ["shop/web:a.test/"])


async def test_endpoints_that_cannot_be_listed_for_a_while_are_waited_for_before_anything_is_served() -> None:
    """A Pod that began without them would be ready, and those with endpoints would go."""
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("web", "a.test")
    handle, sick = cluster.handle, True

    async def brown(call: Call) -> None:
        if sick and "endpointslices" in call.path:
            await call.refuse(500, "InternalError", "etcdserver: request timed out")
        else:
            await handle(call)

    cluster.handle = brown  # type: ignore[method-assign]
    async with gateway(cluster, request_timeout_seconds=0.1) as published:
        await eventually(lambda: sum("endpointslices" in call.path for call in published.server.calls) > 3)
        assert published.snapshots == []
        sick = False
        await eventually(lambda: published.endpoints("shop/cart:80") == ["10.0.0.1:8080"])
        assert len(published.snapshots) == 1


async def test_the_address_follows_the_service_and_what_others_write_is_put_right() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    async with gateway(cluster):
        await eventually(lambda: cluster.published("web") == [{"ip": "192.0.2.1"}])
        new = [{"ip": "192.0.2.2"}, {"hostname": "lb.example.com"}]
        cluster.put(SERVICES, "gate", "way", status={"loadBalancer": {"ingress": new}})
        await eventually(lambda: cluster.published("web") == new)
        kept = cluster.objects[INGRESSES]["shop", "web"]
        cluster.put(
            INGRESSES, "shop", "web", **{**kept, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}
        )
        await eventually(lambda: cluster.published("web") == new)
        cluster.put(SERVICES, "gate", "way")
        await eventually(lambda: cluster.published("web") is None)


async def test_addresses_of_the_settings_are_used_as_they_are() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    async with gateway(cluster, service="", status_addresses=("203.0.113.7", "2001:db8::1", "gate.example.com")):
        wanted = [{"ip": "203.0.113.7"}, {"ip": "2001:db8::1"}, {"hostname": "gate.example.com"}]
        await eventually(lambda: cluster.published("web") == wanted)


async def test_an_ingress_that_changes_its_class_loses_the_address_unless_it_is_anothers_by_then() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    cluster.ingress("taken", "b.test")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.published("web") is not None and cluster.published("taken") is not None)
        kept = cluster.objects[INGRESSES]["shop", "taken"]
        spec = {**kept["spec"], "ingressClassName": "other"}
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}
        cluster.put(INGRESSES, "shop", "taken", **{**kept, "spec": spec, "status": status})
        cluster.ingress("web", "a.test", ingressClassName="other")
        await eventually(lambda: cluster.published("web") is None)
        assert published.routes == []
        assert cluster.published("taken") == [{"ip": "192.0.2.9"}]


async def test_an_ingress_that_left_is_cleared_once_and_is_anothers_then_also_behind_the_same_address() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.published("web") == [{"ip": "192.0.2.1"}])
        cluster.ingress("web", "a.test", ingressClassName="other")
        await eventually(lambda: cluster.published("web") is None)
        kept = cluster.objects[INGRESSES]["shop", "web"]
        writes = len(published.writes)
        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        cluster.put(INGRESSES, "shop", "web", **{**kept, "status": status})
        cluster.ingress("more", "b.test")
        await eventually(lambda: cluster.published("more") is not None)
        assert cluster.published("web") == [{"ip": "192.0.2.1"}]
        assert len(published.writes) == writes + 1


async def test_a_namespace_that_may_not_be_listed_keeps_no_other_from_being_served() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    cluster.ingress("web", "b.test", namespace="vault")
    cluster.closed = lambda call: "/vault/ingresses" in call.path
    async with gateway(cluster, namespaces=("vault", "shop"), request_timeout_seconds=0.3) as published:
        await eventually(lambda: published.routes == ["shop/web:a.test/"])
        cluster.closed = lambda call: False
        await eventually(lambda: sorted(published.routes) == ["shop/web:a.test/", "vault/web:b.test/"])


async def test_while_no_namespace_may_be_listed_nothing_is_published() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    cluster.closed = lambda call: "ingresses" in call.path
    async with gateway(cluster, namespaces=("vault", "shop"), request_timeout_seconds=0.1) as published:
        await eventually(lambda: sum("ingresses" in call.path for call in published.server.calls) > 6)
        assert published.snapshots == []


async def test_a_conflict_is_tried_again_on_what_is_there_then() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    conflicts = 0
    handle = cluster.handle

    async def contested(call: Call) -> None:
        """Somebody else writes first, twice."""
        nonlocal conflicts
        if call.method == "PATCH" and call.path.endswith("/status") and conflicts < 2:
            conflicts += 1
            kept = cluster.objects[INGRESSES]["shop", "web"]
            metadata = {**kept["metadata"], "labels": {"conflict": str(conflicts)}}
            cluster.put(INGRESSES, "shop", "web", **{**kept, "metadata": metadata})
        await handle(call)

    cluster.handle = contested  # type: ignore[method-assign]
    async with gateway(cluster):
        await eventually(lambda: cluster.published("web") == [{"ip": "192.0.2.1"}])
    assert conflicts == 2
    assert cluster.objects[INGRESSES]["shop", "web"]["metadata"]["labels"] == {"conflict": "2"}


async def test_only_the_leader_writes_and_all_publish() -> None:
    cluster = Cluster()
    cluster.service("cart")
    cluster.ingress("web", "a.test")
    lease = {"holderIdentity": "somebody", "leaseDurationSeconds": 3600, "renewTime": "2026-01-01T00:00:00.000000Z"}
    cluster.put(LEASES, "home", "daemun-ingress", spec=lease)
    async with gateway(cluster) as published:
        await eventually(lambda: published.routes == ["shop/web:a.test/"])
        await eventually(lambda: any("/leases/" in call.path for call in published.server.calls))
        cluster.ingress("more", "b.test")
        await eventually(lambda: len(published.routes) == 2)
        assert published.writes == []
        assert cluster.events("web") == []
        lease["holderIdentity"] = ""
        cluster.put(LEASES, "home", "daemun-ingress", spec=lease)
        await eventually(lambda: cluster.published("web") is not None and cluster.published("more") is not None)
        await eventually(lambda: [reason for _, reason, _ in cluster.events("web")] == ["NoEndpoints"])


async def test_namespaces_that_are_named_are_the_only_ones_that_are_looked_at() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    cluster.ingress("web", "b.test", namespace="office")
    cluster.ingress("web", "c.test", namespace="vault")
    async with gateway(cluster, namespaces=("shop", "office")) as published:
        await eventually(lambda: sorted(published.routes) == ["office/web:b.test/", "shop/web:a.test/"])
        asked = {call.path for call in published.server.calls}
    assert INGRESSES not in asked
    assert not any("/vault/" in path for path in asked)


async def test_a_change_that_means_nothing_here_is_not_published() -> None:
    cluster = Cluster()
    cluster.ingress("web", "a.test")
    async with gateway(cluster) as published:
        await eventually(lambda: cluster.published("web") is not None)
        cluster.ingress("web", "a.test", annotations={"note": "hello"})
        cluster.ingress("other", "b.test")
        await eventually(lambda: len(published.routes) == 2)
        assert len(published.snapshots) == 2


async def test_a_cluster_that_breaks_off_and_forgets_leaves_what_is_served_and_is_caught_up_with() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("web", "a.test")
    cluster.ingress("gone", "b.test")
    async with gateway(cluster) as published:
        await eventually(lambda: len(published.routes) == 2)
        cluster.move("cart", "10.0.0.2")
        cluster.remove(INGRESSES, "shop", "gone")
        cluster.ingress("new", "c.test")
        cluster.forget()
        await published.server.cut_all()
        await eventually(lambda: published.routes == ["shop/web:a.test/", "shop/new:c.test/"])
        await eventually(lambda: published.endpoints("shop/cart:80") == ["10.0.0.2:8080"])
        assert all("shop/web:a.test/" in {route.name for route in one.routes} for one in published.snapshots)
        assert all(backend.endpoints for one in published.snapshots for backend in one.backends[1:])


async def test_endpoints_that_flip_under_load_fail_no_request() -> None:
    cluster = Cluster()
    async with (
        scripted() as one,
        scripted() as two,
        api_server(cluster.handle) as server,
        AsyncExitStack() as stack,
    ):
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "config").write_text(yaml.safe_dump(kubeconfig(server.url)))
        cluster.service("cart", "127.0.0.1", port=one.port)
        cluster.ingress("web", "a.test")
        settings = {"sources": [{"type": "kubernetes_ingress", "kubeconfig": "config"}]}
        gate = await stack.enter_async_context(running(settings, folder, only=["http1", "kubernetes"]))
        statuses: list[int] = []

        async def ask() -> None:
            async with await gate.connect() as stream:
                wire = Wire(stream)
                while True:
                    await wire.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                    statuses.append((await wire.answer()).status)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            for upstream in (two, one) * 5:
                seen = len(upstream.requests)
                cluster.move("cart", "127.0.0.1", port=upstream.port)
                await eventually(lambda upstream=upstream, seen=seen: len(upstream.requests) > seen + 5)  # type: ignore[misc]
            tasks.cancel_scope.cancel()
    assert set(statuses) == {200}


async def test_an_ingress_that_is_deleted_is_not_served_on_however_long_a_finalizer_keeps_it() -> None:
    cluster = Cluster()
    cluster.service("cart", "10.0.0.1")
    cluster.ingress("web", "a.test")
    async with gateway(cluster) as published:
        await eventually(lambda: published.routes == ["shop/web:a.test/"])
        kept = cluster.objects[INGRESSES]["shop", "web"]
        metadata = {**kept["metadata"], "deletionTimestamp": "2026-01-02T00:00:00Z", "finalizers": ["example.com/x"]}
        cluster.put(INGRESSES, "shop", "web", **{**kept, "metadata": metadata})
        await eventually(lambda: published.routes == [])
