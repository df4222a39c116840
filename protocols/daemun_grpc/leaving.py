"""A client that leaves while its call streams: over HTTP/1 nothing tells so but the end of what it sends."""

from __future__ import annotations

from functools import partial

from daemun import Exchange, Reason

__all__ = ["end_with_client"]


def end_with_client(exchange: Exchange) -> None:
    """Ends the exchange if its client stops sending from now on. A browser that does so has left; whoever closes its
    half together with the request gets the answer all the same."""
    exchange.on_half_close = partial(exchange.expire_in, 0.0, Reason.CLIENT_LEFT)
