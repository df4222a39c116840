"""Observers: who sees each exchange when it is over, and what they may look at besides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from daemun.errors import ExchangeError
from daemun.exchange import Exchange, Peer
from daemun.message import Request, Response
from daemun.scopes import Scope
from daemun.upstream.endpoints import Endpoints

__all__ = ["GatewayView", "Observer", "ObserverContext", "ObserverType", "Worker"]


class Worker(Struct, frozen=True):
    """Which of the gateway's processes this is."""

    index: int = 0
    """0 to `count - 1`; a process that replaces one that died takes its index."""
    count: int = 1
    """Processes that serve."""
    shared_dir: Path | None = None
    """A private folder of all workers that lives as long as the gateway; None where there is a single worker."""


class GatewayView(Protocol):
    """What runs in this worker now. Cheap to ask: figures are read, nothing is counted."""

    @property
    def connections(self) -> int:
        """Downstream connections that are open."""
        ...

    @property
    def exchanges(self) -> int:
        """Exchanges that run."""
        ...

    @property
    def routes(self) -> int:
        """Routes in use."""
        ...

    @property
    def generation(self) -> int:
        """Number of the generation that new exchanges run on; it grows with each change."""
        ...

    @property
    def draining(self) -> bool:
        """The gateway is about to stop."""
        ...

    def backends(self) -> Iterable[Endpoints]:
        """The live view of every back end that has endpoints."""
        ...


class ObserverContext(Struct, frozen=True):
    """What an observer may use while it is built, and as long as it lives."""

    name: str
    """What its kind is called."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""
    gateway: GatewayView
    """What runs in this worker."""
    worker: Worker = Worker()
    """Which worker this is."""
    process: Scope = Scope()
    """What is opened once for all instances of plugins in this process, until the gateway stops."""


class Observer:
    """Sees every exchange once, when it is over. Derive from it and override what you need.

    All methods are synchronous. Exceptions are logged with the plugin's name and do no other harm.
    """

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        """An exchange is over; `response` is None if none was begun. On the request path: microseconds count."""

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        """A request was refused before it became an exchange: malformed, too large, too slow."""

    def reopen(self) -> None:
        """Files that were renamed are to be opened anew (SIGUSR1)."""


class ObserverType(Struct, frozen=True):
    """A kind of observer: `observers: [{type: NAME, …settings}]`."""

    name: str
    """What `type` of an observer calls it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, ObserverContext], AbstractAsyncContextManager[Observer]]
    """`build(settings, context)`: entered at the start, exited after the last exchange."""
