"""Several replicas and workers: what is Ready is served by all, who leads may die, and a restart is not felt."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import Any

import anyio
import pytest
from anyio import to_thread

from daemun.testing.program import soon

from .cluster import Cluster
from .kingresses import Writer, backend_processes, kingress, open_writer, paths, service, slice_of
from .load import ask, first_answer, load
from .replicas import Replicas, replicas

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built

NAME = "kn-replicas"
ADDRESSES = ("198.18.117.1", "198.18.117.2")
DELAY_SECONDS = 1.5
TAKEOVER_SECONDS = 40.0
"""A Lease holds for 15 s, and whoever waits for it looks every 2 to 4.4 s; the rest is for a busy machine."""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def gate(cluster: Cluster) -> Iterator[Replicas]:
    """Two gateways, the second one with two workers, and the back ends."""
    drain = {"delay_seconds": DELAY_SECONDS, "grace_seconds": 5}
    with replicas(cluster, NAME, "198.18.116.", drain=drain) as found, backend_processes(*ADDRESSES):
        found.start(0)
        found.start(1, workers=2)
        yield found


@pytest.fixture(scope="module")
async def writer(gate: Replicas) -> AsyncIterator[Writer]:
    """The administrator, after the Service `some` has endpoints, and `good.test` goes to it."""
    async with open_writer(gate) as found:
        await found.create(service("some"), slice_of("some", ADDRESSES))
        await found.create(_kingress(found, "good"))
        await found.until_ready("good")
        yield found


def _kingress(writer: Writer, name: str) -> dict[str, Any]:
    return kingress(name, writer.ingress_class, f"{name}.test", paths(NAME, {"some": 100}, "0"))


async def _versions(gate: Replicas, number: int, host: str, requests: int) -> set[str]:
    """What a replica serves, on connections of their own."""
    return {(await ask(gate.address(number), host, port=8080)).content.split()[1] for _ in range(requests)}


async def _leader(gate: Replicas) -> int:
    """The number of the replica that writes statuses."""
    name = await to_thread.run_sync(lambda: soon(gate.leader))
    return int(name.rpartition("-")[2])


@pytest.mark.anyio
async def test_what_is_ready_is_served_by_every_worker_of_every_replica(writer: Writer, gate: Replicas) -> None:
    await writer.create(_kingress(writer, "told"))
    await writer.until_ready("told")
    for version in map(str, range(1, 11)):
        generation = await writer.change("told", paths(NAME, {"some": 100}, version))
        await writer.until_ready("told", generation=generation)
        assert await _versions(gate, 0, "told.test", 4) == {version}
        assert await _versions(gate, 1, "told.test", 16) == {version}


@pytest.mark.anyio
async def test_nothing_is_ready_while_a_replica_does_not_serve_it(writer: Writer, gate: Replicas) -> None:
    leader = await _leader(gate)
    other = 1 - leader
    await writer.create(_kingress(writer, "waits"))
    await writer.until_ready("waits")
    stopped = gate.processes(other)
    gate.signal(other, SIGSTOP)
    try:
        generation = await writer.change("waits", paths(NAME, {"some": 100}, "1"))
        await writer.until(lambda: writer.condition("waits")[0] == "Unknown", 10)
        status, reason, message = writer.condition("waits")
        assert await _versions(gate, leader, "waits.test", 4) == {"1"}
    finally:
        gate.signal(other, SIGCONT)
    assert (status, reason) == ("Unknown", "Probing")
    assert gate.address(other) in message
    await writer.until_ready("waits", generation=generation)
    assert await _versions(gate, other, "waits.test", 8) == {"1"}
    assert gate.processes(other) == stopped


@pytest.mark.anyio
async def test_a_worker_that_is_killed_is_replaced_by_one_that_knows_everything(writer: Writer, gate: Replicas) -> None:
    before = gate.processes(1)
    async with load(gate.address(1), "good.test", port=8080, keep_alive=False) as asked:
        os.kill(before[-1], SIGKILL)
        await writer.create(_kingress(writer, "meanwhile"))
        await writer.until_ready("meanwhile")
        assert await _versions(gate, 1, "meanwhile.test", 16) == {"0"}
        await to_thread.run_sync(soon, lambda: len(gate.processes(1)) == len(before))
        new = set(gate.processes(1)) - set(before)
        assert await _versions(gate, 1, "meanwhile.test", 16) == {"0"}
    assert len(new) == 1
    assert not [words for words in asked.failures if words[0].isdigit()], "what was on its way may break off"


@pytest.mark.anyio
async def test_a_rolling_restart_fails_no_request(writer: Writer, gate: Replicas) -> None:
    """A new replica first, then an old one is taken out and told to stop, as a Deployment does it."""
    async with (
        load(gate.balancer, "good.test") as kept,
        load(gate.balancer, "good.test", per_second=50, keep_alive=False) as fresh,
        load(gate.balancer, "good.test", path="/slow", per_second=8, clients=8) as slow,
    ):
        loads = (kept, fresh, slow)
        for old in (0, 1):
            new = old + 2
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(to_thread.run_sync, partial(gate.start, new, workers=new - 1))
                assert (await first_answer(gate.address(new), "good.test", port=8080)).status == 200
            await to_thread.run_sync(gate.remove_pod, old)
            await to_thread.run_sync(gate.stop, old, SIGTERM)
        await writer.create(_kingress(writer, "afterwards"))
        await writer.until_ready("afterwards")
    gate.cluster.tell(
        f"a rolling restart of two: {sum(len(one.answers) for one in loads)} requests, sent again on a connection that"
        f" had been closed: {sum(one.again for one in loads)}, failed: {kept.failures + fresh.failures + slow.failures or 'none'}"
    )
    assert not kept.failures + fresh.failures + slow.failures


@pytest.mark.anyio
async def test_another_takes_over_when_the_leader_is_killed(writer: Writer, gate: Replicas) -> None:
    leader = await _leader(gate)
    (other,) = {2, 3} - {leader}
    async with load(gate.address(other), "good.test", port=8080) as asked:
        began = anyio.current_time()
        await to_thread.run_sync(gate.stop, leader, SIGKILL)
        await writer.create(_kingress(writer, "orphan"))
        await writer.until_ready("orphan", seconds=TAKEOVER_SECONDS)
        seconds = anyio.current_time() - began
    gate.cluster.tell(f"the leader killed: a new KIngress is Ready after {seconds:.1f} s")
    assert await _leader(gate) == other
    assert not asked.failures
