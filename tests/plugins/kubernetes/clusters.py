"""A cluster opened on a stand-in, as a kubeconfig says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from daemun_kubernetes import Cluster, ClusterSettings, open_cluster

from .api_server import ApiServer, Handle, api_server

__all__ = ["asking", "kubeconfig", "opened"]


def kubeconfig(server: str, user: Mapping[str, Any] | None = None, /, **cluster: Any) -> dict[str, Any]:
    """A kubeconfig with one context, `test`, whose namespace is `home`."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "near", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "somebody", "user": dict(user or {})}],
        "contexts": [{"name": "test", "context": {"cluster": "near", "user": "somebody", "namespace": "home"}}],
    }


@asynccontextmanager
async def opened(config: dict[str, Any], **settings: Any) -> AsyncIterator[Cluster]:
    """The cluster that a kubeconfig means."""
    with TemporaryDirectory() as folder:
        (Path(folder) / "config").write_text(yaml.safe_dump(config))
        async with open_cluster(ClusterSettings(kubeconfig="config", **settings), Path(folder)) as cluster:
            yield cluster


@asynccontextmanager
async def asking(handle: Handle, **settings: Any) -> AsyncIterator[tuple[Cluster, ApiServer]]:
    """A cluster whose server answers as `handle` does."""
    async with api_server(handle) as server, opened(kubeconfig(server.url), **settings) as cluster:
        yield cluster, server
