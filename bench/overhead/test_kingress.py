"""What the route of a KIngress adds to a request: the filter that answers probes, and two headers that Serving sets."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import process_time

import anyio
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun import EMPTY, Exchange, FilterContext, Handler, HeaderEdit, Layer, Peer, Request, Response, compose
from daemun.routing.edit import edit_requests, header_editor
from daemun_knative.kingress.filter import PROBE_FILTER, ProbeSettings

from .at_once import answer, run_at_once
from .results import Fact, Results

_TOKEN = "5" * 64
_FIELDS = tuple((f"x-field-{number}".encode(), b"some value") for number in range(12))
_PROBE = ((b"k-network-probe", b"probe"), (b"k-network-hash", b"override"))


def _probe_layer() -> Layer:
    async def build() -> Layer:
        opened: AbstractAsyncContextManager[Layer] = PROBE_FILTER.build(
            ProbeSettings(_TOKEN), FilterContext(PROBE_FILTER.name, Path())
        )
        async with opened as layer:
            return layer

    return anyio.run(build)


def _edit_layer() -> Layer:
    edit = {"knative-serving-namespace": "default", "knative-serving-revision": "hello-00001"}
    editor = header_editor(HeaderEdit(set=edit))
    assert editor is not None
    return edit_requests(editor)


@pytest.mark.benchmark(timer=process_time, group="route of a KIngress")
@pytest.mark.parametrize(
    ("words", "layers", "fields"),
    [
        ("nothing added", 0, _FIELDS),
        ("probe filter", 1, _FIELDS),
        ("probe filter and two headers set", 2, _FIELDS),
        ("probe filter, a probe", 1, _FIELDS + _PROBE),
    ],
    ids=["nothing", "filter", "filter and headers", "probe"],
)
def test_the_route_of_a_kingress(
    benchmark: BenchmarkFixture,
    rounds: int,
    results: Results,
    words: str,
    layers: int,
    fields: tuple[tuple[bytes, bytes], ...],
) -> None:
    handler: Handler = compose([_probe_layer(), _edit_layer()][:layers], answer)
    request = Request(b"GET", b"/", b"hello.default.example.com", fields, EMPTY, Exchange(Peer()))

    def ask() -> Response:
        return run_at_once(handler(request))  # type: ignore[arg-type]

    response = benchmark.pedantic(ask, rounds=rounds * 5, iterations=200, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert response.status == 200
    assert benchmark.stats is not None
    stats = benchmark.stats.stats
    results.facts.append(
        Fact(f"request with 12 fields to a KIngress, {words}", stats.median * 1e6, "µs", stats.iqr / 2 * 1e6)
    )
