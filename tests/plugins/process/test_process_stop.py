"""Idle processes are stopped, busy ones never; stopping is gentle first, and reaches every descendant."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import anyio
import pytest

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

pytestmark = pytest.mark.anyio


async def test_an_idle_process_is_withdrawn_and_stopped(kit: Kit) -> None:
    async with kit.open(idle_timeout_seconds=0.3) as activator:
        began = monotonic()
        await activator.activate()
        alive_when_withdrawn = []
        kit.endpoints.on_change = lambda: alive_when_withdrawn.append(kit.alive())
        await kit.until(lambda: not kit.endpoints.ready)
        assert monotonic() - began >= 0.29
        assert alive_when_withdrawn[0], "it was stopped before it was withdrawn"
        await kit.until(lambda: not kit.alive())
        await activator.activate()
        kit.endpoints.enter(kit.only)
        assert await kit.ask(kit.only)
    assert len(kit.pids()) == 2


async def test_a_busy_process_is_not_idle(kit: Kit) -> None:
    async with kit.open(idle_timeout_seconds=0.2) as activator:
        await activator.activate()
        endpoint = kit.only
        kit.endpoints.enter(endpoint)
        await anyio.sleep(0.8)
        assert kit.endpoints.ready == (endpoint,)
        assert await kit.ask(endpoint)
        left = monotonic()
        kit.endpoints.leave(endpoint)
        await kit.until(lambda: not kit.endpoints.ready)
        assert monotonic() - left >= 0.19
        await kit.until(lambda: not kit.alive())


async def test_a_back_end_that_someone_waits_for_is_not_idle(kit: Kit) -> None:
    async with kit.open(idle_timeout_seconds=0.2) as activator:
        await activator.activate()
        kit.endpoints.waiting += 1
        await anyio.sleep(0.6)
        assert kit.endpoints.ready
        kit.endpoints.waiting -= 1
        await kit.until(lambda: not kit.endpoints.ready)


async def test_zero_means_never_idle(kit: Kit) -> None:
    async with kit.open(idle_timeout_seconds=0) as activator:
        await activator.activate()
        await anyio.sleep(0.3)
        assert kit.endpoints.ready


async def test_a_process_may_take_its_time_to_stop(kit: Kit) -> None:
    async with kit.open("linger=0.3", stop_grace_seconds=10) as activator:
        await activator.activate()
    assert (kit.folder / "bye").exists()
    assert not kit.alive()


async def test_a_process_that_ignores_sigterm_is_killed_after_the_grace(kit: Kit) -> None:
    async with kit.open("ignore_term=1", stop_grace_seconds=0.4) as activator:
        await activator.activate()
        began = monotonic()
    assert 0.39 <= monotonic() - began < 20
    assert not kit.alive()


async def test_stopping_is_not_cut_short_by_cancellation(kit: Kit) -> None:
    with anyio.CancelScope() as scope:
        async with kit.open("linger=0.3") as activator:
            await activator.activate()
            scope.cancel()
    assert (kit.folder / "bye").exists()
    assert not kit.alive()


@pytest.mark.parametrize("child", ["child=1", "child=own_session"])
async def test_grandchildren_end_too(kit: Kit, child: str) -> None:
    async with kit.open(child, stop_grace_seconds=0.3) as activator:
        await activator.activate()
        assert len(kit.alive()) == 2
    assert not kit.alive()


async def test_the_server_behind_a_shell_gets_the_grace(kit: Kit) -> None:
    command = ["/bin/sh", "-c", 'python="$1"; shift; "$python" "$@"; true', "sh"]
    open_server = kit.open(command=[*command, *kit.server("linger=0.3")])
    async with open_server as activator:
        await activator.activate()
    assert (kit.folder / "bye").exists()
    assert not kit.alive()


async def test_there_is_never_a_second_process_beside_the_one_that_stops(kit: Kit) -> None:
    async with kit.open("linger=0.4", idle_timeout_seconds=0.1) as activator:
        await activator.activate()
        await kit.until(lambda: not kit.endpoints.ready)
        await activator.activate()
        assert (kit.folder / "bye").exists()
        assert len(kit.alive()) == 1


async def test_an_idle_stop_is_no_crash(kit: Kit) -> None:
    async with kit.open("ignore_term=1", idle_timeout_seconds=0.05, stop_grace_seconds=0.05) as activator:
        for _ in range(9):
            await activator.activate()
            await kit.until(lambda: not kit.endpoints.ready)
            await kit.until(lambda: not kit.alive())
        began = monotonic()
        await activator.activate()
        assert monotonic() - began < 8  # a back-off would be of 12.8 s at least
