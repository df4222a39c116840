"""A waker ends one wait, the next one if there is none, whatever call-back it is called from."""

from __future__ import annotations

import anyio
import pytest

from daemun.transport.waker import new_waker

pytestmark = pytest.mark.anyio


async def test_a_wait_ends_when_it_is_woken_and_not_before() -> None:
    waker = new_waker()
    order: list[str] = []

    async def wait() -> None:
        await waker.wait()
        order.append("woken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        order.append("wake")
        waker.wake()
    assert order == ["wake", "woken"]


async def test_a_wake_before_the_wait_ends_it_at_once_and_only_once() -> None:
    waker = new_waker()
    waker.wake()
    waker.wake()
    with anyio.fail_after(5):
        await waker.wait()
    with anyio.move_on_after(0.02) as waiting:
        await waker.wait()
    assert waiting.cancelled_caught


async def test_several_wakes_of_one_wait_are_one() -> None:
    waker = new_waker()
    rounds = 0

    async def wait() -> None:
        nonlocal rounds
        while True:
            await waker.wait()
            rounds += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        for expected in range(1, 6):
            await anyio.wait_all_tasks_blocked()
            waker.wake()
            await anyio.wait_all_tasks_blocked()
            assert rounds == expected
        tasks.cancel_scope.cancel()


async def test_a_wake_while_its_task_runs_is_not_lost() -> None:
    waker = new_waker()
    things: list[int] = []
    taken: list[int] = []

    async def take() -> None:
        while len(taken) < 100:
            while things:
                taken.append(things.pop(0))
            if len(taken) < 100:
                await waker.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        for number in range(100):
            things.append(number)
            waker.wake()
            if number % 3 == 0:
                await anyio.lowlevel.checkpoint()
    assert taken == list(range(100))


async def test_a_wait_that_is_cancelled_loses_no_wake() -> None:
    waker = new_waker()
    for _ in range(3):
        with anyio.move_on_after(0.02) as waiting:
            await waker.wait()
        assert waiting.cancelled_caught
    waker.wake()
    with anyio.fail_after(5):
        await waker.wait()


async def test_a_wake_in_the_same_turn_as_the_cancellation_is_kept_for_the_next_wait() -> None:
    waker = new_waker()
    scope = anyio.CancelScope()
    ended: list[str] = []

    async def wait() -> None:
        with scope:
            await waker.wait()
            ended.append("woken")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        waker.wake()
    assert ended == []
    with anyio.fail_after(5):
        await waker.wait()


async def test_a_new_task_may_wait_after_the_old_one() -> None:
    waker = new_waker()
    woken: list[int] = []

    async def wait(number: int) -> None:
        await waker.wait()
        woken.append(number)

    for number in range(3):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, number)
            await anyio.wait_all_tasks_blocked()
            waker.wake()
    assert woken == [0, 1, 2]
