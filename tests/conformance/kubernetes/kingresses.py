"""KIngresses with their Services and EndpointSlices, written in numbers, and watched as others watch them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio

from daemun_knative.kingress.conditions import is_ready
from daemun_knative.kingress.types import CLASS_ANNOTATION, KINGRESS, KIngress
from daemun_kubernetes import Change, Cluster, ClusterSettings, Kind, Reflector, open_cluster
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, SECRET, SERVICE

from . import backends
from .networks import CLUSTER, inside
from .replicas import Replicas, made

__all__ = ["Writer", "backend_processes", "kingress", "open_writer", "paths", "service", "slice_of"]

_AT_ONCE = 32


def service(name: str) -> dict[str, Any]:
    """A Service whose endpoints are written by hand, and which no proxy listens for."""
    return made("v1", "Service", name, spec={"clusterIP": "None", "ports": [{"name": "http", "port": 80}]})


def slice_of(name: str, addresses: Iterable[str]) -> dict[str, Any]:
    """The endpoints of a Service."""
    return made(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        name,
        metadata={"labels": {"kubernetes.io/service-name": name}},
        addressType="IPv4",
        endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
        ports=[{"name": "http", "port": backends.PORT}],
    )


def paths(namespace: str, shares: dict[str, int], version: str = "") -> list[dict[str, Any]]:
    """A path that goes to Services by percent."""
    splits = [
        {"serviceNamespace": namespace, "serviceName": name, "servicePort": 80, "percent": percent}
        for name, percent in shares.items()
    ]
    return [{"splits": splits, **({"appendHeaders": {"x-version": version}} if version else {})}]


def kingress(name: str, ingress_class: str, host: str, rules: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    """A KIngress of one host, for everybody."""
    rule = {"hosts": [host], "visibility": "ExternalIP", "http": {"paths": rules}}
    return made(
        KINGRESS.api_version,
        KINGRESS.kind,
        name,
        metadata={"annotations": {CLASS_ANNOTATION: ingress_class}},
        spec={"rules": [rule], **spec},
    )


class Writer:
    """The administrator, in one namespace; what became of its KIngresses it sees by a watch."""

    def __init__(self, cluster: Cluster, namespace: str, ingress_class: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.ingress_class = ingress_class
        self.ready_at: dict[tuple[str, int], float] = {}
        """When it was seen first that a generation is ready, by name."""
        self.changed = anyio.Event()
        self.ingresses = Reflector(cluster, KINGRESS, namespace, on_change=self._note)
        self._limit = anyio.CapacityLimiter(_AT_ONCE)

    async def create(self, *objects: dict[str, Any]) -> None:
        """Writes many, several at once."""
        async with anyio.create_task_group() as tasks:
            for one in objects:
                tasks.start_soon(self._create, one)

    async def _create(self, item: dict[str, Any]) -> None:
        async with self._limit:
            await self.cluster.create(_KINDS[item["kind"]], item, self.namespace)

    async def change(self, name: str, rules: list[dict[str, Any]]) -> int:
        """Other paths for a KIngress; returns the generation that has them."""
        before = await self.cluster.get(KINGRESS, name, self.namespace)
        rule = {"hosts": list(before.spec.rules[0].hosts), "visibility": "ExternalIP", "http": {"paths": rules}}
        after = await self.cluster.patch(KINGRESS, name, self.namespace, {"spec": {"rules": [rule]}})
        return after.metadata.generation

    async def delete(self, name: str) -> None:
        """Deletes a KIngress."""
        await self.cluster.delete(KINGRESS, name, self.namespace)

    async def until_ready(self, *names: str, generation: int = 0, seconds: float = 30.0) -> None:
        """Waits until all of them are, in their newest generation, or that one at least."""

        def ready(name: str) -> bool:
            one = self.ingresses.objects.get((self.namespace, name))
            return (
                one is not None
                and one.metadata.generation >= generation
                and is_ready(one.status, one.metadata.generation)
            )

        await self.until(lambda: all(map(ready, names)), seconds)

    async def until(self, condition: Callable[[], Any], seconds: float = 30.0) -> None:
        """Waits until something is so, asked whenever a KIngress changed."""
        with anyio.fail_after(seconds):
            while not condition():
                await self.changed.wait()

    def condition(self, name: str, kind: str = "Ready") -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        one = self.ingresses.objects.get((self.namespace, name))
        for condition in one.status.conditions if one is not None else ():
            if condition.type == kind:
                return condition.status, condition.reason, condition.message
        return "", "", ""

    def _note(self, change: Change[KIngress]) -> None:
        one = change.object
        if is_ready(one.status, one.metadata.generation):
            self.ready_at.setdefault((one.metadata.name, one.metadata.generation), anyio.current_time())
        self.changed.set()
        self.changed = anyio.Event()


_KINDS: dict[str, Kind[Any]] = {kind.kind: kind for kind in (SERVICE, ENDPOINT_SLICE, SECRET, KINGRESS)}


@asynccontextmanager
async def open_writer(replicas: Replicas) -> AsyncIterator[Writer]:
    """The administrator in the namespace of the gateways, until the context is left."""
    settings = ClusterSettings(kubeconfig=str(replicas.cluster.credentials.administrator))
    async with open_cluster(settings, Path("/")) as cluster, anyio.create_task_group() as tasks:
        writer = Writer(cluster, replicas.name, replicas.ingress_class)
        tasks.start_soon(writer.ingresses.run)
        await writer.ingresses.wait_synced()
        yield writer
        tasks.cancel_scope.cancel()


@contextmanager
def backend_processes(*addresses: str) -> Iterator[None]:
    """Back ends in the cluster's network, all in one process."""
    argv = inside(CLUSTER, sys.executable, Path(backends.__file__), *addresses)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()
