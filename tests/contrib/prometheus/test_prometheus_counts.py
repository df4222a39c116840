"""What a scrape says after requests of every kind."""

from __future__ import annotations

from time import monotonic
from typing import Any

import anyio
import pytest

from daemun import (
    Buffered,
    EndpointSpec,
    Request,
    Response,
)
from daemun.testing import Starter, eventually, scripted
from daemun.testing.upstreams import Scene

pytestmark = pytest.mark.anyio


async def test_requests_are_counted_by_route_status_and_reason(metering: Any) -> None:
    async def handler(request: Request) -> Response:
        return Response(201 if request.target == b"/up/new" else 200, (), Buffered(b""))

    async with metering(handler) as service:
        for target in ("/up", "/up", "/up/new", "/nowhere"):
            await service.ask(target)
        scraped = await service.scrape()
    assert scraped.value("daemun_requests_total", route="all", status="200", reason="") == 2
    assert scraped.value("daemun_requests_total", route="all", status="201", reason="") == 1
    assert scraped.value("daemun_requests_total", route="", status="404", reason="no_route") == 1
    assert len(scraped.label_sets("daemun_requests_total")) == 3


async def test_durations_are_a_histogram_by_route(metering: Any) -> None:
    began, cue = anyio.Event(), anyio.Event()

    async def handler(request: Request) -> Response:
        if request.target == b"/up/slow":
            began.set()
            await cue.wait()
        return Response(200, (), Buffered(b""))

    async with metering(handler, duration_buckets_seconds=[1.0, 100.0]) as service:
        await service.ask("/up")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.ask, "/up/slow")
            await began.wait()
            before = monotonic()
            await anyio.sleep(1.05)
            cue.set()
            least = monotonic() - before
        scraped = await service.scrape()
    name = "daemun_request_duration_seconds"
    assert scraped.value(f"{name}_count", route="all") == 2
    assert scraped.value(f"{name}_bucket", route="all", le="1.0") == 1
    assert scraped.value(f"{name}_bucket", route="all", le="100.0") == 2
    assert scraped.value(f"{name}_bucket", route="all", le="+Inf") == 2
    assert least <= scraped.value(f"{name}_sum", route="all") < 100


async def test_content_is_counted_in_bytes(metering: Any) -> None:
    async def handler(request: Request) -> Response:
        while await request.body.read():
            pass
        return Response(200, (), Buffered(b"fine"))

    async with metering(handler) as service:
        await service.ask("/up", b"12345")
        await service.ask("/up", b"1234567")
        scraped = await service.scrape()
    assert scraped.value("daemun_received_bytes_total", route="all") == 12
    assert scraped.value("daemun_sent_bytes_total", route="all") == 8


async def test_refused_requests_are_counted_by_listener_and_reason(metering: Any) -> None:
    async with metering() as service:
        assert b" 400 " in await service.gateway.exchange(b"GET / HTTP/1.1\r\n\r\n")
        scraped = await service.scrape()
    assert scraped.value("daemun_refused_requests_total", listener="http", reason="bad_request") == 1
    assert not scraped.label_sets("daemun_requests_total")


async def test_faults_are_counted_by_plugin(metering: Any) -> None:
    async def broken(request: Request) -> Response:
        raise LookupError("inside")

    async with metering(broken) as service:
        assert (await service.ask("/up")).status == 500
        scraped = await service.scrape()
    (labels,) = scraped.label_sets("daemun_plugin_faults_total")
    assert labels["plugin"]
    assert scraped.value("daemun_plugin_faults_total", **labels) == 1
    assert scraped.value("daemun_requests_total", route="all", status="500", reason="plugin_fault") == 1


async def test_what_runs_is_shown_while_it_runs(metering: Any) -> None:
    began, cue = anyio.Event(), anyio.Event()

    async def handler(request: Request) -> Response:
        began.set()
        await cue.wait()
        return Response(200, (), Buffered(b""))

    async with metering(handler) as service, anyio.create_task_group() as tasks:
        tasks.start_soon(service.ask, "/up")
        await began.wait()
        scraped = await service.scrape()
        assert scraped.value("daemun_requests_in_flight") == 1
        assert scraped.value("daemun_connections") == 1
        assert not scraped.label_sets("daemun_requests_total")
        cue.set()
        await service.until("daemun_requests_in_flight", 0)
        await service.until("daemun_connections", 0)


async def test_a_client_that_leaves_is_counted(metering: Any) -> None:
    began = anyio.Event()

    async def handler(request: Request) -> Response:
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with metering(handler) as service:
        wire = await service.connect()
        await wire.send(b"GET /up HTTP/1.1\r\nHost: a.test\r\n\r\n")
        await began.wait()
        await wire.reset()
        await service.until("daemun_requests_total", 1, route="all", status="499", reason="client_left")


async def test_the_gateway_itself_is_shown(metering: Any) -> None:
    async with metering() as service:
        scraped = await service.scrape()
    assert scraped.value("daemun_workers") == 1
    assert scraped.value("daemun_routes", worker="0") == 1
    assert scraped.value("daemun_generation", worker="0") >= 1
    assert scraped.value("daemun_draining", worker="0") == 0
    (versions,) = scraped.label_sets("daemun_build_info")
    assert scraped.value("daemun_build_info", **versions) == 1
    assert set(versions) == {"version", "python"}
    for name in ("resident_memory_bytes", "open_fds", "cpu_seconds_total", "start_time_seconds"):
        assert scraped.value(f"process_{name}", worker="0") > 0


async def test_a_drain_is_shown(metering: Any) -> None:
    began, cue = anyio.Event(), anyio.Event()

    async def handler(request: Request) -> Response:
        began.set()
        await cue.wait()
        return Response(200, (), Buffered(b""))

    async with anyio.create_task_group() as tasks:

        async def look(service: Any) -> None:
            await service.until("daemun_draining", 1, worker="0")
            cue.set()

        async with metering(handler) as service:
            tasks.start_soon(service.ask, "/up")
            await began.wait()
            tasks.start_soon(look, service)


async def test_back_ends_and_endpoints_are_shown(metering: Any) -> None:
    began, cue = anyio.Event(), anyio.Event()

    async def script(scene: Scene) -> None:
        while await scene.request():
            began.set()
            await cue.wait()
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with scripted(script) as upstream:
        source = {"backends": {"up": {"endpoints": [upstream.url]}}, "routes": [{"name": "all", "to": "up"}]}
        address = f"127.0.0.1:{upstream.port}"
        async with metering(source=source) as service, anyio.create_task_group() as tasks:
            tasks.start_soon(service.ask, "/")
            await began.wait()
            scraped = await service.scrape()
            assert scraped.value("daemun_backend_requests_in_flight", backend="up") == 1
            assert scraped.value("daemun_backend_waiting_requests", backend="up") == 0
            assert scraped.value("daemun_backend_endpoints", backend="up") == 1
            assert scraped.value("daemun_endpoint_requests_in_flight", backend="up", endpoint=address) == 1
            assert scraped.value("daemun_endpoint_idle_connections", backend="up", endpoint=address) == 0
            cue.set()
            scraped = await service.until("daemun_endpoint_idle_connections", 1, backend="up", endpoint=address)
            assert scraped.value("daemun_endpoint_requests_in_flight", backend="up", endpoint=address) == 0


async def test_cold_starts_and_the_waiting_room_are_shown(metering: Any) -> None:
    async with scripted() as upstream:
        starter = Starter(EndpointSpec(f"127.0.0.1:{upstream.port}"))
        source = {"backends": {"up": {"activator": "starter"}}, "routes": [{"name": "all", "to": "up"}]}
        settings = {"cold_start_buckets_seconds": [100.0]}
        async with metering(source=source, extra=[starter.plugin], **settings) as service:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(service.ask, "/")
                tasks.start_soon(service.ask, "/")
                await eventually(lambda: hasattr(starter, "endpoints") and starter.endpoints.waiting == 2)
                scraped = await service.scrape()
                assert scraped.value("daemun_backend_waiting_requests", backend="up") == 2
                assert scraped.value("daemun_backend_endpoints", backend="up") == 0
                starter.cue.set()
            await service.ask("/")
            scraped = await service.scrape()
    assert scraped.value("daemun_cold_starts_total", route="all") == 2
    assert scraped.value("daemun_cold_start_seconds_count", route="all") == 2
    assert scraped.value("daemun_cold_start_seconds_bucket", route="all", le="100.0") == 2
    assert 0 < scraped.value("daemun_cold_start_seconds_sum", route="all") < 100
    assert scraped.value("daemun_request_duration_seconds_count", route="all") == 3
    assert scraped.value("daemun_backend_waiting_requests", backend="up") == 0


async def test_more_routes_than_allowed_are_counted_together(metering: Any, caplog: pytest.LogCaptureFixture) -> None:
    names = [f"r{number}" for number in range(5)]
    source = {"routes": [{"name": name, "match": {"prefix": f"/{name}"}, "respond": {"body": "x"}} for name in names]}
    async with metering(source=source, max_label_sets=2) as service:
        for name in names:
            await service.ask(f"/{name}")
        await service.ask("/r4")
        scraped = await service.scrape()
    assert scraped.value("daemun_requests_total", route="r1", status="200", reason="") == 1
    assert scraped.value("daemun_requests_total", route="overflow", status="overflow", reason="overflow") == 4
    assert scraped.value("daemun_sent_bytes_total", route="overflow") == 4
    assert len(scraped.label_sets("daemun_requests_total")) == 3
    warnings = [one.getMessage() for one in caplog.records if one.name == "daemun.prometheus" and one.levelno >= 30]
    assert len(warnings) == 2, "one for requests, one for durations and bytes"
