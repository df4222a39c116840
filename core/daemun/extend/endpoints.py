"""What plugins register for back ends of endpoints: who is picked, who is well, and what makes them exist."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from daemun.handler import Handler
from daemun.message import Request
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = [
    "Activator",
    "ActivatorContext",
    "ActivatorType",
    "Balancer",
    "BalancerType",
    "HealthCheck",
    "HealthCheckType",
]


class Balancer(Protocol):
    """Picks one of several endpoints. Synchronous, called for each try: it may not block."""

    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        """One of `endpoints` with `Endpoint.available`, or None if all are full."""
        ...


class BalancerType(Struct, frozen=True):
    """A kind of balancer: `balancer: {type: NAME, …settings}` of a back end."""

    name: str
    """What a back end's `balancer` calls it."""
    settings: type[Struct]
    """Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any], Balancer]
    """`build(settings)`: one balancer for one back end."""


HealthCheck = Callable[[Handler, Endpoint], Awaitable[None]]
"""`await check(send, endpoint)`: returns if `endpoint` is well; raises `ExchangeError` with words for what is wrong.

`send` sends a request to this endpoint and no other, on a new connection that is closed when the check is over. An
endpoint has one check at a time, which is cancelled when it takes too long. Whatever else it raises is logged, and
counts as not well too.
"""


class HealthCheckType(Struct, frozen=True):
    """A kind of health check: `health_check: {type: NAME, …settings}` of a back end."""

    name: str
    """What `type` of a back end's `health_check` calls it."""
    settings: type[Struct]
    """Beside what all kinds have: none of its keys is `type` or one of theirs (`interval_seconds` …)."""
    build: Callable[[Any], HealthCheck]
    """`build(settings)`: one check for all endpoints of a back end."""


class ActivatorContext(Struct, frozen=True):
    """What an activator may use while it is built."""

    backend: str
    """Name of the back end that it starts endpoints for."""
    endpoints: Endpoints
    """The live view to publish into, with the counts that scaling needs."""
    base_dir: Path
    """Folder that relative paths start from: where the settings file is."""


class Activator(Protocol):
    """Makes endpoints exist when there are none."""

    async def activate(self) -> None:
        """Returns once `context.endpoints` holds one that answers.

        Called once for all who wait, in a task of the back end: a client that leaves does not cancel it. Raises
        `ExchangeError` (`ACTIVATION_FAILED`) with words for the client when it gives up.
        """
        ...


class ActivatorType(Struct, frozen=True):
    """A kind of activator: `activator: NAME` of a back end."""

    name: str
    """What a back end's `activator` calls it."""
    settings: type[Struct]
    """Of the back end's `activation`. Decoded strictly before `build` is called; `NoSettings` where there are none."""
    build: Callable[[Any, ActivatorContext], AbstractAsyncContextManager[Activator]]
    """`build(settings, context)`: entered before the back end is used, exited after its last exchange."""
