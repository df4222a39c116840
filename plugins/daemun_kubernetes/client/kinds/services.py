"""Services, and who is behind them."""

from __future__ import annotations

from msgspec import field

from daemun_kubernetes.client.kinds.base import Condition, Kind, Metadata, ObjectReference, Wire

__all__ = [
    "ENDPOINT_SLICE",
    "SERVICE",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSlice",
    "LoadBalancer",
    "LoadBalancerIngress",
    "PortStatus",
    "Service",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SliceEndpoint",
]


class PortStatus(Wire, frozen=True):
    """One port of a load balancer."""

    port: int = 0
    protocol: str = "TCP"
    error: str = ""


class LoadBalancerIngress(Wire, frozen=True):
    """One address of a load balancer: `ip`, or else `hostname`."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str = ""
    ports: tuple[PortStatus, ...] = ()


class LoadBalancer(Wire, frozen=True):
    """Where a load balancer answers."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class ServicePort(Wire, frozen=True):
    """One port of a Service."""

    name: str = ""
    port: int = 0
    protocol: str = "TCP"
    app_protocol: str = ""
    target_port: int | str = 0
    node_port: int = 0


class ServiceSpec(Wire, frozen=True):
    """What a Service is asked to be."""

    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = field(default=(), name="clusterIPs")
    ip_families: tuple[str, ...] = ()
    external_name: str = ""
    external_ips: tuple[str, ...] = field(default=(), name="externalIPs")
    load_balancer_ip: str = field(default="", name="loadBalancerIP")
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    publish_not_ready_addresses: bool = False
    external_traffic_policy: str = ""


class ServiceStatus(Wire, frozen=True):
    """What has become of it."""

    load_balancer: LoadBalancer = LoadBalancer()
    conditions: tuple[Condition, ...] = ()


class Service(Wire, frozen=True):
    """Service, v1."""

    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class EndpointConditions(Wire, frozen=True):
    """What is known of an endpoint; None is to be read as the API says: ready and serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(Wire, frozen=True):
    """One endpoint; its addresses are equivalent."""

    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    node_name: str = ""
    zone: str = ""
    target_ref: ObjectReference = ObjectReference()


class EndpointPort(Wire, frozen=True):
    """One port of all endpoints of a slice; None: all ports."""

    name: str = ""
    port: int | None = None
    protocol: str = "TCP"
    app_protocol: str = ""


class EndpointSlice(Wire, frozen=True):
    """EndpointSlice, discovery.k8s.io/v1. The label `kubernetes.io/service-name` says whose it is."""

    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()


SERVICE = Kind("Service", "v1", "services", Service)
ENDPOINT_SLICE = Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", EndpointSlice)
