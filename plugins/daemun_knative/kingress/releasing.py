"""KIngresses that are deleted and cannot go, because the gateway that was asked before left its finalizer on them.

Knative's other gateways all use one name, and look at no object any more whose class is not theirs: once Serving asks
this gateway, nobody but it can take their finalizer off. It sets none itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.types import KINGRESS, KIngress
from daemun_kubernetes import ApiError, Cluster

__all__ = ["FINALIZER", "Releaser"]

log = logging.getLogger("daemun.knative")

FINALIZER = "ingresses.networking.internal.knative.dev"
_AGAIN_SECONDS = 1.0


class Releaser:
    """Takes the finalizer off what is deleted, while it leads."""

    def __init__(self, cluster: Cluster, current: Callable[[Key], KIngress | None]) -> None:
        """`current` is a KIngress as it was seen last."""
        self.leading = False
        self._cluster = cluster
        self._current = current
        self._kept: dict[Key, None] = {}
        self._said: set[Key] = set()
        self._news = anyio.Event()

    def look_at(self, ingress: KIngress) -> None:
        """Notes one of the gateway's class, if it is deleted and kept by that finalizer."""
        if ingress.metadata.deletion_timestamp and FINALIZER in ingress.metadata.finalizers:
            self._kept[ingress.metadata.namespace, ingress.metadata.name] = None
            self._news.set()

    async def run(self) -> None:
        """Takes it off, for ever."""
        while True:
            self._news = anyio.Event()
            for key in list(self._kept) if self.leading else ():
                if await self._release(key):
                    self._kept.pop(key, None)
                    self._said.discard(key)
            if self._kept:
                await anyio.sleep(_AGAIN_SECONDS)
            else:
                await self._news.wait()

    async def _release(self, key: Key) -> bool:
        """Whether it is done; what is another version by now is tried again."""
        ingress = self._current(key)
        if ingress is None:
            return True
        metadata = ingress.metadata
        if not metadata.deletion_timestamp or FINALIZER not in metadata.finalizers:
            return True
        others = [one for one in metadata.finalizers if one != FINALIZER]
        patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": others}}
        try:
            await self._cluster.patch(KINGRESS, metadata.name, metadata.namespace, patch)
        except ApiError as error:
            if error.status == 404:
                return True
            if error.status != 409 and key not in self._said:
                self._said.add(key)
                log.warning("KIngress %s/%s is deleted, and its finalizer stays: %s", *key, error)
            return False
        return True
