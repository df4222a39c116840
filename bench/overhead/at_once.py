"""A handler that answers at once, and a way to run one without an event loop: what is left is the cost of layers."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from daemun import Request, Response

__all__ = ["answer", "run_at_once"]


async def answer(request: Request) -> Response:
    """200."""
    return Response(200)


def run_at_once(coroutine: Coroutine[Any, Any, Response]) -> Response:
    """What a handler that waits for nothing returns."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        response: Response = stop.value
        return response
    raise AssertionError("nothing here waits")
