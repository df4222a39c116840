"""One source of the settings: opened, run in a task of its own, and begun again after a failure."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from daemun.errors import DaemunError, SettingsError, is_fault, ungrouped
from daemun.extend.culprit import Blame
from daemun.extend.fitting import managed
from daemun.extend.registry import Registry
from daemun.extend.sources import Applied, Publish, Source, SourceContext
from daemun.routing.spec import Snapshot
from daemun.strict import convert

__all__ = ["USUAL_PATIENCE_SECONDS", "Apply", "Opening", "SourceRun"]

log = logging.getLogger("daemun")

Apply = Callable[[str, Snapshot], Awaitable[Applied]]
"""`await apply(name, snapshot)`: takes what the source of this name publishes."""

USUAL_PATIENCE_SECONDS = 10.0
"""How long a source is waited for where nobody says otherwise."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Opening:
    """How a source is opened: its settings, and the code that makes one of them."""

    def __init__(self, registry: Registry, path: str, kind: str, raw: dict[str, Any], context: SourceContext) -> None:
        """Raises `SettingsError`."""
        found = registry.sources.get(kind)
        decoded = convert(raw, found.settings, path=path)
        self.code = registry.sources.code(kind)
        self.thing = registry.sources.thing(kind)
        self.patience_seconds = found.patience_seconds
        self.build = partial(managed, self.thing, found.build, decoded, context)
        self.path = path
        self._again = partial(Opening, path=path, kind=kind, raw=raw, context=context)

    def by(self, registry: Registry) -> Opening:
        """The same, with the code that `registry` holds. Raises `SettingsError`."""
        return self._again(registry)


class SourceRun:
    """A source, in a task of its own: opened, run, and begun again after a failure."""

    def __init__(self, name: str, opening: Opening, patience_seconds: float) -> None:
        self.opening = opening
        self.go = anyio.Event()
        """It may run."""
        self.closed = anyio.Event()
        self._opened = anyio.Event()
        """It could be opened, or `_error` says why not."""
        self._error: Exception | None = None
        self.name = name
        self._patience_seconds = patience_seconds
        self.has_published = False
        """What it published has been applied, the first time or since."""
        self._first = anyio.Event()
        self._applying: anyio.Event | None = None
        """What it published last, until that is applied."""
        self._over = False
        self._again = False
        self._scope = anyio.CancelScope()
        """Of what it does now, not of how it is opened and closed."""
        self._whole = anyio.CancelScope()
        """Of that too."""
        self._opens = False
        self._works = False
        """It is open, and is not closed yet."""

    @property
    def is_open(self) -> bool:
        """Whether it could be opened since it was to begin, the first time or again."""
        return self._opened.is_set()

    def end(self) -> None:
        """Lets it close; one that is not open yet is given up."""
        self._over = True
        self._stop(self._opens)
        self.go.set()

    def _stop(self, at_once: bool) -> None:
        self._scope.cancel()
        if at_once:
            self._whole.cancel()

    async def wait_until_open(self) -> None:
        """Raises `SettingsError`, or another error of ours, if it cannot be opened."""
        await self._opened.wait()
        error, self._error = self._error, None
        if isinstance(error, DaemunError):
            raise error
        if error is not None:
            raise SettingsError(f"source {self.name} cannot be opened: {error}", path=self.opening.path) from error

    def begin_again(self, opening: Opening, *, at_once: bool = False) -> None:
        """Lets it close, and open as `opening` says; one that is not open yet is given up. With `at_once` one that
        closes already is cut off."""
        self.opening = opening
        self._opened = anyio.Event()
        self._error = None
        self._again = True
        self._stop(self._opens or (at_once and not self._works))

    async def wait(self, began: float) -> None:
        """Returns once it has published, or its patience is over. What is being applied by then is waited for."""
        with anyio.CancelScope(deadline=began + min(self._patience_seconds, USUAL_PATIENCE_SECONDS)):
            await self._first.wait()
        if not self._first.is_set() and self._patience_seconds > USUAL_PATIENCE_SECONDS:
            log.warning("source %s has published nothing yet; the gateway accepts once it has", self.name)
            with anyio.CancelScope(deadline=began + self._patience_seconds):
                await self._first.wait()
        if self._applying is not None and not self._first.is_set():
            await self._applying.wait()

    async def own(self, opened: dict[str, Source], blame: Blame, apply: Apply) -> None:
        """Until `end`. While it is open it is among `opened`; its faults are named after whom `blame` finds."""
        try:
            await self._own(opened, blame, apply)
        finally:
            self.closed.set()

    async def _own(self, by_name: dict[str, Source], blame: Blame, apply: Apply) -> None:

        async def publish(snapshot: Snapshot) -> Applied:
            applying = self._applying = anyio.Event()
            try:
                applied = await apply(self.name, snapshot)
                self.has_published = True
                self._first.set()
            finally:
                applying.set()
            return applied

        pause = _FIRST_PAUSE_SECONDS
        while not self._over:
            began = anyio.current_time()
            self._again = False
            opening, opened = self.opening, self._opened  # others' by the time that this one is given up
            self._opens = True
            try:
                with ungrouped(), anyio.CancelScope() as self._whole:
                    async with opening.build() as source:
                        by_name[self.name] = source
                        self._opens, self._works = False, True
                        opened.set()
                        await self.go.wait()
                        try:
                            await self._within(self._serve(source, publish))
                        finally:
                            self._works = False
            except BaseException as error:
                if not is_fault(error):
                    raise
                if not opened.is_set():
                    if opened is self._opened:
                        self._error = error if isinstance(error, Exception) else RuntimeError(f"it ended by {error!r}")
                    opened.set()
                    if not self.go.is_set():
                        return
                else:
                    culprit, words = (
                        blame.of(error, [opening.thing], by_name.get(self.name)),
                        "source %s failed: %s raised %r; what it published last stays",
                    )
                    log.error(f"{words} in use", self.name, culprit, error, exc_info=error)
            finally:
                self._opens = False
            if self._patience_seconds <= USUAL_PATIENCE_SECONDS:
                self._first.set()
            if self._again or anyio.current_time() - began > _LONGEST_PAUSE_SECONDS:
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
            if self._over or self._again:
                self._scope.cancel()
            await work
