"""The back end `asgi`: an application, started with the first route that leads to it and stopped after the last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from daemun import (
    BackendContext,
    ExchangeError,
    Handler,
    Reason,
    Request,
    Response,
)
from daemun_asgi.call import App, HttpCall
from daemun_asgi.loading import loaded
from daemun_asgi.running import Started, started
from daemun_asgi.scope import PASSED, http_scope, websocket_scope
from daemun_asgi.settings import AsgiSettings
from daemun_asgi.websocket import WebSocketCall

__all__ = ["build_asgi"]


@asynccontextmanager
async def build_asgi(settings: AsgiSettings, context: BackendContext) -> AsyncIterator[Handler]:
    """The handler that calls the application. Raises `SettingsError` if there is none, or it does not start."""
    folder = Path(context.base_dir, settings.app_dir)
    name = f"application {settings.app}"
    async with (
        loaded(settings.app, folder, key="app", factory=settings.factory) as app,
        started(app, name, settings) as running,
    ):
        yield _handler(app, name, settings, running)


def _handler(app: App, name: str, settings: AsgiSettings, running: Started) -> Handler:
    root_path, grace_seconds = settings.root_path, settings.disconnect_grace_seconds
    runners, state, new_waker = running.runners, running.state, running.new_waker

    async def handle(request: Request) -> Response:
        if request.protocol == b"websocket":
            sees = websocket_scope(request, root_path, state) | PASSED.get()
            socket = WebSocketCall(app, name, request, sees, new_waker(), settings, grace_seconds)
            return await socket.respond(runners)
        if request.method == b"CONNECT":
            raise ExchangeError(Reason.NOT_IMPLEMENTED, "an application takes no CONNECT")
        sees = http_scope(request, root_path, state) | PASSED.get()
        return await HttpCall(app, name, request, sees, new_waker(), grace_seconds).respond(runners)

    return handle
