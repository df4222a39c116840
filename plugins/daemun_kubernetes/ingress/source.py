"""The source `kubernetes_ingress`: Ingresses of the gateway's classes, watched, published, and told how they fare."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from daemun import Publish, Snapshot, Source, SourceContext
from daemun_kubernetes.client.api import Cluster, open_cluster
from daemun_kubernetes.client.events import Recorder
from daemun_kubernetes.client.kinds import INGRESS, INGRESS_CLASS, SERVICE, Ingress, IngressClass, Service
from daemun_kubernetes.client.lease import Elector, new_identity
from daemun_kubernetes.client.status import StatusWriter
from daemun_kubernetes.client.watch import Change, Reflector
from daemun_kubernetes.ingress.assembly import Assembly
from daemun_kubernetes.ingress.classes import ANNOTATION, default_class, is_ours
from daemun_kubernetes.ingress.reporter import Reporter
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.status import Addresses, addresses_of, addresses_said, has_addresses, status_of
from daemun_kubernetes.ingress.translate import REDIRECT
from daemun_kubernetes.view.references import Key
from daemun_kubernetes.view.secrets import SecretView, open_secrets
from daemun_kubernetes.view.services import ServiceView, open_services, service_settings

__all__ = ["IngressSource", "open_ingress"]

_MAX_NAMESPACES = 16
"""With more of them the whole cluster is watched."""
_PATIENCE_SECONDS = 10.0
"""How long it is waited for what an Ingress refers to before it is served without."""
_LOOK_SECONDS = 0.5
_ANNOTATIONS = (ANNOTATION, REDIRECT)
"""Those that mean something here."""


class IngressSource:
    """Publishes all Ingresses of the gateway's classes, at once and whenever something about them changes.

    Every replica publishes; one of them, the leader, writes statuses and events.
    """

    def __init__(
        self,
        settings: IngressSettings,
        cluster: Cluster,
        services: ServiceView,
        secrets: SecretView,
        *,
        serving: bool = True,
    ) -> None:
        """With `serving` false nothing is written: what it publishes is only looked at."""
        self._settings = settings
        self._serving = serving
        self._services = services
        self._secrets = secrets
        self._assembly = Assembly(
            settings,
            backend=lambda target: services.backend(*target),
            pair=lambda key: secrets.pair(*key),
        )
        self._changed = anyio.Event()
        self._dirty: set[Key] = set()
        self._taken: set[Key] = set()
        """What was taken in since statuses were last looked at."""
        self._ours: set[Key] = set()
        self._left: set[Key] = set()
        """Ingresses that were served and are the gateway's no more, for as long as their status says its address."""
        self._served: set[Key] = set()
        """Those that requests reach."""
        self._ingresses = {
            namespace: Reflector(cluster, INGRESS, namespace, on_change=self._ingress_changed)
            for namespace in settings.namespaces or ("",)
        }
        self._classes = Reflector(cluster, INGRESS_CLASS, on_change=self._class_changed)
        self._own: Reflector[Service] | None = None
        if settings.service and not settings.status_addresses:
            namespace, _, name = settings.service.partition("/")
            self._own = Reflector(
                cluster, SERVICE, namespace, fields=f"metadata.name={name}", on_change=self._own_service_changed
            )
        self._writer = StatusWriter(cluster, INGRESS, self._ingress, self._wanted)
        self._recorder = Recorder(cluster, "daemun")
        self._reporter = Reporter(self._recorder, self._ingress)
        self._elector = Elector(
            cluster,
            settings.lease,
            cluster.namespace,
            new_identity(),
            self._leader_changed,
        )

    async def run(self, publish: Publish) -> None:
        own = (self._own,) if self._own is not None else ()
        async with anyio.create_task_group() as tasks:
            for run in (self._classes.run, *(one.run for one in (*self._ingresses.values(), *own))):
                tasks.start_soon(run)
            await self._classes.wait_synced()
            await self._listed()
            self._take()
            await self._services.wait_synced()
            await self._secrets.wait_synced()
            jobs = (self._writer.run, self._reporter.run, self._recorder.run, self._elector.run)
            for job in jobs if self._serving else ():
                tasks.start_soon(job)
            published: Snapshot | None = None
            while True:
                self._changed = anyio.Event()
                self._take()
                snapshot = self._assembly.snapshot()
                self._refer()
                if snapshot != published:
                    self._assembly.applied(await publish(snapshot))
                    published = snapshot
                self._tell()
                await self._changed.wait()

    async def _listed(self) -> None:
        """Returns once all Ingresses were listed. A namespace that is refused is not waited for long beside others."""
        until = anyio.current_time() + _patience(self._settings)
        while waiting := [one for one in self._ingresses.values() if not one.synced]:
            is_over = len(waiting) < len(self._ingresses) and anyio.current_time() >= until
            if is_over and all(one.refused for one in waiting):
                return
            with anyio.move_on_after(_LOOK_SECONDS):
                await waiting[0].wait_synced()

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
        """Takes in what changed of Ingresses and classes."""
        classes = {name: one for (_, name), one in self._classes.objects.items()}
        default = default_class(classes.values())
        dirty, self._dirty = self._dirty, set()
        self._taken |= dirty
        for key in dirty:
            ingress = self._ingress(key)
            ours = ingress is not None and is_ours(ingress, classes, default, self._settings.controller)
            if ours and ingress is not None and not ingress.metadata.deletion_timestamp:
                self._assembly.put(key, ingress)
                self._ours.add(key)
                self._left.discard(key)
            elif key in self._ours:
                self._assembly.put(key, None)
                self._ours.discard(key)
                if ingress is not None and has_addresses(ingress) == self._addresses():
                    self._left.add(key)
            elif ingress is None:
                self._left.discard(key)
        self._refer()

    def _refer(self) -> None:
        """Has the cluster tell of what is referred to, by what is served and by what is to be."""
        self._services.refer(self._assembly.services)
        self._secrets.refer(self._assembly.secrets)

    def _tell(self) -> None:
        """Has the status of what is served written, and what is wrong with it said."""
        served = set(self._assembly.owners)
        concerned = (served ^ self._served) | self._taken
        self._served, self._taken = served, set()
        self._writer.mark(concerned)
        for key, problems in self._assembly.news().items():
            self._reporter.report(key, problems)

    def _ingress(self, key: Key) -> Ingress | None:
        reflector = self._ingresses.get(key[0]) or self._ingresses.get("")
        return reflector.objects.get(key) if reflector is not None else None

    def _wanted(self, ingress: Ingress) -> dict[str, Any] | None:
        """The status that is to be written; None: it is right, or not the gateway's to write."""
        key = (ingress.metadata.namespace, ingress.metadata.name)
        addresses, has = self._addresses(), has_addresses(ingress)
        if addresses is None:
            return None
        if key in self._dirty:
            return None  # whose it is now is not known before it is taken in
        if key in self._ours:
            return status_of(addresses) if key in self._served and has != addresses else None
        return status_of(()) if key in self._left and has and has == addresses else None

    def _addresses(self) -> Addresses | None:
        """The gateway's own; None: they are not known."""
        if self._settings.status_addresses:
            return addresses_said(self._settings.status_addresses)
        if self._own is None or not self._own.synced:
            return None
        return addresses_of(next(iter(self._own.objects.values()), None))

    def _ingress_changed(self, change: Change[Ingress]) -> None:
        new, old = change.object, change.old
        key = (new.metadata.namespace, new.metadata.name)
        if change.kind == "modified" and old is not None and _asks(new) == _asks(old):
            if key in self._left and has_addresses(new) != self._addresses():
                self._left.discard(key)  # should it say the same again, another gateway behind that address has said it
            if key in self._served or key in self._left:
                self._writer.mark([key])
            return
        self._dirty.add(key)
        self._changed.set()

    def _class_changed(self, change: Change[IngressClass]) -> None:
        for reflector in self._ingresses.values():
            self._dirty.update(reflector.objects)
        self._changed.set()

    def _own_service_changed(self, change: Change[Service]) -> None:
        self._writer.mark(self._served)

    def _leader_changed(self, leading: bool) -> None:
        self._writer.leading = leading
        self._writer.mark(self._served | self._left)
        self._reporter.lead(leading)


def _asks(ingress: Ingress) -> tuple[object, ...]:
    """All of an Ingress that what is served depends on."""
    metadata = ingress.metadata
    annotations = tuple(metadata.annotations.get(name) for name in _ANNOTATIONS)
    return ingress.spec, metadata.uid, metadata.creation_timestamp, metadata.deletion_timestamp, annotations


def _patience(settings: IngressSettings) -> float:
    return min(settings.request_timeout_seconds, _PATIENCE_SECONDS)


@asynccontextmanager
async def open_ingress(settings: IngressSettings, context: SourceContext) -> AsyncIterator[Source]:
    """The source. Raises `SettingsError` without a cluster, and for settings of back ends that are none."""
    limit = math.inf if settings.namespaces else _MAX_NAMESPACES
    patience = _patience(settings)

    def services_changed(keys: frozenset[Key]) -> None:
        source.services_changed(keys)

    def secrets_changed(keys: frozenset[Key]) -> None:
        source.secrets_changed(keys)

    async with (
        open_cluster(settings, context.base_dir) as cluster,
        open_services(
            cluster,
            services_changed,
            settings=service_settings(settings.backend_settings),
            external_names=settings.external_names,
            max_namespaces=limit,
            patience_seconds=patience,
        ) as services,
        open_secrets(cluster, secrets_changed, max_namespaces=limit, patience_seconds=patience) as secrets,
    ):
        source = IngressSource(settings, cluster, services, secrets, serving=context.serving)
        yield source
