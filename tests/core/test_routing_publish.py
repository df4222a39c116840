"""A publish costs what changed, never holds the event loop for long, and leads to what a table made anew would be."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import thread_time
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from daemun import (
    BackendSpec,
    BackendType,
    EndpointSpec,
    FilterSpec,
    FilterType,
    Forward,
    Handler,
    HostKind,
    HostMatch,
    Layer,
    NoSettings,
    PathKind,
    PathMatch,
    Request,
    Respond,
    Response,
    RouteSpec,
    Snapshot,
    Split,
    ValueMatch,
)
from daemun.routing.generation import Generation
from daemun.routing.index import Index
from daemun.routing.match import mismatch
from daemun.testing import eventually, make_plugin, make_request, routed

specs = st.builds(
    RouteSpec,
    name=st.sampled_from("abcdefgh"),
    action=st.builds(Respond, st.integers(200, 202)),
    hosts=st.lists(
        st.sampled_from(
            [
                HostMatch(HostKind.ANY),
                HostMatch(HostKind.EXACT, "x.test"),
                HostMatch(HostKind.EXACT, "y.test"),
                HostMatch(HostKind.ONE_LABEL, "test"),
                HostMatch(HostKind.ANY_DEPTH, "test"),
            ]
        ),
        min_size=1,
        max_size=2,
    ).map(tuple),
    path=st.builds(
        PathMatch,
        st.sampled_from([PathKind.EXACT, PathKind.RAW_PREFIX, PathKind.SEGMENT_PREFIX]),
        st.sampled_from(["/", "/a", "/ab", "/a/b"]),
    )
    | st.builds(PathMatch, st.just(PathKind.REGEX), st.sampled_from(["/a+b?", "/a.*", "/(a|ab)", "/ab{1,2}/?"])),
    methods=st.sampled_from([(), (), ("GET",), ("POST",)]),
    headers=st.sampled_from([(), (), (ValueMatch("x"),)]),
    priority=st.integers(-1, 1),
)
snapshots = st.lists(specs, max_size=7, unique_by=lambda spec: spec.name)
PROBES = [
    make_request(method, f"http://{host}{path}", headers)
    for method in ("GET", "POST")
    for host in ("x.test", "y.test", "z.y.test", "other")
    for path in ("/", "/a", "/ab", "/a/b", "/abb/", "/b")
    for headers in ((), ((b"x", b"1"),))
]


async def _publishes(history: list[tuple[bool, list[RouteSpec]]]) -> None:
    async with routed() as table:
        last: dict[bool, list[RouteSpec]] = {False: [], True: []}
        table.table.add_source("other")
        for other, routes in history:
            last[other] = routes
            before, winners = table.table.current, [table.table.current.winner(probe) for probe in PROBES]
            source = "other" if other else "by_hand"
            assert not (await table.table.apply(source, Snapshot(tuple(routes)))).refused
            assert winners == [before.winner(probe) for probe in PROBES]

            ordered = sorted(last[False] + last[True], key=lambda spec: -spec.priority)
            anew = Index([(spec, spec) for spec in ordered])
            assert [route.spec for route in table.table.current.routes] == ordered
            for probe in PROBES:
                winner = table.table.current.winner(probe)
                spec = None if winner is None else winner.spec
                assert spec == anew.find(probe)
                assert spec == next((one for one in ordered if not mismatch(one, probe)), None)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), snapshots), min_size=2, max_size=6))
def test_a_table_that_was_changed_is_like_one_made_anew(history: list[tuple[bool, list[RouteSpec]]]) -> None:
    anyio.run(_publishes, history)


class Tagged(Struct, frozen=True):
    """Settings of what is counted."""

    tag: int


steps = st.one_of(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3),
    st.just("lease"),
    st.integers(0, 5),
)


async def _drains(history: list[dict[str, int] | str | int]) -> None:
    opened: list[int] = []

    @asynccontextmanager
    async def build(settings: Tagged, context: object) -> AsyncIterator[Layer]:
        opened.append(settings.tag)
        yield lambda handler: handler
        opened.remove(settings.tag)

    plugin = make_plugin("counted", daemun_filters=lambda: [FilterType("counted", Tagged, build)])
    leases: list[Generation] = []
    async with routed(plugin) as table:
        for step in history:
            if isinstance(step, dict):
                await table.publish(
                    *(
                        RouteSpec(name, Respond(), filters=(FilterSpec("counted", {"tag": tag}),))
                        for name, tag in step.items()
                    )
                )
            elif isinstance(step, str):
                leases.append(table.table.current)
                table.table.current.leases += 1
            elif leases:
                leases.pop(step % len(leases)).leave()
            held = {table.table.current, *leases}
            assert table.table.draining == held - {table.table.current}
            expected = {route.spec.filters[0].settings["tag"] for one in held for route in one.routes}
            await eventually(lambda expected=expected: sorted(opened) == sorted(expected))  # type: ignore[misc]
    assert not opened


@settings(max_examples=60)
@given(st.lists(steps, max_size=14))
def test_what_is_open_is_what_some_generation_holds_in_whatever_order_they_drain(
    history: list[dict[str, int] | str | int],
) -> None:
    anyio.run(_drains, history)


def many(count: int) -> list[RouteSpec]:
    return [
        RouteSpec(f"r{number}", Respond(), hosts=(HostMatch(HostKind.EXACT, f"h{number}.test"),))
        for number in range(count)
    ]


class Pauses:
    """A task that always wants its turn, and notes for how long others had theirs: CPU time, whatever else runs."""

    def __init__(self) -> None:
        self.longest_seconds = 0.0
        self.turns = 0

    async def run(self) -> None:
        last = thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = thread_time()
            self.longest_seconds = max(self.longest_seconds, now - last)
            self.turns += 1
            last = now

    async def noted(self) -> None:
        """Returns once it has noted all that was done until now; trio gives tasks their turn in any order."""
        before = self.turns
        while self.turns == before:
            await anyio.lowlevel.checkpoint()


@pytest.mark.anyio
async def test_one_change_of_ten_thousand_routes_does_not_hold_the_event_loop() -> None:
    pauses = Pauses()
    async with routed() as table, anyio.create_task_group() as tasks:
        routes = many(10_000)
        await table.publish(*routes)
        tasks.start_soon(pauses.run)
        await anyio.lowlevel.checkpoint()
        best = 1.0
        for status in (201, 202, 203):
            changed = many(10_000)
            changed[5_000] = msgspec.structs.replace(changed[5_000], action=Respond(status))
            snapshot = Snapshot(tuple(changed))
            gc.collect()
            await pauses.noted()
            pauses.longest_seconds = 0.0
            await table.table.apply("by_hand", snapshot)
            await pauses.noted()
            best = min(best, pauses.longest_seconds)
            assert (await table.handle(make_request(url="http://h5000.test/"))).status == status
        assert 0 < best < 0.05
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_large_publish_gives_others_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with routed() as table, anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await anyio.lowlevel.checkpoint()
        before = turns
        async with anyio.create_task_group() as publishing:
            publishing.start_soon(table.publish, *many(2_000))
            while not table.table.current.routes:
                await anyio.lowlevel.checkpoint()
        assert turns - before >= 5
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_publish_that_is_cancelled_between_slices_changes_nothing() -> None:
    async with routed() as table:
        await table.publish(RouteSpec("r", Respond(201)))
        before = table.table.current
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(table.publish, *many(20_000))
            for _ in range(3):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        assert table.table.current is before
        assert (await table.handle(make_request())).status == 201
        assert not (await table.publish(*many(3))).refused


@pytest.mark.anyio
async def test_generations_that_were_replaced_are_forgotten() -> None:
    async with routed() as table:
        routes = many(20)
        seen: list[weakref.ref[Any]] = []
        for number in range(300):
            routes[number % 20] = msgspec.structs.replace(routes[number % 20], timeout_seconds=float(number + 1))
            await table.publish(*routes)
            seen += [weakref.ref(table.table.current), weakref.ref(table.table.current.index)]
        gc.collect()
        assert sum(one() is not None for one in seen) == 2
        assert not table.table.draining


@pytest.mark.anyio
async def test_an_unchanged_object_keeps_its_status() -> None:
    backends = [BackendSpec("b", endpoints=(EndpointSpec("127.0.0.1:9"),))]
    async with routed() as table:
        first = await table.publish(*many(3), backends=backends)
        again = await table.publish(*many(3), RouteSpec("new", Respond()), backends=backends)
    assert [again.objects[place] is first.objects[place] for place in range(3)] == [True] * 3
    assert again.objects[4] is first.objects[3]


@pytest.mark.anyio
async def test_routes_are_compiled_anew_whose_back_end_changed_and_no_others() -> None:
    async def handle(request: Request) -> Response:
        return Response(200)

    @asynccontextmanager
    async def build(settings: NoSettings, context: object) -> AsyncIterator[Handler]:
        yield handle

    plugin = make_plugin("plugin", daemun_backends=lambda: [BackendType("one", NoSettings, build)])
    routes = [RouteSpec(name, Forward((Split(name),))) for name in "abc"]
    async with routed(plugin) as table:
        await table.publish(*routes, backends=[BackendSpec(name, "one") for name in "abc"])
        before = {route.spec.name: route for route in table.table.current.routes}
        await table.publish(*routes, backends=[BackendSpec(name, "one", origin="b" * (name == "b")) for name in "abc"])
        after = {route.spec.name: route for route in table.table.current.routes}
        assert [name for name in "abc" if after[name] is not before[name]] == ["b"]
        applied = await table.publish(*routes, backends=[BackendSpec(name, "one") for name in "bc"])
        assert [(one.name, one.error.split(" (")[0]) for one in applied.refused] == [("a", "unknown back end 'a'")]
        assert {route.spec.name: route for route in table.table.current.routes}["a"] is before["a"]


@pytest.mark.anyio
async def test_a_refused_route_that_is_again_what_it_was_keeps_its_handler() -> None:
    good, bad = RouteSpec("r", Respond(201)), RouteSpec("r", Respond(202), path=PathMatch(value="no slash"))
    async with routed() as table:
        await table.publish(good)
        before = table.table.current.routes[0]
        await table.publish(bad)
        assert not (await table.publish(good)).refused
        assert table.table.current.routes == [before]
