"""The lifespan protocol: an application is told of start and stop, and what it keeps is shown to each call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup

from daemun_asgi.call import App
from daemun_asgi.runners import is_cancellation
from daemun_asgi.scope import Scope

__all__ = ["Lifespan"]

log = logging.getLogger("daemun.asgi")


class Lifespan:
    """Start and stop of one application."""

    def __init__(self, app: App, name: str, mode: Literal["auto", "on", "off"]) -> None:
        self.state: Scope = {}
        """What the application put there while it started."""
        self._app = app
        self._name = name
        self._mode = mode
        self._started = anyio.Event()
        self._stopping = anyio.Event()
        self._over = anyio.Event()
        self._asked = False
        self._ready = False
        self._refusal = ""

    async def start(self, tasks: TaskGroup, seconds: float) -> str:
        """Starts the application in `tasks`; why it did not start, or ""."""
        if self._mode == "off":
            return ""
        tasks.start_soon(self._run)
        with anyio.move_on_after(seconds) as limit:
            await self._started.wait()
        return f"its start took more than {seconds:g} s" if limit.cancelled_caught else self._refusal

    async def stop(self, seconds: float) -> None:
        """Tells the application to stop, and waits for it, so long at most."""
        self._stopping.set()
        if self._ready:
            with anyio.move_on_after(seconds) as limit:
                await self._over.wait()
            if limit.cancelled_caught:
                log.error("%s: its stop took more than %g s", self._name, seconds)

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._app(scope, self._receive, self._send)
            self._unsupported("returned")
        except BaseException as error:
            if is_cancellation(error):
                raise
            self._unsupported(f"raised {type(error).__name__}: {error}", error)
        finally:
            self._started.set()
            self._over.set()

    def _unsupported(self, words: str, error: BaseException | None = None) -> None:
        if self._ready:
            if error is not None:
                log.error("%s: its lifespan %s", self._name, words, exc_info=error)
        elif not self._refusal and self._mode == "on":
            self._refusal = f"it {words} before its start was complete"

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        return {"type": "lifespan.shutdown"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "lifespan.startup.complete":
                self._ready = True
                self._started.set()
            case "lifespan.startup.failed":
                self._refusal = f"its start failed: {message.get('message') or 'it does not say why'}"
                self._started.set()
            case "lifespan.shutdown.complete":
                self._over.set()
            case "lifespan.shutdown.failed":
                log.error("%s: its stop failed: %s", self._name, message.get("message") or "it does not say why")
                self._over.set()
            case kind:
                raise ValueError(f"there is no message {kind!r} in a lifespan")
