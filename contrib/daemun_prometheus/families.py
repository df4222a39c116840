"""Every metric: name, type, labels, words; and for those that are counted, the record and the cells of it they are in.

A record is what is counted for one label set: `route` holds bytes and durations of one route, in cells side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from daemun_prometheus.settings import PrometheusSettings

__all__ = ["FAMILIES", "LABELS", "Family", "buckets_of", "cell_counts"]


class Family(Struct, frozen=True):
    """One metric, as a scrape shows it."""

    name: str
    """Without the `_total` that counters end in."""
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    words: str
    record: str = ""
    """The kind of record it is in; "": it is not counted, see `gauges`."""
    at: int = 0
    """Its first cell in the record. A histogram has there its sum, then its buckets, which are not cumulated."""
    combine: Literal["sum", "max", "min"] = "sum"
    """What becomes of the values of several workers, of a gauge."""


_WORKER = ("worker",)
_BACKEND = ("backend",)
_ENDPOINT = ("backend", "endpoint")

FAMILIES = (
    Family(
        "daemun_requests",
        "counter",
        ("route", "status", "reason"),
        "Requests that are over, by route, status sent (0: none) and reason of failure.",
        "requests",
    ),
    Family(
        "daemun_request_duration_seconds",
        "histogram",
        ("route",),
        "From the request's complete head to the end of its response.",
        "route",
        2,
    ),
    Family("daemun_received_bytes", "counter", ("route",), "Content taken from clients, without framing.", "route", 0),
    Family("daemun_sent_bytes", "counter", ("route",), "Content given to clients, without framing.", "route", 1),
    Family(
        "daemun_refused_requests",
        "counter",
        ("listener", "reason"),
        "Requests refused before any route was looked for: malformed, too large, too slow.",
        "refused",
    ),
    Family(
        "daemun_cold_starts", "counter", ("route",), "Requests that waited for an endpoint to be started.", "cold_start"
    ),
    Family(
        "daemun_cold_start_seconds",
        "histogram",
        ("route",),
        "How long those requests waited for it.",
        "cold_start",
        1,
    ),
    Family(
        "daemun_plugin_faults",
        "counter",
        ("plugin",),
        "Requests that failed by the fault of a plugin.",
        "plugin_fault",
    ),
    Family(
        "daemun_grpc_calls",
        "counter",
        ("route", "service", "method", "code"),
        "Calls of gRPC, gRPC-Web and Connect, by how they ended.",
        "grpc_calls",
    ),
    Family(
        "daemun_grpc_request_messages",
        "counter",
        ("route", "service", "method"),
        "Messages of clients, on routes with the filter grpc-stats.",
        "grpc_messages",
    ),
    Family(
        "daemun_grpc_response_messages",
        "counter",
        ("route", "service", "method"),
        "Messages that they were answered, on routes with the filter grpc-stats.",
        "grpc_messages",
        1,
    ),
    Family("daemun_connections", "gauge", (), "Downstream connections that are open."),
    Family("daemun_requests_in_flight", "gauge", (), "Requests that run."),
    Family("daemun_workers", "gauge", (), "Processes that serve."),
    Family("daemun_routes", "gauge", _WORKER, "Routes in use."),
    Family("daemun_generation", "gauge", _WORKER, "Number of the generation of routes that new requests run on."),
    Family("daemun_draining", "gauge", _WORKER, "1 while the worker is about to stop."),
    Family("daemun_backend_waiting_requests", "gauge", _BACKEND, "Requests in the waiting room of the back end."),
    Family("daemun_backend_requests_in_flight", "gauge", _BACKEND, "Requests that run on endpoints of the back end."),
    Family("daemun_backend_endpoints", "gauge", _BACKEND, "Endpoints of the back end that are ready.", combine="max"),
    Family(
        "daemun_endpoint_healthy",
        "gauge",
        _ENDPOINT,
        "1 if its health checks say that the endpoint is well, else 0; only of those that were checked.",
        combine="min",
    ),
    Family("daemun_endpoint_requests_in_flight", "gauge", _ENDPOINT, "Requests that run on the endpoint."),
    Family(
        "daemun_endpoint_idle_connections", "gauge", _ENDPOINT, "Open connections to the endpoint that wait for use."
    ),
    Family(
        "daemun_build_info", "gauge", ("version", "python"), "1, with the versions of daemun and Python.", combine="max"
    ),
    Family("process_cpu_seconds", "counter", _WORKER, "User and system CPU time of the worker."),
    Family("process_resident_memory_bytes", "gauge", _WORKER, "Resident memory of the worker."),
    Family("process_virtual_memory_bytes", "gauge", _WORKER, "Virtual memory of the worker."),
    Family("process_open_fds", "gauge", _WORKER, "Open file descriptors of the worker."),
    Family("process_max_fds", "gauge", _WORKER, "File descriptors that the worker may open."),
    Family("process_start_time_seconds", "gauge", _WORKER, "When the worker started, in seconds since 1970."),
)
"""Every metric, in the order of a scrape."""

LABELS: Mapping[str, tuple[str, ...]] = {family.record: family.labels for family in FAMILIES if family.record}
"""The labels of each kind of record."""


def buckets_of(record: str, settings: PrometheusSettings) -> tuple[float, ...]:
    """The bounds of the histogram in records of a kind; none if they hold none."""
    return {
        "route": settings.duration_buckets_seconds,
        "cold_start": settings.cold_start_buckets_seconds,
    }.get(record, ())


def cell_counts(settings: PrometheusSettings) -> dict[str, int]:
    """How many cells a record of each kind has."""
    counts = dict.fromkeys(LABELS, 0)
    for family in FAMILIES:
        if family.record:
            cells = len(buckets_of(family.record, settings)) + 2 if family.type == "histogram" else 1
            counts[family.record] = max(counts[family.record], family.at + cells)
    return counts
