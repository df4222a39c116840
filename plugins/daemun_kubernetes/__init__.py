"""Kubernetes: a client for clusters, and what daemun does with them.

client/    the cluster as it is asked, watched and written to
view/      what the cluster knows of what routes refer to: Services as back ends, Secrets as certificates
ingress/   Kubernetes Ingress v1: the source `kubernetes_ingress`
install/   `daemun install`, `uninstall`, `proxy url`, `check --cluster`
settings   how a cluster is found
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from daemun import CheckType, Source, SourceContext, SourceType, hookimpl
from daemun_kubernetes.client.api import Cluster, open_cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.events import Recorder
from daemun_kubernetes.client.kinds import Kind, KubeObject, Metadata
from daemun_kubernetes.client.lease import Elector, new_identity
from daemun_kubernetes.client.status import StatusWriter
from daemun_kubernetes.client.watch import Change, Reflector
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.install.commands import CLUSTER_CHECK, install, proxy, uninstall
from daemun_kubernetes.settings import ClusterSettings
from daemun_kubernetes.view.secrets import Pair, SecretView, open_secrets
from daemun_kubernetes.view.services import Resolved, ServiceView, by_any_port, by_port, open_services, service_settings

__all__ = [
    "ApiError",
    "Change",
    "Cluster",
    "ClusterSettings",
    "Elector",
    "IngressSettings",
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
    "new_identity",
    "open_cluster",
    "open_secrets",
    "open_services",
    "service_settings",
]


@asynccontextmanager
async def _open_ingress(settings: IngressSettings, context: SourceContext) -> AsyncIterator[Source]:
    from daemun_kubernetes.ingress.source import open_ingress

    async with open_ingress(settings, context) as source:
        yield source


@hookimpl
def daemun_sources() -> list[SourceType]:
    return [SourceType("kubernetes_ingress", IngressSettings, _open_ingress, patience_seconds=math.inf)]


@hookimpl
def daemun_commands() -> list[click.Command]:
    return [install, uninstall, proxy]


@hookimpl
def daemun_checks() -> list[CheckType]:
    return [CLUSTER_CHECK]
