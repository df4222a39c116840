"""The numbers that are read out of a result: the median of the rounds with its spread, and ratios of medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from bench.peers.results import Measured, Result, Round
from bench.peers.workloads import Kind
from msgspec import Struct

__all__ = ["METRICS", "Figure", "Metric", "figures", "find", "ratio", "reference", "short"]


class Metric(Struct, frozen=True):
    """One number of a round; less is better."""

    name: str
    title: str
    unit: str
    of: Callable[[Round], float]


class Figure(Struct, frozen=True):
    """One number over all rounds."""

    median: float
    low: float
    high: float
    quartile_range: float
    """Between the first and the third quartile."""
    rounds: int


def _cpu_microseconds(one: Round) -> float:
    return (one.user_seconds + one.system_seconds) / max(one.requests, 1) * 1e6


_UNSEEN = 1e-6
_MESSAGE = Metric("cpu", "CPU a message", "µs", _cpu_microseconds)
_CPU = Metric("cpu", "CPU a request", "µs", _cpu_microseconds)
METRICS: dict[Kind, tuple[Metric, ...]] = {
    "cpu": (_CPU,),
    "latency": (
        Metric("p99", "p99", "ms", lambda one: one.p99_seconds * 1e3),
        Metric("p50", "p50", "ms", lambda one: one.p50_seconds * 1e3),
    ),
    "idle": (
        Metric(
            "rss",
            "RSS a connection",
            "KiB",
            lambda one: max(one.rss_bytes - one.rss_before_bytes, 0) / max(one.connections, 1) / 1024,
        ),
    ),
    "huge": (
        Metric("cpu", "CPU", "ms", lambda one: _cpu_microseconds(one) / 1e3),
        Metric("peak", "peak RSS", "MiB", lambda one: one.peak_rss_bytes / 1024**2),
        Metric("took", "time", "s", lambda one: one.seconds),
    ),
    "stream": (_MESSAGE,),
    "sockets": (_MESSAGE,),
}
"""What each kind of workload is read for; the first is what the chart shows."""


def figures(measured: Measured, metric: Metric) -> dict[str, Figure]:
    """The number of each peer, in the order of the file."""
    return {peer: _figure([metric.of(one) for one in rounds]) for peer, rounds in measured.rounds.items() if rounds}


def _figure(values: list[float]) -> Figure:
    low, high = min(values), max(values)
    spread = 0.0
    if len(values) > 1:
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
        spread = third - first
    return Figure(statistics.median(values), low, high, spread, len(values))


def find(result: Result, workload: str, metric: str) -> dict[str, Figure]:
    """The figures of a workload by the names of it and of the metric; none if it was not measured."""
    for measured in result.measured:
        if measured.workload.name == workload:
            for one in METRICS[measured.workload.kind]:
                if one.name == metric:
                    return figures(measured, one)
    return {}


def ratio(found: dict[str, Figure], peer: str, to: str) -> float | None:
    """The ratio of the medians of two peers; None if one is missing, or too small to divide by."""
    if peer not in found or to not in found or found[to].median < _UNSEEN:
        return None
    return found[peer].median / found[to].median


def reference(result: Result) -> str:
    """The peer that the chart compares with: Envoy, else nginx, else ours."""
    names = {peer for measured in result.measured for peer in measured.rounds}
    return next((name for name in ("Envoy", "nginx") if name in names), "daemun")


def short(value: float | None, suffix: str = "") -> str:
    """Three digits that count, for a table; "–" for None."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}{suffix}"
    return f"{value:.{1 if value >= 10 else 2}f}{suffix}"
