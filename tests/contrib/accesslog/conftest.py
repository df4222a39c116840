"""A gateway that logs its exchanges, and the lines that it wrote."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

import daemun_accesslog
from daemun import BackendType, Buffered, ExchangeError, NoSettings, Reason, Request, Response
from daemun.testing import Answer, RunningGateway, Wire, built, eventually, make_plugin, running

__all__ = ["Desk", "Door"]


async def _answer(request: Request) -> Response:
    """What the path asks for: `/status/NUMBER`, `/fault`, `/late`, `/slow`; else 200 and `fine`."""
    kind, _, rest = request.path.decode("latin-1")[1:].partition("/")
    match kind:
        case "status":
            return Response(int(rest), ((b"content-type", b"text/plain"),), Buffered(b"asked for"))
        case "fault":
            raise LookupError("a fault")
        case "late":
            raise ExchangeError(Reason.UPSTREAM_TIMEOUT)
        case "slow":
            await anyio.sleep(0.06)  # more than is asked for: a loop's timers may be a millisecond early
    headers = ((b"content-type", b"text/plain"), (b"location", b"https://me:pw@b.test/next?code=1#token=2"))
    return Response(200, headers, Buffered(b"fine"))


class Door:
    """A gateway that runs."""

    def __init__(self, gateway: RunningGateway) -> None:
        self.gateway = gateway

    async def ask(self, target: str | bytes = "/", *fields: tuple[str, bytes], method: str = "GET") -> Answer:
        """The answer to one request."""
        asked = target.encode() if isinstance(target, str) else target
        head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in fields)
        return await self.send(method.encode() + b" " + asked + b" HTTP/1.1\r\nHost: a.test\r\n" + head + b"\r\n")

    async def send(self, data: bytes) -> Answer:
        """The answer to these bytes, on a connection of their own."""
        wire = Wire(await self.gateway.connect())
        await wire.send(data)
        answer = await wire.answer(data.partition(b" ")[0].decode("latin-1") if data[:4] == b"HEAD" else "GET")
        await wire.aclose()
        return answer

    async def ask_many(self, count: int, target: str = "/", *fields: tuple[str, bytes]) -> None:
        """Asks one after the other on one connection, and expects 200."""
        head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in fields)
        wire = Wire(await self.gateway.connect())
        for _ in range(count):
            await wire.send(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a.test\r\n" + head + b"\r\n")
            assert (await wire.answer()).status == 200
        await wire.aclose()

    def reopen(self) -> None:
        """What SIGUSR1 does."""
        self.gateway.gateway.reopen()


class Desk:
    """A folder with the log of gateways that run in it."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self.folder = folder
        self.file = folder / "access.log"
        self._caplog = caplog

    @asynccontextmanager
    async def open(self, **settings: Any) -> AsyncIterator[Door]:
        """A gateway with an access log. Once it is left, every line is written."""
        plugin = make_plugin(
            "answering", daemun_backends=lambda: [BackendType("answering", NoSettings, built(_answer))]
        )
        whole = {
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"type": "answering"}},
                    "routes": [
                        {"name": "health", "to": "up", "match": {"prefix": "/health"}},
                        {"name": "gone", "to": "up", "match": {"prefix": "/status/404"}},
                        {"name": "all", "to": "up", "match": {"prefix": "/"}},
                    ],
                }
            ],
            "observers": [{"type": "accesslog", "file": "access.log", **settings}],
            "drain": {"grace_seconds": 1},
        }
        async with running(whole, self.folder, only=["http1", "file"], extra=[daemun_accesslog, plugin]) as gateway:
            yield Door(gateway)

    def lines(self, file: Path | None = None) -> list[str]:
        """The lines that were written."""
        text = (file or self.file).read_bytes().decode("ascii")
        assert not text or text.endswith("\n")
        return text.split("\n")[:-1]

    def objects(self, file: Path | None = None) -> list[dict[str, Any]]:
        """The lines that were written, which are JSON."""
        return [json.loads(line) for line in self.lines(file)]

    @property
    def told(self) -> list[str]:
        """What the gateway's own log says about the access log."""
        return [record.getMessage() for record in self._caplog.records if record.name == "daemun.accesslog"]

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until `condition()` holds."""
        await eventually(lambda: bool(condition()))

    async def until_told(self, word: str, door: Door) -> None:
        """Asks until the gateway's log says `word` about the access log."""
        with anyio.fail_after(10):
            while not any(word in line for line in self.told):
                await door.ask("/again")
                await anyio.sleep(0.05)  # the interval at which it asks


@pytest.fixture
def desk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Desk:
    caplog.set_level(logging.INFO, "daemun.accesslog")
    return Desk(tmp_path, caplog)
