"""The kinds that are installed, as far as it takes to find them, to tell whose they are, and to remove them."""

from __future__ import annotations

from typing import Any

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import (
    CONFIG_MAP,
    DEPLOYMENT,
    INGRESS_CLASS,
    LEASE,
    NAMESPACE,
    SERVICE,
    Kind,
    KubeObject,
    Metadata,
    Namespace,
    Wire,
)
from daemun_kubernetes.client.kinds.base import T
from daemun_kubernetes.install.plan import OURS

__all__ = ["JOB", "KINDS", "Bare", "find", "find_namespace", "is_ours", "selector_of", "words_of"]


class Bare(Wire, frozen=True):
    """An object of which only the metadata matter."""

    metadata: Metadata


_RBAC = "rbac.authorization.k8s.io/v1"
JOB = Kind("Job", "batch/v1", "jobs", Bare)
_ALL: tuple[Kind[Any], ...] = (
    NAMESPACE,
    CONFIG_MAP,
    DEPLOYMENT,
    SERVICE,
    INGRESS_CLASS,
    LEASE,
    JOB,
    Kind("ServiceAccount", "v1", "serviceaccounts", Bare),
    Kind("ClusterRole", _RBAC, "clusterroles", Bare, namespaced=False),
    Kind("ClusterRoleBinding", _RBAC, "clusterrolebindings", Bare, namespaced=False),
    Kind("Role", _RBAC, "roles", Bare),
    Kind("RoleBinding", _RBAC, "rolebindings", Bare),
    Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers", Bare),
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", Bare),
)
KINDS: dict[str, Kind[Any]] = {kind.kind: kind for kind in _ALL}
"""Every kind of manifest, by name."""


async def find(cluster: Cluster, kind: Kind[T], name: str, namespace: str = "") -> T | None:
    """The object, or None if there is none. Raises `ApiError` for all that is not an answer."""
    try:
        return await cluster.get(kind, name, namespace)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def find_namespace(cluster: Cluster, name: str) -> Namespace | None:
    """The namespace; one without labels for who may use it and not look at it. Raises `ApiError`."""
    try:
        return await find(cluster, NAMESPACE, name)
    except ApiError as error:
        if error.status == 403:
            return Namespace(metadata=Metadata(name=name))
        raise


def is_ours(thing: KubeObject) -> bool:
    """Whether it was installed by us."""
    return OURS.items() <= thing.metadata.labels.items()


def selector_of(labels: dict[str, str]) -> str:
    """A label selector for what has all of `labels`."""
    return ",".join(f"{key}={value}" for key, value in labels.items())


def words_of(kind: str, metadata: dict[str, Any]) -> str:
    """An object for people: `Deployment daemun-system/daemun`."""
    namespace = metadata.get("namespace", "")
    return f"{kind} {namespace}/{metadata['name']}" if namespace else f"{kind} {metadata['name']}"
