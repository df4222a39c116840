"""The back end `wsgi`: an application of PEP 3333, each call in a thread of its own.

It is run as an application of ASGI whose messages come from a thread: so requests, responses and clients that leave
are what they are there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, from_thread, to_thread

from daemun import BackendContext, ExchangeError, Handler, Reason, Request, Response
from daemun_asgi.call import HttpCall, Receive, Send
from daemun_asgi.environ import environ_of
from daemun_asgi.loading import loaded
from daemun_asgi.running import started
from daemun_asgi.scope import PASSED, Scope, http_scope
from daemun_asgi.settings import WsgiSettings

__all__ = ["WsgiApp", "build_wsgi"]


@asynccontextmanager
async def build_wsgi(settings: WsgiSettings, context: BackendContext) -> AsyncIterator[Handler]:
    """The handler that calls the application. Raises `SettingsError` if there is none."""
    folder = Path(context.base_dir, settings.app_dir)
    name = f"application {settings.app}"
    async with (
        loaded(settings.app, folder, key="app", factory=settings.factory) as callee,
        started(app := WsgiApp(callee, settings.threads), name, settings) as running,
    ):

        async def handle(request: Request) -> Response:
            if request.protocol:
                raise ExchangeError(Reason.NOT_IMPLEMENTED, "an application of WSGI takes no WebSocket and no tunnel")
            sees = http_scope(request, settings.root_path, {}) | PASSED.get()
            call = HttpCall(app, name, request, sees, running.new_waker(), settings.shutdown_timeout_seconds)
            return await call.respond(running.runners)

        yield handle


class WsgiApp:
    """An application of ASGI that runs one of WSGI in threads."""

    def __init__(self, app: Callable[..., Iterable[bytes]], threads: int) -> None:
        self._app = app
        self._limiter = CapacityLimiter(threads)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await to_thread.run_sync(_Thread(self._app, scope, receive, send).run, limiter=self._limiter)


class _Thread:
    """One call, as its thread sees it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], scope: Scope, receive: Receive, send: Send) -> None:
        self._app = app
        self._environ = environ_of(scope, receive)
        self._send = send
        self._start: dict[str, Any] | None = None
        self._begun = False
        self._length: int | None = None
        self._sent = 0

    def run(self) -> None:
        """The whole call. Raises nothing that would close the coroutine that waits for it."""
        try:
            self._run()
        except GeneratorExit as error:
            raise RuntimeError(f"GeneratorExit: {error}") from error

    def _run(self) -> None:
        result = self._app(self._environ, self._start_response)
        try:
            last = isinstance(result, (list, tuple)) and len(result) == 1
            for piece in result:
                if piece:
                    self._write(piece, more=not last)
                    if last:
                        return
            self._write(b"", more=False)
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self._begun:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif self._start is not None:
            raise RuntimeError("start_response was called twice without exc_info")
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        code = status[:3]
        if not code.isdigit() or status[3:4] not in ("", " "):
            raise ValueError(f"{status!r} is no status; accepted: three digits and words")
        self._start = {"type": "http.response.start", "status": int(code), "headers": fields}
        return self._write

    def _write(self, data: bytes, more: bool = True) -> None:
        if self._start is None:
            raise RuntimeError("content was sent before start_response was called")
        if not data and more:
            return
        messages = [] if self._begun else [self._start]
        self._begun = True
        from_thread.run(self._deliver, [*messages, {"type": "http.response.body", "body": data, "more_body": more}])

    async def _deliver(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            await self._send(message)
