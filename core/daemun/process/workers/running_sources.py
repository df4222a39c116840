"""The sources of one edition of the settings, in a task of their own: a reload may put others in their place."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio

from daemun.errors import DaemunError, SettingsError, ungrouped
from daemun.extend.registry import Registry
from daemun.process.sources import Sources, open_sources
from daemun.process.workers.feed import Feed
from daemun.settings import Settings

__all__ = ["RunningSources"]

log = logging.getLogger("daemun.workers")


class RunningSources:
    """Sources from `run` to `end`."""

    def __init__(self) -> None:
        self.sources = Sources()
        self._begun = anyio.Event()
        self._over = anyio.Event()
        self._beginning = anyio.CancelScope()
        self._error: DaemunError | None = None

    async def run(self, settings: Settings, workers: int, registry: Registry, base_dir: Path, feed: Feed) -> None:
        """Runs them until `end`."""
        try:
            with ungrouped():
                opened = open_sources(settings, registry, base_dir, feed.publish, workers=workers)
                with self._beginning:
                    async with opened as self.sources:
                        self._begun.set()
                        await self._over.wait()
        except Exception as error:
            self._error = error if isinstance(error, DaemunError) else SettingsError(f"a source failed: {error}")
            if self._begun.is_set():
                log.exception("the sources ended; what they published last stays in use")
        finally:
            self._begun.set()

    async def begun(self) -> None:
        """Waits until each has published. Raises `SettingsError` or `PluginError` if one cannot be opened."""
        await self._begun.wait()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Lets them go, also those that are still waited for."""
        if not self._begun.is_set():
            self._beginning.cancel()
        self._over.set()
