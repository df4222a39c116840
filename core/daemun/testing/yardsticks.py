"""What a filter's cost is compared with: small filters that do what most filters do, and an observer that counts."""

from __future__ import annotations

from time import monotonic

from daemun.exchange import Exchange
from daemun.extend.observe import Observer, ObserverType
from daemun.extend.types import FilterType, NoSettings
from daemun.handler import Handler
from daemun.headers import Headers
from daemun.message import Body, Buffered, Request, Response
from daemun.testing.plugins import built, make_plugin

__all__ = ["OBSERVER", "YARDSTICKS", "CountedBody", "yardsticks"]

_TOKENS_PER_SECOND = 1e9
_MOST_TOKENS = 1e9
_CONTENT = b"hello, world\n"


class CountedBody:
    """A body that counts what is read of another one."""

    __slots__ = ("_body", "count", "length", "trailers")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.length = body.length
        self.trailers: Headers = ()
        self.count = 0

    async def read(self) -> bytes:
        data = await self._body.read()
        self.count += len(data)
        if not data:
            self.trailers = self._body.trailers
        return data

    async def aclose(self) -> None:
        await self._body.aclose()


def _nothing(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await handler(request)

    return handle


def _header(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await handler(request.with_header(b"x-measured", b"yes"))

    return handle


def _body(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        response = await handler(request)
        return response.with_body(CountedBody(response.body))

    return handle


def _stateful(handler: Handler) -> Handler:
    buckets: dict[str, tuple[float, float]] = {}

    async def handle(request: Request) -> Response:
        client, now = request.exchange.peer.address, monotonic()
        tokens, since = buckets.get(client, (_MOST_TOKENS, now))
        tokens = min(_MOST_TOKENS, tokens + (now - since) * _TOKENS_PER_SECOND)
        if tokens < 1:
            return Response(429)
        buckets[client] = (tokens - 1, now)
        return await handler(request)

    return handle


def _static(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return Response(200, ((b"content-type", b"text/plain"),), Buffered(_CONTENT))

    return handle


class _Counting(Observer):
    def __init__(self) -> None:
        self.counts: dict[tuple[str, int], int] = {}

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        key = exchange.route, exchange.status
        self.counts[key] = self.counts.get(key, 0) + 1


YARDSTICKS = {
    "noop": "a layer that does nothing",
    "header": "a field set in the request",
    "body": "the answer's body wrapped, its bytes counted",
    "stateful": "a token bucket for each client",
    "static": "the answer given by the filter itself",
}
"""Filters by name, in words."""
OBSERVER = "counting"
"""Name of the observer: a counter by route and status."""

_LAYERS = {"noop": _nothing, "header": _header, "body": _body, "stateful": _stateful, "static": _static}

yardsticks = make_plugin(
    "yardsticks",
    daemun_filters=lambda: [FilterType(f"yard_{name}", NoSettings, built(layer)) for name, layer in _LAYERS.items()],
    daemun_observers=lambda: [ObserverType(f"yard_{OBSERVER}", NoSettings, built(_Counting()))],
)
"""The plugin that brings them: filters `yard_…` without settings, and the observer `yard_counting`."""
