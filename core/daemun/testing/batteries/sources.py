"""The battery for sources."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from daemun.errors import ungrouped
from daemun.extend.loading import installed
from daemun.extend.sources import Applied, Source, SourceContext, SourceType
from daemun.routing.spec import Forward, ObjectStatus, Snapshot
from daemun.testing.batteries.common import BUILT, CODE, NAMED, SETTINGS
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery, shown
from daemun.testing.batteries.subject import Subject
from daemun.testing.batteries.watching import blocking_calls, held, left_behind, swallows, turns
from daemun.testing.routes import routed

__all__ = [
    "SOURCE",
    "SourceSubject",
    "Spoil",
    "blocks_nobody",
    "check_source",
    "goes_on_when_refused",
    "has_a_key_of_its_own",
    "keeps_the_rest",
    "leaves_nothing_behind_when_it_ran",
    "objects_compile",
    "publishes_at_once",
    "publishes_in_order",
    "publishes_when_only_looked_at",
    "reload_never_raises",
    "run_can_be_cancelled",
    "snapshots_are_whole",
    "source_subject",
    "tells_origins",
]

_CANCELLED_AFTER = (0, 1, 5, 20)

Spoil = Callable[[], Awaitable[object] | object]
"""Makes one of the objects that a source reads a bad one; awaited if it can be."""


class SourceSubject(Subject):
    """A source. `spoil` makes one of the objects that it reads a bad one."""

    def __init__(self, *arguments: Any, spoil: Spoil | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.spoil = spoil

    def looked_at(self) -> SourceContext:
        """What it is given by commands that only look."""
        return SourceContext(self.thing.name, self.base_dir, serving=False)


class _Gateway:
    """Who takes what a source publishes."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.snapshots: list[Snapshot] = []
        self.published = anyio.Event()
        """There is one; set too when the source ended."""
        self.at_once = 0
        """Publishes that ran beside another one."""
        self.over = False
        self._refuses = refuses
        self._running = 0
        self._news = anyio.Event()

    async def publish(self, snapshot: Snapshot) -> Applied:
        self._running += 1
        self.at_once += self._running > 1
        self.snapshots.append(snapshot)
        self.published.set()
        self._news.set()
        self._news = anyio.Event()
        await turns(3)
        self._running -= 1
        return Applied(len(self.snapshots), tuple(self._statuses(snapshot)))

    def _statuses(self, snapshot: Snapshot) -> list[ObjectStatus]:
        error = "refused by a check" if self._refuses else ""
        return [
            *snapshot.refused,
            *(ObjectStatus("route", one.name, one.origin, error) for one in snapshot.routes),
            *(ObjectStatus("backend", one.name, one.origin, error) for one in snapshot.backends),
        ]

    async def more(self) -> None:
        """Waits for the next snapshot."""
        await self._news.wait()

    async def run(self, source: Source) -> None:
        """Runs the source to its end."""
        try:
            await source.run(self.publish)
        finally:
            self.over = True
            self.published.set()


@asynccontextmanager
async def _running(
    subject: Subject, gateway: _Gateway | None = None, context: SourceContext | None = None
) -> AsyncIterator[tuple[Source, _Gateway]]:
    """A source that has published."""
    gateway = gateway or _Gateway()
    with ungrouped():
        async with subject.opened(context) as source, anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.run, source)
            await gateway.published.wait()
            expect(gateway.snapshots, "run() ended without a snapshot", "`await publish(Snapshot())` at least")
            yield source, gateway
            tasks.cancel_scope.cancel()


async def has_a_key_of_its_own(subject: SourceSubject) -> None:
    """None of its settings is called `type`: that key names it in the list in which they stand."""
    expect("type" not in subject.thing.settings.__struct_encode_fields__, "the key `type`", "another name")


async def publishes_at_once(subject: SourceSubject) -> None:
    """`run` publishes a snapshot first thing, an empty one if there is nothing."""
    patience = subject.thing.patience_seconds
    expect(isinstance(patience, (int, float)) and patience >= 0, f"patience_seconds is {patience!r}", "seconds")
    async with _running(subject) as (_, gateway):
        for snapshot in gateway.snapshots:
            expect(isinstance(snapshot, Snapshot), f"it published {snapshot!r}", "a Snapshot")


async def snapshots_are_whole(subject: SourceSubject) -> None:
    """Names are unique in a snapshot, and each back end that a route names is in it."""
    async with _running(subject) as (_, gateway):
        snapshot = gateway.snapshots[-1]
    for objects in (snapshot.routes, snapshot.backends, snapshot.certificates):
        names = [one.name for one in objects]
        twice = sorted({name for name in names if names.count(name) > 1})
        expect(not twice, f"{twice} more than once", "one object of each name")
    known = {one.name for one in snapshot.backends}
    for route in snapshot.routes:
        if isinstance(route.action, Forward):
            missing = sorted({split.backend for split in route.action.splits} - known)
            expect(not missing, f"route {route.name} leads to {missing}, which it did not publish", "its back ends too")


async def tells_origins(subject: SourceSubject) -> None:
    """Each object says where it was defined, for people: `routes.yaml#hello`; each refused one why, too."""
    async with _running(subject) as (_, gateway):
        snapshot = gateway.snapshots[-1]
    for one in (*snapshot.routes, *snapshot.backends, *snapshot.certificates, *snapshot.refused):
        expect(one.origin, f"{type(one).__name__} {one.name!r} has no origin", "`origin=…`")  # type: ignore[attr-defined]
    for status in snapshot.refused:
        expect(status.error, f"{status.kind} {status.name!r} is refused without a word", "`error=…`")


async def objects_compile(subject: SourceSubject) -> None:
    """What it publishes is taken: what cannot be, it says itself, in `refused`."""
    async with _running(subject) as (_, gateway):
        snapshot = gateway.snapshots[-1]
    async with routed(only=installed(), base_dir=subject.base_dir) as table:
        applied = await table.source.publish(
            *snapshot.routes, backends=snapshot.backends, certificates=snapshot.certificates
        )
    found = [f"{one.kind} {one.name}: {one.error}" for one in applied.refused]
    expect(not found, "; ".join(found[:3]), "objects that the gateway can use")


async def publishes_in_order(subject: SourceSubject) -> None:
    """It awaits one publish before the next: else an older state could replace a newer one."""
    async with _running(subject) as (source, gateway):
        for _ in range(3):
            source.reload()
            await turns(5)
        await turns(20)
        expect(not gateway.at_once, "it published while another publish ran", "`await publish(…)`, one after the other")


async def goes_on_when_refused(subject: SourceSubject) -> None:
    """It goes on when the gateway refuses objects of it: `Applied` says so, and nothing is raised."""
    async with _running(subject, _Gateway(refuses=True)) as (source, _):
        source.reload()
        await turns(20)


async def reload_never_raises(subject: SourceSubject) -> None:
    """`reload` returns at once and never raises: before `run`, while it runs, often, and after its end."""
    async with subject.opened() as source:
        _reload(source)
        gateway = _Gateway()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gateway.run, source)
            await gateway.published.wait()
            for _ in range(3):
                _reload(source)
            await turns()
            _reload(source)
            tasks.cancel_scope.cancel()
        _reload(source)


def _reload(source: Source) -> None:
    found: object = source.reload()  # type: ignore[func-returns-value]
    expect(found is None, f"reload() returned {shown(found)}", "a plain function: it tells `run`, which does the work")


async def run_can_be_cancelled(subject: SourceSubject) -> None:
    """`run` ends when it is cancelled, at any point, and can be run again then."""
    async with subject.opened() as source:
        for count in _CANCELLED_AFTER:
            gateway, reached = _Gateway(), anyio.Event()
            async with anyio.create_task_group() as tasks:

                async def later(count: int = count, reached: anyio.Event = reached) -> None:
                    await turns(count)
                    reached.set()

                tasks.start_soon(later)
                found = await swallows(lambda gateway=gateway: gateway.run(source), reached)  # type: ignore[misc]
                expect("raised" not in found, found, "nothing caught, or raised again")


async def leaves_nothing_behind_when_it_ran(subject: SourceSubject) -> None:
    """When it ran and was closed, no task, descriptor or thread of it is left."""
    async with _running(subject):
        await turns()
    before = held()
    async with _running(subject) as (source, _):
        source.reload()
        await turns()
    await left_behind(before, "it ran and was closed")


async def publishes_when_only_looked_at(subject: SourceSubject) -> None:
    """With `context.serving` false it publishes what it would: `daemun check` and `daemun routes` look at that."""
    async with _running(subject) as (_, gateway):
        served = {one.name for one in gateway.snapshots[-1].routes}
    async with _running(subject, context=subject.looked_at()) as (_, gateway):
        looked_at = {one.name for one in gateway.snapshots[-1].routes}
    expect(looked_at == served, f"the routes {sorted(looked_at)}", f"{sorted(served)}")


async def keeps_the_rest(subject: SourceSubject) -> None:
    """One bad object never hurts the rest: it is refused with words, and all others are published."""
    if subject.spoil is None:
        cannot_tell("no `spoil` was given, which makes one object a bad one")
    async with _running(subject) as (source, gateway):
        before = gateway.snapshots[-1]
        done = subject.spoil()
        if inspect.isawaitable(done):
            await done
        source.reload()
        while gateway.snapshots[-1] == before:
            expect(not gateway.over, "run() ended", "a source that goes on")
            await gateway.more()
        after = gateway.snapshots[-1]
    expect(after.refused, "nothing is refused of what was spoilt", "an ObjectStatus with its error, in `refused`")
    lost = {one.name for one in before.routes} - {one.name for one in after.routes}
    expect(len(lost) <= len(after.refused), f"{sorted(lost)} went away", "all that is not refused")


async def blocks_nobody(subject: SourceSubject) -> None:
    """Nothing in `run` waits without letting other tasks run."""
    with blocking_calls() as found:
        async with _running(subject) as (source, _):
            source.reload()
            await turns(20)
    expect(not found, f"it waits in {', '.join(found[:3])}", "anyio's own calls, or anyio.to_thread.run_sync")


SOURCE: tuple[Check, ...] = (
    *NAMED,
    *SETTINGS,
    has_a_key_of_its_own,
    *CODE,
    *BUILT,
    publishes_at_once,
    snapshots_are_whole,
    tells_origins,
    objects_compile,
    publishes_in_order,
    goes_on_when_refused,
    reload_never_raises,
    run_can_be_cancelled,
    leaves_nothing_behind_when_it_ran,
    publishes_when_only_looked_at,
    blocks_nobody,
    keeps_the_rest,
)
"""What `check_source` looks at."""


def source_subject(
    kind: SourceType,
    settings: Mapping[str, Any] | None = None,
    *,
    spoil: Spoil | None = None,
    base_dir: Path | None = None,
) -> SourceSubject:
    """What its checks look at."""

    def context(name: str, folder: Path, process: Any) -> SourceContext:
        return SourceContext(name, folder)

    return SourceSubject("source", kind, settings, context=context, spoil=spoil, base_dir=base_dir)


async def check_source(
    kind: SourceType,
    settings: Mapping[str, Any] | None = None,
    *,
    spoil: Spoil | None = None,
    base_dir: Path | None = None,
) -> tuple[Unseen, ...]:
    """Checks a source with `settings`. `spoil`, awaited if it can be, makes one of its objects a bad one.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = source_subject(kind, settings, spoil=spoil, base_dir=base_dir)
    return await run_battery(subject.words, SOURCE, subject)
