"""`daemun proxy url`: the load balancer, else a port of a node, else what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, NODE, SERVICE
from daemun_kubernetes.install.address import Place, address_of, namespace_of
from daemun_kubernetes.install.plan import INSTANCE_LABEL, OURS
from daemun_kubernetes.install.step import InstallError

from .cluster_store import ClusterStore, cluster_of

pytestmark = pytest.mark.anyio

PORTS = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "https", "port": 443, "nodePort": 30443}]
NO_NODE_PORTS = [{"name": "http", "port": 80}]


def service(store: ClusterStore, *ingress: dict[str, str], ready: bool = True, **spec: Any) -> None:
    status = {"loadBalancer": {"ingress": list(ingress)}}
    store.put(SERVICE.path(), "edge", "front", spec={"ports": PORTS, **spec}, status=status)
    endpoint = {"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}
    chosen = {"labels": {"kubernetes.io/service-name": "front"}}
    store.put(ENDPOINT_SLICE.path(), "edge", "front-1", metadata=chosen, endpoints=[endpoint])


def node(store: ClusterStore, name: str, ready: str = "True", **addresses: str) -> None:
    status = {
        "addresses": [{"type": kind, "address": address} for kind, address in addresses.items()],
        "conditions": [{"type": "Ready", "status": ready}],
    }
    store.put(NODE.path(), "", name, status=status)


async def refusal(store: ClusterStore, folder: Path, listener: str = "http") -> str:
    async with cluster_of(store, folder) as cluster:
        with pytest.raises(InstallError) as caught:
            await address_of(cluster, "edge", "front", listener)
    return str(caught.value)


async def place(store: ClusterStore, folder: Path, listener: str = "http") -> Place:
    async with cluster_of(store, folder) as cluster:
        return await address_of(cluster, "edge", "front", listener)


@pytest.mark.parametrize(
    ("ingress", "listener", "url"),
    [
        ({"ip": "192.0.2.1"}, "http", "http://192.0.2.1:80"),
        ({"ip": "192.0.2.1"}, "https", "https://192.0.2.1:443"),
        ({"ip": "2001:db8::1"}, "http", "http://[2001:db8::1]:80"),
        ({"hostname": "lb.test"}, "http", "http://lb.test:80"),
    ],
)
async def test_a_load_balancer(ingress: dict[str, str], listener: str, url: str, tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, ingress, type="LoadBalancer")
    found = await place(store, tmp_path, listener)
    assert (found.url, found.through) == (url, "load balancer")
    assert f":{found.port}" in url


async def test_an_address_that_the_service_was_given(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, externalIPs=["192.0.2.7"])
    assert (await place(store, tmp_path)).url == "http://192.0.2.7:80"


async def test_a_port_of_the_first_node_that_is_ready_on_its_outermost_address(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, type="LoadBalancer")
    node(store, "a", ready="False", ExternalIP="192.0.2.2")
    node(store, "c", InternalIP="192.0.2.5")
    node(store, "b", Hostname="b", InternalIP="192.0.2.3", ExternalIP="192.0.2.4")
    found = await place(store, tmp_path, "https")
    assert found == Place("https://192.0.2.4:30443", "192.0.2.4", 30443, "node b")


async def test_no_node_is_ready(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, type="NodePort")
    node(store, "a", ready="Unknown", ExternalIP="192.0.2.2")
    assert "has port 30080 on every node, and no node is ready" in await refusal(store, tmp_path)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("LoadBalancer", "has no address of a load balancer yet and no port of nodes"), ("ClusterIP", "has none outside")],
)
async def test_inside_the_cluster_only(kind: str, words: str, tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, type=kind, clusterIP="10.0.0.1", ports=NO_NODE_PORTS)
    said = await refusal(store, tmp_path)
    assert words in said
    assert "inside the cluster at 10.0.0.1:80" in said
    assert "kubectl port-forward -n edge service/front 8080:80" in said


async def test_nothing_answers_where_no_pod_is_ready(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, {"ip": "192.0.2.1"}, ready=False, type="LoadBalancer")
    words = "no Pod behind Service edge/front is ready, so nothing answers; `daemun check --cluster` says why"
    assert await refusal(store, tmp_path) == words
    store.remove(ENDPOINT_SLICE.path(), "edge", "front-1")
    assert await refusal(store, tmp_path) == words


async def test_who_may_not_look_at_endpoints_is_told_the_address(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store, {"ip": "192.0.2.1"}, ready=False)
    store.closed.add("/endpointslices")
    assert (await place(store, tmp_path)).url == "http://192.0.2.1:80"


async def test_a_listener_that_is_no_port(tmp_path: Path) -> None:
    store = ClusterStore()
    service(store)
    assert "no port 'htttp' (accepted: http, https)" in await refusal(store, tmp_path, "htttp")


@pytest.mark.parametrize(
    ("spaces", "closed", "found"),
    [(["edge"], False, "edge"), ([], False, "daemun-system"), (["edge"], True, "daemun-system")],
    ids=["installed", "unknown", "not to be listed"],
)
async def test_where_the_gateway_is(spaces: list[str], closed: bool, found: str, tmp_path: Path) -> None:
    store = installed_in(*spaces)
    store.closed |= {"/services"} if closed else set()
    async with cluster_of(store, tmp_path) as cluster:
        assert await namespace_of(cluster, "front") == found


async def test_gateways_of_one_name_in_two_namespaces(tmp_path: Path) -> None:
    async with cluster_of(installed_in("b", "a"), tmp_path) as cluster:
        with pytest.raises(InstallError, match="a gateway front in each of a, b; accepted: --namespace with one"):
            await namespace_of(cluster, "front")


def installed_in(*spaces: str) -> ClusterStore:
    store = ClusterStore()
    for name, labels in (("front", {**OURS, INSTANCE_LABEL: "front"}), ("front", {}), ("other", {**OURS})):
        for space in spaces:
            place_of = space if labels.get(INSTANCE_LABEL) else f"not-{space}"
            store.put(SERVICE.path(), place_of, name, metadata={"labels": labels})
    return store


async def test_no_service(tmp_path: Path) -> None:
    said = await refusal(ClusterStore(), tmp_path)
    assert "there is no Service front in namespace edge; `daemun install` makes one" in said
