"""`config-network`: the one key by which Knative Serving asks this gateway and no other.

The ConfigMap is Knative's, so the key is written by a merge patch, which keeps all others, and the class from before is
remembered in an annotation to be put back. No form of `kubectl apply` of a ConfigMap with one key would do: it takes
away the keys that it had applied before, and the next apply of Knative's own manifests takes away ours.

Where manifests are applied by somebody else, a Job sets it: the same patch, run inside the cluster once the gateway
serves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.hardening import TMP_VOLUME, container_security, pod_security, tmp_mount
from daemun_kubernetes.install.plan import KNATIVE_CLASS, OURS, Plan
from daemun_kubernetes.install.render import render

__all__ = [
    "CLASS_KEY",
    "CONFIG_NETWORK",
    "PREVIOUS",
    "class_job",
    "class_patch",
    "class_words",
    "give_back_patch",
    "job_labels",
    "job_name",
]

CONFIG_NETWORK = "config-network"
CLASS_KEY = "ingress-class"
PREVIOUS = "daemun.dev/previous-ingress-class"
"""Annotation with the class that was asked before; "": none was named."""


def class_patch(data: dict[str, str]) -> dict[str, Any] | None:
    """What makes the ConfigMap with `data` ask this gateway; None: it does."""
    before = data.get(CLASS_KEY, "")
    if before == KNATIVE_CLASS:
        return None
    return {"metadata": {"annotations": {PREVIOUS: before}}, "data": {CLASS_KEY: KNATIVE_CLASS}}


def give_back_patch(annotations: dict[str, str]) -> dict[str, Any]:
    """What undoes it, where `PREVIOUS` is among the annotations."""
    return {"metadata": {"annotations": {PREVIOUS: None}}, "data": {CLASS_KEY: annotations[PREVIOUS] or None}}


_RBAC = "rbac.authorization.k8s.io"
_ATTEMPTS = 6
_KEPT_SECONDS = 3600
"""For who looks at what it said. Gone, the next apply of the same manifests makes it again."""


def class_words(plan: Plan) -> str:
    """What a person who reads the manifests should know of the Job."""
    patch = f'{{"data":{{"{CLASS_KEY}":"{KNATIVE_CLASS}"}}}}'
    return (
        f"The rest tells Knative Serving to ask this gateway, once it serves. It is a Job and no ConfigMap "
        f"{CONFIG_NETWORK},\nbecause `kubectl apply` of one would take away keys that Knative's own manifests brought. "
        f"It does the same as:\n"
        f"  kubectl patch configmap {CONFIG_NETWORK} -n {plan.knative_namespace} --type merge -p '{patch}'\n"
        f"Left out by --config-network no."
    )


def class_job(plan: Plan) -> Iterator[dict[str, Any]]:
    """An account that may change that ConfigMap, and see whether the gateway serves, and the Job."""
    name, labels = job_name(plan), job_labels(plan)
    yield {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": name, "namespace": plan.namespace, "labels": labels},
        "automountServiceAccountToken": False,
    }
    config = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [CONFIG_NETWORK]}
    yield from _role(plan, plan.cluster_name, plan.knative_namespace, {**config, "verbs": ["get", "patch"]})
    gateway = {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": [plan.name]}
    yield from _role(plan, name, plan.namespace, {**gateway, "verbs": ["get"]})
    yield _job(plan)


def _role(plan: Plan, name: str, namespace: str, rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A right of the Job's account."""
    metadata = {"name": name, "namespace": namespace, "labels": job_labels(plan)}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": job_name(plan), "namespace": plan.namespace}],
    }


def job_name(plan: Plan) -> str:
    """Of the account, and what the Job's name begins with."""
    return f"{plan.name}-config-network"


def job_labels(plan: Plan) -> dict[str, str]:
    """Labels of the Job and all that it needs. Its Pods are no gateways: no Service and no budget means them."""
    return {
        "app.kubernetes.io/name": "daemun-config-network",
        "app.kubernetes.io/instance": plan.name,
        **OURS,
    }


def _job(plan: Plan) -> dict[str, Any]:
    labels = job_labels(plan)
    spec = {
        "backoffLimit": _ATTEMPTS,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "serviceAccountName": job_name(plan),
                "automountServiceAccountToken": True,
                "enableServiceLinks": False,
                "restartPolicy": "Never",
                "securityContext": pod_security(),
                "containers": [
                    {
                        "name": "config-network",
                        "image": plan.image,
                        "imagePullPolicy": "IfNotPresent",
                        "args": [
                            *("install", "knative", "--config-network", "only"),
                            *("--name", plan.name, "--namespace", plan.namespace),
                            *("--knative-namespace", plan.knative_namespace),
                        ],
                        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
                        "securityContext": container_security(),
                        "volumeMounts": [tmp_mount()],
                    }
                ],
                "volumes": [TMP_VOLUME],
            },
        },
    }
    # a Job cannot be changed: another one is another name, and the same one is the same name
    digest = hashlib.sha256(render(spec).encode()).hexdigest()[:8]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{job_name(plan)}-{digest}", "namespace": plan.namespace, "labels": labels},
        "spec": spec,
    }
