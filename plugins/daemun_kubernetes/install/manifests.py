"""All manifests of a plan, in the order in which they can be applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.exposure import exposure_of
from daemun_kubernetes.install.knative import class_job, class_words
from daemun_kubernetes.install.plan import OURS, Mode, Plan
from daemun_kubernetes.install.render import render_all
from daemun_kubernetes.install.rights import access_of
from daemun_kubernetes.install.workload import scaling_of, settings_map, workload_of

__all__ = ["manifests_of", "namespace_of", "stream_of"]


def manifests_of(plan: Plan) -> tuple[dict[str, Any], ...]:
    """Every object that belongs to the installation."""
    return tuple(_manifests(plan))


def _manifests(plan: Plan) -> Iterator[dict[str, Any]]:
    if plan.own_namespace:
        yield namespace_of(plan)
    yield from access_of(plan)
    yield settings_map(plan)
    yield workload_of(plan)
    yield from exposure_of(plan)
    yield from scaling_of(plan)


def namespace_of(plan: Plan) -> dict[str, Any]:
    """The namespace. Of the manifests it is one only if nothing but gateways is in it: `kubectl apply` would make any
    other ours, and `kubectl delete -f` take all that it holds."""
    labels = {"app.kubernetes.io/name": "daemun", **OURS}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plan.namespace, "labels": labels}}


def stream_of(plan: Plan, *, config_network: bool = True) -> str:
    """The same as YAML for `kubectl apply -f -`; for Knative with a Job that sets its class from inside the cluster."""
    first, *rest = manifests_of(plan)
    documents = [(first, "" if plan.own_namespace else _namespace_words(plan)), *((one, "") for one in rest)]
    if plan.mode is Mode.KNATIVE and config_network:
        first, *rest = class_job(plan)
        documents += [(first, class_words(plan)), *((one, "") for one in rest)]
    return render_all(documents)


def _namespace_words(plan: Plan) -> str:
    if plan.beside_knative:
        return f"This goes beside Knative Serving, into its namespace {plan.namespace}."
    return f"The namespace must be there:\n  kubectl create namespace {plan.namespace}"
