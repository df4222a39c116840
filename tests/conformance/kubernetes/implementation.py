"""The gateway under test as a Pod of the cluster: its Services, its account with its rights, and its process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from daemun.testing.program import soon

from .cluster import Cluster
from .networks import GATEWAY, GATEWAY_ADDRESS, inside

__all__ = ["CLASS", "NAMESPACE", "gateway", "install", "knative_settings", "start", "uninstall"]

NAMESPACE = "daemun-system"
CLASS = "daemun.ingress.networking.knative.dev"
_NAME = "daemun"
_LABELS = {"app": "daemun-gateway"}
_READ = ["get", "list", "watch"]
_WRITE = ["get", "patch", "update"]


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, list[str]]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


_RULES = [
    _rule("", ["pods", "services", "secrets", "configmaps", "endpoints", "namespaces"], _READ),
    _rule("discovery.k8s.io", ["endpointslices"], _READ),
    _rule("networking.k8s.io", ["ingresses", "ingressclasses"], _READ),
    _rule("networking.k8s.io", ["ingresses/status"], _WRITE),
    _rule("networking.internal.knative.dev", ["ingresses"], [*_READ, "patch", "update"]),
    _rule("networking.internal.knative.dev", ["ingresses/status", "ingresses/finalizers"], _WRITE),
    _rule("coordination.k8s.io", ["leases"], [*_READ, "create", "update", "patch", "delete"]),
    _rule("", ["events"], ["create", "patch", "update"]),
    _rule("events.k8s.io", ["events"], ["create", "patch", "update"]),
]


def _objects() -> list[dict[str, Any]]:
    account = {"kind": "ServiceAccount", "name": _NAME, "namespace": NAMESPACE}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _NAME}
    rbac = "rbac.authorization.k8s.io/v1"
    return [
        _object("v1", "Namespace", NAMESPACE, ""),
        _object("v1", "ServiceAccount", _NAME),
        _object(rbac, "ClusterRole", _NAME, "", rules=_RULES),
        _object(rbac, "ClusterRoleBinding", _NAME, "", roleRef=role, subjects=[account]),
        _service(_NAME, 8080, 8443, type="LoadBalancer"),
        _service(f"{_NAME}-internal", 8081, 8444),
    ]


def _object(version: str, kind: str, name: str, namespace: str = NAMESPACE, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def _service(name: str, plain: int, tls: int, **more: Any) -> dict[str, Any]:
    ports = [{"name": "http2", "port": 80, "targetPort": plain}, {"name": "https", "port": 443, "targetPort": tls}]
    return _object("v1", "Service", name, spec={"selector": _LABELS, "ports": ports, **more})


def _pod() -> dict[str, Any]:
    """Ready while the internal listener accepts; its process is ours, not the node's."""
    pod = _object("v1", "Pod", _NAME)
    outside = {"kn.local/pod-ip": GATEWAY_ADDRESS, "kn.local/ready-port": "8081"}
    pod["metadata"] |= {"labels": _LABELS, "annotations": outside}
    containers = [{"name": "gateway", "image": "external"}]
    return {**pod, "spec": {"nodeName": "kn-node", "serviceAccountName": _NAME, "containers": containers}}


def install(cluster: Cluster) -> Path:
    """Everything around the gateway; returns the kubeconfig of its account."""
    cluster.apply_objects(_objects())
    if not cluster.answers("get", "pod", "-n", NAMESPACE, _NAME):
        cluster.apply_objects([_pod()])
    file = cluster.folder / "gateway.kubeconfig"
    file.write_text(cluster.credentials.kubeconfig(cluster.token(NAMESPACE, _NAME)))
    return file


def uninstall(cluster: Cluster) -> None:
    """Removes all of it again."""
    cluster.kubectl("delete", "pod", "-n", NAMESPACE, _NAME, "--ignore-not-found", "--grace-period=0", "--force")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding", _NAME, "--ignore-not-found")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def knative_settings(kubeconfig: Path) -> dict[str, Any]:
    """Settings of a gateway that serves Knative's class behind both Services."""
    listeners: list[dict[str, Any]] = [
        {"name": "http", "bind": "0.0.0.0:8080"},
        {"name": "https", "bind": "0.0.0.0:8443", "tls": {}},
        {"name": "internal", "bind": "0.0.0.0:8081"},
        {"name": "internal-tls", "bind": "0.0.0.0:8444", "tls": {}},
    ]
    source = {
        "type": "knative",
        "kubeconfig": str(kubeconfig),
        "external_service": f"{NAMESPACE}/{_NAME}",
        "internal_service": f"{NAMESPACE}/{_NAME}-internal",
    }
    return {"listeners": listeners, "sources": [source]}


def start(cluster: Cluster, file: Path) -> None:
    """`daemun run FILE` in the gateway's namespace; returns when its Pod is ready."""
    cluster.processes.end("gateway")
    command = [sys.executable, "-m", "daemun.cli", "run", str(file), "--json"]
    cluster.processes.start("gateway", inside(GATEWAY, *command))

    def ready() -> bool:
        if not cluster.processes.runs("gateway"):
            raise AssertionError(f"the gateway ended: {cluster.processes.log('gateway')[-2000:]}")
        pod = cluster.get("pod", "-n", NAMESPACE, _NAME)
        return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))

    soon(ready, 60)


@contextmanager
def gateway(cluster: Cluster, **settings: Any) -> Iterator[Mapping[str, Any]]:
    """A gateway for Knative's class that runs until the context is left, with further settings; yields all of them."""
    document = {**knative_settings(install(cluster)), **settings}
    file = cluster.folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(document))))
    try:
        start(cluster, file)
        yield document
    finally:
        cluster.processes.end("gateway")
