"""The sources of the settings: opened, run, and told to read everything again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import DaemunError, SettingsError, ungrouped
from daemun.extend.registry import Registry
from daemun.extend.types import Applied, Publish, Source, SourceContext
from daemun.routing.spec import Snapshot
from daemun.settings import Settings, convert

__all__ = ["Sources", "open_sources", "source_names", "typed"]

log = logging.getLogger("daemun")

_USUAL_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Sources:
    """The sources that run, by name."""

    def __init__(self) -> None:
        self.by_name: dict[str, Source] = {}

    def reload(self) -> None:
        """Tells every source to read everything again."""
        for name, source in self.by_name.items():
            try:
                source.reload()
            except Exception:
                log.exception("source %s failed to reload", name)


def typed(raw: dict[str, Any], path: str) -> tuple[str, dict[str, Any]]:
    """The `type` of an item of the settings, and the rest of it. Raises `SettingsError`."""
    rest = dict(raw)
    name = rest.pop("type", None)
    if not isinstance(name, str):
        raise SettingsError("`type` is missing or no string", path=path)
    return name, rest


def source_names(settings: Settings) -> tuple[str, ...]:
    """The names of the sources, in their order: the type, with a position where that is taken."""
    return tuple(name for name, *_ in _named(settings))


def _named(settings: Settings) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Name, path, type and settings of each source."""
    names: set[str] = set()
    for position, raw in enumerate(settings.sources):
        path = f"$.sources[{position}]"
        kind, rest = typed(raw, path)
        name = kind if kind not in names else f"{kind}-{position}"
        names.add(name)
        yield name, path, kind, rest


@asynccontextmanager
async def open_sources(
    settings: Settings,
    registry: Registry,
    base_dir: Path,
    apply: Callable[[str, Snapshot], Awaitable[Applied]],
    *,
    workers: int = 1,
    serving: bool = True,
) -> AsyncIterator[Sources]:
    """The sources of `settings`, running, once each has published or its patience is over. What they publish goes to
    `apply` with the source's name.

    With `serving` false what they publish is only looked at, and none is waited for longer than 10 s.
    """
    sources = Sources()
    runs: list[_Run] = []
    async with anyio.create_task_group() as tasks:
        try:
            for name, path, kind_name, rest in _named(settings):
                kind = registry.sources.get(kind_name)
                patience = kind.patience_seconds if serving else min(kind.patience_seconds, _USUAL_PATIENCE_SECONDS)
                decoded = convert(rest, kind.settings, path=path)
                context = SourceContext(name, base_dir, workers, serving)
                one = _Run(name, partial(kind.build, decoded, context), patience)
                runs.append(one)
                tasks.start_soon(one.own, sources, apply)
                await one.opened.wait()
                if isinstance(one.error, DaemunError):
                    raise one.error
                if one.error is not None:
                    raise SettingsError(f"source {name} cannot be opened: {one.error}", path=path) from one.error
            began = anyio.current_time()
            for one in runs:
                one.go.set()
            for one in runs:
                await one.wait(began)
            yield sources
        finally:
            for one in runs:
                one.end()


class _Run:
    """A source, in a task of its own: opened, run, and begun again after a failure."""

    def __init__(
        self, name: str, build: Callable[[], AbstractAsyncContextManager[Source]], patience_seconds: float
    ) -> None:
        self.opened = anyio.Event()
        """It could be opened, or `error` says why not."""
        self.error: Exception | None = None
        self.go = anyio.Event()
        self._name = name
        self._build = build
        self._patience_seconds = patience_seconds
        self._first = anyio.Event()
        self._over = False
        self._scope = anyio.CancelScope()
        """Of what it does now, not of how it is opened and closed."""

    def end(self) -> None:
        """Lets it close."""
        self._over = True
        self._scope.cancel()
        self.go.set()

    async def wait(self, began: float) -> None:
        """Returns once it has published, or its patience is over."""
        with anyio.CancelScope(deadline=began + min(self._patience_seconds, _USUAL_PATIENCE_SECONDS)):
            await self._first.wait()
        if not self._first.is_set() and self._patience_seconds > _USUAL_PATIENCE_SECONDS:
            log.warning("source %s has published nothing yet; the gateway accepts once it has", self._name)
            with anyio.CancelScope(deadline=began + self._patience_seconds):
                await self._first.wait()

    async def own(self, sources: Sources, apply: Callable[[str, Snapshot], Awaitable[Applied]]) -> None:
        """Until `end`."""

        async def publish(snapshot: Snapshot) -> Applied:
            applied = await apply(self._name, snapshot)
            self._first.set()
            return applied

        pause = _FIRST_PAUSE_SECONDS
        while not self._over:
            began = anyio.current_time()
            try:
                with ungrouped():
                    async with self._build() as source:
                        sources.by_name[self._name] = source
                        self.opened.set()
                        await self.go.wait()
                        await self._within(self._serve(source, publish))
            except Exception as error:
                if not self.opened.is_set():
                    self.error = error
                    self.opened.set()
                    return
                log.exception("source %s failed; what it published last stays in use", self._name)
            if self._patience_seconds <= _USUAL_PATIENCE_SECONDS:
                self._first.set()
            if anyio.current_time() - began > _LONGEST_PAUSE_SECONDS:
                pause = _FIRST_PAUSE_SECONDS
            await self._within(anyio.sleep(pause))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _serve(self, source: Source, publish: Publish) -> None:
        await source.run(publish)
        self._first.set()
        await anyio.sleep_forever()

    async def _within(self, work: Awaitable[None]) -> None:
        """Does `work` until `end`."""
        with anyio.CancelScope() as self._scope:
            if self._over:
                self._scope.cancel()
            await work
