"""All routes of all sources: one bad route hurts no other, and a change costs what changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from daemun import (
    Applied,
    BackendSpec,
    BackendType,
    CertificateSpec,
    EndpointSpec,
    ExchangeError,
    FilterSpec,
    FilterType,
    Forward,
    HostKind,
    HostMatch,
    Layer,
    NoSettings,
    ObjectStatus,
    PathMatch,
    Reason,
    Request,
    Respond,
    Response,
    RouteSpec,
    Snapshot,
    Split,
)
from daemun.extend.loading import load_plugins
from daemun.process.gateway import open_table
from daemun.routing.table import Table
from daemun.settings import Settings
from daemun.strict import convert
from daemun.testing import HandSource, built, make_plugin, make_request, routed

pytestmark = pytest.mark.anyio


def answer(status: int, name: str = "r", **changes: Any) -> RouteSpec:
    return RouteSpec(name, Respond(status), **changes)


BAD = PathMatch(value="no slash")


async def test_a_request_that_no_route_takes_is_told_so() -> None:
    async with routed() as table:
        with pytest.raises(ExchangeError) as raised:
            await table.handle(make_request())
    assert (raised.value.reason, raised.value.status) == (Reason.NO_ROUTE, 404)


async def test_what_stays_refused_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """A source publishes again whenever anything changes, and as often as that is."""

    def told() -> list[str]:
        words = [record.getMessage() for record in caplog.records if record.name == "daemun.routing"]
        caplog.clear()
        return words

    half = CertificateSpec("half", ("a.test",), "no pem", "no pem", origin="Secret half")
    missing = ObjectStatus("Ingress", "lost", "Ingress lost", "its Service is not there")
    async with routed() as table:
        for _ in range(3):
            snapshot = Snapshot((answer(200), answer(200, "bad", path=BAD)), refused=(missing,), certificates=(half,))
            await table.table.apply("hand", snapshot)
        assert sorted(word.partition(" refused: ")[0] for word in told()) == [
            "Ingress lost: Ingress lost",
            "Secret half: certificate half",
            "hand: route bad",
        ]
        await table.table.apply("hand", Snapshot((answer(200),)))
        assert told() == []
        other = Snapshot((answer(200), answer(200, "bad", path=BAD)), refused=(structs.replace(missing, error="gone"),))
        await table.table.apply("hand", other)
        assert sorted(word.partition(" refused: ")[0] for word in told()) == [
            "Ingress lost: Ingress lost",
            "hand: route bad",
        ]


async def test_one_bad_route_is_refused_and_the_rest_serve() -> None:
    async with routed() as table:
        applied = await table.publish(
            answer(200, "bad", path=BAD, origin="r.yaml#bad"),
            answer(201, "good"),
            backends=[BackendSpec("b", origin="r.yaml#b")],
        )
        assert applied.objects == (
            ObjectStatus("route", "bad", "r.yaml#bad", "path 'no slash' does not start with /"),
            ObjectStatus("route", "good"),
            ObjectStatus("backend", "b", "r.yaml#b"),
        )
        assert applied.refused == applied.objects[:1]
        assert table.table.statuses == applied.objects
        assert (await table.handle(make_request())).status == 201


async def test_a_route_that_turns_bad_keeps_its_last_good_version() -> None:
    async with routed() as table:
        await table.publish(answer(200))
        applied = await table.publish(answer(500, path=BAD))
        assert applied.refused[0].error.endswith("; the version from before stays in use")
        assert (await table.handle(make_request())).status == 200
        await table.publish(answer(500, path=BAD))
        assert (await table.handle(make_request())).status == 200
        applied = await table.publish(answer(202))
        assert not applied.refused
        assert (await table.handle(make_request())).status == 202


async def test_a_route_that_is_gone_is_gone() -> None:
    async with routed() as table:
        await table.publish(answer(200))
        await table.publish()
        with pytest.raises(ExchangeError, match="no route"):
            await table.handle(make_request())


async def test_of_two_routes_with_one_name_the_first_serves() -> None:
    async with routed() as table:
        applied = await table.publish(answer(201), answer(202))
        assert [status.error for status in applied.objects] == ["", "another route has this name"]
        assert (await table.handle(make_request())).status == 201


async def test_a_route_that_did_not_change_keeps_its_handler() -> None:
    async with routed() as table:
        await table.publish(answer(200, "same"), answer(200, "other"), backends=[BackendSpec("b")])
        before = {route.spec.name: route for route in table.table.current.routes}
        await table.publish(answer(200, "same"), answer(201, "other"), backends=[BackendSpec("c")])
        after = {route.spec.name: route for route in table.table.current.routes}
        assert after["same"] is before["same"]
        assert after["other"] is not before["other"]


async def test_a_route_whose_back_end_changed_is_compiled_anew() -> None:
    forward = RouteSpec("r", Forward((Split("b"),)))
    async with routed() as table:
        routes: list[object] = []
        for seconds in (1, 2):
            backend = BackendSpec("b", settings={"connect_timeout_seconds": seconds})
            assert not (await table.publish(forward, backends=[backend])).refused
            routes += table.table.current.routes
        assert routes[0] is not routes[1]


async def test_endpoints_change_without_a_route_being_compiled() -> None:
    forward = RouteSpec("r", Forward((Split("b"),)))
    async with routed() as table:
        routes: list[object] = []
        for port in (1, 2):
            backend = BackendSpec("b", endpoints=(EndpointSpec(f"127.0.0.1:{port}"),))
            assert not (await table.publish(forward, backends=[backend])).refused
            (view,) = table.table.endpoints
            assert [one.address for one in view.all] == [f"127.0.0.1:{port}"]
            routes += table.table.current.routes
        assert routes[0] is routes[1]


async def test_an_endpoint_that_is_none_is_refused_and_the_ones_from_before_stay() -> None:
    forward = RouteSpec("r", Forward((Split("b"),)))
    async with routed() as table:
        for address in ("127.0.0.1:1", "nowhere", "nowhere"):
            applied = await table.publish(forward, backends=[BackendSpec("b", endpoints=(EndpointSpec(address),))])
        assert "stays in use" in applied.refused[0].error
        (view,) = table.table.endpoints
        assert [one.address for one in view.all] == ["127.0.0.1:1"]
        applied = await table.publish(forward, backends=[BackendSpec("b", endpoints=(EndpointSpec("127.0.0.1:2"),))])
        assert not applied.refused
        assert [one.address for one in view.all] == ["127.0.0.1:2"]


@pytest.mark.parametrize("between", ["refused", "gone"])
async def test_endpoints_after_a_version_that_could_not_be_used_are_the_newest(between: str) -> None:
    forward = RouteSpec("r", Forward((Split("b"),)))

    def backend(port: int, **settings: object) -> BackendSpec:
        return BackendSpec("b", settings=settings, endpoints=(EndpointSpec(f"127.0.0.1:{port}"),))

    async with routed() as table:
        await table.publish(forward, backends=[backend(1)])
        bad = [backend(2, no_such_setting=1)] if between == "refused" else []
        assert (await table.publish(forward, backends=bad)).refused
        assert not (await table.publish(forward, backends=[backend(2)])).refused
        (view,) = table.table.endpoints
        assert [one.address for one in view.all] == ["127.0.0.1:2"]


async def test_higher_priority_wins_then_the_order_of_the_source() -> None:
    async with routed() as table:
        await table.publish(
            answer(201, "a"), answer(202, "b"), answer(203, "c", priority=1), answer(204, "d", priority=-1)
        )
        assert [route.spec.name for route in table.table.current.routes] == ["c", "a", "b", "d"]
        assert (await table.handle(make_request())).status == 203


@asynccontextmanager
async def two_sources(first: HandSource, second: HandSource) -> AsyncIterator[Table]:
    manager = load_plugins(only=["http1"], extra=[first.plugin, second.plugin])
    settings = convert({"sources": [{"type": first.name}, {"type": second.name}]}, Settings)
    async with open_table(settings, manager, Path.cwd()) as parts:
        yield parts.table


async def test_of_two_sources_the_one_that_the_settings_list_first_wins() -> None:
    first, second = HandSource("first"), HandSource("second")
    async with two_sources(first, second) as table:
        await second.publish(answer(202, "same-name"))
        assert (await table.current.handle(make_request())).status == 202
        await first.publish(answer(201, "same-name"))
        assert (await table.current.handle(make_request())).status == 201
        assert len(table.current.routes) == 2
        await second.publish(answer(203, "urgent", priority=1))
        assert (await table.current.handle(make_request())).status == 203
        await first.publish()
        assert [status.name for status in table.statuses] == ["urgent"]


async def test_sources_do_not_see_each_others_back_ends() -> None:
    first, second = HandSource("first"), HandSource("second")
    async with two_sources(first, second):
        await first.publish(backends=[BackendSpec("b")])
        applied = await second.publish(RouteSpec("r", Forward((Split("b"),))))
    assert applied.refused[0].error == "unknown back end 'b' (accepted: none)"


async def test_everyone_is_told_of_each_generation() -> None:
    told: list[Applied] = []
    listening = make_plugin("listening", daemun_applied=lambda applied: told.append(applied))
    async with routed(listening) as table:
        before = len(told)
        applied = await table.publish(answer(200), answer(200, "bad", path=BAD))
        again = await table.publish(answer(200))
    assert told[before:] == [applied, again]
    assert again.generation == applied.generation + 1


async def test_what_a_source_itself_refused_is_among_the_statuses() -> None:
    async with routed() as table:
        refused = ObjectStatus("file", "r.yaml", "r.yaml", "cannot be read")
        applied = await table.table.apply("by_hand", Snapshot(refused=(refused,)))
    assert applied.refused == (refused,)


async def test_a_publish_that_is_cancelled_leaves_nothing_open() -> None:
    opened: list[str] = []
    stuck = anyio.Event()

    @asynccontextmanager
    async def build(settings: object, context: object) -> AsyncIterator[Layer]:
        opened.append("layer")
        try:
            yield lambda handler: handler
        finally:
            opened.remove("layer")

    @asynccontextmanager
    async def never(settings: object, context: object) -> AsyncIterator[Layer]:
        stuck.set()
        await anyio.sleep_forever()
        yield lambda handler: handler

    filters = [FilterType("good", NoSettings, build), FilterType("stuck", NoSettings, never)]
    plugin = make_plugin("plugin", daemun_filters=lambda: filters)
    with anyio.move_on_after(5) as limit:
        async with routed(plugin) as table, anyio.create_task_group() as tasks:
            tasks.start_soon(
                table.publish,
                answer(200, "a", filters=(FilterSpec("good"),)),
                answer(200, "b", filters=(FilterSpec("stuck"),)),
            )
            await stuck.wait()
            assert opened == ["layer"]
            tasks.cancel_scope.cancel()
    assert not limit.cancel_called
    assert not opened


async def test_a_large_table_is_changed_at_the_cost_of_what_changed() -> None:
    built_times = 0

    async def handle(request: object) -> Response:
        return Response(200)

    @asynccontextmanager
    async def build(settings: object, context: object) -> AsyncIterator[Any]:
        nonlocal built_times
        built_times += 1
        yield handle

    plugin = make_plugin("plugin", daemun_backends=lambda: [BackendType("one", NoSettings, build)])
    routes = [
        RouteSpec(f"r{number}", Forward((Split("b"),)), hosts=(HostMatch(HostKind.EXACT, f"h{number}.test"),))
        for number in range(300)
    ]
    async with routed(plugin) as table:
        await table.publish(*routes, backends=[BackendSpec("b", "one")])
        before = set(table.table.current.routes)
        await table.publish(*routes[1:], answer(200, "new"), backends=[BackendSpec("b", "one")])
        assert len(set(table.table.current.routes) - before) == 1
        assert built_times == 1
        assert (await table.handle(make_request(url="http://h299.test/"))).status == 200


async def test_equal_settings_of_a_build_are_told_apart_by_what_is_built() -> None:
    async def handle(request: Request) -> Response:
        return Response(200)

    plugin = make_plugin(
        "plugin",
        daemun_backends=lambda: [BackendType("same", NoSettings, built(handle))],
        daemun_filters=lambda: [FilterType("same", NoSettings, built(lambda handler: handler))],
    )
    async with routed(plugin) as table:
        applied = await table.publish(
            RouteSpec("r", Forward((Split("b"),)), filters=(FilterSpec("same"),)), backends=[BackendSpec("b", "same")]
        )
    assert not applied.refused
