"""A WebSocket message of 1 KiB and back, on real sockets: passed as bytes, and seen as a message by a filter.

pytest-benchmark's own columns are for batches of 960 messages.
"""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun.testing.alternating import figure
from daemun.testing.measuring import settled_collector

from .host import Host
from .loopback import far_end, open_websockets
from .results import Fact, Results

_BATCH = 960
_FILTERS: dict[str, list[dict[str, Any]]] = {
    "bytes": [],
    "messages": [{"type": "ws_log", "settings": {"fraction": 0}}],
}


@pytest.mark.benchmark(timer=process_time, group="WebSocket on loopback", disable_gc=False)
@pytest.mark.parametrize("seen", _FILTERS)
def test_a_websocket_message(benchmark: BenchmarkFixture, host: Host, rounds: int, results: Results, seen: str) -> None:
    far = host.kept("far end of WebSockets", lambda: far_end("far_end_websocket.py"))
    plain = host.kept("WebSockets as bytes", lambda: open_websockets(far, []))
    own: list[float] = []
    base: list[float] = []
    with host.opened(open_websockets(far, _FILTERS[seen])) as gateway:
        host.run(gateway.run(_BATCH))
        with settled_collector():
            pedantic: Any = benchmark.pedantic
            pedantic(
                lambda: own.append(host.run(gateway.run(_BATCH))),
                setup=lambda: base.append(host.run(plain.run(_BATCH))),
                rounds=rounds,
            )
    took, over = figure(own), figure(own, base)
    benchmark.extra_info["cpu_ns_a_message"] = took.ns
    benchmark.extra_info["cpu_ns_over_bytes"] = over.ns
    name = f"WebSocket message of 1 KiB and back, seen as {seen}"
    results.facts.append(Fact(name, took.ns / 1000, "µs", took.error_ns / 1000))
    if seen != "bytes":
        results.facts.append(Fact(f"{name}: over bytes", over.ns / 1000, "µs", over.error_ns / 1000))
