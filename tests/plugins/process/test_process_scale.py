"""Several processes: kept, added when all are full, taken away when not needed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio
import pytest

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

pytestmark = pytest.mark.anyio


async def test_a_process_is_kept_without_a_request(kit: Kit) -> None:
    async with kit.open(min_instances=1, idle_timeout_seconds=0.1):
        await kit.until(lambda: kit.endpoints.ready)
        first = kit.only
        await anyio.sleep(0.4)
        assert kit.endpoints.ready == (first,)
        os.kill(kit.pids()[0], signal.SIGKILL)
        await kit.until(lambda: first.retired and kit.endpoints.ready)
        assert (await kit.ask(kit.only))["pid"] == kit.pids()[1]
    assert not kit.alive()


async def test_a_kept_process_that_crashes_is_started_again_and_again(kit: Kit) -> None:
    async with kit.open("failures=4", "exit=1", min_instances=1, start_attempts=1):
        await kit.until(lambda: kit.endpoints.ready)
    assert len(kit.pids()) == 5


async def test_the_start_of_a_kept_process_serves_those_who_wait(kit: Kit) -> None:
    async with kit.open("sleep=0.2", min_instances=1) as activator:
        await activator.activate()
        assert len(kit.pids()) == 1


async def test_full_processes_get_company_and_lose_it_again(kit: Kit) -> None:
    settings = {"capacity": 2, "max_instances": 3, "idle_timeout_seconds": 0.4}
    async with kit.open(**settings) as activator:
        await activator.activate()
        kit.endpoints.waiting = 50
        await anyio.sleep(0.2)
        assert len(kit.pids()) == 1, "it was not full"
        for _ in range(2):
            kit.endpoints.enter(kit.only)
        await kit.until(lambda: len(kit.endpoints.ready) == 3)
        busy = kit.endpoints.ready[2]
        kit.endpoints.enter(busy)
        for _ in range(2):
            kit.endpoints.leave(kit.endpoints.ready[0])
        kit.endpoints.waiting = 0
        await kit.until(lambda: len(kit.endpoints.ready) == 1)
        await kit.until(lambda: len(kit.alive()) == 1 + busy.retired)
        assert await kit.ask(busy)
        kit.endpoints.leave(busy)
        await kit.until(lambda: not kit.alive())
    assert len(kit.pids()) == 3


async def test_a_retired_process_finishes_what_it_has(kit: Kit) -> None:
    settings = {"capacity": 1, "max_instances": 2, "idle_timeout_seconds": 0.2}
    async with kit.open(**settings) as activator:
        await activator.activate()
        first = kit.only
        kit.endpoints.enter(first)
        kit.endpoints.waiting = 1
        await kit.until(lambda: len(kit.endpoints.ready) == 2)
        kit.endpoints.waiting = 0
        second = kit.endpoints.ready[1]
        await kit.until(lambda: second.retired)
        assert not first.retired
        assert await kit.ask(first)
        kit.endpoints.leave(first)
        await kit.until(lambda: not kit.alive())
