"""What matching costs with few routes and with many, and what one changed route of ten thousand costs to apply."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from statistics import median
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from anyio.from_thread import start_blocking_portal
from pytest_benchmark.fixture import BenchmarkFixture

from daemun import (
    EMPTY,
    BackendSpec,
    EndpointSpec,
    Exchange,
    Forward,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Peer,
    Request,
    Respond,
    RouteSpec,
    Snapshot,
    Split,
)
from daemun.routing.index import Index
from daemun.testing import RoutedTable, routed

_ROUTES = 10_000
_ASKED = 10
"""Different requests of one round; the same few whatever the number of routes."""


def _hosts(number: int) -> tuple[RouteSpec, str, str]:
    host = f"h{number:05d}.test"
    return RouteSpec("r", Respond(), hosts=(HostMatch(HostKind.EXACT, host),)), host, "/x"


def _on_one_host(kind: PathKind, path: str) -> RouteSpec:
    return RouteSpec("r", Respond(), hosts=(HostMatch(HostKind.EXACT, "a.test"),), path=PathMatch(kind, path))


def _exact_paths(number: int) -> tuple[RouteSpec, str, str]:
    return _on_one_host(PathKind.EXACT, f"/p{number:05d}"), "a.test", f"/p{number:05d}"


def _prefixes(number: int) -> tuple[RouteSpec, str, str]:
    prefix = f"/{'p' * (1 + number % 3)}{number:05d}"
    return _on_one_host(PathKind.SEGMENT_PREFIX, prefix), "a.test", f"{prefix}/z"


def _regexes(number: int) -> tuple[RouteSpec, str, str]:
    return _on_one_host(PathKind.REGEX, f"/p{number:05d}/[0-9]+"), "a.test", f"/p{number:05d}/12"


@pytest.mark.parametrize("routes", [10, 100, 1_000, _ROUTES])
@pytest.mark.parametrize("shape", [_hosts, _exact_paths, _prefixes, _regexes], ids=lambda one: one.__name__[1:])
def test_matching(benchmark: BenchmarkFixture, shape: Callable[[int], tuple[RouteSpec, str, str]], routes: int) -> None:
    """A round is ten requests."""
    cases = [shape(number) for number in range(routes)]
    index = Index([(spec, spec.name) for spec, _, _ in cases])
    asked = [
        Request(b"GET", target.encode(), host.encode(), (), EMPTY, Exchange(Peer()))
        for _, host, target in cases[:: routes // _ASKED][:_ASKED]
    ]

    def match() -> list[str | None]:
        return [index.find(request) for request in asked]

    found = benchmark.pedantic(match, rounds=200, iterations=50, warmup_rounds=5)  # type: ignore[no-untyped-call]
    assert found == ["r"] * _ASKED


_BACKENDS = (BackendSpec("b", endpoints=(EndpointSpec("127.0.0.1:9"),)),)


def _routes() -> list[RouteSpec]:
    return [
        RouteSpec(f"r{number}", Forward((Split("b"),)), hosts=(HostMatch(HostKind.EXACT, f"h{number}.test"),))
        for number in range(_ROUTES)
    ]


@pytest.mark.parametrize("decoded", ["once", "anew"])
def test_applying_one_change_of_ten_thousand(benchmark: BenchmarkFixture, decoded: str) -> None:
    """The routes that stay are the same objects (`once`) or only equal ones (`anew`), as a source that reads its file
    again makes them. `extra_info` has the longest time for which the event loop served nobody else, as the median of
    the rounds: on a machine that others use the longest of all is theirs."""
    kept = _routes()
    versions = count(1)
    pauses: list[float] = []

    def next_snapshot() -> tuple[tuple[Any, ...], dict[str, Any]]:
        routes = kept if decoded == "once" else _routes()
        routes[_ROUTES // 2] = msgspec.structs.replace(routes[_ROUTES // 2], timeout_seconds=float(next(versions)))
        return (Snapshot(tuple(routes), _BACKENDS),), {}

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(routed()) as table:
        portal.call(table.table.apply, "by_hand", Snapshot(tuple(kept), _BACKENDS))

        def apply(snapshot: Snapshot) -> None:
            pauses.append(portal.call(_longest_pause, table, snapshot))

        benchmark.pedantic(apply, setup=next_snapshot, rounds=20, warmup_rounds=2)  # type: ignore[no-untyped-call]
    benchmark.extra_info["longest pause of the event loop, ms, median"] = round(median(pauses) * 1e3, 2)


async def _longest_pause(table: RoutedTable, snapshot: Snapshot) -> float:
    """Applies it beside a task that always wants its turn."""
    longest, last = 0.0, perf_counter()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            await anyio.lowlevel.checkpoint()
            now = perf_counter()
            longest, last = max(longest, now - last), now

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await anyio.lowlevel.checkpoint()
        assert not (await table.table.apply("by_hand", snapshot)).refused
        await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return longest
