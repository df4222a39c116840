"""What is opened once for equal settings, who shares it, and when it is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from msgspec import Struct

from daemun import (
    BackendSpec,
    BackendType,
    EndpointSpec,
    FilterSpec,
    FilterType,
    Forward,
    Handler,
    Layer,
    Request,
    Respond,
    Response,
    RouteSpec,
    Split,
)
from daemun.routing.shared import Shared
from daemun.testing import RoutedTable, eventually, make_plugin, make_request, routed

pytestmark = pytest.mark.anyio


class Tagged(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of what is counted."""

    tag: str = ""


class Ledger:
    """Plugins that write down what is opened and closed."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.open: list[str] = []
        self.fails: set[str] = set()
        self.broken = anyio.Event()
        self.plugin = make_plugin(
            "ledger",
            daemun_filters=lambda: [FilterType("noted", Tagged, self._filter)],
            daemun_backends=lambda: [BackendType("noted", Tagged, self._backend)],
        )

    @asynccontextmanager
    async def _entry(self, name: str) -> AsyncIterator[None]:
        if name in self.fails:
            raise RuntimeError("not today")
        self.opened.append(name)
        self.open.append(name)
        try:
            yield
        finally:
            self.open.remove(name)

    @asynccontextmanager
    async def _filter(self, settings: Tagged, context: object) -> AsyncIterator[Layer]:
        async with self._entry(f"filter {settings.tag}"), anyio.create_task_group() as tasks:
            if settings.tag == "breaks":
                tasks.start_soon(self._break)
            yield lambda handler: handler
            tasks.cancel_scope.cancel()

    async def _break(self) -> None:
        await self.broken.wait()
        raise RuntimeError("lost its way")

    @asynccontextmanager
    async def _backend(self, settings: Tagged, context: object) -> AsyncIterator[Handler]:
        async def handle(request: Request) -> Response:
            return Response(200)

        async with self._entry(f"back end {settings.tag}"):
            yield handle


def noted(name: str, tag: str = "", **changes: Any) -> RouteSpec:
    return RouteSpec(name, Respond(), filters=(FilterSpec("noted", {"tag": tag} if tag else {}),), **changes)


async def test_equal_settings_share_one_instance_over_routes_and_reloads() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        await table.publish(noted("a", "x"), noted("b", "x"), noted("c", "y"))
        await table.publish(noted("a", "x", priority=1), noted("d", "x"), noted("e", "y"))
        assert sorted(ledger.opened) == ["filter x", "filter y"]
    assert not ledger.open


async def test_back_ends_with_equal_settings_are_one_whatever_their_names() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        routes = [RouteSpec(name, Forward((Split(name),))) for name in "abc"]
        backends = [BackendSpec(name, "noted", {"tag": "y" if name == "c" else "x"}) for name in "abc"]
        await table.publish(*routes, backends=backends)
        assert sorted(ledger.opened) == ["back end x", "back end y"]


async def test_what_nobody_uses_any_more_is_closed_at_once() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        await table.publish(noted("a", "x"), noted("b", "y"))
        await table.publish(noted("b", "y"))
        await eventually(lambda: ledger.open == ["filter y"])
        await table.publish(noted("a", "x"), noted("b", "y"))
        assert ledger.opened == ["filter x", "filter y", "filter x"]


async def test_it_stays_open_until_the_last_generation_that_uses_it_has_drained() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        await table.publish(noted("a", "x"))
        first = table.table.current
        first.leases += 1
        await table.publish(noted("a", "y"))
        second = table.table.current
        second.leases += 1
        await table.publish()
        assert table.table.draining == {first, second}
        await anyio.lowlevel.checkpoint()
        assert ledger.open == ["filter x", "filter y"]
        first.leave()
        await eventually(lambda: ledger.open == ["filter y"])
        second.leave()
        await eventually(lambda: ledger.open == [])
        assert not table.table.draining


async def test_a_build_that_fails_hurts_only_its_routes_and_is_tried_again() -> None:
    ledger = Ledger()
    ledger.fails.add("filter x")
    async with routed(ledger.plugin) as table:
        applied = await table.publish(noted("a", "x"), noted("b", "x"), noted("c", "y"))
        assert [status.name for status in applied.refused] == ["a", "b"]
        ledger.fails.clear()
        applied = await table.publish(noted("a", "x"), noted("b", "x"), noted("c", "y"))
        assert not applied.refused
        assert sorted(ledger.opened) == ["filter x", "filter y"]


async def test_a_route_that_is_refused_holds_nothing_open() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        filters = (FilterSpec("noted", {"tag": "x"}), FilterSpec("unknown"))
        await table.publish(RouteSpec("a", Respond(), filters=filters))
        await table.publish(RouteSpec("a", Forward((Split("none"),)), filters=filters[:1]))
        late = noted("a", "x", rewrite_path="no slash")
        await table.publish(late)
        await eventually(lambda: ledger.open == [])
        assert ledger.opened == ["filter x"]


async def break_down(table: RoutedTable, ledger: Ledger) -> None:
    ledger.broken.set()
    await eventually(lambda: table.table.current.routes[0].broken, "the break")


async def test_what_breaks_later_leaves_its_routes_up_and_is_opened_anew_by_the_next_publish() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        await table.publish(noted("a", "breaks"), noted("b"))
        await break_down(table, ledger)
        assert ledger.open == ["filter "]
        assert (await table.handle(make_request())).status == 200
        ledger.broken = anyio.Event()
        await table.publish(noted("a", "breaks"), noted("b"))
        assert ledger.opened == ["filter breaks", "filter ", "filter breaks"]
        assert not any(route.broken for route in table.table.current.routes)
    assert not ledger.open


async def test_a_back_end_that_changes_its_endpoints_stays_open() -> None:
    forward = RouteSpec("r", Forward((Split("b"),)))
    seen = []
    async with routed() as table:
        for port in (1, 2):
            endpoint = EndpointSpec(f"127.0.0.1:{port}")
            await table.publish(forward, backends=[BackendSpec("b", endpoints=(endpoint,))])
            seen.append(table.table.current.routes[0].resources[0].value)
            assert [endpoint.port for endpoint in seen[-1].endpoints.ready] == [port]
    assert seen[0] is seen[1]


async def test_everything_is_closed_at_the_end_whatever_still_runs() -> None:
    ledger = Ledger()
    async with routed(ledger.plugin) as table:
        await table.publish(noted("a", "x"))
        table.table.current.leases += 1
        await table.publish(noted("a", "y"))
        table.table.current.leases += 1
    assert not ledger.open


async def test_everything_is_closed_when_its_user_fails() -> None:
    ledger = Ledger()
    with pytest.raises(KeyError, match="mine"):
        async with routed(ledger.plugin) as table:
            await table.publish(noted("a", "x"))
            raise KeyError("mine")
    assert not ledger.open


async def test_all_who_wait_for_one_opening_get_the_same_thing() -> None:
    entered = 0
    go = anyio.Event()
    leased = []

    @asynccontextmanager
    async def make() -> AsyncIterator[object]:
        nonlocal entered
        entered += 1
        await go.wait()
        yield object()

    async with anyio.create_task_group() as tasks:
        shared = Shared(tasks)

        async def lease() -> None:
            leased.append(await shared.lease("key", make))

        async with anyio.create_task_group() as waiting:
            for _ in range(5):
                waiting.start_soon(lease)
            await eventually(lambda: entered == 1)
            go.set()
        assert len({resource.value for resource in leased}) == 1
        for resource in leased:
            assert not resource.over.is_set()
            shared.release(resource)
        await shared.closed()
    assert entered == 1


async def test_an_opening_that_nobody_waits_for_any_more_is_given_up() -> None:
    given_up = []

    @asynccontextmanager
    async def make() -> AsyncIterator[None]:
        try:
            await anyio.sleep_forever()
        finally:
            given_up.append(True)
        yield

    async with anyio.create_task_group() as tasks:
        shared = Shared(tasks)
        with anyio.move_on_after(0.01):
            await shared.lease("key", make)
        with anyio.fail_after(5):
            await shared.closed()
    assert given_up == [True]
