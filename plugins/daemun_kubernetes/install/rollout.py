"""Waiting until the Pods of a Deployment serve what was applied, with a line whenever something moves."""

from __future__ import annotations

import anyio

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import DEPLOYMENT, POD, Deployment
from daemun_kubernetes.install.objects import selector_of
from daemun_kubernetes.install.plan import Plan
from daemun_kubernetes.install.pods import fault_of_pod
from daemun_kubernetes.install.step import InstallError, Say, Step

__all__ = ["is_rolled_out", "wait_for_rollout"]

_POLL_SECONDS = 0.5


def is_rolled_out(deployment: Deployment) -> bool:
    """Whether all Pods are of the newest template, and available, and no older one is left."""
    status, wanted = deployment.status, deployment.spec.replicas
    return (
        status.observed_generation >= deployment.metadata.generation
        and status.updated_replicas == status.available_replicas == status.replicas == wanted
    )


async def wait_for_rollout(cluster: Cluster, plan: Plan, say: Say, *, timeout_seconds: float) -> None:
    """Returns when the Deployment of `plan` is rolled out. Raises `InstallError` with what is wrong if it takes
    longer."""
    thing = f"Deployment {plan.namespace}/{plan.name}"
    told = ""
    with anyio.move_on_after(timeout_seconds):
        while True:
            deployment = await cluster.get(DEPLOYMENT, plan.name, plan.namespace)
            if is_rolled_out(deployment):
                say(Step("ready", thing, f"{deployment.spec.replicas} of {deployment.spec.replicas}"))
                return
            words = _progress(deployment)
            if words != told:
                say(Step("waiting", thing, words))
                told = words
            await anyio.sleep(_POLL_SECONDS)
    why = await _why_not(cluster, plan)
    raise InstallError(
        f"{thing} is not ready after {timeout_seconds:g} s ({told}): {why}; `daemun check --cluster` tells more"
    )


async def _why_not(cluster: Cluster, plan: Plan) -> str:
    try:
        pods = await cluster.list(POD, plan.namespace, labels=selector_of(plan.selector))
    except ApiError as error:
        if error.status != 403:
            raise
        pods = []
    faults = (fault_of_pod(pod) for pod in pods)
    return next((fault.words for fault in faults if fault is not None), "no Pod says why")


def _progress(deployment: Deployment) -> str:
    status = deployment.status
    if status.observed_generation < deployment.metadata.generation:
        return "not seen by its controller yet"
    for condition in status.conditions:
        if condition.type == "ReplicaFailure" and condition.status == "True":
            return condition.message
    new = min(status.updated_replicas, status.available_replicas)
    old = status.replicas - status.updated_replicas
    return f"{new} of {deployment.spec.replicas}" + (f", {old} of before left" if old > 0 else "")
