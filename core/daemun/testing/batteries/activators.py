"""The battery for activators. It starts what they start, for real."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import ExchangeError, Reason
from daemun.extend.endpoints import Activator, ActivatorContext, ActivatorType
from daemun.testing.batteries.common import BUILT, CODE, NAMED, SETTINGS
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, held, left_behind, swallows, turns
from daemun.upstream.connection import UpstreamConnection
from daemun.upstream.endpoints import Endpoint, Endpoints

__all__ = [
    "ACTIVATOR",
    "activator_subject",
    "can_be_cancelled",
    "can_be_closed_while_it_starts",
    "check_activator",
    "closing_ends_what_it_started",
    "publishes_what_answers",
    "returns_where_it_is_awake",
    "waits_for_nothing_blocking",
]

_NAME = "checked"
_START_TURNS = (0, 1, 5, 20)


class _NoPool:
    """A pool of connections that nobody opens."""

    idle_connections = 0

    def take(self) -> UpstreamConnection | None:
        return None

    async def connect(self) -> UpstreamConnection:
        raise ExchangeError(Reason.CONNECT_FAILED, "nothing is sent in a check")

    def close_idle(self) -> None:
        return None


@asynccontextmanager
async def _asleep(subject: Subject) -> AsyncIterator[tuple[Activator, Endpoints]]:
    """The activator of a back end without endpoints."""
    endpoints = Endpoints(_NAME, lambda endpoint: _NoPool())
    async with subject.opened(ActivatorContext(_NAME, endpoints, subject.base_dir)) as activator:
        yield activator, endpoints


async def _activate(activator: Activator, endpoints: Endpoints) -> None:
    """Activates; the rule is left if that fails as it may."""
    try:
        found: object = await activator.activate()  # type: ignore[func-returns-value]
    except ExchangeError as error:
        expect(error.reason is Reason.ACTIVATION_FAILED, f"it raised {error.reason.value}", "activation_failed")
        expect(error.message.strip(), "an error without words", "words for the client")
        cannot_tell(f"it cannot start anything here: {error}")
    expect(found is None, f"activate() returned {found!r}", "nothing")
    expect(endpoints.ready, "activate() returned, and there is no endpoint", "`context.endpoints.update([…])` before")


async def _answers(endpoint: Endpoint) -> bool:
    try:
        if endpoint.path:
            stream: Any = await anyio.connect_unix(endpoint.path)
        else:
            stream = await anyio.connect_tcp(endpoint.host, endpoint.port)
    except OSError:
        return False
    await stream.aclose()
    return True


async def publishes_what_answers(subject: Subject) -> None:
    """`activate` returns once an endpoint is published that accepts connections, or raises `activation_failed`."""
    async with _asleep(subject) as (activator, endpoints):
        await _activate(activator, endpoints)
        for endpoint in endpoints.ready:
            expect(await _answers(endpoint), f"{endpoint.address} accepts no connection", "one that answers")


async def returns_where_it_is_awake(subject: Subject) -> None:
    """`activate` may be called where there is an endpoint already, and leaves one there."""
    async with _asleep(subject) as (activator, endpoints):
        for _ in range(2):
            await _activate(activator, endpoints)


async def can_be_cancelled(subject: Subject) -> None:
    """`activate` can be cancelled at any point: it ends then, and the next call works."""
    async with _asleep(subject) as (activator, endpoints):
        for count in _START_TURNS:
            async with anyio.create_task_group() as tasks:
                reached = anyio.Event()

                async def later(count: int = count, reached: anyio.Event = reached) -> None:
                    await turns(count)
                    reached.set()

                tasks.start_soon(later)
                found = await swallows(activator.activate, reached)
            expect("raised" not in found, found, "nothing caught, or raised again")
        await _activate(activator, endpoints)


async def can_be_closed_while_it_starts(subject: Subject) -> None:
    """It can be closed while `activate` runs: nothing of what had begun stays."""
    async with subject.opened():
        await turns()
    before = held()
    for count in _START_TURNS:
        async with anyio.create_task_group() as tasks:

            async def start() -> None:
                async with _asleep(subject) as (activator, _):
                    await activator.activate()

            tasks.start_soon(start)
            await turns(count)
            tasks.cancel_scope.cancel()
        await left_behind(before, "it was closed while it started something")


async def closing_ends_what_it_started(subject: Subject) -> None:
    """Closing it ends what it started, and leaves no task, descriptor or thread."""
    async with _asleep(subject) as (activator, endpoints):
        await _activate(activator, endpoints)
    before = held()
    async with _asleep(subject) as (activator, endpoints):
        await _activate(activator, endpoints)
    await left_behind(before, "it was closed")


async def waits_for_nothing_blocking(subject: Subject) -> None:
    """Nothing in `activate` waits without letting other tasks run."""
    async with _asleep(subject) as (activator, endpoints):
        with blocking_calls() as found:
            await _activate(activator, endpoints)
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio's own calls, or anyio.to_thread.run_sync")


ACTIVATOR: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    *CODE,
    *BUILT,
    publishes_what_answers,
    returns_where_it_is_awake,
    can_be_cancelled,
    can_be_closed_while_it_starts,
    closing_ends_what_it_started,
    waits_for_nothing_blocking,
)
"""What `check_activator` looks at."""


def activator_subject(
    kind: ActivatorType, settings: Mapping[str, Any] | None = None, *, base_dir: Path | None = None
) -> Subject:
    """What its checks look at."""

    def context(name: str, folder: Path, process: Any) -> ActivatorContext:
        return ActivatorContext(_NAME, Endpoints(_NAME, lambda endpoint: _NoPool()), folder)

    return Subject("activator", kind, settings, context=context, base_dir=base_dir)


async def check_activator(
    kind: ActivatorType, settings: Mapping[str, Any] | None = None, *, base_dir: Path | None = None
) -> tuple[Unseen, ...]:
    """Checks an activator with `settings`, by which it starts something.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = activator_subject(kind, settings, base_dir=base_dir)
    return await run_battery(subject.words, ACTIVATOR, subject)
