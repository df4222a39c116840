"""What a client is told when no process becomes ready, and what is left behind: nothing."""

from __future__ import annotations

import os
import re
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from daemun import ExchangeError, Reason

if TYPE_CHECKING:
    from tests.plugins.process.conftest import Kit

pytestmark = pytest.mark.anyio

CRASHES = ("failures=1000", "exit=3")


async def failure(activator: Any) -> ExchangeError:
    with pytest.raises(ExchangeError) as caught:
        await activator.activate()
    assert caught.value.reason is Reason.ACTIVATION_FAILED
    return caught.value


@pytest.mark.parametrize(
    ("options", "settings", "seconds", "last_probe"),
    [
        (("deaf=1",), {}, 1, r"connection refused on port \d+"),
        (("deaf=1",), {"socket": True}, 1, "its socket is not there"),
        (("not_yet=1000000",), {"readiness": {"kind": "http"}}, 5, r"status 503 on port \d+"),
    ],
    ids=["refused", "no socket", "status"],
)
async def test_never_ready(kit: Kit, options: tuple[str, ...], settings: Any, seconds: int, last_probe: str) -> None:
    async with kit.open(*options, start_timeout_seconds=seconds, **settings) as activator:
        began = monotonic()
        error = await failure(activator)
        assert seconds - 0.01 <= monotonic() - began < 20
        words = rf"not ready after \d+\.\d s and 1 start; last probe: {last_probe}"
        assert re.fullmatch(words, error.message), error.message
        await kit.until(lambda: not kit.alive())
        assert kit.endpoints.ready == ()
    assert len(kit.pids()) == 1


async def test_never_ready_does_not_wait_for_a_process_that_will_not_go(kit: Kit) -> None:
    async with kit.open("deaf=1", "ignore_term=1", start_timeout_seconds=2, stop_grace_seconds=2) as activator:
        await failure(activator)
        assert kit.alive()
        await kit.until(lambda: not kit.alive())


async def test_it_can_be_activated_after_a_start_that_was_too_slow(kit: Kit) -> None:
    async with kit.open("deaf=1", start_timeout_seconds=1) as activator:
        await failure(activator)
        (kit.folder / "server.py").write_text((kit.folder / "server.py").read_text().replace('"deaf"', '"-"'))
        with anyio.fail_after(10):
            while not kit.endpoints.ready:
                try:
                    await activator.activate()
                except ExchangeError:
                    continue
        assert await kit.ask(kit.only)


async def test_a_crash_is_tried_again(kit: Kit) -> None:
    async with kit.open("failures=2", "exit=3") as activator:
        await activator.activate()
        assert await kit.ask(kit.only)
    assert len(kit.pids()) == 3


async def test_crashes_back_off_and_are_told_with_the_status(kit: Kit) -> None:
    async with kit.open(*CRASHES, "say=password=hunter2", start_attempts=4) as activator:
        error = await failure(activator)
        words = r"the process exited with status 3 \d\.\d s after its start \(4 starts\)"
        assert re.fullmatch(words, error.message), error.message
        assert error.retry_after_seconds == 1
        assert len(kit.pids()) == 4

        assert "(1 start)" in (await failure(activator)).message
        assert len(kit.pids()) == 5
        least = (0.05, 0.1, 0.2, 0.4)  # that chance leaves of the back-off
        assert all(pause >= one for pause, one in zip(kit.pauses(), least, strict=True)), kit.pauses()
    assert not kit.alive()


async def test_a_back_off_that_outlasts_the_wait_is_told_at_once(kit: Kit) -> None:
    async with kit.open(*CRASHES, min_instances=1, start_timeout_seconds=0.7) as activator:
        await kit.until(lambda: len(kit.pids()) >= 7 and not kit.alive())  # at least 3.2 s until the next start
        error = await failure(activator)
    assert re.search(r"the process .*; it failed \d times in a row", error.message), error.message
    assert error.retry_after_seconds is not None
    assert error.retry_after_seconds >= 1


async def test_a_signal_is_told_by_name(kit: Kit) -> None:
    async with kit.open("deaf=1", start_attempts=1) as activator:
        errors = []

        async def activate() -> None:
            errors.append(await failure(activator))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(activate)
            await kit.until(kit.pids)
            os.kill(kit.pids()[0], signal.SIGSEGV)
    assert "was killed by SIGSEGV" in errors[0].message


async def test_a_process_that_dies_is_withdrawn_and_replaced(kit: Kit) -> None:
    async with kit.open() as activator:
        await activator.activate()
        first = kit.only
        assert (await kit.ask(first, "/die"))["pid"] == kit.pids()[0]
        await kit.until(lambda: not kit.endpoints.ready)
        assert first.retired
        await activator.activate()
        assert kit.only is not first
        assert (await kit.ask(kit.only))["pid"] == kit.pids()[1]
    assert not kit.alive()


async def test_the_dead_one_leaves_no_children(kit: Kit) -> None:
    async with kit.open("child=1", stop_grace_seconds=0.1) as activator:
        await activator.activate()
        await kit.ask(kit.only, "/die")
        await kit.until(lambda: not kit.alive())
        assert len(kit.pids()) == 2
        await activator.activate()
        assert len(kit.alive()) == 2


async def test_an_activation_that_is_cancelled_frees_everything_when_the_back_end_closes(kit: Kit) -> None:
    async with kit.open("deaf=1") as activator, anyio.create_task_group() as tasks:
        tasks.start_soon(activator.activate)
        await kit.until(kit.pids)
        tasks.cancel_scope.cancel()
    assert len(kit.pids()) == 1
    assert not kit.alive()


async def test_an_activation_ends_when_the_back_end_closes_under_it(kit: Kit) -> None:
    errors = []
    async with anyio.create_task_group() as tasks, kit.open("deaf=1") as activator:

        async def activate() -> None:
            errors.append(await failure(activator))

        tasks.start_soon(activate)
        await kit.until(kit.pids)
    assert errors[0].message == "its processes are being stopped for good"
    assert not kit.alive()


async def test_what_goes_wrong_beside_it_is_raised_as_it_is(kit: Kit) -> None:
    async def fail_beside_it() -> None:
        async with kit.open() as activator:
            await activator.activate()
            raise ExchangeError(Reason.NO_ENDPOINT, "elsewhere")

    with pytest.raises(ExchangeError, match="elsewhere"):
        await fail_beside_it()
    assert not kit.alive()
