"""What the gateway may do in the API server: a table, against which rights are checked, and the roles made of it:
cluster-wide what it reads anywhere, in its own namespace the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct

from daemun_kubernetes.install.plan import Mode, Plan

__all__ = ["Right", "access_of", "rights_of"]

_WATCH = ("list", "watch")


class Right(Struct, frozen=True):
    """Verbs on one resource."""

    group: str
    """API group; "": the core's."""
    resource: str
    """Plural, with a subresource as in `ingresses/status`."""
    verbs: tuple[str, ...]
    why: str
    """What the gateway needs it for, for people."""
    where: Literal["cluster", "own"] = "cluster"
    """In every namespace, or in the gateway's own."""
    names: tuple[str, ...] = ()
    """Of the objects; empty: all. What is created has no name yet for RBAC."""


_BACK_ENDS = (
    Right("", "services", _WATCH, "to find the ports of back ends"),
    Right("discovery.k8s.io", "endpointslices", _WATCH, "to find the addresses of back ends"),
    Right("", "secrets", _WATCH, "to read the certificates that objects refer to"),
)
_KINGRESSES = (
    Right("networking.internal.knative.dev", "ingresses", _WATCH, "to read KIngresses"),
    Right("networking.internal.knative.dev", "ingresses", ("patch",), "to let go those that are deleted"),
    Right("networking.internal.knative.dev", "ingresses/status", ("patch",), "to say what is ready"),
)
_INGRESSES = (
    Right("networking.k8s.io", "ingresses", _WATCH, "to read Ingresses"),
    Right("networking.k8s.io", "ingressclasses", _WATCH, "to know which Ingresses are meant"),
    Right("networking.k8s.io", "ingresses/status", ("patch",), "to publish the gateway's address"),
    Right("", "events", ("create", "patch"), "to say at an object what is wrong with it"),
)


def rights_of(plan: Plan) -> tuple[Right, ...]:
    """All that the gateway asks the API server for; nothing where its routes come from files."""
    if plan.mode is Mode.GATEWAY:
        return ()
    return (*(_KINGRESSES if plan.mode is Mode.KNATIVE else _INGRESSES), *_BACK_ENDS, *_one_writes(plan))


def _one_writes(plan: Plan) -> tuple[Right, ...]:
    why = "to agree on which replica writes statuses"
    return (
        Right("coordination.k8s.io", "leases", ("create",), why, "own"),
        Right("coordination.k8s.io", "leases", ("get", "update"), why, "own", (plan.lease_name,)),
    )


_GROUP = "rbac.authorization.k8s.io"


def access_of(plan: Plan) -> Iterator[dict[str, Any]]:
    """The ServiceAccount, and the roles with their bindings; none where the gateway asks the API server nothing."""
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels},
        "automountServiceAccountToken": False,
    }
    everywhere = [right for right in rights_of(plan) if right.where == "cluster"]
    if everywhere:
        yield _role("ClusterRole", {"name": plan.cluster_name}, plan, everywhere)
        yield _binding("ClusterRole", {"name": plan.cluster_name}, plan)
    own = [right for right in rights_of(plan) if right.where == "own"]
    if own:
        metadata = {"name": plan.name, "namespace": plan.namespace}
        yield _role("Role", metadata, plan, own)
        yield _binding("Role", metadata, plan)


def _role(kind: str, metadata: dict[str, str], plan: Plan, rights: Iterable[Right]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": kind,
        "metadata": {**metadata, "labels": plan.labels},
        "rules": [_rule(right) for right in rights],
    }


def _rule(right: Right) -> dict[str, Any]:
    named = {"resourceNames": list(right.names)} if right.names else {}
    return {"apiGroups": [right.group], "resources": [right.resource], **named, "verbs": list(right.verbs)}


def _binding(kind: str, metadata: dict[str, str], plan: Plan) -> dict[str, Any]:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": f"{kind}Binding",
        "metadata": {**metadata, "labels": plan.labels},
        "roleRef": {"apiGroup": _GROUP, "kind": kind, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": plan.name, "namespace": plan.namespace}],
    }
