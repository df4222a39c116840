"""Kubernetes: a client for clusters, and what daemun does with them.

settings   how a cluster is found
client     the cluster as it is asked, watched and written to
"""

from __future__ import annotations

from daemun_kubernetes.client.api import Cluster, open_cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.events import Recorder
from daemun_kubernetes.client.kinds import Kind, KubeObject, Metadata
from daemun_kubernetes.client.lease import Elector
from daemun_kubernetes.client.status import StatusWriter
from daemun_kubernetes.client.watch import Change, Reflector
from daemun_kubernetes.settings import ClusterSettings
from daemun_kubernetes.view.secrets import Pair, SecretView, open_secrets
from daemun_kubernetes.view.services import Resolved, ServiceView, by_any_port, by_port, open_services

__all__ = [
    "ApiError",
    "Change",
    "Cluster",
    "ClusterSettings",
    "Elector",
    "Kind",
    "KubeObject",
    "Metadata",
    "Pair",
    "Recorder",
    "Reflector",
    "Resolved",
    "SecretView",
    "ServiceView",
    "StatusWriter",
    "by_any_port",
    "by_port",
    "open_cluster",
    "open_secrets",
    "open_services",
]
