"""Knative Serving in the cluster, and the Service of the article on it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from daemun.testing.program import soon

from . import build
from .cluster import Cluster
from .implementation import CLASS

__all__ = ["HELLO_HOST", "hello", "install", "is_ready", "scaled_to_zero"]

_NAMESPACE = "knative-serving"
_HELLO = "helloworld-go"
HELLO_HOST = "helloworld-go.default.example.com"

_DEPLOYMENTS = ("webhook", "controller", "autoscaler", "activator")
_KINDS = {
    "serving.knative.dev": ("services", "configurations", "revisions", "routes", "domainmappings"),
    "autoscaling.internal.knative.dev": ("podautoscalers", "metrics"),
    "caching.internal.knative.dev": ("images",),
}
_SETTINGS: dict[str, dict[str, str]] = {
    "config-network": {"autocreate-cluster-domain-claims": "true"},
    "config-domain": {"example.com": ""},
    "config-autoscaler": {"stable-window": "20s", "scale-to-zero-grace-period": "1s"},
    "config-features": {"tag-header-based-routing": "enabled"},
    "config-deployment": {
        "registries-skipping-tag-resolving": "kind.local,ko.local,dev.local,local",
        "progress-deadline": "120s",
    },
}


def install(cluster: Cluster, ingress_class: str = CLASS) -> None:
    """Installs Serving, with that class of ingress, and waits until it is ready. An ingress must serve by then."""
    programs = build.serving(cluster.tell)
    cluster.add_images(programs / "images")
    core = programs / "config" / "serving" / "core"
    caching = programs / "config" / "caching" / "image.yaml"
    _apply(cluster, [*sorted((core / "300-resources").glob("*.yaml")), caching])
    for group, plurals in _KINDS.items():
        cluster.wait_for_kinds(*plurals, group=group)
    first = [
        core / "100-namespace.yaml",
        *sorted((core / "200-roles").glob("*.yaml")),
        core / "200-serviceaccount.yaml",
    ]
    _apply(cluster, [*first, *sorted((core / "configmaps").glob("*.yaml")), core / "999-cache.yaml"])
    for name, values in _SETTINGS.items():
        _configure(cluster, name, values)
    _configure(cluster, "config-network", {"ingress-class": ingress_class})
    deployments = [
        core / "deployments" / f"{name}.yaml" for name in ("activator", "autoscaler", "controller", "webhook")
    ]
    _apply(cluster, [*sorted((core / "webhooks").glob("*.yaml")), *deployments])
    for name in _DEPLOYMENTS:
        cluster.kubectl("rollout", "status", "-n", _NAMESPACE, f"deployment/{name}", "--timeout=90s")
    soon(lambda: _defaults(cluster), 60)


def hello() -> dict[str, Any]:
    """The Service of the article, which is given up after the shortest time that there is."""
    window = {"autoscaling.knative.dev/window": "6s"}
    container = {"image": f"ko.local/{_HELLO}", "env": [{"name": "TARGET", "value": "Go Sample v1"}]}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": _HELLO, "namespace": "default"},
        "spec": {"template": {"metadata": {"annotations": window}, "spec": {"containers": [container]}}},
    }


def is_ready(cluster: Cluster, service: str = _HELLO, namespace: str = "default") -> bool:
    """Whether a Service is ready, in the generation that was last applied."""
    found = cluster.get("services.serving.knative.dev", "-n", namespace, service)
    status = found.get("status", {})
    now = status.get("observedGeneration") == found["metadata"]["generation"]
    return now and any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions", ()))


def scaled_to_zero(cluster: Cluster, service: str = _HELLO, namespace: str = "default") -> bool:
    """Whether no Pod of a Service is left and the activator stands in for them."""
    own = ("-n", namespace, "-l", f"serving.knative.dev/service={service}")
    deployments = cluster.get("deployments", *own)["items"]
    pods = [pod for pod in cluster.get("pods", *own)["items"] if "deletionTimestamp" not in pod["metadata"]]
    proxied = [one["spec"]["mode"] == "Proxy" for one in cluster.get("serverlessservices", *own)["items"]]
    empty = bool(deployments) and all(one["spec"]["replicas"] == 0 for one in deployments)
    return empty and not pods and all(proxied)


def _apply(cluster: Cluster, files: Iterable[Path]) -> None:
    """Applies files whose images are paths of Go packages."""
    text = "\n---\n".join(file.read_text() for file in files)
    documents: list[dict[str, Any]] = [one for one in yaml.safe_load_all(_images(text)) if one]
    cluster.apply_objects(documents)


def _images(text: str) -> str:
    return text.replace("ko://knative.dev/serving/cmd/", "ko.local/sv/")


def _configure(cluster: Cluster, name: str, values: dict[str, str]) -> None:
    cluster.kubectl("patch", "configmap", name, "-n", _NAMESPACE, "--type", "merge", "-p", json.dumps({"data": values}))


def _defaults(cluster: Cluster) -> bool:
    """Whether the webhook filled in its rules and its authority; until then objects would go by it undefaulted."""
    hook = cluster.get("mutatingwebhookconfiguration", "webhook.serving.knative.dev")["webhooks"][0]
    return bool(hook.get("rules") and hook["clientConfig"].get("caBundle"))
