"""The health of endpoints: shown where it is checked, and by several workers as the worst that any of them found."""

from __future__ import annotations

from typing import Any

import pytest

from daemun import Endpoint, Endpoints, EndpointSpec, ExchangeError, Reason, UpstreamConnection
from daemun.testing import Scene, scripted

pytestmark = pytest.mark.anyio


class NoPool:
    """The connections to an endpoint that nobody connects to."""

    idle_connections = 0

    def take(self) -> UpstreamConnection | None:
        return None

    async def connect(self) -> UpstreamConnection:
        raise ExchangeError(Reason.CONNECT_FAILED)

    def close_idle(self) -> None:
        """There is none."""


class Showing:
    """A gateway in which nothing happens: a `GatewayView`."""

    connections = exchanges = 0
    routes = generation = 1
    draining = False

    def __init__(self, *endpoints: Endpoints) -> None:
        self._endpoints = endpoints

    def backends(self) -> tuple[Endpoints, ...]:
        return self._endpoints


def found(port: int, *, healthy: bool) -> Endpoints:
    """A back end with one endpoint, as a worker sees it."""

    def checked(endpoint: Endpoint) -> None:
        endpoint.healthy, endpoint.last_check = healthy, "" if healthy else "it has a cold"

    endpoints = Endpoints("up", lambda endpoint: NoPool())
    endpoints.on_new = checked
    endpoints.update([EndpointSpec(f"127.0.0.1:{port}")])
    return endpoints


async def test_the_health_of_endpoints_is_shown(metering: Any) -> None:
    async def script(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 503 Ill\r\nContent-Length: 0\r\n\r\n")

    async with scripted() as well, scripted(script) as ill:
        checks = {"health_check": {"type": "http", "interval_seconds": 0.02}}
        source = {
            "backends": {
                "up": {"endpoints": [well.url, ill.url], "settings": checks},
                "unchecked": {"endpoints": [well.url]},
            },
            "routes": [{"name": "all", "to": "up"}, {"name": "other", "match": {"path": "/o"}, "to": "unchecked"}],
        }
        addresses = [f"127.0.0.1:{one.port}" for one in (well, ill)]
        async with metering(source=source) as service:
            await service.until("daemun_endpoint_healthy", 0, backend="up", endpoint=addresses[1])
            scraped = await service.until("daemun_endpoint_healthy", 1, backend="up", endpoint=addresses[0])
            assert scraped.value("daemun_backend_endpoints", backend="up") == 1
            assert scraped.value("daemun_endpoint_requests_in_flight", backend="up", endpoint=addresses[1]) == 0
            assert len(scraped.label_sets("daemun_endpoint_healthy")) == 2


@pytest.mark.parametrize("views", [(True, False), (False, True), (True, True)])
async def test_of_several_workers_the_worst_view_is_shown(crew: Any, views: tuple[bool, bool]) -> None:
    shown = [Showing(found(1, healthy=healthy)) for healthy in views]
    async with crew.worker(0, view=shown[0]), crew.worker(1, view=shown[1]):
        scraped = await crew.until("daemun_workers", 2)
        assert scraped.value("daemun_endpoint_healthy", backend="up", endpoint="127.0.0.1:1") == min(views)
