"""A gateway in front of applications, and clients of both wire protocols."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun.testing import Answer, Http2Wire, RunningGateway, Wire, running

from . import applications

FOLDER = Path(__file__).parents[1]
"""What the applications are found below."""
PLUGINS = ("http1", "http2", "websocket", "file", "asgi")


class Stage:
    """A gateway, and a client."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway

    async def ask(self, request: str = "GET / HTTP/1.1", content: bytes = b"", **fields: str) -> Answer:
        """The answer to a request on a connection of its own."""
        method, _, _ = request.partition(" ")
        async with await self.gateway.connect() as stream:
            wire = Wire(stream)
            length = {"Content-Length": str(len(content))} if content else {}
            await wire.send(self.head(request, **length, **fields) + content)
            return await wire.answer(method)

    @asynccontextmanager
    async def wire(self) -> AsyncIterator[Wire]:
        """A connection."""
        async with await self.gateway.connect() as stream:
            yield Wire(stream)

    @asynccontextmanager
    async def http2(self) -> AsyncIterator[Http2Wire]:
        """A connection that speaks HTTP/2."""
        async with await self.gateway.connect() as stream:
            wire = Http2Wire(stream)
            await wire.start()
            yield wire

    @staticmethod
    def head(request: str, **fields: str) -> bytes:
        """A request without content."""
        named = {"Host": "a.test", **{name.replace("_", "-"): value for name, value in fields.items()}}
        return "\r\n".join([request, *(f"{name}: {value}" for name, value in named.items()), "", ""]).encode()


def app(name: str) -> str:
    """An application of ours as settings name it."""
    return f"{applications.__name__}:{name}"


@asynccontextmanager
async def serving(
    name: str,
    *,
    filters: Iterable[dict[str, Any]] = (),
    kind: str = "asgi",
    extra: Iterable[ModuleType] = (),
    backend: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    protocols: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Stage]:
    """A gateway that leads to the application `name`."""
    applications.seen.clear()
    applications.gates.clear()
    applications.gates["go"] = anyio.Event()
    source = {
        "type": "inline",
        "backends": {"it": backend or {"type": kind, "settings": {"app": app(name), **settings}}},
        "routes": [{"name": "it", **(route or {"to": "it"}), "filters": list(filters)}],
    }
    async with running(
        {"sources": [source], "protocols": protocols or {}}, FOLDER, only=PLUGINS, extra=extra
    ) as gateway:
        yield Stage(gateway)


def middleware(name: str, **options: Any) -> dict[str, Any]:
    """The filter for a middleware of ours, or for `module:attribute`."""
    return {"type": "asgi", "settings": {"middleware": name if ":" in name else app(name), "options": options}}


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
