"""The sources of the settings: opened, run, and told to read everything again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import DaemunError, SettingsError
from daemun.extend.culprit import Blame
from daemun.extend.registry import Registry
from daemun.extend.sources import Source, SourceContext
from daemun.process.source_run import USUAL_PATIENCE_SECONDS, Apply, Opening, SourceRun
from daemun.routing.spec import ObjectStatus
from daemun.settings import Settings
from daemun.transport.standing import Standing

__all__ = ["Sources", "open_sources", "source_names", "typed"]

log = logging.getLogger("daemun")


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
        done: list[tuple[SourceRun, Opening]] = []
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
        with anyio.move_on_after(USUAL_PATIENCE_SECONDS, shield=True):
            for run in runs:
                try:
                    await run.wait_until_open()
                except DaemunError as error:
                    log.error("%s", error)
        left = ", ".join(run.name for run in runs if not run.is_open)
        if left:
            culprits = self.blame.standing_in(SourceRun.own.__code__, Standing().stacks())
            words = "sources %s are not open again after %g s: %s; what they published last stays in use"
            log.error(words, left, USUAL_PATIENCE_SECONDS, culprits)

    @property
    def unheard(self) -> tuple[ObjectStatus, ...]:
        """The sources that have published nothing, as objects that are not in use."""
        words = f"it has published nothing; it was waited for up to {USUAL_PATIENCE_SECONDS:g} s"
        return tuple(ObjectStatus("source", run.name, "", words) for run in self.runs if not run.has_published)

    def reload(self, *, without: Collection[str] = ()) -> None:
        """Tells every source, but for those named, to read everything again."""
        for name, source in self.by_name.items():
            if name in without:
                continue
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


@asynccontextmanager
async def open_sources(
    settings: Settings,
    registry: Registry,
    base_dir: Path,
    apply: Apply,
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
                opening = Opening(registry, path, kind_name, rest, SourceContext(name, base_dir, workers, serving))
                patience = opening.patience_seconds
                one = SourceRun(name, opening, patience if serving else min(patience, USUAL_PATIENCE_SECONDS))
                runs.append(one)
                tasks.start_soon(one.own, sources.by_name, sources.blame, apply)
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
