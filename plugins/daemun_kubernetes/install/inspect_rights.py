"""What a check sees of the gateway's rights: each that it needs is asked for in its name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from daemun import Finding, Severity
from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import Kind, Metadata, Wire
from daemun_kubernetes.install.plan import Plan
from daemun_kubernetes.install.rights import Right, rights_of

__all__ = ["ACCESS_REVIEW", "AccessReview", "inspect_rights"]


class _Verdict(Wire, frozen=True):
    allowed: bool = False


class AccessReview(Wire, frozen=True):
    """SubjectAccessReview, authorization.k8s.io/v1, as it is answered."""

    metadata: Metadata = Metadata()
    status: _Verdict = _Verdict()


ACCESS_REVIEW = Kind(
    "SubjectAccessReview", "authorization.k8s.io/v1", "subjectaccessreviews", AccessReview, namespaced=False
)


async def inspect_rights(cluster: Cluster, plan: Plan) -> AsyncIterator[Finding]:
    """Each right that is missing; one finding if none is. Raises `ApiError` if who asks may not know."""
    subject = f"ServiceAccount {plan.namespace}/{plan.name}"
    rights = rights_of(plan)
    missing = False
    for right in rights:
        refused = [verb for verb in right.verbs if not await _may(cluster, plan, right, verb)]
        if refused:
            missing = True
            where = f" in {plan.namespace}" if right.where == "own" else ""
            what = f"{right.resource}.{right.group}" if right.group else right.resource
            words = f"it may not {', '.join(refused)} {what}{where}, which it needs {right.why}"
            yield Finding(
                Severity.ERROR, subject, words, f"`{plan.command}` with the options from before grants it again"
            )
    if rights and not missing:
        yield Finding(Severity.FINE, subject, "it has every right that it needs")


async def _may(cluster: Cluster, plan: Plan, right: Right, verb: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    attributes: dict[str, Any] = {"verb": verb, "group": right.group, "resource": resource, "subresource": subresource}
    if right.where == "own":
        attributes |= {"namespace": plan.namespace, "name": right.names[0] if right.names else ""}
    user = f"system:serviceaccount:{plan.namespace}:{plan.name}"
    review = await cluster.create(
        ACCESS_REVIEW,
        {
            "apiVersion": ACCESS_REVIEW.api_version,
            "kind": ACCESS_REVIEW.kind,
            "spec": {"user": user, "resourceAttributes": attributes},
        },
    )
    return review.status.allowed
