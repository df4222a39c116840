"""A gateway with metrics on a Unix socket of its own, and scrapes of them, read by Prometheus' own parsers."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from anyio.abc import TaskStatus
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import daemun_prometheus
from daemun import BackendType, Buffered, Endpoints, NoSettings, Observer, ObserverContext, Request, Response, Worker
from daemun.extend.loading import installed
from daemun.testing import Answer, RunningGateway, Wire, built, make_plugin, running
from daemun_prometheus import PrometheusSettings

PATIENCE_SECONDS = 10.0


class Scraped:
    """What one scrape said."""

    def __init__(self, answer: Answer) -> None:
        assert answer.status == 200, answer
        content_type = (answer.field(b"content-type") or b"").decode()
        self.text = answer.body.decode()
        parse = parse_openmetrics if content_type.startswith("application/openmetrics-text") else parse_text
        self.samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in parse(self.text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Of one sample. Raises `KeyError` if it is not there."""
        return self.samples[name, tuple(sorted(labels.items()))]

    def label_sets(self, name: str) -> list[dict[str, str]]:
        """Of all samples of a name."""
        return [dict(labels) for sample, labels in self.samples if sample == name]


class Metered:
    """A gateway and its metrics."""

    def __init__(self, gateway: RunningGateway, admin: Path) -> None:
        self.gateway = gateway
        self.admin = admin

    async def connect(self) -> Wire:
        return Wire(await self.gateway.connect())

    async def ask(self, target: str = "/", content: bytes = b"") -> Answer:
        """The answer of the gateway to a GET, or to a POST of `content`."""
        wire = await self.connect()
        head = f"{'POST' if content else 'GET'} {target} HTTP/1.1\r\nHost: a.test\r\n"
        head += f"Content-Length: {len(content)}\r\n\r\n" if content else "\r\n"
        await wire.send(head.encode() + content)
        answer = await wire.answer()
        await wire.aclose()
        return answer

    async def scrape(self, accept: str = "*/*") -> Scraped:
        return await scrape(self.admin, accept)

    async def until(self, name: str, value: float, **labels: str) -> Scraped:
        return await until(self.admin, name, value, **labels)


async def scrape(admin: Path, accept: str = "*/*") -> Scraped:
    wire = Wire(await anyio.connect_unix(admin))
    await wire.send(f"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n".encode())
    answer = await wire.answer()
    await wire.aclose()
    return Scraped(answer)


async def until(admin: Path, name: str, value: float, **labels: str) -> Scraped:
    """The first scrape in which a sample has a value. Raises `AssertionError` if there is none in time."""
    found = "nothing"
    with anyio.move_on_after(PATIENCE_SECONDS):
        while True:
            scraped = await scrape(admin)
            found = str([(key, held) for key, held in scraped.samples.items() if key[0] == name])
            if scraped.samples.get((name, tuple(sorted(labels.items())))) == value:
                return scraped
            await anyio.sleep(0.02)
    raise AssertionError(f"{name}{labels} did not become {value}, but {found}")


async def fine(request: Request) -> Response:
    return Response(200, (), Buffered(b"fine"))


Metering = Callable[..., AbstractAsyncContextManager[Metered]]


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    """Where metrics are served."""
    return tmp_path / "admin.sock"


@pytest.fixture
def metering(admin: Path) -> Metering:
    """Runs a gateway whose route `all` is answered by a function, or whose source is given."""

    @asynccontextmanager
    async def run(
        handler: Callable[[Request], Any] = fine,
        *,
        source: dict[str, Any] | None = None,
        extra: Iterable[ModuleType] = (),
        **settings: Any,
    ) -> AsyncIterator[Metered]:
        function = BackendType("function", NoSettings, built(handler))
        plugins = [make_plugin("functions", daemun_backends=lambda: [function]), *extra]
        only = ["http1", "file"]
        if "prometheus" in installed():
            only.append("prometheus")
        else:
            plugins.append(daemun_prometheus)
        inline = {
            "backends": {"up": {"type": "function"}},
            "routes": [{"name": "all", "to": "up", "match": {"prefix": "/up"}}],
        }
        whole = {
            "sources": [{"type": "inline", **(source or inline)}],
            "observers": [{"type": "prometheus", "bind": f"unix:{admin}", **settings}],
            "drain": {"grace_seconds": 1},
        }
        async with running(whole, only=only, extra=plugins) as gateway:
            yield Metered(gateway, admin)

    return run


class Still:
    """A gateway in which nothing happens: a `GatewayView`."""

    def __init__(self, connections: int = 0, backends: tuple[Endpoints, ...] = ()) -> None:
        self.connections = connections
        self.exchanges = 0
        self.routes = 1
        self.generation = 1
        self.draining = False
        self._backends = backends

    def backends(self) -> Iterable[Endpoints]:
        return self._backends


class Crew:
    """Workers of one gateway in this process, which share a folder; the first of them serves the metrics."""

    def __init__(self, folder: Path, admin: Path) -> None:
        self.folder = folder
        self.admin = admin

    def view(self, connections: int) -> Still:
        """A gateway with so many connections."""
        return Still(connections)

    @asynccontextmanager
    async def worker(
        self, index: int, count: int = 2, *, view: Still | None = None, **settings: Any
    ) -> AsyncIterator[Observer]:
        (kind,) = daemun_prometheus.daemun_observers()
        context = ObserverContext("prometheus", self.folder, view or Still(), Worker(index, count, self.folder))
        async with kind.build(PrometheusSettings(**{"bind": f"unix:{self.admin}", **settings}), context) as observer:
            yield observer

    async def run(
        self, index: int, leave: anyio.Event, *, task_status: TaskStatus[Observer] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """A worker in a task of its own, which leaves when it is told to."""
        async with self.worker(index) as observer:
            task_status.started(observer)
            await leave.wait()

    def serves(self) -> bool:
        """Whether somebody accepts at the address."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.admin)) == 0

    async def scrape(self) -> Scraped:
        return await scrape(self.admin)

    async def until(self, name: str, value: float, **labels: str) -> Scraped:
        return await until(self.admin, name, value, **labels)


@pytest.fixture
def crew(tmp_path: Path, admin: Path) -> Crew:
    folder = tmp_path / "shared"
    folder.mkdir()
    return Crew(folder, admin)
