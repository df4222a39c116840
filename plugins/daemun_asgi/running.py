"""An application from its start to its stop, and the tasks for its calls in between."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from daemun import SettingsError, Waker, waker_factory
from daemun_asgi.call import App
from daemun_asgi.lifespan import Lifespan
from daemun_asgi.runners import Runners
from daemun_asgi.scope import Scope
from daemun_asgi.settings import AsgiSettings, MiddlewareSettings, WsgiSettings

__all__ = ["Started", "started"]

log = logging.getLogger("daemun.asgi")


class Started:
    """An application that runs."""

    def __init__(self, runners: Runners, state: Scope) -> None:
        self.runners = runners
        self.state = state
        """What its start left."""
        self.new_waker: Callable[[], Waker] = waker_factory()


@asynccontextmanager
async def started(
    app: App, name: str, settings: AsgiSettings | MiddlewareSettings | WsgiSettings
) -> AsyncIterator[Started]:
    """Starts `app`; at the end waits for its calls, then stops it. Raises `SettingsError` if it does not start."""
    refusal = ""
    async with anyio.create_task_group() as tasks:
        lifespan = None
        if not isinstance(settings, WsgiSettings):
            lifespan = Lifespan(app, name, settings.lifespan)
            refusal = await lifespan.start(tasks, settings.startup_timeout_seconds)
        if not refusal:
            runners = Runners(tasks, settings.max_running)
            try:
                yield Started(runners, {} if lifespan is None else lifespan.state)
            finally:
                with anyio.CancelScope(shield=True):
                    await runners.finish(settings.shutdown_timeout_seconds)
                    if runners.running:
                        log.warning("%s: %d calls still run and are cancelled", name, runners.running)
                    if lifespan is not None:
                        await lifespan.stop(settings.shutdown_timeout_seconds)
        tasks.cancel_scope.cancel()
    if refusal:
        raise SettingsError(f"{name}: {refusal}")
