"""What is paid before the first request: plugins loaded, routes compiled. By the clock, in a process that has imported
everything."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun import BackendSpec, EndpointSpec, Forward, HeaderEdit, HostKind, HostMatch, RouteSpec, Split
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.testing import RoutedTable, routed
from daemun.testing.alternating import figure
from daemun.testing.yardsticks import yardsticks

from .host import Host
from .plugins import load
from .results import Fact, Results

_ROUNDS = 9
_BACKEND = BackendSpec("up", endpoints=(EndpointSpec("127.0.0.1:9"),))


def _timed(benchmark: BenchmarkFixture, name: str, results: Results, work: Any, **options: Any) -> None:
    spent: list[float] = []

    def once(*arguments: Any) -> None:
        since = perf_counter_ns()
        work(*arguments)
        spent.append(perf_counter_ns() - since)

    pedantic: Any = benchmark.pedantic
    pedantic(once, rounds=_ROUNDS, **options)
    found = figure(spent)
    results.facts.append(Fact(name, found.ns / 1e6, "ms", found.spread_ns / 1e6))


@pytest.mark.benchmark(group="assembly", disable_gc=False)
def test_loading_what_is_installed(benchmark: BenchmarkFixture, results: Results) -> None:
    _timed(benchmark, "load the installed plugins", results, lambda: Registry(load_plugins()))


@pytest.mark.benchmark(group="assembly", disable_gc=False)
@pytest.mark.parametrize("plugins", [1, 10, 100])
def test_loading_plugins_of_which_each_adds_a_filter(
    benchmark: BenchmarkFixture, results: Results, plugins: int
) -> None:
    extra = load("hooks", "noop", plugins)[0]
    name = f"load http1 and {plugins} plugins that add a filter"
    _timed(benchmark, name, results, lambda: Registry(load_plugins(only=["http1"], extra=extra)))


@pytest.mark.benchmark(group="assembly", disable_gc=False)
@pytest.mark.parametrize("plugins", [0, 10])
@pytest.mark.parametrize("routes", [10, 1000])
def test_compiling_routes(benchmark: BenchmarkFixture, host: Host, results: Results, routes: int, plugins: int) -> None:
    """Routes with a host, a prefix and a field each, forwarded to one back end."""
    extra = load("hooks", "noop", plugins)[0] if plugins else [yardsticks]

    def fresh() -> tuple[tuple[RoutedTable, list[RouteSpec]], dict[str, Any]]:
        host.run(table.publish())
        return (table, [_route(number) for number in range(routes)]), {}

    def publish(table: RoutedTable, specs: list[RouteSpec]) -> None:
        applied = host.run(table.publish(*specs, backends=[_BACKEND]))
        assert not applied.refused

    with host.opened(routed(*extra)) as table:
        name = f"compile and apply {routes} routes, {plugins} plugins that add a filter"
        _timed(benchmark, name, results, publish, setup=fresh)


def _route(number: int) -> RouteSpec:
    return RouteSpec(
        f"route-{number}",
        Forward((Split("up"),)),
        (HostMatch(HostKind.EXACT, f"host-{number}.test"),),
        request_headers=HeaderEdit(set={"x-route": str(number)}),
    )
