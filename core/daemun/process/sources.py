"""The sources of the settings: opened, run, and told to read everything again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import DaemunError, SettingsError, is_fault, ungrouped
from daemun.extend.culprit import Blame
from daemun.extend.registry import Registry
from daemun.extend.types import Applied, Publish, Source, SourceContext
from daemun.routing.spec import Snapshot
from daemun.settings import Settings, convert
from daemun.transport.standing import Standing

__all__ = ["SourceRun", "Sources", "open_sources", "source_names", "typed"]

log = logging.getLogger("daemun")

_USUAL_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Sources:
    """The sources that run, by name."""

    def __init__(self, blame: Blame | None = None) -> None:
        self.blame = blame or Blame()
        """Who a fault is named after."""
        self.by_name: dict[str, Source] = {}
        self.runs: list[SourceRun] = []

    async def replace(self, registry: Registry) -> None:
        """Closes the sources that `registry` has other code for, and opens them anew; what they published stays in use
        meanwhile. Raises `SettingsError`; all are as they were then, or come back once they can: none is waited for
        longer than 10 s."""
        done: list[tuple[SourceRun, _Opening]] = []
        try:
            for run in self.runs:
                opening = run.opening.by(registry)
                if opening.code != run.opening.code:
                    done.append((run, run.opening))
                    run.begin_again(opening)
                    await run.wait_until_open()
        except BaseException:
            for run, before in done:
                run.begin_again(before, at_once=True)
            await self._come_back([run for run, _ in done])
            raise

    async def _come_back(self, runs: Sequence[SourceRun]) -> None:
        with anyio.move_on_after(_USUAL_PATIENCE_SECONDS, shield=True):
            for run in runs:
                try:
                    await run.wait_until_open()
                except DaemunError as error:
                    log.error("%s", error)
        left = ", ".join(run.name for run in runs if not run.is_open)
        if left:
            culprits = self.blame.standing_in(SourceRun.own.__code__, Standing().stacks())
            words = "sources %s are not open again after %g s: %s; what they published last stays in use"
            log.error(words, left, _USUAL_PATIENCE_SECONDS, culprits)

    def reload(self) -> None:
        """Tells every source to read everything again."""
        for name, source in self.by_name.items():
            try:
                source.reload()
            except Exception as error:
                things = [run.opening.thing for run in self.runs if run.name == name]
                culprit = self.blame.of(error, things, source)
                log.error("source %s failed to reload: %s raised %r", name, culprit, error, exc_info=error)


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


class _Opening:
    """How a source is opened: its settings, and the code that makes one of them."""

    def __init__(self, registry: Registry, path: str, kind: str, raw: dict[str, Any], context: SourceContext) -> None:
        """Raises `SettingsError`."""
        found = registry.sources.get(kind)
        decoded = convert(raw, found.settings, path=path)
        self.code = registry.sources.code(kind)
        self.thing = registry.sources.thing(kind)
        self.patience_seconds = found.patience_seconds
        self.build = partial(found.build, decoded, context)
        self.path = path
        self._again = partial(_Opening, path=path, kind=kind, raw=raw, context=context)

    def by(self, registry: Registry) -> _Opening:
        """The same, with the code that `registry` holds. Raises `SettingsError`."""
        return self._again(registry)


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
    sources = Sources(registry.blame)
    runs = sources.runs
    async with anyio.create_task_group() as tasks:
        try:
            for name, path, kind_name, rest in _named(settings):
                opening = _Opening(registry, path, kind_name, rest, SourceContext(name, base_dir, workers, serving))
                patience = opening.patience_seconds
                one = SourceRun(name, opening, patience if serving else min(patience, _USUAL_PATIENCE_SECONDS))
                runs.append(one)
                tasks.start_soon(one.own, sources, apply)
                await one.wait_until_open()
            began = anyio.current_time()
            for one in runs:
                one.go.set()
            for one in runs:
                await one.wait(began)
            yield sources
        finally:
            for one in runs:
                one.end()
            await _close_within(settings.drain.close_seconds, runs, registry.blame)
            tasks.cancel_scope.cancel()


async def _close_within(seconds: float, runs: Sequence[SourceRun], blame: Blame) -> None:
    """Waits until all are closed; names those that are not after `seconds`."""
    with anyio.move_on_after(seconds, shield=True):
        for one in runs:
            await one.closed.wait()
    left = [one.name for one in runs if not one.closed.is_set()]
    if left:
        culprits = blame.standing_in(SourceRun.own.__code__, Standing().stacks())
        log.error("sources %s did not close within %g s and are cut off: %s", ", ".join(left), seconds, culprits)


class SourceRun:
    """A source, in a task of its own: opened, run, and begun again after a failure."""

    def __init__(self, name: str, opening: _Opening, patience_seconds: float) -> None:
        self.opening = opening
        self.go = anyio.Event()
        """It may run."""
        self.closed = anyio.Event()
        self._opened = anyio.Event()
        """It could be opened, or `_error` says why not."""
        self._error: Exception | None = None
        self.name = name
        self._patience_seconds = patience_seconds
        self._first = anyio.Event()
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

    def begin_again(self, opening: _Opening, *, at_once: bool = False) -> None:
        """Lets it close, and open as `opening` says; one that is not open yet is given up. With `at_once` one that
        closes already is cut off."""
        self.opening = opening
        self._opened = anyio.Event()
        self._error = None
        self._again = True
        self._stop(self._opens or (at_once and not self._works))

    async def wait(self, began: float) -> None:
        """Returns once it has published, or its patience is over."""
        with anyio.CancelScope(deadline=began + min(self._patience_seconds, _USUAL_PATIENCE_SECONDS)):
            await self._first.wait()
        if not self._first.is_set() and self._patience_seconds > _USUAL_PATIENCE_SECONDS:
            log.warning("source %s has published nothing yet; the gateway accepts once it has", self.name)
            with anyio.CancelScope(deadline=began + self._patience_seconds):
                await self._first.wait()

    async def own(self, sources: Sources, apply: Callable[[str, Snapshot], Awaitable[Applied]]) -> None:
        """Until `end`."""
        try:
            await self._own(sources, apply)
        finally:
            self.closed.set()

    async def _own(self, sources: Sources, apply: Callable[[str, Snapshot], Awaitable[Applied]]) -> None:

        async def publish(snapshot: Snapshot) -> Applied:
            applied = await apply(self.name, snapshot)
            self._first.set()
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
                        sources.by_name[self.name] = source
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
                        sources.blame.of(error, [opening.thing], sources.by_name.get(self.name)),
                        "source %s failed: %s raised %r; what it published last stays",
                    )
                    log.error(f"{words} in use", self.name, culprit, error, exc_info=error)
            finally:
                self._opens = False
            if self._patience_seconds <= _USUAL_PATIENCE_SECONDS:
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
