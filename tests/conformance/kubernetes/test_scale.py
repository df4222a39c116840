"""A thousand KIngresses: how soon a new one is ready and a change is served, and what they cost when nothing happens."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from math import ceil
from signal import SIGTERM
from typing import Any

import anyio
import pytest
from anyio import to_thread

from .cluster import Cluster
from .kingresses import Writer, backend_processes, kingress, open_writer, paths, service, slice_of
from .load import first_answer, load
from .replicas import Replicas, replicas

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built

KINGRESSES = 1000
SERVICES = 20
ADDRESSES = tuple(f"198.18.112.{number}" for number in range(1, 5))
NAME = "kn-scale"

READY_SECONDS = 1.0
SERVED_SECONDS = 0.3
IDLE_CPU = 0.02
IDLE_WINDOWS, IDLE_SECONDS = 3, 10.0
RESIDENT_BYTES = 250 * 1024**2
COLD_CPU_SECONDS = 6.0


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def gate(cluster: Cluster) -> Iterator[Replicas]:
    """A gateway, and the back ends."""
    with replicas(cluster, NAME, "198.18.111.") as found, backend_processes(*ADDRESSES):
        found.start()
        yield found


@pytest.fixture(scope="module")
async def writer(gate: Replicas) -> AsyncIterator[Writer]:
    """The administrator, after the thousand are ready."""
    async with open_writer(gate) as found:
        began = anyio.current_time()
        names = [f"service-{number}" for number in range(SERVICES)]
        await found.create(*(service(name) for name in names))
        await found.create(*(slice_of(name, [ADDRESSES[number % len(ADDRESSES)]]) for number, name in enumerate(names)))
        many = [f"many-{number}" for number in range(KINGRESSES)]
        await found.create(*(_kingress(found, name, number) for number, name in enumerate(many)))
        await found.until_ready(*many, seconds=180)
        gate.cluster.tell(f"{KINGRESSES} KIngresses written and ready: {anyio.current_time() - began:.1f} s")
        yield found


def _kingress(writer: Writer, name: str, number: int) -> dict[str, Any]:
    shares = {f"service-{number % SERVICES}": 60, f"service-{(number + 1) % SERVICES}": 40}
    return kingress(name, writer.ingress_class, f"{name}.test", paths(NAME, shares))


def _spread(cluster: Cluster, what: str, target: float, seconds: list[float]) -> tuple[float, float]:
    """Median and 99th percentile, which are told."""
    ordered = sorted(seconds)
    median, high = (ordered[ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
    cluster.tell(
        f"{what}: median {median * 1e3:.0f} ms, p99 {high * 1e3:.0f} ms, slowest {ordered[-1] * 1e3:.0f} ms"
        f" of {len(ordered)} (target {target * 1e3:.0f} ms)"
    )
    return median, high


@pytest.mark.anyio
@pytest.mark.parametrize("at_once", [1, 5])
async def test_a_new_one_is_ready_within_a_second(writer: Writer, gate: Replicas, at_once: int) -> None:
    began: dict[str, float] = {}
    for turn in range(50 // at_once):
        names = [f"new-{at_once}-{turn}-{number}" for number in range(at_once)]
        began |= dict.fromkeys(names, anyio.current_time())
        await writer.create(*(_kingress(writer, name, turn) for name in names))
        await writer.until_ready(*names)
    seconds = [writer.ready_at[name, 1] - start for name, start in began.items()]
    _, high = _spread(gate.cluster, f"new, {at_once} at once, to Ready", READY_SECONDS, seconds)
    assert high <= READY_SECONDS


@pytest.mark.anyio
async def test_a_change_of_weights_is_served_within_300_ms(writer: Writer, gate: Replicas) -> None:
    seconds = []
    async with load(gate.address(0), "many-0.test", port=8080) as asked:
        for turn in range(20):
            to = turn % 2
            shares = {"service-0": 100 * (1 - to), "service-1": 100 * to}
            await anyio.sleep(0.1)
            async with anyio.create_task_group() as tasks:
                began = anyio.current_time()
                tasks.start_soon(writer.change, "many-0", paths(NAME, shares, str(turn)))
                answer = await asked.until(lambda answer: answer.content == f"{ADDRESSES[to]} {turn}")  # noqa: B023
            seconds.append(answer.at - began)
        assert not asked.failures
    median, _ = _spread(gate.cluster, "weights, from PATCH to the first answer", SERVED_SECONDS, seconds)
    assert median <= SERVED_SECONDS


@pytest.mark.anyio
@pytest.mark.usefixtures("writer")
async def test_nothing_costs_nothing(gate: Replicas) -> None:
    shares: list[float] = []
    while len(shares) < IDLE_WINDOWS and (not shares or shares[-1] >= IDLE_CPU):
        began, used = time.monotonic(), gate.cpu_seconds()
        await anyio.sleep(IDLE_SECONDS)
        shares.append((gate.cpu_seconds() - used) / (time.monotonic() - began))
    resident = gate.resident_bytes()
    gate.cluster.tell(
        f"without traffic: CPU {shares[-1]:.2%} of a core (target {IDLE_CPU:.0%}),"
        f" RSS {resident / 1024**2:.0f} MiB (target {RESIDENT_BYTES / 1024**2:.0f} MiB)"
    )
    assert shares[-1] < IDLE_CPU
    assert resident < RESIDENT_BYTES


@pytest.mark.anyio
@pytest.mark.usefixtures("writer")
async def test_a_restart_never_answers_404(gate: Replicas) -> None:
    await to_thread.run_sync(gate.stop, 0, SIGTERM)
    began = anyio.current_time()
    statuses: dict[str, int] = {}
    first = 0.0
    async with anyio.create_task_group() as tasks:

        async def knock(hosts: list[str]) -> None:
            nonlocal first
            for host in hosts:
                answer = await first_answer(gate.address(0), host, port=8080)
                first = first or answer.at
                statuses[host] = answer.status

        for number in range(4):
            tasks.start_soon(knock, [f"many-{one}.test" for one in range(number, KINGRESSES, 4)])
        gate.start(wait=False)
    used = gate.cpu_seconds()
    gate.cluster.tell(
        f"a cold start: first answer after {first - began:.2f} s, all {KINGRESSES} hosts after"
        f" {anyio.current_time() - began:.2f} s, {used:.1f} s of CPU"
    )
    assert set(statuses.values()) == {200}
    assert len(statuses) == KINGRESSES
    assert used < COLD_CPU_SECONDS
