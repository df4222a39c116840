"""Timers: many deadlines, one task."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from daemun.testing import eventually
from daemun.transport.timers import Timers

if TYPE_CHECKING:
    from tests.conftest import Clock

pytestmark = pytest.mark.anyio

TICK = 0.05


@asynccontextmanager
async def ticking() -> AsyncIterator[Timers]:
    """Timers that run."""
    timers = Timers()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(timers.run)
        yield timers
        tasks.cancel_scope.cancel()


async def test_a_timer_fires_once_and_not_before_its_time() -> None:
    fired: list[float] = []
    async with ticking() as timers:
        timer = timers.timer(lambda: fired.append(monotonic()))
        at = monotonic() + 0.12
        timer.set(at)
        await eventually(lambda: bool(fired), "the timer")
        assert fired[0] >= at
        assert timer.at == math.inf
        await anyio.sleep(3 * TICK)
        assert len(fired) == 1


async def test_a_timer_that_was_moved_fires_at_its_new_time_only() -> None:
    later_at: list[float] = []
    sooner_at: list[float] = []
    async with ticking() as timers:
        later = timers.timer(lambda: later_at.append(monotonic()))
        sooner = timers.timer(lambda: sooner_at.append(monotonic()))
        now = monotonic()
        later.set(now + 0.06)
        later.set(now + 0.3)
        sooner.set(now + 60)
        sooner.set(now + 0.1)
        await eventually(lambda: bool(sooner_at and later_at), "both timers")
        await anyio.sleep(3 * TICK)
        assert (len(sooner_at), len(later_at)) == (1, 1)
        assert sooner_at[0] >= now + 0.1
        assert later_at[0] >= now + 0.3


async def test_a_timer_that_is_disarmed_or_cancelled_does_not_fire() -> None:
    fired: list[str] = []
    async with ticking() as timers:
        now = monotonic()
        disarmed, cancelled, assigned, last = (
            timers.timer(lambda name=name: fired.append(name))  # type: ignore[misc]
            for name in ("disarmed", "cancelled", "assigned", "last")
        )
        for timer in (disarmed, cancelled, assigned):
            timer.set(now + 0.06)
        disarmed.set(math.inf)
        cancelled.cancel()
        cancelled.cancel()
        assigned.at = math.inf
        last.set(now + 0.2)
        await eventually(lambda: "last" in fired, "the last timer")
        assert fired == ["last"]
        cancelled.set(monotonic() + 0.01)
        last.set(monotonic() + 0.1)
        await eventually(lambda: len(fired) == 2, "the last timer once more")
        assert fired == ["last", "last"]


async def test_a_time_that_has_passed_fires_soon() -> None:
    fired: list[float] = []
    async with ticking() as timers:
        timers.timer(lambda: fired.append(1)).set(monotonic() - 10)
        timers.timer(lambda: fired.append(2)).set(0.0)
        await eventually(lambda: len(fired) == 2, "both timers")


async def test_timers_sleep_and_wake_again() -> None:
    fired: list[int] = []
    async with ticking() as timers:
        timer = timers.timer(lambda: fired.append(len(fired)))
        for count in range(1, 4):
            timer.set(monotonic() + 0.01)
            await eventually(lambda count=count: len(fired) == count, "the timer")  # type: ignore[misc]
            await anyio.sleep(2 * TICK)


async def test_what_fires_may_set_and_cancel_timers_of_the_same_moment() -> None:
    fired: list[str] = []
    async with ticking() as timers:
        at = monotonic() + 0.06
        group = [timers.timer(lambda: None) for _ in range(20)]

        def first() -> None:
            fired.append("first")
            for number, timer in enumerate(group):
                if number % 2:
                    timer.cancel()
                else:
                    timer.set(monotonic() + 0.06)
            again.set(monotonic() + 0.06)

        again = timers.timer(lambda: fired.append("again"))
        for timer in (timers.timer(first), *group):
            timer.set(at)
        await eventually(lambda: "again" in fired, "the timer set by the other one")
        assert fired == ["first", "again"]


async def test_a_call_back_that_fails_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    fired: list[str] = []

    def fail() -> None:
        raise RuntimeError("broken")

    async with ticking() as timers:
        now = monotonic()
        timers.timer(fail).set(now + 0.01)
        timers.timer(lambda: fired.append("same")).set(now + 0.01)
        timers.timer(lambda: fired.append("later")).set(now + 0.15)
        await eventually(lambda: len(fired) == 2, "the other timers")
        assert [record.levelname for record in caplog.records if record.name == "daemun.transport"] == ["ERROR"]


async def test_many_timers_each_fire_at_their_last_time() -> None:
    random = Random(7)
    late: list[float] = []
    fired = [0] * 5000
    async with ticking() as timers:

        def fire(number: int) -> None:
            fired[number] += 1
            late.append(monotonic() - due[number])

        due = [math.inf] * len(fired)
        many = [timers.timer(lambda number=number: fire(number)) for number in range(len(fired))]  # type: ignore[misc]
        for _ in range(4):
            await anyio.sleep(0.02)
            for number, timer in enumerate(many):
                fired[number] = 0  # a slow machine is past a time that it had before
                due[number] = monotonic() + random.uniform(0.05, 0.4) if random.random() < 0.8 else math.inf
                timer.set(due[number])
        armed = [number for number, at in enumerate(due) if at != math.inf]
        for number in armed[::10]:
            many[number].cancel()
        expected = len(armed) - len(armed[::10])
        await eventually(lambda: sum(fired) >= expected, "every timer")
        await anyio.sleep(3 * TICK)
        assert sum(fired) == expected
        assert max(fired) == 1
        assert min(late) >= 0


async def test_what_came_while_the_process_stood_still_counts_before_a_timer_does(clock: Clock) -> None:
    """Bytes that lie in the kernel were in time: it is not their sender who stood still."""
    fired: list[str] = []
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with ticking() as timers:
        timer = timers.timer(lambda: fired.append("too late"))

        async def read() -> None:
            await anyio.wait_readable(ours)
            ours.recv(1)
            await anyio.lowlevel.checkpoint()
            fired.append("came")
            timer.cancel()

        async with anyio.create_task_group() as tasks:
            timer.set(clock() + 2 * TICK)
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            theirs.send(b"x")
            time.sleep(8 * TICK)  # noqa: ASYNC251 - the process stands still
            clock.advance(8 * TICK)
    ours.close()
    theirs.close()
    assert fired == ["came"]
