"""The address that answers, if a Pod is there to: of the load balancer, else a port of a node, else words for what is
missing."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, NODE, SERVICE, Node, Service, ServicePort
from daemun_kubernetes.install.objects import find, selector_of
from daemun_kubernetes.install.plan import DEFAULT_NAMESPACE, INSTANCE_LABEL, OURS
from daemun_kubernetes.install.step import InstallError

__all__ = ["Place", "address_of", "host_of", "namespace_of", "ready_behind"]

_SERVICE_NAME = "kubernetes.io/service-name"
_BEST_FIRST = ("ExternalIP", "ExternalDNS", "InternalIP", "InternalDNS", "Hostname")


class Place(Struct, frozen=True):
    """Where a listener of the gateway is reached from outside the cluster."""

    url: str
    host: str
    port: int
    through: str
    """`load balancer`, `external address` or `node NAME`."""


async def address_of(cluster: Cluster, namespace: str, name: str, listener: str) -> Place:
    """Where the port `listener` of the Service `name` answers. Raises `InstallError` that says what to do."""
    service = await find(cluster, SERVICE, name, namespace)
    if service is None:
        raise InstallError(
            f"there is no Service {name} in namespace {namespace}; `daemun install` makes one, and --name and "
            f"--namespace tell another"
        )
    port = _port(service, listener)
    if not await _may_answer(cluster, namespace, name):
        raise InstallError(
            f"no Pod behind Service {namespace}/{name} is ready, so nothing answers; `daemun check --cluster` says why"
        )
    through_balancer = host_of(service)
    if through_balancer:
        return _place(listener, through_balancer, port.port, "load balancer")
    if service.spec.external_ips:
        return _place(listener, service.spec.external_ips[0], port.port, "external address")
    if port.node_port:
        for node, host in _hosts(await cluster.list(NODE)):
            return _place(listener, host, port.node_port, f"node {node}")
        raise InstallError(f"Service {namespace}/{name} has port {port.node_port} on every node, and no node is ready")
    inside = f"{service.spec.cluster_ip or f'{name}.{namespace}.svc'}:{port.port}"
    wait = "has no address of a load balancer yet and no port of nodes" if _balanced(service) else "has none outside"
    raise InstallError(
        f"Service {namespace}/{name} {wait}: it answers inside the cluster at {inside}; from here after `kubectl "
        f"port-forward -n {namespace} service/{name} 8080:{port.port}`"
    )


async def ready_behind(cluster: Cluster, namespace: str, name: str) -> set[str]:
    """The addresses behind the Service that are ready. Raises `ApiError`."""
    slices = await cluster.list(ENDPOINT_SLICE, namespace, labels=f"{_SERVICE_NAME}={name}")
    return {
        address
        for piece in slices
        for endpoint in piece.endpoints
        if endpoint.conditions.ready is not False
        for address in endpoint.addresses
    }


async def _may_answer(cluster: Cluster, namespace: str, name: str) -> bool:
    """Whether a Pod is ready, or may be: not everybody may look."""
    try:
        return bool(await ready_behind(cluster, namespace, name))
    except ApiError as error:
        if error.status != 403:
            raise
        return True


async def namespace_of(cluster: Cluster, name: str) -> str:
    """Where the gateway `name` is installed; the usual namespace if nobody can tell. Raises `InstallError` if it is in
    more than one."""
    try:
        services = await cluster.list(SERVICE, labels=selector_of({INSTANCE_LABEL: name, **OURS}))
    except ApiError as error:
        if error.status != 403:
            raise
        return DEFAULT_NAMESPACE
    found = sorted(one.metadata.namespace for one in services if one.metadata.name == name)
    if len(found) > 1:
        raise InstallError(f"there is a gateway {name} in each of {', '.join(found)}; accepted: --namespace with one")
    return found[0] if found else DEFAULT_NAMESPACE


def host_of(service: Service) -> str:
    """The host of its load balancer; "": it has none yet."""
    for ingress in service.status.load_balancer.ingress:
        if ingress.ip or ingress.hostname:
            return ingress.ip or ingress.hostname
    return ""


def _balanced(service: Service) -> bool:
    return service.spec.type == "LoadBalancer"


def _port(service: Service, listener: str) -> ServicePort:
    for port in service.spec.ports:
        if port.name == listener:
            return port
    names = ", ".join(port.name or str(port.port) for port in service.spec.ports)
    raise InstallError(f"Service {service.metadata.name} has no port {listener!r} (accepted: {names or 'none'})")


def _hosts(nodes: Iterable[Node]) -> Iterable[tuple[str, str]]:
    """Name and best address of each node that is ready."""
    for node in sorted(nodes, key=lambda one: one.metadata.name):
        if any(one.type == "Ready" and one.status != "True" for one in node.status.conditions):
            continue
        known = {one.type: one.address for one in reversed(node.status.addresses)}
        host = next((known[kind] for kind in _BEST_FIRST if known.get(kind)), "")
        if host:
            yield node.metadata.name, host


def _place(listener: str, host: str, port: int, through: str) -> Place:
    scheme = "https" if listener.endswith("https") else "http"
    shown = f"[{host}]" if ":" in host else host
    return Place(f"{scheme}://{shown}:{port}", host, port, through)
