"""The observers of the settings: each entered and exited in a task of its own, so that one can be replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from daemun.errors import DaemunError, SettingsError
from daemun.extend.culprit import Thing
from daemun.extend.fitting import managed
from daemun.extend.observe import GatewayView, Observer, ObserverContext, ObserverType, Worker
from daemun.extend.registry import Registry
from daemun.process.sources import typed
from daemun.routing.shared import Resource, Shared
from daemun.scopes import Scope, with_process_of
from daemun.settings import Settings
from daemun.strict import convert

__all__ = ["Observing"]


class Observing:
    """Opens observers, and closes them when what was opened is given back."""

    def __init__(
        self, settings: Settings, base_dir: Path, shared: Shared, view: GatewayView, worker: Worker, process: Scope
    ) -> None:
        self.observers: list[Observer] = []
        """Those in use, in the order of the settings."""
        self._settings = settings
        self._base_dir = base_dir
        self._shared = shared
        self._view = view
        self._worker = worker
        self._process = process
        self._held: list[Resource] = []

    @asynccontextmanager
    async def opening(self, registry: Registry, *, observed: bool = True) -> AsyncIterator[Callable[[], None]]:
        """Opens those that `registry` has other code for than those in use. Yields what puts all into use: what was in
        use is closed then, and what was not put into use when the context ends.

        With `observed` false settings are checked, and nothing is opened. Raises `SettingsError`.
        """
        held: list[Resource] = []
        found: list[Observer] = []
        try:
            for position, raw in enumerate(self._settings.observers):
                path = f"$.observers[{position}]"
                name, rest = typed(raw, path)
                kind = registry.observers.get(name)
                decoded = convert(rest, kind.settings, path=path)
                if not observed:
                    continue
                code = registry.observers.code(name)
                build = partial(self._build, registry.observers.thing(name), kind, decoded)
                make = partial(with_process_of, code, self._shared, build) if code else partial(build, self._process)
                try:
                    held.append(await self._shared.lease(("observer", name, str(position), *code), make))
                except DaemunError:
                    raise
                except Exception as error:
                    raise SettingsError(f"observer {name} cannot be opened: {error}", path=path) from error
                found.append(cast("Observer", held[-1].value))
            yield partial(self._use, found, held)
        finally:
            if self._held is not held:
                self._release(held)

    def _build(
        self, thing: Thing, kind: ObserverType, decoded: Any, process: Scope
    ) -> AbstractAsyncContextManager[Observer]:
        context = ObserverContext(kind.name, self._base_dir, self._view, self._worker, process)
        return managed(thing, kind.build, decoded, context)

    def close(self) -> None:
        """Closes all."""
        self._use([], [])

    def _use(self, found: Sequence[Observer], held: list[Resource]) -> None:
        self.observers[:] = found
        before, self._held = self._held, held
        self._release(before)

    def _release(self, held: list[Resource]) -> None:
        for resource in reversed(held):
            self._shared.release(resource)
