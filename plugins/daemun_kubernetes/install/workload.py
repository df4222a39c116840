"""The Deployment: Pods that may do nothing but serve, and that are replaced without a failed request.

How many there are is the autoscaler's, and how many of them may go at once the budget's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.configuration import (
    HEALTH_PATH,
    METRICS_PORT,
    PORTS,
    ROUTES_FOLDER,
    SETTINGS_FILE,
    SETTINGS_FOLDER,
    TLS_FOLDER,
    settings_of,
)
from daemun_kubernetes.install.hardening import TMP_VOLUME, container_security, pod_security, tmp_mount
from daemun_kubernetes.install.plan import Mode, Plan
from daemun_kubernetes.install.render import render

__all__ = ["CONTAINER", "KNATIVE_NAMESPACE", "SETTINGS_DIGEST", "scaling_of", "settings_map", "workload_of"]

CONTAINER = "daemun"
SETTINGS_DIGEST = "daemun.dev/settings-digest"
"""Annotation of Pods: other settings are other Pods, because the settings file is read at start."""
KNATIVE_NAMESPACE = "daemun.dev/knative-namespace"
"""Annotation of the Deployment: where the Knative Serving is that asks it."""


def settings_map(plan: Plan) -> dict[str, Any]:
    """The ConfigMap with the settings file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels},
        "data": {SETTINGS_FILE: render(settings_of(plan))},
    }


def workload_of(plan: Plan) -> dict[str, Any]:
    """The Deployment. With an autoscaler it says no number: that is the autoscaler's, also when applied again."""
    fixed = {} if plan.autoscaled else {"replicas": plan.min_replicas}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": plan.name, "namespace": plan.namespace, "labels": plan.labels, **_told(plan)},
        "spec": {
            **fixed,
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": plan.selector},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
            "template": {"metadata": _pod_metadata(plan), "spec": _pod(plan)},
        },
    }


def _told(plan: Plan) -> dict[str, Any]:
    """What `daemun check --cluster` cannot know from names."""
    return {"annotations": {KNATIVE_NAMESPACE: plan.knative_namespace}} if plan.mode is Mode.KNATIVE else {}


def _pod_metadata(plan: Plan) -> dict[str, Any]:
    digest = hashlib.sha256(render(settings_of(plan)).encode()).hexdigest()
    return {
        "labels": plan.labels,
        "annotations": {
            SETTINGS_DIGEST: digest[:16],
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(METRICS_PORT),
        },
    }


def _pod(plan: Plan) -> dict[str, Any]:
    return {
        "serviceAccountName": plan.name,
        "automountServiceAccountToken": plan.reads_cluster,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        # SIGTERM is the drain hook: the gateway itself accepts on while balancers notice, which needs no program in
        # the image, and no `preStop` that the same seconds would be counted for twice.
        "terminationGracePeriodSeconds": plan.termination_seconds,
        "topologySpreadConstraints": [
            _spread(plan, "topology.kubernetes.io/zone"),
            _spread(plan, "kubernetes.io/hostname"),
        ],
        "containers": [_container(plan)],
        "volumes": _volumes(plan),
    }


def _spread(plan: Plan, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": plan.selector},
    }


def _container(plan: Plan) -> dict[str, Any]:
    ports = [(listener["name"], PORTS[listener["name"]]) for listener in settings_of(plan)["listeners"]]
    probe = {"httpGet": {"path": HEALTH_PATH, "port": "health"}}
    return {
        "name": CONTAINER,
        "image": plan.image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["run", f"{SETTINGS_FOLDER}/{SETTINGS_FILE}"],
        "env": [_from_pod("POD_NAME", "metadata.name"), _from_pod("POD_NAMESPACE", "metadata.namespace")],
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in (*ports, ("metrics", METRICS_PORT))
        ],
        "startupProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 2, "failureThreshold": 300},
        "readinessProbe": {**probe, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**probe, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        # no limit of CPU: it would only slow requests down while the node has nothing else to do
        "resources": {"requests": {"cpu": "250m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": container_security(),
        "volumeMounts": _mounts(plan),
    }


def _from_pod(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _volumes(plan: Plan) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [{"name": "settings", "configMap": {"name": plan.name}}, TMP_VOLUME]
    if plan.mode is Mode.GATEWAY:  # optional: the gateway serves before there are routes, and sees them come
        volumes.append({"name": "routes", "configMap": {"name": plan.routes_name, "optional": True}})
    if plan.tls_secret:
        volumes.append({"name": "tls", "secret": {"secretName": plan.tls_secret, "defaultMode": 0o440}})
    return volumes


def _mounts(plan: Plan) -> list[dict[str, Any]]:
    mounts = [_read_only("settings", SETTINGS_FOLDER), tmp_mount()]
    if plan.mode is Mode.GATEWAY:
        mounts.append(_read_only("routes", ROUTES_FOLDER))
    if plan.tls_secret:
        mounts.append(_read_only("tls", TLS_FOLDER))
    return mounts


def _read_only(volume: str, path: str) -> dict[str, Any]:
    return {"name": volume, "mountPath": path, "readOnly": True}


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
