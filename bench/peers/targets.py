"""What daemun's figures should be, beside those of others in the same file."""

from __future__ import annotations

from typing import Literal

from bench.peers.figures import Figure, find, ratio
from bench.peers.results import Result
from msgspec import Struct

__all__ = ["TARGETS", "Target", "Verdict", "judge"]

_BEST_PYTHON = "the best Python peer"
_OURS = "daemun"
_OURSELVES = {
    "routes-10": "itself with 10",
    "workers-1": "itself with one",
    "soap-plain": "its plain POST",
    "mtom-plain": "its plain POST",
}


class Target(Struct, frozen=True):
    """One limit of a ratio."""

    title: str
    workload: str
    metric: str
    against: str
    """A peer, `the best Python peer`, or another workload of our own."""
    limit: float
    at_least: bool = False
    """The ratio must be this or more: that of capacities (inverse costs × workers) or throughputs (inverse times)."""
    more: bool = False
    """The limit is of what this costs more than the other does, in µs."""

    @property
    def words(self) -> str:
        """The limit, for a reader."""
        against = _OURSELVES.get(self.against, self.against)
        if self.more:
            return f"≤ {self.limit:g} µs over {against}"
        return f"{'≥' if self.at_least else '≤'} {self.limit:g} × {against}"


class Verdict(Struct, frozen=True):
    """A target, and what was measured."""

    target: Target
    value: float | None
    state: Literal["met", "not met", "not measured"]


def _beside(title: str, workload: str, metric: str, **limits: float) -> tuple[Target, ...]:
    return tuple(Target(title, workload, metric, against, limit) for against, limit in limits.items())


TARGETS = (
    *_beside("small GET, keep-alive, 32 connections", "get-32", "cpu", Envoy=0.60, nginx=2.0),
    Target("small GET, keep-alive, 32 connections", "get-32", "cpu", _BEST_PYTHON, 0.2),
    *_beside("p99 at half of its own capacity", "latency-own", "p99", Envoy=1.5),
    *_beside("p99 at half of Envoy's capacity", "latency-same", "p99", Envoy=1.5),
    *_beside("1 MiB down", "down-1m", "cpu", Envoy=0.8, nginx=0.7),
    *_beside("1 MiB up", "up-1m", "cpu", Envoy=0.8, nginx=0.7),
    *_beside("64 KiB down", "down-64k", "cpu", Envoy=0.6, nginx=1.0),
    *_beside("TLS, small GET, keep-alive", "tls-32", "cpu", Envoy=0.8),
    Target("10,000 routes instead of 10", "routes-10000", "cpu", "routes-10", 1.05),
    *_beside("10,000 idle connections, RSS a connection", "idle", "rss", Envoy=1.0),
    Target("two workers, capacity by CPU a request", "workers-2", "cpu", "workers-1", 1.7, at_least=True),
    *_beside("HTTP/2 to HTTP/1, small GET, 32 × 1", "h2-32", "cpu", Envoy=1.5),
    *_beside("HTTP/2 to HTTP/1, small GET, 4 × 8", "h2-4x8", "cpu", Envoy=1.5),
    *_beside("HTTP/2 to HTTP/1, small GET, 1 × 100", "h2-1x100", "cpu", Envoy=1.5),
    *_beside("gRPC, unary calls", "grpc-unary", "cpu", Envoy=1.5),
    *_beside("gRPC, messages on one stream", "grpc-stream", "cpu", Envoy=1.5),
    *_beside("WebSocket, 1 KiB echo, 32 sockets in turns", "ws-32", "cpu", Envoy=0.6),
    *_beside("WebSocket, 1 KiB echo, 32 × 8 under way", "ws-32x8", "cpu", Envoy=0.6),
    *_beside("10,000 idle WebSockets, RSS a socket", "ws-idle", "rss", Envoy=1.0),
    Target("SOAP, 10 KiB, routed by operation", "soap-matched", "cpu", "soap-plain", 150, more=True),
    Target("SOAP, 10 KiB, operation and action checked", "soap-checked", "cpu", "soap-plain", 150, more=True),
    Target("SOAP, 100 MiB attached, peak RSS", "mtom-matched", "peak", "mtom-plain", 1.1),
    Target("SOAP, 100 MiB attached, peak RSS, checked", "mtom-checked", "peak", "mtom-plain", 1.1),
    Target("HTTP/2 to HTTP/1, 1 GiB, throughput", "h2-huge", "took", "Envoy", 0.5, at_least=True),
    Target("HTTP/2 to HTTP/2, 1 GiB, throughput", "h2-h2-huge", "took", "Envoy", 0.5, at_least=True),
)


def judge(result: Result) -> list[Verdict]:
    """Every target and whether it is met."""
    verdicts = []
    for target in TARGETS:
        value = _value(result, target)
        if value is None:
            verdicts.append(Verdict(target, None, "not measured"))
        else:
            met = value >= target.limit if target.at_least else value <= target.limit
            verdicts.append(Verdict(target, value, "met" if met else "not met"))
    return verdicts


def _value(result: Result, target: Target) -> float | None:
    found = find(result, target.workload, target.metric)
    other = find(result, target.against, target.metric)
    if other:
        if target.more:
            return found[_OURS].median - other[_OURS].median if _both(found, other) else None
        value = ratio({_OURS: found[_OURS], "other": other[_OURS]}, _OURS, "other") if _both(found, other) else None
        return 2 / value if value and target.at_least else value
    if target.against == _BEST_PYTHON:
        python = {peer.name for peer in result.peers if peer.kind == "python"} & found.keys()
        best = min(python, key=lambda name: found[name].median, default=None)
        return ratio(found, _OURS, best) if best else None
    value = ratio(found, _OURS, target.against)
    return 1 / value if value and target.at_least else value


def _both(found: dict[str, Figure], other: dict[str, Figure]) -> bool:
    return _OURS in found and _OURS in other
