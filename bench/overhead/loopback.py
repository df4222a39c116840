"""A gateway on real sockets in this process, its far ends in another one: only the gateway's CPU is counted."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import process_time_ns
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from daemun.testing import running

from .plugins import load
from .scenarios import Scenario

__all__ = ["FarEnd", "Loopback", "far_end", "open_loopback", "open_websockets"]

_LONGEST_LINE = 64


class FarEnd:
    """The process with clients and origin."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = BufferedByteReceiveStream(process.stdout)
        self.origin = 0
        """Port of the origin."""

    async def line(self) -> str:
        """The next line that it prints."""
        return (await self._output.receive_until(b"\n", _LONGEST_LINE)).decode()

    async def ask(self, port: int, requests: int) -> None:
        """Has so many requests sent to the gateway on `port`; returns when they are answered."""
        assert self._process.stdin is not None
        await self._process.stdin.send(b"%d %d\n" % (port, requests))
        assert await self.line() == "done"


class Loopback:
    """A gateway with clients. It is used like a `Lane`."""

    def __init__(self, far_end: FarEnd, port: int) -> None:
        self._far_end = far_end
        self._port = port

    async def run(self, requests: int) -> float:
        """CPU nanoseconds of one request, over `requests` on 32 connections."""
        since = process_time_ns()
        await self._far_end.ask(self._port, requests)
        return (process_time_ns() - since) / requests


@asynccontextmanager
async def far_end(script: str = "far_end.py") -> AsyncIterator[FarEnd]:
    """The other process, until the context is left."""
    argv = [sys.executable, str(Path(__file__).with_name(script))]
    async with await anyio.open_process(argv, stderr=None) as process:
        far = FarEnd(process)
        far.origin = int(await far.line())
        try:
            yield far
        finally:
            process.terminate()


@asynccontextmanager
async def open_loopback(scenario: Scenario, far: FarEnd) -> AsyncIterator[Loopback]:
    """The gateway of a scenario, until the context is left."""
    plugins, filters = load(scenario.dispatch, scenario.kind, scenario.plugins)
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [f"http://127.0.0.1:{far.origin}"]}},
        "routes": [{"name": "all", "to": "up", "filters": [{"type": one.type} for one in filters]}],
    }
    protocol = scenario.protocol.wire
    settings = {
        "listeners": [{"name": "http", "bind": "127.0.0.1:0", "protocols": [protocol.protocol]}],
        "sources": [source],
        "protocols": {protocol.protocol: protocol.settings},
        "drain": {"grace_seconds": 0},
    }
    async with running(settings, only={"http1", "file", protocol.protocol}, extra=plugins) as gateway:
        yield Loopback(far, gateway.port)


@asynccontextmanager
async def open_websockets(far: FarEnd, filters: list[dict[str, Any]]) -> AsyncIterator[Loopback]:
    """A gateway whose clients are WebSockets, on a route with `filters`; a message and back is a request."""
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [f"http://127.0.0.1:{far.origin}"]}},
        "routes": [{"name": "all", "to": "up", "filters": filters}],
    }
    settings = {"sources": [source], "drain": {"grace_seconds": 0}}
    async with running(settings, only={"http1", "file", "websocket"}) as gateway:
        yield Loopback(far, gateway.port)
