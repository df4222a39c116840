"""What a source of routes registers, and what becomes of what it publishes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from daemun.routing.spec import ObjectStatus, Snapshot

__all__ = ["Applied", "Publish", "Source", "SourceContext", "SourceType"]


class Applied(Struct, frozen=True):
    """What a publish led to: every object with what became of it."""

    generation: int
    """Number of the generation that runs now; it rises."""
    objects: tuple[ObjectStatus, ...]
    """Every object of the snapshot, in use or refused."""

    @property
    def refused(self) -> tuple[ObjectStatus, ...]:
        """The objects that are not in use, each with its error."""
        return tuple(status for status in self.objects if status.error)


Publish = Callable[[Snapshot], Awaitable[Applied]]
"""Replaces the source's last snapshot; returns once traffic runs on it. One bad object never hurts the rest."""


class SourceContext(Struct, frozen=True):
    """What a source may use."""

    name: str
    """Unique among the gateway's sources; logs and routes' origins use it."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""
    workers: int = 1
    """Processes that serve what it publishes."""
    serving: bool = True
    """Whether anybody is served. If not, what it publishes is only looked at (`daemun check`, `routes`, `explain`), and
    it changes nothing outside."""


class Source(Protocol):
    """Something that knows routes."""

    async def run(self, publish: Publish) -> None:
        """Publishes now and whenever something changes, until cancelled. Returning means: nothing will change.

        An exception is logged with the source's name; what it published last stays in use. The source is then built
        and run again, after a pause that grows to a minute.
        """
        ...

    def reload(self) -> None:
        """Reads everything again soon (SIGHUP). Never raises."""
        ...


class SourceType(Struct, frozen=True):
    """A kind of source: `sources: [{type: NAME, …settings}]`."""

    name: str
    """What `type` of a source calls it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, SourceContext], AbstractAsyncContextManager[Source]]
    """`build(settings, context)`: entered once, and again after the source has failed."""
    patience_seconds: float = 10.0
    """How long the gateway waits for its first snapshot before it accepts without; `math.inf`: until it comes."""
