"""The one contract: a handler answers a request, a layer wraps a handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from daemun.message import Request, Response

__all__ = ["Handler", "Layer", "compose"]

Handler = Callable[[Request], Awaitable[Response]]
"""Answers a request. Returns a `Response` or raises an `ExchangeError`; anything else is a plugin's fault and
becomes a 500. Called in the exchange's own task: cancelled when the client leaves or the deadline passes."""

Layer = Callable[[Handler], Handler]
"""Takes the next handler and gives back one that may change, answer or observe what passes."""


def compose(layers: Iterable[Layer], handler: Handler) -> Handler:
    """The handler that runs `layers`, the first one outermost, around `handler`."""
    for layer in reversed(tuple(layers)):
        handler = layer(handler)
    return handler
