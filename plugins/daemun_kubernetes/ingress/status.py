"""The addresses in the status of Ingresses. Only the leader writes, only what is not so already, and never over what it
has not seen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import INGRESS, Ingress, LoadBalancerIngress, Service
from daemun_kubernetes.view.references import Key

__all__ = ["Addresses", "StatusWriter", "addresses_of", "addresses_said", "has_addresses"]

log = logging.getLogger("daemun.kubernetes")

Addresses = tuple[tuple[str, str], ...]
"""Each with its IP, or else its host name."""

_WRITERS = 4
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 60.0


def addresses_of(service: Service | None) -> Addresses:
    """Where a Service answers from outside of the cluster: its load balancer, or else its external IPs."""
    if service is None:
        return ()
    found = _pairs(service.status.load_balancer.ingress)
    return found or tuple((ip, "") for ip in service.spec.external_ips)


def addresses_said(texts: Iterable[str]) -> Addresses:
    """Addresses as they are written in settings: IPs and host names."""
    return tuple((text, "") if _is_ip(text) else ("", text) for text in texts)


def has_addresses(ingress: Ingress) -> Addresses:
    """What its status says now."""
    return _pairs(ingress.status.load_balancer.ingress)


def _pairs(ingress: Iterable[LoadBalancerIngress]) -> Addresses:
    return tuple((one.ip, one.hostname) for one in ingress if one.ip or one.hostname)


def _is_ip(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()


class StatusWriter:
    """Brings the status of Ingresses to what it should be, those that are marked, while it leads."""

    def __init__(
        self,
        cluster: Cluster,
        current: Callable[[Key], Ingress | None],
        wanted: Callable[[Ingress], Addresses | None],
    ) -> None:
        """`current` is the Ingress as it was seen last; `wanted` what its status should say, None: not our business."""
        self.leading = False
        self._cluster = cluster
        self._current = current
        self._wanted = wanted
        self._marked: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._pauses: dict[Key, float] = {}
        self._written: dict[Key, tuple[str, Ingress]] = {}
        """The version that was written over, and what came of it, until that is seen."""
        self._news = anyio.Event()

    def mark(self, keys: Iterable[Key]) -> None:
        """Has a look at these soon."""
        if self.leading:
            self._marked.update(dict.fromkeys(keys))
            self._news.set()

    async def run(self) -> None:
        """Writes, for ever."""
        async with anyio.create_task_group() as tasks:
            for _ in range(_WRITERS):
                tasks.start_soon(self._work, tasks)

    async def _work(self, tasks: TaskGroup) -> None:
        while True:
            key = next((key for key in self._marked if key not in self._busy), None)
            if key is None:
                self._news = anyio.Event()
                await self._news.wait()
                continue
            del self._marked[key]
            self._busy.add(key)
            try:
                pause = await self._write(key)
            finally:
                self._busy.discard(key)
                self._news.set()
            if pause:
                tasks.start_soon(self._again, key, pause)

    async def _again(self, key: Key, pause: float) -> None:
        await anyio.sleep(pause)
        self.mark([key])

    async def _write(self, key: Key) -> float:
        """Writes what is wanted of one Ingress; after how many seconds it is worth another try, 0: it is done."""
        ingress = self._seen(key)
        wanted = self._wanted(ingress) if ingress is not None and self.leading else None
        if ingress is None or wanted is None or has_addresses(ingress) == wanted:
            self._pauses.pop(key, None)
            return 0
        namespace, name = key
        version = ingress.metadata.resource_version
        try:
            after = await self._cluster.patch(INGRESS, name, namespace, _body(version, wanted), subresource="status")
        except ApiError as error:
            if error.status == 404:
                return 0
            pause = self._pauses[key] = min(self._pauses.get(key, _FIRST_PAUSE_SECONDS / 2) * 2, _LONGEST_PAUSE_SECONDS)
            if error.status != 409:
                log.warning("ingress %s/%s: its status cannot be written: %s", namespace, name, error)
            return pause
        self._pauses.pop(key, None)
        self._written[key] = (version, after)
        return 0

    def _seen(self, key: Key) -> Ingress | None:
        """The newest that is known of it: what was written, as long as only what it was written over is seen."""
        ingress = self._current(key)
        written = self._written.get(key)
        if written is None:
            return ingress
        if ingress is not None and ingress.metadata.resource_version == written[0]:
            return written[1]
        del self._written[key]
        return ingress


def _body(version: str, addresses: Addresses) -> dict[str, Any]:
    """A merge patch that only fits the version that was seen."""
    ingress = [{"ip": ip} if ip else {"hostname": name} for ip, name in addresses]
    return {"metadata": {"resourceVersion": version}, "status": {"loadBalancer": {"ingress": ingress or None}}}
