"""The source `knative`: KIngresses of the gateway's class, watched, published, probed, and told how they fare.

Every replica serves all of them. One, the leader, asks all replicas whether they serve a version, and writes statuses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import anyio
import msgspec

from daemun import Applied, Publish, Snapshot, Source, SourceContext
from daemun_knative.kingress.assembly import Assembly, Entry
from daemun_knative.kingress.claims import Key
from daemun_knative.kingress.conditions import TRUE, WAITING, Verdict, conflict, is_ready, next_status, not_yet
from daemun_knative.kingress.fronts import Fronts
from daemun_knative.kingress.probe import Prober, Question, open_prober, questions
from daemun_knative.kingress.releasing import Releaser
from daemun_knative.kingress.settings import KnativeSettings
from daemun_knative.kingress.translate import Doors
from daemun_knative.kingress.types import CLASS_ANNOTATION, KINGRESS, KIngress
from daemun_kubernetes import (
    Change,
    Cluster,
    Elector,
    Reflector,
    SecretView,
    ServiceView,
    StatusWriter,
    by_any_port,
    new_identity,
    open_cluster,
    open_secrets,
    open_services,
    service_settings,
)

__all__ = ["KnativeSource", "open_knative"]

_AGAIN_SECONDS = 10.0
_QUIET_SECONDS = 1.0
"""What is made good so soon is not written down."""


class KnativeSource:
    """Publishes all KIngresses of its class, at once and whenever something about them changes."""

    def __init__(
        self,
        settings: KnativeSettings,
        cluster: Cluster,
        services: ServiceView,
        secrets: SecretView,
        workers: int,
        *,
        serving: bool = True,
    ) -> None:
        """With `serving` false nothing is written: what it publishes is only looked at."""
        self._settings = settings
        self._services = services
        self._secrets = secrets
        self._fronts = Fronts(settings, cluster.namespace, services)
        self._assembly = Assembly(
            Doors(settings.external_http, settings.external_https, settings.internal_http, settings.internal_https),
            backend=services.backend,
            pair=secrets.pair,
            settings=service_settings(settings.backend_settings),
            two_steps=workers > 1,
        )
        self._changed = anyio.Event()
        self._dirty: dict[Key, None] = {}
        self._ready: dict[Key, str] = {}
        """Tokens of versions that are served everywhere."""
        self._since: dict[Key, float] = {}
        """When what is wanted last was not so any more, of those that are not ready."""
        self._ingresses = Reflector(cluster, KINGRESS, on_change=self._ingress_changed)
        self._releaser = Releaser(cluster, lambda key: self._ingresses.objects.get(key))
        self._writer = StatusWriter(cluster, KINGRESS, self._ours, self._wanted)
        self._elector = Elector(cluster, settings.lease, cluster.namespace, new_identity(), self._leader_changed)
        self._leading = False
        self._serving = serving
        self._again = False
        """Whether to publish although nothing is new."""
        self._prober: Prober

    async def run(self, publish: Publish) -> None:
        async with (
            open_prober(self._fronts.gateways, self._is_served) as self._prober,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._ingresses.run)
            await self._ingresses.wait_synced()
            self._dirty.clear()
            self._assembly.begin(filter(self._is_ours, self._ingresses.objects.values()))
            self._refer()
            await self._services.wait_synced()
            await self._secrets.wait_synced()
            writing = [self._writer.run, self._elector.run, self._remind, self._releaser.run]
            jobs = writing if self._serving else []
            published: Snapshot | None = None
            applied = Applied(0, ())
            while True:
                self._changed = anyio.Event()
                self._take()
                snapshot, keys = self._assembly.snapshot()
                before, published = published, snapshot
                if snapshot != before or self._again:
                    self._again = False
                    applied = await publish(snapshot)
                if self._assembly.applied(applied, keys):
                    self._changed.set()
                if before is not None or not self._changed.is_set():
                    # not earlier: what was ready would be said not to be, because this replica does not serve it yet
                    while jobs:
                        tasks.start_soon(jobs.pop())
                self._look_at(keys)
                await self._changed.wait()

    def reload(self) -> None:
        """There is nothing to read again: everything is watched."""

    def services_changed(self, keys: frozenset[Key]) -> None:
        """Something about these Services is not what it was."""
        self._assembly.services_changed(keys)
        self._changed.set()

    def secrets_changed(self, keys: frozenset[Key]) -> None:
        """Something about these Secrets is not what it was."""
        self._assembly.secrets_changed(keys)
        self._changed.set()

    def _take(self) -> None:
        dirty, self._dirty = self._dirty, {}
        for key in dirty:
            ingress = self._ours(key)
            if ingress is not None or key in self._assembly.entries:
                self._assembly.put(key, ingress)
            if ingress is None:
                self._prober.forget(key)
                self._ready.pop(key, None)
                self._since.pop(key, None)
                self._writer.mark([key])
        self._refer()

    def _refer(self) -> None:
        self._services.refer(self._assembly.services | self._fronts.keys)
        self._secrets.refer(self._assembly.secrets)

    def _look_at(self, keys: Sequence[Key]) -> None:
        """Has these probed, and their statuses written; the leader's work."""
        if not self._leading:
            return
        for key in keys:
            entry, ingress = self._assembly.entries.get(key), self._ours(key)
            if entry is None or ingress is None or entry.generation != ingress.metadata.generation:
                continue  # what is newer is looked at once it is taken in
            if self._is_ready(key, entry, ingress):
                self._since.pop(key, None)
                continue
            self._since.setdefault(key, monotonic())
            if entry.wanted is None or entry.programmed != entry.token or self._assembly.conflicts(key):
                self._prober.forget(key)
            else:
                self._prober.probe(key, entry.token, self._questions(entry.wanted.ingress))
        self._writer.mark(keys)

    def _questions(self, ingress: KIngress) -> list[Question]:
        """What to ask of the gateways, by doors that have a Service."""
        return [one for one in questions(ingress) if self._fronts.has(one.external)]

    def _is_ready(self, key: Key, entry: Entry, ingress: KIngress) -> bool:
        """Whether the version that is wanted is served everywhere: it was probed, now or by who led before."""
        if not entry.token or entry.programmed != entry.token or self._assembly.conflicts(key):
            return False
        if self._ready.get(key) != entry.token:
            if not self._is_told(ingress):
                return False
            self._ready[key] = entry.token
        return True

    def _is_told(self, ingress: KIngress) -> bool:
        """Whether the status says that this version is served, and by us: what was of another class was not."""
        status = ingress.status
        told = (status.public_load_balancer, status.private_load_balancer)
        return is_ready(status, ingress.metadata.generation) and all(
            not name or (at is not None and [one.domain_internal for one in at.ingress] == [name])
            for name, at in zip((self._fronts.public, self._fronts.private), told, strict=True)
        )

    def _is_served(self, key: Key, token: str) -> None:
        self._ready[key] = token
        self._since.pop(key, None)
        self._writer.mark([key])

    def _wanted(self, ingress: KIngress) -> dict[str, Any] | None:
        """The status of a KIngress as it should be; None: it is so, or may be soon."""
        key = (ingress.metadata.namespace, ingress.metadata.name)
        entry = self._assembly.entries.get(key)
        if entry is None or entry.generation != ingress.metadata.generation:
            return None
        load_balancer = self._load_balancer(key, entry, ingress)
        statuses = (load_balancer.status, entry.network.status)
        if "Unknown" in statuses and "False" not in statuses:
            since = self._since.setdefault(key, monotonic())
            if monotonic() - since < _QUIET_SECONDS:
                return None
        status = next_status(
            ingress.status,
            entry.generation,
            entry.network,
            load_balancer,
            public=self._fronts.public if load_balancer is TRUE else "",
            private=self._fronts.private if load_balancer is TRUE else "",
            now=datetime.now(UTC),
        )
        return None if status == ingress.status else dict(msgspec.to_builtins(status))

    def _load_balancer(self, key: Key, entry: Entry, ingress: KIngress) -> Verdict:
        conflicts = self._assembly.conflicts(key)
        if conflicts:
            host, (namespace, name) = conflicts[0]
            return conflict(host, namespace, name)
        if self._is_ready(key, entry, ingress):
            return TRUE
        trouble = self._prober.trouble.get(key)
        return not_yet("Probing", trouble) if trouble else WAITING

    async def _remind(self) -> None:
        """Has what is still not ready written down after a while, and what was refused published again."""
        again_at = 0.0
        while True:
            await anyio.sleep(_QUIET_SECONDS)
            now = monotonic()
            self._writer.mark([key for key, since in self._since.items() if now - since >= _QUIET_SECONDS])
            if self._assembly.refused and now >= again_at:
                again_at = now + _AGAIN_SECONDS
                self._again = True
                self._changed.set()

    def _ours(self, key: Key) -> KIngress | None:
        ingress = self._ingresses.objects.get(key)
        return ingress if ingress is not None and self._is_ours(ingress) else None

    def _is_ours(self, ingress: KIngress) -> bool:
        """What is about to go is nobody's: its hosts are free, however long somebody's finalizer keeps it."""
        return self._is_class_ours(ingress) and not ingress.metadata.deletion_timestamp

    def _is_class_ours(self, ingress: KIngress) -> bool:
        return ingress.metadata.annotations.get(CLASS_ANNOTATION) == self._settings.ingress_class

    def _ingress_changed(self, change: Change[KIngress]) -> None:
        new, old = change.object, change.old
        key = (new.metadata.namespace, new.metadata.name)
        if self._is_class_ours(new):
            self._releaser.look_at(new)
        if not self._is_ours(new) and key not in self._assembly.entries:
            return
        if change.kind == "modified" and old is not None and _asks(new) == _asks(old):
            if self._assembly.told(key, new.status):
                self._changed.set()
            self._writer.mark([key])
            return
        # a version that comes back is asked for anew: between, gateways may have served another
        self._ready.pop(key, None)
        self._prober.forget(key)
        self._dirty[key] = None
        self._changed.set()

    def _leader_changed(self, leading: bool) -> None:
        self._leading = self._writer.leading = self._releaser.leading = leading
        if leading:
            self._look_at(list(self._assembly.entries))
        else:
            self._prober.forget_all()
            self._since.clear()


def _asks(ingress: KIngress) -> tuple[object, ...]:
    """All of a KIngress that what is served depends on."""
    metadata = ingress.metadata
    annotation = metadata.annotations.get(CLASS_ANNOTATION)
    return ingress.spec, metadata.uid, metadata.generation, metadata.deletion_timestamp, annotation


@asynccontextmanager
async def open_knative(settings: KnativeSettings, context: SourceContext) -> AsyncIterator[Source]:
    """The source. Raises `SettingsError` without a cluster."""

    def services_changed(keys: frozenset[Key]) -> None:
        source.services_changed(keys)

    def secrets_changed(keys: frozenset[Key]) -> None:
        source.secrets_changed(keys)

    async with (
        open_cluster(settings, context.base_dir) as cluster,
        open_services(
            cluster, services_changed, rule=by_any_port, settings=service_settings(settings.backend_settings)
        ) as services,
        open_secrets(cluster, secrets_changed) as secrets,
    ):
        source = KnativeSource(settings, cluster, services, secrets, context.workers, serving=context.serving)
        yield source
