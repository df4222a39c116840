"""What is read from and written to a cluster: kinds and their objects, as far as somebody here needs their fields.

Fields have the names of the API in our spelling (`cluster_ip` is `clusterIP`). What is not modelled is skipped; what is
null is as if it were not there: Go writes `null` for a list without items.
"""

from __future__ import annotations

from functools import cache
from typing import Generic, Protocol, TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec import field
from msgspec.json import Decoder

from daemun_kubernetes.client.nulls import without_nulls

__all__ = [
    "CONFIG_MAP",
    "DEPLOYMENT",
    "ENDPOINT_SLICE",
    "EVENT",
    "INGRESS",
    "INGRESS_CLASS",
    "LEASE",
    "NAMESPACE",
    "NODE",
    "POD",
    "SECRET",
    "SERVICE",
    "Address",
    "Condition",
    "ConfigMap",
    "Container",
    "ContainerPort",
    "ContainerState",
    "ContainerStatus",
    "Deployment",
    "DeploymentSpec",
    "DeploymentStatus",
    "EndpointConditions",
    "EndpointPort",
    "EndpointSlice",
    "Event",
    "EventSource",
    "HttpIngressPath",
    "HttpIngressRule",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressClassParameters",
    "IngressClassSpec",
    "IngressRule",
    "IngressServiceBackend",
    "IngressSpec",
    "IngressStatus",
    "IngressTls",
    "Kind",
    "KubeObject",
    "Lease",
    "LeaseSpec",
    "LoadBalancer",
    "LoadBalancerIngress",
    "LocalReference",
    "Metadata",
    "Namespace",
    "NamespaceStatus",
    "Node",
    "NodeStatus",
    "ObjectReference",
    "OwnerReference",
    "Pod",
    "PodIp",
    "PodSpec",
    "PodStatus",
    "PortStatus",
    "Secret",
    "Service",
    "ServiceBackendPort",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SliceEndpoint",
    "Wire",
]


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all: camel case in JSON, and nothing said that is a default."""


class OwnerReference(Wire, frozen=True):
    """Whose child an object is."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class Metadata(Wire, frozen=True):
    """What every object has. Times are RFC 3339; "" where there is none."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()


class KubeObject(Protocol):
    """What is kept in a cluster: any struct with `metadata`."""

    @property
    def metadata(self) -> Metadata: ...


T = TypeVar("T", bound=KubeObject)


class Kind(msgspec.Struct, Generic[T], frozen=True):
    """A kind of object: `Kind("Lease", "coordination.k8s.io/v1", "leases", Lease)`."""

    kind: str
    api_version: str
    plural: str
    type: type[T]
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; "" for the core."""
        return self.api_version.rpartition("/")[0]

    @property
    def resource(self) -> str:
        """Its name in rules of RBAC and for kubectl: `leases.coordination.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Where the API server has it; without `name` the collection, without `namespace` of all namespaces."""
        parts = ["apis" if self.group else "api", self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)

    def decode(self, data: bytes | msgspec.Raw) -> T:
        """The object that `data` is the JSON of. Raises `msgspec.DecodeError` that names the place."""
        try:
            return cast("Decoder[T]", _decoder(self.type)).decode(data)
        except msgspec.ValidationError:  # perhaps only for a null
            return msgspec.convert(without_nulls(msgspec.json.decode(data)), self.type)


@cache
def _decoder(kind: type[T]) -> Decoder[T]:
    return Decoder(kind)


class Condition(Wire, frozen=True):
    """One thing that is so, is not so, or is unknown."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class ObjectReference(Wire, frozen=True):
    """Another object."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


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
    selector: dict[str, str] = {}
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


class Secret(Wire, frozen=True):
    """Secret, v1. What it holds is not shown by `repr`."""

    metadata: Metadata
    type: str = "Opaque"
    data: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name}: {', '.join(sorted(self.data))})"


class ConfigMap(Wire, frozen=True):
    """ConfigMap, v1."""

    metadata: Metadata
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}


class LeaseSpec(Wire, frozen=True):
    """Who holds a Lease, and for how long."""

    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0
    strategy: str = ""
    preferred_holder: str = ""


class Lease(Wire, frozen=True):
    """Lease, coordination.k8s.io/v1; complete."""

    metadata: Metadata
    spec: LeaseSpec = LeaseSpec()


class ContainerPort(Wire, frozen=True):
    """One port of a container."""

    name: str = ""
    container_port: int = 0
    protocol: str = "TCP"


class Container(Wire, frozen=True):
    """One container of a Pod."""

    name: str = ""
    image: str = ""
    ports: tuple[ContainerPort, ...] = ()


class PodSpec(Wire, frozen=True):
    """What a Pod is asked to be."""

    node_name: str = ""
    host_network: bool = False
    service_account_name: str = ""
    containers: tuple[Container, ...] = ()


class PodIp(Wire, frozen=True):
    """One address of a Pod."""

    ip: str = ""


class ContainerState(Wire, frozen=True):
    """Why a container does not run."""

    reason: str = ""
    message: str = ""
    exit_code: int = 0


class ContainerStatus(Wire, frozen=True):
    """What has become of one container; `state` has one of `waiting`, `running`, `terminated`."""

    name: str = ""
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    state: dict[str, ContainerState] = {}


class PodStatus(Wire, frozen=True):
    """What has become of it."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    host_ip: str = field(default="", name="hostIP")
    pod_ip: str = field(default="", name="podIP")
    pod_ips: tuple[PodIp, ...] = field(default=(), name="podIPs")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(Wire, frozen=True):
    """Pod, v1."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class NamespaceStatus(Wire, frozen=True):
    """`Active` or `Terminating`."""

    phase: str = ""


class Namespace(Wire, frozen=True):
    """Namespace, v1."""

    metadata: Metadata
    status: NamespaceStatus = NamespaceStatus()


class Address(Wire, frozen=True):
    """One address of a node; `type` is `InternalIP`, `ExternalIP`, `Hostname` …"""

    type: str = ""
    address: str = ""


class NodeStatus(Wire, frozen=True):
    """Where a node is, and how it fares."""

    addresses: tuple[Address, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Node(Wire, frozen=True):
    """Node, v1."""

    metadata: Metadata
    status: NodeStatus = NodeStatus()


class DeploymentSpec(Wire, frozen=True):
    """What a Deployment is asked to be."""

    replicas: int = 1


class DeploymentStatus(Wire, frozen=True):
    """What has become of it."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(Wire, frozen=True):
    """Deployment, apps/v1."""

    metadata: Metadata
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ServiceBackendPort(Wire, frozen=True):
    """A port of a Service, by name or by number."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Wire, frozen=True):
    """A Service in the Ingress's own namespace."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class LocalReference(Wire, frozen=True):
    """An object in the same namespace."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class IngressBackend(Wire, frozen=True):
    """Where requests go: a Service, or else an object of some other kind."""

    service: IngressServiceBackend | None = None
    resource: LocalReference | None = None


class HttpIngressPath(Wire, frozen=True):
    """One path of a rule; `path_type` is `Exact`, `Prefix` or `ImplementationSpecific`."""

    path: str = ""
    path_type: str = ""
    backend: IngressBackend = IngressBackend()


class HttpIngressRule(Wire, frozen=True):
    """The paths of a rule."""

    paths: tuple[HttpIngressPath, ...] = ()


class IngressRule(Wire, frozen=True):
    """What is done for one host; without `http` all of it goes to the default back end."""

    host: str = ""
    http: HttpIngressRule | None = None


class IngressTls(Wire, frozen=True):
    """The hosts that a Secret has the certificate of."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Wire, frozen=True):
    """What an Ingress asks for."""

    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTls, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class IngressStatus(Wire, frozen=True):
    """Where it is served."""

    load_balancer: LoadBalancer = LoadBalancer()


class Ingress(Wire, frozen=True):
    """Ingress, networking.k8s.io/v1; complete."""

    metadata: Metadata
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParameters(Wire, frozen=True):
    """An object with more settings of a class."""

    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    scope: str = ""


class IngressClassSpec(Wire, frozen=True):
    """Who serves a class."""

    controller: str = ""
    parameters: IngressClassParameters | None = None


class IngressClass(Wire, frozen=True):
    """IngressClass, networking.k8s.io/v1."""

    metadata: Metadata
    spec: IngressClassSpec = IngressClassSpec()


class EventSource(Wire, frozen=True):
    """Who saw it."""

    component: str = ""
    host: str = ""


class Event(Wire, frozen=True):
    """Event, v1: something that happened to another object."""

    metadata: Metadata
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    first_timestamp: str = ""
    last_timestamp: str = ""
    source: EventSource = EventSource()
    reporting_component: str = ""
    reporting_instance: str = ""


SERVICE = Kind("Service", "v1", "services", Service)
ENDPOINT_SLICE = Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", EndpointSlice)
SECRET = Kind("Secret", "v1", "secrets", Secret)
CONFIG_MAP = Kind("ConfigMap", "v1", "configmaps", ConfigMap)
LEASE = Kind("Lease", "coordination.k8s.io/v1", "leases", Lease)
POD = Kind("Pod", "v1", "pods", Pod)
NAMESPACE = Kind("Namespace", "v1", "namespaces", Namespace, namespaced=False)
NODE = Kind("Node", "v1", "nodes", Node, namespaced=False)
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments", Deployment)
INGRESS = Kind("Ingress", "networking.k8s.io/v1", "ingresses", Ingress)
INGRESS_CLASS = Kind("IngressClass", "networking.k8s.io/v1", "ingressclasses", IngressClass, namespaced=False)
EVENT = Kind("Event", "v1", "events", Event)
