"""`daemun check --cluster`: what is wrong with the gateways of a cluster, in plain words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

from daemun import Finding, Severity
from daemun_kubernetes.client.api import Cluster, open_cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import DEPLOYMENT, Deployment
from daemun_kubernetes.install.inspect_exposure import inspect_exposure
from daemun_kubernetes.install.inspect_rights import inspect_rights
from daemun_kubernetes.install.inspect_routes import inspect_routes
from daemun_kubernetes.install.inspect_workload import inspect_workload
from daemun_kubernetes.install.objects import selector_of
from daemun_kubernetes.install.plan import MODE_LABEL, OURS, Mode, Plan
from daemun_kubernetes.install.workload import KNATIVE_NAMESPACE
from daemun_kubernetes.settings import ClusterSettings

__all__ = ["check_cluster", "findings"]

_PARTS: tuple[tuple[str, Callable[[Cluster, Plan], AsyncIterator[Finding]]], ...] = (
    ("Pods", inspect_workload),
    ("rights", inspect_rights),
    ("Services", inspect_exposure),
    ("routes", inspect_routes),
)


class _Version(msgspec.Struct, rename="camel"):
    git_version: str = "of unknown version"


async def check_cluster() -> list[Finding]:
    """The findings about all gateways of the cluster that `$KUBECONFIG`, the Pod or `~/.kube/config` tells.

    Raises `SettingsError` if none is told.
    """
    async with open_cluster(ClusterSettings(), Path.cwd()) as cluster:
        return await findings(cluster)


async def findings(cluster: Cluster, namespace: str = "") -> list[Finding]:
    """What is so in `namespace`, or wherever a gateway was installed, worst first. It changes nothing."""
    subject = f"API server {cluster.server}"
    try:
        version = msgspec.json.decode(await cluster.raw("GET", "/version"), type=_Version)
    except (ApiError, msgspec.DecodeError) as error:
        return [Finding(Severity.ERROR, subject, f"it cannot be asked: {error}", "see the context of your kubeconfig")]
    found = [Finding(Severity.FINE, subject, f"it answers, Kubernetes {version.git_version}")]
    try:
        deployments = await cluster.list(DEPLOYMENT, namespace, labels=selector_of(OURS))
    except ApiError as error:
        return [*found, Finding(Severity.ERROR, "Deployments", f"they cannot be listed: {error}")]
    plans = [plan for deployment in deployments if (plan := _plan_of(deployment))]
    if not plans:
        words = f"nothing is installed in namespace {namespace}" if namespace else "nothing is installed"
        found.append(Finding(Severity.ERROR, "gateway", words, "`daemun install knative`, `ingress` or `gateway`"))
    for plan in plans:
        for part, inspect in _PARTS:
            try:
                found += [finding async for finding in inspect(cluster, plan)]
            except ApiError as error:
                subject = f"{part} of {plan.namespace}/{plan.name}"
                found.append(Finding(Severity.WARNING, subject, f"they cannot be looked at: {error}"))
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))


_ORDER = (Severity.ERROR, Severity.WARNING, Severity.FINE)


def _plan_of(deployment: Deployment) -> Plan | None:
    """The installation that a Deployment is of, as far as its names tell."""
    metadata = deployment.metadata
    try:
        mode = Mode(metadata.labels.get(MODE_LABEL, ""))
    except ValueError:
        return None
    knative = metadata.annotations.get(KNATIVE_NAMESPACE, "knative-serving")
    return Plan(mode, "", namespace=metadata.namespace, name=metadata.name, knative_namespace=knative)
