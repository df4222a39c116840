"""How many gateways there are: an autoscaler, and how many of them may go at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.plan import Plan

__all__ = ["scaling_of"]

_BUSY = "600m"


def scaling_of(plan: Plan) -> Iterator[dict[str, Any]]:
    """The autoscaler, unless the number is fixed, and the disruption budget.

    A gateway with one worker can use one CPU: at 0.6 of it there is to be another. Without metrics in the cluster the
    autoscaler keeps the least number. Pods that do not serve are in no budget: they keep no node from being drained.
    """
    metadata = {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels}
    if plan.autoscaled:
        yield {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata,
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
                "minReplicas": plan.min_replicas,
                "maxReplicas": plan.max_replicas,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": _BUSY}},
                    }
                ],
            },
        }
    yield {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": plan.selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
