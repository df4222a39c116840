"""One of several replicas leads: who that is stands in a Lease, as client-go does it.

A Lease is held for as long as it is renewed. Nobody's clock is believed: whether another's Lease has run out follows
from how long it was seen not to change. Two that write at once are told apart by the resource version. Who leads stops
to lead before others may begin, also when the API server is silent: 10 s without renewal are the end, and 15 s the
beginning of another.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from random import uniform
from secrets import token_hex
from typing import Annotated

import anyio
from msgspec import Meta, Struct
from msgspec.structs import replace

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import LEASE, Lease, LeaseSpec, Metadata

__all__ = ["Elector", "Terms", "new_identity"]

log = logging.getLogger("daemun.kubernetes")

_RELEASE_SECONDS = 5.0
_JITTER = 1.2


class Terms(Struct, frozen=True):
    """How long a Lease holds, how long one leads without renewing it, and how often one tries."""

    lease_seconds: Annotated[int, Meta(ge=1)] = 15
    deadline_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry_seconds < self.deadline_seconds < self.lease_seconds:
            raise ValueError("retry_seconds, deadline_seconds and lease_seconds are to grow in this order")


_TERMS = Terms()


def new_identity() -> str:
    """An identity that no other Elector has, and that tells people whose it is: of the Pod, or else of the machine."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}-{token_hex(4)}"


class Elector:
    """Tries to hold the Lease `namespace`/`name` while `run` runs. `identity` may be nobody else's.

    `on_change` is synchronous and told whether this one leads, each time that changes, also at the end.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        namespace: str,
        identity: str,
        on_change: Callable[[bool], None],
        *,
        terms: Terms = _TERMS,
    ) -> None:
        self.leading = False
        """Whether this one leads."""
        self.holder = ""
        """Who was last seen to hold the Lease; "" for nobody."""
        self._cluster = cluster
        self._name = name
        self._namespace = namespace or cluster.namespace
        self._identity = identity
        self._on_change = on_change
        self._terms = terms
        self._lease: Lease | None = None
        self._observed: LeaseSpec | None = None
        self._observed_at = 0.0
        self._trouble = ""

    async def run(self) -> None:
        """For ever. When it is cancelled the Lease is given up, for another to take it at once."""
        try:
            while True:
                renewed_at = await self._acquire()
                try:
                    self._lead(True)
                    await self._hold(renewed_at)
                finally:
                    self._lead(False)
        finally:
            with (
                anyio.CancelScope(shield=True),
                anyio.move_on_after(min(_RELEASE_SECONDS, self._terms.deadline_seconds)),
            ):
                await self._release()

    async def _acquire(self) -> float:
        """When the Lease was asked for that is now held."""
        while True:
            started = anyio.current_time()
            with anyio.move_on_after(self._terms.deadline_seconds):
                if await self._attempt():
                    return started
            await anyio.sleep(self._terms.retry_seconds * uniform(1.0, 1.0 + _JITTER))

    async def _hold(self, renewed_at: float) -> None:
        """Renews until the Lease is another's, or could not be renewed in time."""
        while True:
            with anyio.CancelScope(deadline=renewed_at + self._terms.deadline_seconds):
                while True:
                    await anyio.sleep(self._terms.retry_seconds)
                    started = anyio.current_time()
                    if await self._attempt():
                        renewed_at = started
                        break
                    if self.holder != self._identity:
                        log.warning(
                            "lease %s/%s is now held by %s", self._namespace, self._name, self.holder or "nobody"
                        )
                        return
                continue
            log.warning("lease %s/%s could not be renewed in time", self._namespace, self._name)
            return

    async def _attempt(self) -> bool:
        """Whether the Lease is held from now on: one try."""
        try:
            if self.leading and self._lease is not None:
                try:
                    self._wrote(await self._cluster.replace(LEASE, self._claimed(self._lease)))
                    return True
                except ApiError as error:
                    if error.status != 409:
                        raise
            self._lease = None
            try:
                lease = await self._cluster.get(LEASE, self._name, self._namespace)
            except ApiError as error:
                if error.status != 404:
                    raise
                lease = Lease(metadata=Metadata(name=self._name, namespace=self._namespace))
                self._wrote(await self._cluster.create(LEASE, self._claimed(lease)))
                return True
            self._observe(lease.spec)
            if self._is_held_by_another(lease.spec):
                self._trouble = ""
                return False
            self._wrote(await self._cluster.replace(LEASE, self._claimed(lease)))
        except ApiError as error:
            if error.status == 409:  # another was faster
                log.debug("%s", error)
            elif not self._trouble:
                self._trouble = str(error)
                log.warning("%s; it is tried again", error)
            return False
        return True

    def _is_held_by_another(self, spec: LeaseSpec) -> bool:
        if spec.holder_identity in ("", self._identity):
            return False
        seconds = spec.lease_duration_seconds or self._terms.lease_seconds
        return anyio.current_time() < self._observed_at + seconds

    def _observe(self, spec: LeaseSpec) -> None:
        self.holder = spec.holder_identity
        if spec != self._observed:
            self._observed = spec
            self._observed_at = anyio.current_time()

    def _claimed(self, lease: Lease) -> Lease:
        now, former = _now(), lease.spec
        mine = former.holder_identity == self._identity
        spec = replace(
            former,
            holder_identity=self._identity,
            lease_duration_seconds=self._terms.lease_seconds,
            acquire_time=former.acquire_time if mine and former.acquire_time else now,
            renew_time=now,
            lease_transitions=former.lease_transitions + (not mine and bool(lease.metadata.resource_version)),
        )
        return replace(lease, spec=spec)

    def _wrote(self, lease: Lease) -> None:
        self._lease = lease
        self._observe(lease.spec)
        self._trouble = ""

    def _lead(self, leading: bool) -> None:
        self.leading = leading
        log.info("%s %s lease %s/%s", self._identity, "holds" if leading else "let go of", self._namespace, self._name)
        self._on_change(leading)

    async def _release(self) -> None:
        lease, self._lease = self._lease, None
        try:
            for _ in range(2):
                if lease is None or lease.spec.holder_identity != self._identity:
                    return
                now = _now()
                spec = replace(
                    lease.spec, holder_identity="", lease_duration_seconds=1, renew_time=now, acquire_time=now
                )
                try:
                    await self._cluster.replace(LEASE, replace(lease, spec=spec))
                    return
                except ApiError as error:
                    if error.status != 409:
                        raise
                lease = await self._cluster.get(LEASE, self._name, self._namespace)  # renewed while it was cancelled
        except ApiError as error:
            log.debug("lease %s/%s runs out by itself: %s", self._namespace, self._name, error)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
