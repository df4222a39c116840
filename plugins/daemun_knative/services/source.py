"""The source `knative_files`: Services and KIngresses out of manifests, read and watched as `daemun_file` does it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from daemun import ObjectStatus, SettingsError, Snapshot, Source, SourceContext
from daemun_file import Entry, FileSource, ObjectError, RawObject, Reader, decode, host_name, show_path
from daemun_knative.kingress.files import (
    API_VERSION,
    EVERYWHERE,
    Surroundings,
    decode_cluster_ingress,
    decode_ingress,
)
from daemun_knative.kingress.files import specs_of as kingress_specs
from daemun_knative.kingress.translate import Doors
from daemun_knative.services.manifest import VERSIONS, Path, Service, ignored
from daemun_knative.services.settings import KnativeFilesSettings
from daemun_knative.services.translate import Specs, specs_of
from daemun_knative.services.validate import parts_of

__all__ = ["DEFAULT_NAMESPACE", "assemble", "decode_manifest", "open_knative_files", "split_manifest"]

log = logging.getLogger("daemun.knative")

DEFAULT_NAMESPACE = "default"

_INGRESSES = ("Ingress", "ClusterIngress")


def split_manifest(data: Any, path: Path = ()) -> Iterator[RawObject | ObjectError]:
    """The objects of a document: itself, or the items of a `List`."""
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        yield ObjectError(path, "expected a manifest with kind, apiVersion and metadata")
        return
    if data["kind"] == "List" and isinstance(data.get("items"), list) and not path:
        for index, item in enumerate(data["items"]):
            yield from split_manifest(item, ("items", index))
        return
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("name") or show_path(path, "") or "unnamed"
    yield RawObject(data["kind"], f"{metadata.get('namespace') or DEFAULT_NAMESPACE}/{name}", path, data)


def decode_manifest(item: RawObject, settings: KnativeFilesSettings, origin: str) -> Specs:
    """What the core runs for one manifest. Raises `ObjectError`."""
    version = item.data.get("apiVersion", "")
    if version == API_VERSION and item.kind in _INGRESSES:
        return _ingress_specs(item, settings, origin)
    if item.kind != "Service" or version not in VERSIONS:
        words = f"kind {item.kind} of {version or 'no apiVersion'} is not served from files"
        raise ObjectError((), f"{words}; accepted: Service of {', '.join(VERSIONS)}; Ingress of {API_VERSION}")
    service = decode(_without_nulls(item.data), Service)
    without_meaning = [show_path(path, "") for path in ignored(service)]
    specs = specs_of(parts_of(service, DEFAULT_NAMESPACE), settings, origin)
    if without_meaning:
        log.info("%s: without meaning for a local process: %s", origin, ", ".join(without_meaning))
    return specs


def _ingress_specs(item: RawObject, settings: KnativeFilesSettings, origin: str) -> Specs:
    data = _without_nulls(item.data)
    old = item.kind == "ClusterIngress"
    written = decode_cluster_ingress(data) if old else decode_ingress(data, DEFAULT_NAMESPACE)
    doors = Doors(settings.listeners or EVERYWHERE, settings.https_listeners, settings.local_listeners)
    specs = kingress_specs(written, Surroundings(settings.services, doors, settings.backend_settings), origin)
    for warning in written.warnings:
        log.warning("%s: %s", origin, warning)
    return specs


def _without_nulls(value: Any) -> Any:
    """A key with null is a key that is not there, as in Kubernetes."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def assemble(entries: Iterable[Entry[Specs]], refused: tuple[ObjectStatus, ...]) -> Snapshot:
    """The snapshot of all manifests. Two that refer to one Service have equal back ends for it."""
    specs = [entry.value for entry in entries]
    routes = tuple(route for _, some in specs for route in some)
    backends = {backend.name: backend for some, _ in specs for backend in some}
    return Snapshot(routes, tuple(backends.values()), refused)


@asynccontextmanager
async def open_knative_files(settings: KnativeFilesSettings, context: SourceContext) -> AsyncIterator[Source]:
    """The source. Raises `SettingsError` for a domain that is none."""
    try:
        host_name(f"name.namespace.{settings.domain}")
    except ValueError as error:
        raise SettingsError(str(error), path="$.domain") from None

    def decode_item(item: RawObject, origin: str) -> Specs:
        return decode_manifest(item, settings, origin)

    reader: Reader[Specs] = Reader(
        settings.paths,
        context.base_dir,
        split=split_manifest,
        decode=decode_item,
        root="",
        recursive=settings.recursive,
        max_file_bytes=settings.max_file_bytes,
    )
    yield FileSource(context.name, reader, assemble, watched=settings.watch)
