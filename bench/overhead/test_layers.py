"""What a compiled layer costs: a chain of 0, 1, 5 and 10 no-op layers, run without an event loop."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun import EMPTY, Exchange, Handler, Peer, Request, Response, compose

from .at_once import answer, run_at_once


def _plain(handler: Handler) -> Handler:
    return lambda request: handler(request)


def _awaiting(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await handler(request)

    return handle


@pytest.mark.parametrize("layers", [0, 1, 5, 10])
@pytest.mark.parametrize("kind", [_plain, _awaiting], ids=["plain", "awaiting"])
def test_a_chain_of_layers(benchmark: BenchmarkFixture, kind: Any, layers: int) -> None:
    handler = compose([kind] * layers, answer)
    request = Request(b"GET", b"/", b"x.test", (), EMPTY, Exchange(Peer()))
    response = benchmark(lambda: run_at_once(handler(request)))  # type: ignore[arg-type]
    assert response.status == 200
