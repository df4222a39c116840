"""A stand-in for a cluster as it is installed into: what is applied, patched, chosen by labels, reviewed and logged."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import yaml

from daemun_kubernetes import Cluster, ClusterSettings, open_cluster
from daemun_kubernetes.client.kinds import POD
from daemun_kubernetes.install.objects import KINDS

from .api_server import ApiServer, Call
from .store import Store, _merged, store_server

__all__ = ["ClusterStore", "cluster_of", "write_kubeconfig"]

_NAMESPACES = "/api/v1/namespaces"


class ClusterStore(Store):
    """A `Store` with what `kubectl` and installers need besides. Who may do what is in `forbidden`."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and resource that the reviewed account lacks."""
        self.reviewed: list[dict[str, Any]] = []
        self.logs: dict[str, bytes] = {}
        """The log of a Pod, by name."""
        self.closed: set[str] = set()
        """What paths end with that nobody may ask for."""
        self.unknown: set[str] = set()
        """Collections of kinds that the server does not know."""
        self.listed: Counter[str] = Counter()
        """How often each collection was listed, by its path."""
        self.propagation: dict[str, str] = {}
        """How each thing was deleted, by its path."""

    def of(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """An object, or None."""
        return self.objects.get(KINDS[kind].path(), {}).get((namespace, name))

    def put_kind(self, of: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
        """Creates or replaces an object of a kind that install knows."""
        return self.put(KINDS[of].path(), namespace, name, **more)

    def put_pod(self, name: str, **status: Any) -> None:
        """A Pod of the gateway `daemun-system/daemun`."""
        labels = {"app.kubernetes.io/name": "daemun", "app.kubernetes.io/instance": "daemun"}
        self.put(POD.path(), "daemun-system", name, metadata={"labels": labels}, status=status)

    @property
    def all(self) -> set[tuple[str, str, str]]:
        """Collection, namespace and name of all that is kept."""
        return {(path, *key) for path, kept in self.objects.items() for key in kept}

    async def handle(self, call: Call) -> None:
        call.path = unquote(call.path)
        parts = call.path.strip("/").split("/")
        if self.refusing is not None or self.hanging:
            await super().handle(call)
        elif call.path == "/version":
            await call.answer({"gitVersion": "v1.36.3"})
        elif call.path.endswith("/log"):
            text = self.logs.get(parts[-2])
            await (call.answer(text) if text is not None else call.refuse(400, "BadRequest", "no such container"))
        elif parts[-1] == "subjectaccessreviews":
            await self._review(call)
        elif call.method == "GET" and len(parts) == (2 if parts[0] == "api" else 3):
            await self._discover(call, "/".join(parts[1:]))
        elif any(call.path.endswith(closed) for closed in self.closed):
            await call.refuse(403, "Forbidden", "no")
        elif any(call.path.endswith(collection.rpartition("/")[2]) for collection in self.unknown):
            await call.refuse(404, "NotFound", "the server could not find the requested resource")
        elif call.path.startswith(f"{_NAMESPACES}/") and len(parts) == 4:
            await self._one(call, _NAMESPACES, ("", parts[3]))
        else:
            await super().handle(call)

    async def _one(self, call: Call, path: str, key: tuple[str, str]) -> None:
        there = self.objects.get(path, {}).get(key)
        if call.method == "DELETE":
            self.propagation[f"{path}/{key[1]}"] = call.query.get("propagationPolicy", "")
        if call.fields.get("content-type") == "application/apply-patch+yaml":
            wanted = yaml.safe_load(call.body)
            merged = _merged(there or {}, wanted)
            if there is not None and merged == there:
                await call.answer(there)
            else:
                await call.answer(self.put(path, *key, **merged), 200 if there else 201)
            return
        await super()._one(call, path, key)

    async def _list(self, call: Call, path: str, namespace: str) -> None:
        self.listed[path] += 1
        wanted = dict(item.split("=", 1) for item in call.query.get("labelSelector", "").split(",") if item)
        items = [
            value
            for key, value in sorted(self.objects.get(path, {}).items())
            if namespace in ("", key[0]) and wanted.items() <= value["metadata"].get("labels", {}).items()
        ]
        await call.answer({"kind": "List", "metadata": {"resourceVersion": str(self.version)}, "items": items})

    async def _discover(self, call: Call, version: str) -> None:
        found = [
            {"name": kind.plural, "kind": kind.kind, "namespaced": kind.namespaced}
            for kind in KINDS.values()
            if kind.api_version == version
        ]
        await call.answer({"resources": found})

    async def _review(self, call: Call) -> None:
        spec = call.json["spec"]
        self.reviewed.append(spec)
        attributes = spec["resourceAttributes"]
        resource = "/".join(filter(None, (attributes["resource"], attributes["subresource"])))
        allowed = (attributes["verb"], resource) not in self.forbidden
        await call.answer({"metadata": {}, "spec": spec, "status": {"allowed": allowed}}, 201)


def write_kubeconfig(server: ApiServer, folder: Path) -> Path:
    """A kubeconfig for the stand-in."""
    file = folder / "kubeconfig.yaml"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server.url}}],
        "users": [{"name": "me", "user": {"token": "word"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    file.write_bytes(msgspec.json.encode(document))
    return file


@asynccontextmanager
async def cluster_of(store: Store, folder: Path) -> AsyncIterator[Cluster]:
    """A client of a stand-in that tells what `store` keeps."""
    async with store_server(store) as server:
        settings = ClusterSettings(kubeconfig=str(write_kubeconfig(server, folder)))
        async with open_cluster(settings, folder) as cluster:
            yield cluster
