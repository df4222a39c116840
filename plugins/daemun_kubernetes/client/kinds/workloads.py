"""What runs, and where: Pods, Deployments, Nodes, Namespaces."""

from __future__ import annotations

from msgspec import field

from daemun_kubernetes.client.kinds.base import Condition, Kind, Metadata, Wire

__all__ = [
    "DEPLOYMENT",
    "NAMESPACE",
    "NODE",
    "POD",
    "Address",
    "Container",
    "ContainerPort",
    "ContainerState",
    "ContainerStatus",
    "Deployment",
    "DeploymentSpec",
    "DeploymentStatus",
    "Namespace",
    "NamespaceStatus",
    "Node",
    "NodeStatus",
    "Pod",
    "PodIp",
    "PodSpec",
    "PodStatus",
]


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
    state: dict[str, ContainerState] = field(default_factory=dict)


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


POD = Kind("Pod", "v1", "pods", Pod)
NAMESPACE = Kind("Namespace", "v1", "namespaces", Namespace, namespaced=False)
NODE = Kind("Node", "v1", "nodes", Node, namespaced=False)
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments", Deployment)
