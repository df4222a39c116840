"""One request, by protocol, transport, dispatch and plugins: rounds in which the bare loop, the lane without plugins
and the lane with them run one after the other.

pytest-benchmark's own columns are for batches of 1,000 requests, in CPU time: milliseconds there are microseconds of
one request.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from time import process_time
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun.testing.alternating import figure
from daemun.testing.measuring import ANSWER, UPSTREAM, Lane, Message, open_lane, settled_collector

from .host import Host
from .loopback import far_end, open_loopback
from .plugins import idle, load
from .results import Results, Row
from .scenarios import Scenario

_BATCH = 1000
_LOOPBACK_BATCH = 960
_MESSAGE = Message()


def _lane(scenario: Scenario) -> AbstractAsyncContextManager[Lane]:
    plugins, filters = load(scenario.dispatch, scenario.kind, scenario.plugins)
    backend = UPSTREAM if scenario.transport == "proxy" else ANSWER
    return open_lane(*plugins, only=(), filters=filters, backend=backend, wire=scenario.protocol.wire)


def _measure(
    benchmark: BenchmarkFixture, host: Host, rounds: int, scenario: Scenario, lane: Any, without: Any, batch: int
) -> tuple[list[float], list[float], list[float]]:
    """CPU nanoseconds of a request in each round: on the lane, on the one without plugins, in the bare loop."""
    bare: list[float] = []
    base: list[float] = []
    own: list[float] = []

    def before() -> None:
        if scenario.transport != "loopback":
            bare.append(scenario.protocol.bare(_MESSAGE, batch))
        base.append(host.run(without.run(batch)))

    host.run(lane.run(batch))
    with settled_collector():
        pedantic: Any = benchmark.pedantic
        pedantic(lambda: own.append(host.run(lane.run(batch))), setup=before, rounds=rounds)
    benchmark.extra_info["requests"] = batch
    if bare:
        benchmark.extra_info["cpu_ns_over_bare"] = figure(own, bare).ns
    benchmark.extra_info["cpu_ns_over_no_plugin"] = figure(own, base).ns
    return own, base, bare


@pytest.mark.benchmark(timer=process_time, group="requests from memory", disable_gc=False)
def test_a_request_from_memory(
    benchmark: BenchmarkFixture, host: Host, rounds: int, results: Results, scenario: Scenario
) -> None:
    without = host.kept(scenario.without.name, lambda: _lane(scenario.without))
    with host.opened(_lane(scenario)) as lane:
        assert len(lane.chain) == len(without.chain) + _layers(scenario)
        own, base, bare = _measure(benchmark, host, rounds, scenario, lane, without, _BATCH)
        calls, memory = host.run(lane.calls()), host.run(lane.memory())
    benchmark.extra_info["python_calls"] = calls
    benchmark.extra_info["held_bytes"] = memory.inside.bytes
    results.rows.append(
        Row(
            protocol=scenario.protocol.name,
            transport=scenario.transport,
            dispatch=scenario.dispatch,
            kind=scenario.kind,
            plugins=scenario.plugins,
            request=figure(own),
            over_bare=figure(own, bare),
            over_none=figure(own, base),
            calls=calls,
            held_bytes=memory.inside.bytes,
            held_blocks=memory.inside.blocks,
            peak_bytes=memory.peak_bytes,
            kept_blocks=memory.kept_blocks,
            rounds=rounds,
        )
    )
    assert memory.kept_blocks < 0.5


def _layers(scenario: Scenario) -> int:
    return min(scenario.plugins, 1) if scenario.dispatch == "pluggy" else scenario.plugins


@pytest.mark.benchmark(timer=process_time, group="requests on loopback", disable_gc=False)
@pytest.mark.loopback
def test_a_request_on_loopback(
    benchmark: BenchmarkFixture, host: Host, rounds: int, results: Results, scenario: Scenario
) -> None:
    far = host.kept("far end", far_end)
    without = host.kept(scenario.without.name, lambda: open_loopback(scenario.without, far))
    with host.opened(open_loopback(scenario, far)) as gateway:
        own, base, _ = _measure(benchmark, host, rounds, scenario, gateway, without, _LOOPBACK_BATCH)
    results.rows.append(
        Row(
            protocol=scenario.protocol.name,
            transport=scenario.transport,
            dispatch=scenario.dispatch,
            kind=scenario.kind,
            plugins=scenario.plugins,
            request=figure(own),
            over_none=figure(own, base),
            rounds=rounds,
        )
    )


def test_plugins_without_a_request_hook_cost_nothing(host: Host) -> None:
    with host.opened(open_lane()) as bare, host.opened(open_lane(*idle(10))) as lane:
        assert lane.chain == bare.chain
        assert host.run(lane.calls()) == host.run(bare.calls())
        assert host.run(lane.memory()).inside == host.run(bare.memory()).inside


def test_hooks_that_are_compiled_give_the_same_chain(host: Host) -> None:
    """Filters that hooks add cost what those cost that the route lists: they are the same closures."""
    lanes = []
    for dispatch in ("compiled", "hooks"):
        plugins, filters = load(dispatch, "noop", 10)
        with host.opened(open_lane(*plugins, filters=filters)) as lane:
            lanes.append((lane.chain, host.run(lane.calls())))
    assert lanes[0] == lanes[1]
