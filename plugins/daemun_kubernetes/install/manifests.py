"""All manifests of a plan, in the order in which they can be applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.access import access_of
from daemun_kubernetes.install.exposure import exposure_of
from daemun_kubernetes.install.knative_job import class_job, class_words
from daemun_kubernetes.install.plan import OURS, Mode, Plan
from daemun_kubernetes.install.render import render_all
from daemun_kubernetes.install.scaling import scaling_of
from daemun_kubernetes.install.workload import settings_map, workload_of

__all__ = ["manifests_of", "stream_of"]

_NOT_OURS = ("default", "kube-system", "kube-public", "kube-node-lease")


def manifests_of(plan: Plan) -> tuple[dict[str, Any], ...]:
    """Every object that belongs to the installation."""
    return tuple(_manifests(plan))


def _manifests(plan: Plan) -> Iterator[dict[str, Any]]:
    if plan.namespace not in _NOT_OURS:
        labels = {"app.kubernetes.io/name": "daemun", **OURS}
        yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plan.namespace, "labels": labels}}
    yield from access_of(plan)
    yield settings_map(plan)
    yield workload_of(plan)
    yield from exposure_of(plan)
    yield from scaling_of(plan)


def stream_of(plan: Plan, *, config_network: bool = True) -> str:
    """The same as YAML for `kubectl apply -f -`; for Knative with a Job that sets its class from inside the cluster."""
    documents = [(manifest, "") for manifest in manifests_of(plan)]
    if plan.mode is Mode.KNATIVE and config_network:
        first, *rest = class_job(plan)
        documents += [(first, class_words(plan)), *((manifest, "") for manifest in rest)]
    return render_all(documents)
