"""The sources: one publishes what files say whenever it is new, one what its settings say."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio
from anyio import CancelScope, to_thread

from daemun import ObjectStatus, Publish, Snapshot, Source, SourceContext, watch_folders
from daemun_file.explain import ObjectError, show_path
from daemun_file.find import WatchPlan
from daemun_file.load import Entry, Reader, Reading
from daemun_file.objects import Specs, assemble, decode_object, split_document
from daemun_file.settings import FileSettings, InlineSettings

__all__ = ["FileSource", "InlineSource", "open_file", "open_inline"]

log = logging.getLogger("daemun.file")

T = TypeVar("T")

_SETTLE_SECONDS = 0.05
_SETTLE_TRIES = 8


class FileSource(Generic[T]):
    """Publishes what a reader reads: at once, whenever a watched file changes it, and at each `reload`.

    What was refused for something outside of the files may be taken then.
    """

    def __init__(
        self,
        name: str,
        reader: Reader[T],
        assemble: Callable[[Iterable[Entry[T]], tuple[ObjectStatus, ...]], Snapshot],
        *,
        watched: bool,
    ) -> None:
        self._name = name
        self._reader = reader
        self._assemble = assemble
        self._watched = watched
        self._changed = anyio.Event()
        self._distrustful = False

    async def run(self, publish: Publish) -> None:
        published: Snapshot | None = None
        plan: WatchPlan | None = None
        watching: CancelScope | None = None
        async with anyio.create_task_group() as tasks:
            while True:
                distrustful, self._distrustful = self._distrustful, False
                reading = await self._read(patient=published is not None, distrustful=distrustful)
                snapshot = self._assemble(reading.entries, reading.refused)
                if snapshot != published or distrustful:
                    applied = await publish(snapshot)
                    published = snapshot
                    log.info(
                        "%s: %d routes, %d back ends, %d objects refused",
                        self._name,
                        len(snapshot.routes),
                        len(snapshot.backends),
                        len(applied.refused),
                    )
                if self._watched and reading.plan != plan:
                    if watching is not None:
                        watching.cancel()
                    plan, watching = reading.plan, CancelScope()
                    tasks.start_soon(self._watch, reading.plan, watching)
                await self._changed.wait()
                self._changed = anyio.Event()

    def reload(self) -> None:
        self._distrustful = True
        self._changed.set()

    async def _read(self, *, patient: bool, distrustful: bool) -> Reading[T]:
        for _ in range(_SETTLE_TRIES if patient else 0):
            reading = await to_thread.run_sync(lambda: self._reader.read(patient=True, distrustful=distrustful))
            if reading is not None:
                return reading
            await anyio.sleep(_SETTLE_SECONDS)
        reading = await to_thread.run_sync(lambda: self._reader.read(distrustful=distrustful))
        assert reading is not None
        return reading

    async def _watch(self, plan: WatchPlan, scope: CancelScope) -> None:
        with scope:
            try:
                await watch_folders(plan.folders, lambda: self._changed.set(), concerns=plan.concerns)
            except OSError as error:
                log.warning("changes of files are not seen without SIGHUP: %s", error)


class InlineSource:
    """Publishes the document in its settings: at once, and at each `reload`."""

    def __init__(self, settings: InlineSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._asked = anyio.Event()

    async def run(self, publish: Publish) -> None:
        snapshot = self._snapshot()
        while True:
            await publish(snapshot)
            await self._asked.wait()
            self._asked = anyio.Event()

    def reload(self) -> None:
        self._asked.set()

    def _snapshot(self) -> Snapshot:
        entries: dict[tuple[str, str], Entry[Specs]] = {}
        refused: list[ObjectStatus] = []
        for item in split_document({"backends": self._settings.backends, "routes": self._settings.routes}):
            if isinstance(item, ObjectError):
                refused.append(ObjectStatus("source", self._name, self._name, str(item)))
                continue
            origin = f"{self._name}#{item.name}"
            try:
                if (item.kind, item.name) in entries:
                    raise ObjectError((), "another object has this name")
                value = decode_object(item, origin)
            except ObjectError as error:
                words = f"{show_path((*item.path, *error.path))}: {error.message}"
                refused.append(ObjectStatus(item.kind, item.name, origin, words))
                continue
            entries[item.kind, item.name] = Entry(item.kind, item.name, value)
        return assemble(entries.values(), tuple(refused))


@asynccontextmanager
async def open_file(settings: FileSettings, context: SourceContext) -> AsyncIterator[Source]:
    """The source `file`."""
    reader = Reader(
        settings.paths,
        context.base_dir,
        split=split_document,
        decode=decode_object,
        recursive=settings.recursive,
        max_file_bytes=settings.max_file_bytes,
    )
    yield FileSource(context.name, reader, assemble, watched=settings.watch)


@asynccontextmanager
async def open_inline(settings: InlineSettings, context: SourceContext) -> AsyncIterator[Source]:
    """The source `inline`."""
    yield InlineSource(settings, context.name)
