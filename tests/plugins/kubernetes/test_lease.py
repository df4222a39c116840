"""Leading: one at a time, whoever hangs, leaves or comes back."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemun.testing import eventually
from daemun_kubernetes import Cluster, Elector
from daemun_kubernetes.client.lease import Terms

from .clusters import asking
from .store import Store

pytestmark = pytest.mark.anyio

PATH = "/apis/coordination.k8s.io/v1/leases"
KEY = ("home", "lead")
TERMS = Terms(lease_seconds=1, deadline_seconds=0.6, retry_seconds=0.02)
LONG = Terms(lease_seconds=10, deadline_seconds=9, retry_seconds=0.02)


class Candidate:
    """An Elector, what it was told, and a way to end it."""

    def __init__(self, cluster: Cluster, identity: str, *others: Candidate, terms: Terms = TERMS) -> None:
        self.told: list[bool] = []
        self.others = others
        self.elector = Elector(cluster, "lead", "", identity, self._changed, terms=terms)
        self._scope = anyio.CancelScope()
        self._done = anyio.Event()

    def _changed(self, leading: bool) -> None:
        assert self.elector.leading == leading
        assert not (leading and any(other.elector.leading for other in self.others)), "two lead"
        self.told.append(leading)

    async def run(self) -> None:
        with self._scope:
            await self.elector.run()
        self._done.set()

    async def leave(self) -> None:
        self._scope.cancel()
        await self._done.wait()


def lease(store: Store) -> dict[str, Any]:
    spec: dict[str, Any] = store.objects[PATH][KEY]["spec"]
    return spec


def renewals(store: Store) -> int:
    return sum(path == PATH for _, path, _, _ in store.history)


def held_by(store: Store, identity: str, **more: Any) -> None:
    store.put(PATH, *KEY, spec={"leaseDurationSeconds": 1, "holderIdentity": identity, **more})


@asynccontextmanager
async def electing(store: Store) -> AsyncIterator[tuple[Cluster, anyio.abc.TaskGroup]]:
    async with asking(store.handle) as (cluster, _), anyio.create_task_group() as tasks:
        yield cluster, tasks
        tasks.cancel_scope.cancel()


async def test_the_first_leads_and_the_next_when_it_leaves() -> None:
    store = Store()
    async with electing(store) as (cluster, tasks):
        one, two = Candidate(cluster, "one", terms=LONG), Candidate(cluster, "two", terms=LONG)
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        assert lease(store)["holderIdentity"] == "one"
        assert lease(store)["leaseDurationSeconds"] == 10
        assert "leaseTransitions" not in lease(store)
        acquired = lease(store)["acquireTime"]
        tasks.start_soon(two.run)
        await eventually(lambda: renewals(store) > 5 and two.elector.holder == "one")
        assert not two.elector.leading
        assert lease(store)["acquireTime"] == acquired
        assert lease(store)["renewTime"] > acquired
        started = anyio.current_time()
        await one.leave()
        assert one.told == [True, False]
        await eventually(lambda: two.elector.leading)
        assert anyio.current_time() - started < 9, "it need not wait for the Lease to run out"
        assert lease(store)["holderIdentity"] == "two"
        assert lease(store)["leaseTransitions"] >= 1


async def test_who_leaves_gives_the_lease_up() -> None:
    store = Store()
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one")
        tasks.start_soon(one.run)
        await eventually(lambda: renewals(store) > 2)
        await one.leave()
        assert "holderIdentity" not in lease(store)
        assert lease(store)["leaseDurationSeconds"] == 1


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_nobodys_clock_is_believed(renewed: str) -> None:
    """A Lease has run out when it was seen for long enough not to change, whatever times stand in it."""
    store = Store()
    held_by(store, "gone", renewTime=renewed, acquireTime=renewed, leaseTransitions=3)
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one")
        started = anyio.current_time()
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        assert anyio.current_time() - started >= 1
        assert lease(store)["leaseTransitions"] == 4


async def test_who_is_taken_for_somebody_that_it_was_leads_at_once() -> None:
    """As after a restart with the same identity."""
    store = Store()
    held_by(store, "one", leaseDurationSeconds=10, leaseTransitions=3, acquireTime="1999-01-01T00:00:00.000000Z")
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one")
        started = anyio.current_time()
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        assert anyio.current_time() - started < 9
        assert lease(store)["leaseTransitions"] == 3
        assert lease(store)["acquireTime"] == "1999-01-01T00:00:00.000000Z"


async def test_who_cannot_renew_in_time_does_not_lead_though_the_server_hangs() -> None:
    store = Store()
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one", terms=Terms(lease_seconds=5, deadline_seconds=2, retry_seconds=0.02))
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        store.hanging = True
        started = anyio.current_time()
        await eventually(lambda: not one.elector.leading)
        assert anyio.current_time() - started < 5, "before another may lead"
        store.hanging = False
        await eventually(lambda: one.elector.leading)
        assert one.told == [True, False, True]
        store.hanging = True
        started = anyio.current_time()
        await one.leave()
        assert anyio.current_time() - started < 10, "it does not wait for ever to give the Lease up"


async def test_who_is_replaced_notices_at_once() -> None:
    store = Store()
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one", terms=LONG)
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        held_by(store, "two")
        await eventually(lambda: not one.elector.leading)
        assert one.elector.holder == "two"


async def test_a_right_that_is_missing_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    store = Store()
    store.refusing = (403, "Forbidden")
    with caplog.at_level(logging.WARNING, "daemun.kubernetes"):
        async with asking(store.handle) as (cluster, server), anyio.create_task_group() as tasks:
            one = Candidate(cluster, "one")
            tasks.start_soon(one.run)
            await eventually(lambda: len(server.calls) > 5)
            assert not one.elector.leading
            tasks.cancel_scope.cancel()
    (record,) = caplog.records
    assert "the right to get leases.coordination.k8s.io is missing" in record.getMessage()


async def test_what_others_wrote_into_the_lease_stays() -> None:
    store = Store()
    store.put(
        PATH, *KEY, metadata={"labels": {"a": "b"}, "finalizers": ["f"]}, spec={"strategy": "OldestEmulationVersion"}
    )
    async with electing(store) as (cluster, tasks):
        one = Candidate(cluster, "one")
        tasks.start_soon(one.run)
        await eventually(lambda: one.elector.leading)
        assert store.objects[PATH][KEY]["metadata"]["labels"] == {"a": "b"}
        assert store.objects[PATH][KEY]["metadata"]["finalizers"] == ["f"]
        assert lease(store)["strategy"] == "OldestEmulationVersion"


async def test_what_on_change_raises_ends_it_and_gives_the_lease_up() -> None:
    def fail(leading: bool) -> None:
        if leading:
            raise LookupError("no")

    store = Store()
    async with asking(store.handle) as (cluster, _):
        with pytest.raises(LookupError, match="no"):
            await Elector(cluster, "lead", "", "one", fail, terms=TERMS).run()
        assert "holderIdentity" not in lease(store)


@pytest.mark.parametrize("times", [(1, 1.5, 0.1), (15, 2, 3), (15, 10, 0)])
def test_times_that_make_no_sense_are_refused(times: tuple[int, float, float]) -> None:
    with pytest.raises(ValueError, match="grow in this order"):
        Terms(*times)


@settings(max_examples=8)
@given(steps=st.lists(st.sampled_from(["cut", "hang", "answer", "leave", "renewal"]), max_size=8))
async def test_there_are_never_two_that_lead(steps: list[str]) -> None:
    store = Store()
    async with asking(store.handle) as (cluster, server), anyio.create_task_group() as tasks:
        candidates = [Candidate(cluster, name) for name in ("one", "two", "three")]
        for candidate in candidates:
            candidate.others = tuple(other for other in candidates if other is not candidate)
            tasks.start_soon(candidate.run)
        for step in steps:
            if step == "cut":
                await server.cut_all()
            elif step in ("hang", "answer"):
                store.hanging = step == "hang"
            elif step == "leave" and len(candidates) > 1:
                await candidates.pop().leave()
            elif step == "renewal" and not store.hanging:
                before = renewals(store)
                await eventually(lambda before=before: renewals(store) > before)  # type: ignore[misc]
        store.hanging = False
        await eventually(lambda: any(candidate.elector.leading for candidate in candidates))
        tasks.cancel_scope.cancel()
