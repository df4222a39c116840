"""What is true now and not counted: of the gateway, of its back ends and endpoints, of the process."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from importlib.metadata import version
from time import monotonic, sleep

from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector

from daemun import Endpoints, GatewayView
from daemun_prometheus.label_sets import OVERFLOW, clean_label
from daemun_prometheus.workers import Gauge

__all__ = ["Gauges", "Look"]

_PIECE = 200
"""Endpoints after which the event loop gets its turn."""
_PAUSE_SECONDS = 0.00005
_PROCESS_SECONDS = 5.0
"""How old figures of the process may be: to count its descriptors takes long where there are many."""


class Look(Struct, frozen=True):
    """What was asked on the event loop; the rest is only read, and may be in another thread."""

    connections: int
    exchanges: int
    routes: int
    generation: int
    draining: bool
    backends: tuple[Endpoints, ...]


class Gauges:
    """The gauges of the worker `index`."""

    def __init__(self, gateway: GatewayView, index: int, limit: int) -> None:
        self._gateway = gateway
        self._worker = (str(index),)
        self._limit = limit
        self._process = ProcessCollector(registry=CollectorRegistry())
        self._process_read = -math.inf
        self._process_gauges: list[Gauge] = []
        self._versions = (version("daemun"), platform.python_version())

    def look(self) -> Look:
        """Looks at the gateway; on the event loop."""
        view = self._gateway
        return Look(
            view.connections, view.exchanges, view.routes, view.generation, view.draining, tuple(view.backends())
        )

    def gauges(self, look: Look) -> Iterator[Gauge]:
        """Everything there is to say; in a thread, as it reads files and may be long."""
        yield Gauge("daemun_build_info", self._versions, 1.0)
        yield Gauge("daemun_workers", (), 1.0)
        yield Gauge("daemun_connections", (), float(look.connections))
        yield Gauge("daemun_requests_in_flight", (), float(look.exchanges))
        yield Gauge("daemun_routes", self._worker, float(look.routes))
        yield Gauge("daemun_generation", self._worker, float(look.generation))
        yield Gauge("daemun_draining", self._worker, float(look.draining))
        endpoints = 0
        for number, backend in enumerate(look.backends):
            name = (clean_label(backend.name) if number < self._limit else OVERFLOW,)
            yield Gauge("daemun_backend_waiting_requests", name, float(backend.waiting))
            yield Gauge("daemun_backend_requests_in_flight", name, float(backend.in_flight))
            yield Gauge("daemun_backend_endpoints", name, float(len(backend.ready)))
            for endpoint in backend.all:
                endpoints += 1
                if endpoints % _PIECE == 0:
                    sleep(_PAUSE_SECONDS)
                labels = (*name, clean_label(endpoint.address)) if endpoints <= self._limit else (OVERFLOW, OVERFLOW)
                if endpoint.last_check is not None:
                    yield Gauge("daemun_endpoint_healthy", labels, float(endpoint.healthy))
                yield Gauge("daemun_endpoint_requests_in_flight", labels, float(endpoint.active))
                yield Gauge("daemun_endpoint_idle_connections", labels, float(endpoint.pool.idle_connections))
        yield from self._of_process()

    def _of_process(self) -> list[Gauge]:
        now = monotonic()
        if now - self._process_read > _PROCESS_SECONDS:
            self._process_read = now
            self._process_gauges = [
                Gauge(metric.name, self._worker, sample.value)
                for metric in self._process.collect()
                for sample in metric.samples
            ]
        return self._process_gauges
