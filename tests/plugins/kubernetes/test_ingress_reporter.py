"""What is wrong is said once, and what passes by itself is not said at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from daemun.testing import eventually
from daemun_kubernetes import Recorder
from daemun_kubernetes.ingress.reporter import Reporter
from daemun_kubernetes.ingress.translate import Problem

from .clusters import asking
from .ingresses import ingress
from .store import Store

pytestmark = pytest.mark.anyio

KEY = ("default", "web")
BAD = Problem("BadPath", "path 'x' takes nothing")
WORSE = Problem("BadHost", "'a b' is no host")
PASSING = Problem("NoEndpoints", "service default/cart has no ready endpoint", passing=True)


def told(store: Store) -> list[tuple[str, int]]:
    """Reasons of events, each with how often."""
    return sorted((one["reason"], one["count"]) for one in store.objects.get("/api/v1/events", {}).values())


@asynccontextmanager
async def reporting(store: Store) -> AsyncIterator[Reporter]:
    web = ingress("web")
    async with asking(store.handle) as (cluster, _), anyio.create_task_group() as tasks:
        recorder = Recorder(cluster, "daemun")
        reporter = Reporter(recorder, {KEY: web}.get)
        tasks.start_soon(recorder.run)
        tasks.start_soon(reporter.run)
        yield reporter
        tasks.cancel_scope.cancel()


async def test_a_problem_is_said_once_also_if_it_comes_again() -> None:
    store = Store()
    async with reporting(store) as reporter:
        reporter.lead(True)
        reporter.report(KEY, (BAD,))
        await eventually(lambda: told(store) == [("BadPath", 1)])
        reporter.report(KEY, ())
        reporter.report(KEY, (BAD,))
        reporter.report(KEY, (BAD, WORSE))
        await eventually(lambda: told(store) == [("BadHost", 1), ("BadPath", 1)])


async def test_what_passes_in_time_is_not_said_and_what_lasts_is(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store()
    monkeypatch.setattr("daemun_kubernetes.ingress.reporter.SETTLE_SECONDS", 0.05)
    async with reporting(store) as reporter:
        reporter.lead(True)
        reporter.report(KEY, (PASSING,))
        reporter.report(KEY, (BAD,))
        await eventually(lambda: told(store) == [("BadPath", 1)])
        reporter.report(KEY, (WORSE, PASSING))
        await eventually(lambda: told(store) == [("BadHost", 1), ("BadPath", 1), ("NoEndpoints", 1)])


async def test_who_begins_to_lead_says_what_was_only_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    async with reporting(store) as reporter:
        reporter.report(KEY, (BAD, WORSE))
        await eventually(lambda: len(caplog.messages) == 2)
        assert caplog.messages == [
            "ingress default/web: path 'x' takes nothing",
            "ingress default/web: 'a b' is no host",
        ]
        reporter.report(KEY, (BAD,))
        assert told(store) == []
        reporter.lead(True)
        await eventually(lambda: told(store) == [("BadPath", 1)])


async def test_an_ingress_that_is_gone_has_no_events() -> None:
    store = Store()
    async with reporting(store) as reporter:
        reporter.lead(True)
        reporter.report(("default", "gone"), (WORSE,))
        reporter.report(KEY, (BAD,))
        await eventually(lambda: told(store) == [("BadPath", 1)])


async def test_what_lasts_is_said_again_and_what_is_over_is_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("daemun_kubernetes.ingress.reporter._LASTING_SECONDS", 0.05)
    monkeypatch.setattr("daemun_kubernetes.client.events._REPEAT_SECONDS", 0.01)
    store = Store()
    async with reporting(store) as reporter:
        reporter.lead(True)
        reporter.report(KEY, (BAD, WORSE))
        await eventually(lambda: [count > 2 for _, count in told(store)] == [True, True])
        reporter.report(KEY, (BAD,))
        before = dict(told(store))
        await eventually(lambda: dict(told(store))["BadPath"] > before["BadPath"] + 3)
        assert dict(told(store))["BadHost"] <= before["BadHost"] + 1, "one may have been under way"
        assert len(caplog.messages) == 2, "the log has it once"


async def test_what_there_was_no_room_for_is_said_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemun_kubernetes.ingress.reporter._LATER_SECONDS", 0.05)
    monkeypatch.setattr("daemun_kubernetes.client.events._MAX_WAITING", 1)
    store = Store()
    async with reporting(store) as reporter:
        reporter.lead(True)
        reporter.report(KEY, (BAD, WORSE, Problem("BadBackend", "the back end names no service")))
        await eventually(lambda: [reason for reason, _ in told(store)] == ["BadBackend", "BadHost", "BadPath"])
