"""Who the gateway is, and its roles: cluster-wide what it reads anywhere, in its own namespace the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from daemun_kubernetes.install.plan import Plan
from daemun_kubernetes.install.rights import Right, rights_of

__all__ = ["access_of"]

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
