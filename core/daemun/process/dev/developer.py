"""A gateway whose plugins are developed: each save is a new version of their code, or a fault in words."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from types import ModuleType

import anyio
import pluggy
from msgspec import Struct

from daemun.errors import PluginError, ungrouped
from daemun.extend.loading import exchanged, installed
from daemun.extend.registry import Registry
from daemun.process.dev.fault import Fault, fault_of
from daemun.process.dev.fresh import FromSource, imported_anew
from daemun.process.dev.sources import Sources
from daemun.process.dev.swap import swap
from daemun.process.gateway import Gateway, open_gateway
from daemun.settings import Settings
from daemun.watching import watch_folders

__all__ = ["Developer", "Reload", "open_developed", "open_developer"]

log = logging.getLogger("daemun.dev")

_PATIENCE_SECONDS = 30.0
_GONE_SECONDS = 0.5
"""How long a file may be gone while an editor puts another one in its place."""


class Reload(Struct, frozen=True):
    """What became of a save."""

    plugin: str
    generation: int
    """Of the plugin's code that new exchanges run on now; the first is that of the start."""
    seconds: float
    """From the beginning of its import to the first exchange that could run on it."""
    brings: tuple[str, ...] = ()
    """What it registered, in words."""
    fault: Fault | None = None
    """Why the new code is not used."""
    mended: bool = False
    """The save before could not be used."""


class _Plugin:
    """A plugin that is developed."""

    def __init__(self, name: str, registry: Registry, since: float) -> None:
        plugin = registry.manager.get_plugin(name)
        if plugin is None:
            raise PluginError("it is not loaded (see `plugins` in the settings)", plugin=name)
        self.attribute = ""
        """Of the module, that holds the hooks; "": the module itself does."""
        module = plugin
        if not isinstance(module, ModuleType):
            point = installed()[name]
            self.attribute, module = point.attr, sys.modules[point.module]
        own = module.__name__.partition(".")[0]
        others = {one.partition(".")[0] for one, of in registry.packages().items() if of != name} - {own}
        self.sources = Sources(name, module, lambda top: top == "daemun" or top in others)
        self.failed = False
        digests = self.sources.digests(all_beside=True)
        self.seen = {file: digest for file, digest in digests.items() if file.stat().st_mtime <= since}
        """What each file held when it was imported, or tried, last; of one that was saved since, nobody knows."""

    def hooks(self, module: ModuleType) -> object:
        """What holds the hooks in `module`. Raises `PluginError`."""
        try:
            return attrgetter(self.attribute)(module) if self.attribute else module
        except AttributeError as error:
            words = f"module {module.__name__} has no {self.attribute}, which its entry point names"
            raise PluginError(words, plugin=self.sources.plugin, code=Path(str(module.__file__))) from error

    def changed(self) -> bool:
        """Whether its code is not what was imported, or tried, last."""
        now = self.sources.digests(all_beside=self.failed)
        return any(self.seen.get(file) != digest for file, digest in now.items()) or any(
            file not in now for file in self.seen if self.sources.holds(str(file))
        )


class Developer:
    """Puts new code into use. `open_developer` makes it."""

    def __init__(
        self,
        gateway: Gateway,
        settings: Settings,
        plugins: Iterable[str],
        tell: Callable[[Reload], None],
        since: float = math.inf,
    ) -> None:
        """`plugins` by name, as in `open_gateway(developed=…)`; `tell` gets each reload; `since`, as `time.time()`, is
        when their import began. Raises `PluginError` for one without source files."""
        registry = gateway.parts.registry
        self._gateway = gateway
        self._settings = settings
        self._tell = tell
        self._plugins = {name: _Plugin(name, registry, since) for name in plugins}
        self._lock = anyio.Lock()
        self._changed = anyio.Event()

    @property
    def sources(self) -> list[Sources]:
        """The code of each plugin."""
        return [plugin.sources for plugin in self._plugins.values()]

    async def reload(self, name: str) -> Reload:
        """Imports the plugin `name` anew and puts it into use, or says why that cannot be. Never raises what the plugin
        raises."""
        async with self._lock:
            plugin, before = self._plugins[name], self._gateway.parts.registry
            began = perf_counter()
            plugin.seen = plugin.sources.digests(all_beside=True)
            try:
                with anyio.fail_after(_PATIENCE_SECONDS), imported_anew([plugin.sources]) as modules:
                    hooks = plugin.hooks(modules[name])
                    registry = Registry(exchanged(before.manager, {name: hooks}), [name], before)
                    await swap(self._gateway, self._settings, registry)
            except Exception as error:
                if isinstance(error, TimeoutError):
                    error = PluginError(f"it was not ready after {_PATIENCE_SECONDS:g} s", plugin=name)
                fault = fault_of(error, plugin.sources.holds)
                done = Reload(name, before.versions[name], perf_counter() - began, fault=fault)
                plugin.failed = True
            else:
                seconds = perf_counter() - began
                done = Reload(name, registry.versions[name], seconds, _brings(registry, name), mended=plugin.failed)
                plugin.failed = False
        self._tell(done)
        return done

    async def run(self) -> None:
        """Reloads each plugin whose code changes, until cancelled."""
        async with anyio.create_task_group() as tasks:
            folders: set[Path] = set()
            watching = anyio.CancelScope()
            while True:
                wanted = {folder for plugin in self.sources for folder in plugin.folders()}
                if wanted != folders:
                    watching.cancel()
                    folders, watching = wanted, anyio.CancelScope()
                    tasks.start_soon(self._watch, folders, watching)
                await self._changed.wait()
                self._changed = anyio.Event()
                for name, plugin in self._plugins.items():
                    if plugin.changed():
                        await self._settle(plugin)
                        await self.reload(name)

    async def _settle(self, plugin: _Plugin) -> None:
        with anyio.move_on_after(_GONE_SECONDS):
            while not plugin.sources.file.exists():
                await self._changed.wait()
                self._changed = anyio.Event()
        self._changed.set()  # what was heard meanwhile may have been of another plugin

    async def _watch(self, folders: set[Path], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await watch_folders(folders, lambda: self._changed.set())
            except OSError as error:
                log.warning("changes of code are not seen: %s", error)


def _brings(registry: Registry, name: str) -> tuple[str, ...]:
    things = [f"{word} {thing.name}" for word, found in registry.brings(name).items() for thing in found]
    callers = registry.manager.get_hookcallers(registry.manager.get_plugin(name)) or []
    others = [caller.name for caller in callers if caller.name in _OTHERS]
    return (*things, *others)


_OTHERS = ("daemun_route_filters", "daemun_started", "daemun_applied", "daemun_draining", "daemun_stopped")
"""Hooks that bring nothing with a name."""


@asynccontextmanager
async def open_developer(
    gateway: Gateway,
    settings: Settings,
    plugins: Iterable[str],
    tell: Callable[[Reload], None],
    *,
    since: float = math.inf,
    watched: bool = True,
) -> AsyncIterator[Developer]:
    """A developer for plugins of a gateway that serves, until the context is left. With `watched` false it reloads when
    it is told to, and not when files change."""
    developer = Developer(gateway, settings, plugins, tell, since)
    finder = FromSource(developer.sources)
    sys.meta_path.insert(0, finder)
    try:
        async with anyio.create_task_group() as tasks:
            if watched:
                tasks.start_soon(developer.run)
            yield developer
            tasks.cancel_scope.cancel()
    finally:
        sys.meta_path.remove(finder)


@asynccontextmanager
async def open_developed(
    settings: Settings,
    manager: pluggy.PluginManager,
    base_dir: Path,
    plugins: Collection[str],
    watched: Callable[[Sources], None],
    tell: Callable[[Reload], None],
    *,
    since: float,
) -> AsyncIterator[Gateway]:
    """A gateway as `open_gateway` gives it, whose `plugins` are reloaded when they are saved. `watched` gets each of
    them at first, `tell` each reload."""
    with ungrouped():
        async with (
            open_gateway(settings, manager, base_dir, developed=plugins) as gateway,
            open_developer(gateway, settings, plugins, tell, since=since) as developer,
        ):
            for sources in developer.sources:
                watched(sources)
            yield gateway
