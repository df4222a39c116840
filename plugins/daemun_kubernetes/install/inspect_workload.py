"""What a check sees of the gateway itself: its Deployment, its Pods, and the one that writes statuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from daemun import Finding, Severity
from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import DEPLOYMENT, LEASE, POD, LeaseSpec, Pod
from daemun_kubernetes.install.objects import find, selector_of
from daemun_kubernetes.install.plan import Plan
from daemun_kubernetes.install.pods import fault_of_pod
from daemun_kubernetes.install.workload import CONTAINER

__all__ = ["inspect_workload"]

_LAST_LINES = 20


async def inspect_workload(cluster: Cluster, plan: Plan) -> AsyncIterator[Finding]:
    """The Deployment, each Pod with a fault, and the Lease."""
    subject = f"Deployment {plan.namespace}/{plan.name}"
    deployment = await cluster.get(DEPLOYMENT, plan.name, plan.namespace)
    ready, wanted = deployment.status.ready_replicas, deployment.spec.replicas
    words = f"{ready} of {wanted} Pods serve"
    if not wanted:
        yield Finding(
            Severity.ERROR, subject, "it is scaled to none", f"kubectl scale -n {plan.namespace} --replicas 2"
        )
    elif not ready:
        yield Finding(Severity.ERROR, subject, words)
    else:
        yield Finding(Severity.FINE if ready >= wanted else Severity.WARNING, subject, words)
    for pod in await cluster.list(POD, plan.namespace, labels=selector_of(plan.selector)):
        fault = fault_of_pod(pod)
        if fault is not None:
            last = await _last_line(cluster, pod) if fault.crashed else ""
            words = fault.words + (f"; the last that it said: {last}" if last else "")
            # a Pod that was evicted stays to be looked at, long after another one took its place
            severity = Severity.WARNING if fault.over and ready >= wanted else Severity.ERROR
            yield Finding(severity, f"Pod {plan.namespace}/{pod.metadata.name}", words, fault.hint)
    if plan.reads_cluster and ready:
        yield await _writer(cluster, plan)


async def _last_line(cluster: Cluster, pod: Pod) -> str:
    """What the container wrote before it ended; "": that cannot be had."""
    path = POD.path(pod.metadata.namespace, pod.metadata.name, "log")
    for previous in ("true", "false"):
        query = {"container": CONTAINER, "tailLines": str(_LAST_LINES), "previous": previous}
        try:
            text = (await cluster.raw("GET", path, query=query, accept="text/plain, */*")).decode(errors="replace")
        except ApiError:
            continue
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return lines[-1]
    return ""


async def _writer(cluster: Cluster, plan: Plan) -> Finding:
    subject = f"Lease {plan.namespace}/{plan.lease_name}"
    hint = "the log of the Pods says why; without it routes are served, and no status tells of them"
    lease = await find(cluster, LEASE, plan.lease_name, plan.namespace)
    if lease is None or not lease.spec.holder_identity:
        return Finding(Severity.WARNING, subject, "no replica writes statuses", hint)
    age = _age_seconds(lease.spec)
    if age > 2 * max(lease.spec.lease_duration_seconds, 1):
        holder = lease.spec.holder_identity
        return Finding(
            Severity.ERROR, subject, f"{holder} was to write statuses, and was last heard {age:,.0f} s ago", hint
        )
    return Finding(Severity.FINE, subject, f"{lease.spec.holder_identity} writes statuses")


def _age_seconds(spec: LeaseSpec) -> float:
    try:
        renewed = datetime.fromisoformat(spec.renew_time)
    except ValueError:
        return 0.0
    return (datetime.now(UTC) - renewed).total_seconds()
