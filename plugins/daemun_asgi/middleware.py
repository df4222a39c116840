"""The filter `asgi`: a middleware of ASGI, as it is, in front of any back end.

One instance serves all routes with equal settings, and wraps an application that is the rest of the chain. Whoever
hands `receive` or `send` on untouched pays nothing for bodies: they pass as they are. No request passes it by, and no
WebSocket or tunnel: it may be there to authenticate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

from daemun import FilterContext, Handler, Layer, Request, Response, SettingsError
from daemun_asgi.call import Receive, Send
from daemun_asgi.loading import loaded
from daemun_asgi.passing import PassingCall
from daemun_asgi.passing_websocket import PassingWebSocket
from daemun_asgi.running import started
from daemun_asgi.scope import PASSED, Scope, http_scope, websocket_scope
from daemun_asgi.settings import MiddlewareSettings

__all__ = ["build_middleware"]

_CURRENT: ContextVar[PassingCall | PassingWebSocket] = ContextVar("daemun_asgi_call")


@asynccontextmanager
async def build_middleware(settings: MiddlewareSettings, context: FilterContext) -> AsyncIterator[Layer]:
    """The layer that runs requests through the middleware. Raises `SettingsError` if it cannot be made or started."""
    folder = Path(context.base_dir, settings.app_dir)
    name = f"middleware {settings.middleware}"
    async with loaded(settings.middleware, folder, key="middleware") as make:
        try:
            app = make(_inner, **settings.options)
        except BaseException as error:  # nothing is awaited: it is its own
            raise SettingsError(f"{name} raised {type(error).__name__}: {error}", path="$.options") from error
        async with started(app, name, settings) as running:
            runners, state, new_waker = running.runners, running.state, running.new_waker

            def layer(handler: Handler) -> Handler:
                async def handle(request: Request) -> Response:
                    call: PassingCall | PassingWebSocket
                    if request.protocol == b"websocket":
                        sees = websocket_scope(request, "", state) | PASSED.get()
                        call = PassingWebSocket(app, name, request, sees, new_waker, settings, handler)
                    else:
                        sees = http_scope(request, "", state) | PASSED.get()
                        call = PassingCall(app, name, request, sees, new_waker(), handler)
                    call.context.run(_CURRENT.set, call)
                    return await call.respond(runners)

                return handle

            yield layer


async def _inner(scope: Scope, receive: Receive, send: Send) -> None:
    """The rest of a route's chain, as the application that a middleware wraps."""
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    await _CURRENT.get().inner(scope, receive, send)
