"""The sources of the settings: opened, run, and told to read everything again."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import DaemunError, SettingsError, ungrouped
from daemun.extend.registry import Registry
from daemun.extend.types import Applied, Source, SourceContext
from daemun.routing.spec import Snapshot
from daemun.settings import Settings, convert

__all__ = ["Sources", "open_sources", "source_names", "typed"]

log = logging.getLogger("daemun")

_USUAL_PATIENCE_SECONDS = 10.0


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
    patience: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        for name, path, kind_name, rest in _named(settings):
            kind = registry.sources.get(kind_name)
            context = SourceContext(name, base_dir, workers, serving)
            patience[name] = kind.patience_seconds if serving else min(kind.patience_seconds, _USUAL_PATIENCE_SECONDS)
            try:
                with ungrouped():
                    decoded = convert(rest, kind.settings, path=path)
                    sources.by_name[name] = await stack.enter_async_context(kind.build(decoded, context))
            except DaemunError:
                raise
            except Exception as error:
                raise SettingsError(f"source {name} cannot be opened: {error}", path=path) from error
        async with anyio.create_task_group() as tasks:
            began = anyio.current_time()
            firsts = {name: anyio.Event() for name in sources.by_name}
            for name, source in sources.by_name.items():
                tasks.start_soon(_run, name, source, apply, firsts[name])
            for name, first in firsts.items():
                await _wait_for(name, first, began, patience[name])
            yield sources
            tasks.cancel_scope.cancel()


async def _wait_for(name: str, first: anyio.Event, began: float, patience: float) -> None:
    """Returns once source `name` has published, or its patience is over."""
    with anyio.CancelScope(deadline=began + min(patience, _USUAL_PATIENCE_SECONDS)):
        await first.wait()
    if not first.is_set() and patience > _USUAL_PATIENCE_SECONDS:
        log.warning("source %s has published nothing yet; the gateway accepts once it has", name)
        with anyio.CancelScope(deadline=began + patience):
            await first.wait()


async def _run(
    name: str, source: Source, apply: Callable[[str, Snapshot], Awaitable[Applied]], first: anyio.Event
) -> None:
    async def publish(snapshot: Snapshot) -> Applied:
        applied = await apply(name, snapshot)
        first.set()
        return applied

    try:
        await source.run(publish)
    except Exception:
        log.exception("source %s failed; what it published last stays in use", name)
    finally:
        first.set()
