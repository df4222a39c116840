"""ASGI both ways, and WSGI: applications as back ends in the process, middlewares as filters.

settings                what may be set; loading: from `module:attribute` to what it names
backend, wsgi           the back ends; environ: what WSGI is told of a request
middleware, passing     the filter: a request through a middleware to the rest of the chain, and its response back
passing_websocket       a WebSocket through it; far_side: its messages with the upstream; changes: what was changed
call, websocket         one call of an application, for a request or a WebSocket; assembling: messages from pieces
scope, fields, content  what it is told; answer, frames, pipe: what it sends
lifespan, running       from its start to its stop
runners                 tasks that run one call after the other
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from daemun import (
    BackendContext,
    BackendType,
    FilterContext,
    FilterType,
    Handler,
    Layer,
    Phase,
    hookimpl,
)
from daemun_asgi.settings import AsgiSettings, MiddlewareSettings, WsgiSettings

__all__ = ["AsgiSettings", "MiddlewareSettings", "WsgiSettings", "daemun_backends", "daemun_filters"]


@asynccontextmanager
async def _build_asgi(settings: AsgiSettings, context: BackendContext) -> AsyncIterator[Handler]:
    from daemun_asgi.backend import build_asgi  # who has none does not pay for it at the start

    async with build_asgi(settings, context) as handler:
        yield handler


@asynccontextmanager
async def _build_wsgi(settings: WsgiSettings, context: BackendContext) -> AsyncIterator[Handler]:
    from daemun_asgi.wsgi import build_wsgi

    async with build_wsgi(settings, context) as handler:
        yield handler


@asynccontextmanager
async def _build_middleware(settings: MiddlewareSettings, context: FilterContext) -> AsyncIterator[Layer]:
    from daemun_asgi.middleware import build_middleware

    async with build_middleware(settings, context) as layer:
        yield layer


@hookimpl
def daemun_backends() -> Iterable[BackendType]:
    """The back ends `asgi` and `wsgi`."""
    return [
        BackendType("asgi", AsgiSettings, _build_asgi),
        BackendType("wsgi", WsgiSettings, _build_wsgi),
    ]


@hookimpl
def daemun_filters() -> Iterable[FilterType]:
    """The filter `asgi`."""
    return [FilterType("asgi", MiddlewareSettings, _build_middleware, phase=Phase.TRANSFORM)]
