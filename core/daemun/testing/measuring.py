"""What one request costs, without a socket: a protocol's downstream half fed from memory, the real table behind it.

A `Lane` is a gateway without listeners: real plugins, one compiled route, one connection after the other made of
bytes. Nothing in it waits, unless a plugin does, or a protocol whose connections have many exchanges at once. Several
lanes run alternately, so that a noisy machine meets all of them; calls and memory are exact on any machine.
"""

from __future__ import annotations

import gc
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter_ns, process_time_ns
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct
from msgspec.structs import replace

from daemun.downstream.exchange import DownstreamConnection
from daemun.downstream.forwarded import Forwarding
from daemun.downstream.services import Services
from daemun.errors import ExchangeError, Reason, SettingsError
from daemun.exchange import Peer
from daemun.extend.loading import load_plugins
from daemun.extend.types import BackendType, NoSettings
from daemun.extend.wire import Sniff, WireProtocol
from daemun.headers import Headers
from daemun.message import Buffered, Request, Response
from daemun.process.gateway import open_table
from daemun.process.memory import settle_memory
from daemun.routing.compiled import CompiledRoute
from daemun.routing.spec import BackendSpec, EndpointSpec, FilterSpec, Forward, RouteSpec, Snapshot, Split
from daemun.settings import ForwardedSettings, Settings
from daemun.strict import convert
from daemun.testing.memory import MemoryClient, MemoryServer
from daemun.testing.plugins import built, make_plugin
from daemun.testing.routes import HandSource
from daemun.testing.sampling import Held, Memory, PeakClient, SamplingClient, traced
from daemun.transport.stream import Stream

if TYPE_CHECKING:
    from daemun.process.parts import Parts

__all__ = ["ANSWER", "REFUSAL", "UPSTREAM", "Lane", "Message", "Wire", "open_lane", "settled_collector", "speak_http1"]

ANSWER = BackendSpec("answer", type="lane_answer")
"""A back end that always gives the same response."""
REFUSAL = BackendSpec("refusal", type="lane_refusal")
"""A back end that raises an `ExchangeError`: what dialects render."""
UPSTREAM = BackendSpec("upstream")
"""Endpoints behind the whole upstream half: balancer, pool and wire protocol, with memory in the place of a socket."""

_PROTOCOL = "http1"
_COUNTED = 40
_WARM_UP_SHARE = 3
_LEAKING_TIMES = 10
_SUSPECT_BLOCKS = 0.3
_SETTLE_SECONDS = 1.2
_SETTLE_POLLS = 8


class Message(Struct, frozen=True):
    """The request that a lane is fed with, and how much content it and its answer have."""

    method: str = "GET"
    target: str = "/hello"
    headers: Headers = ((b"user-agent", b"measuring"), (b"accept", b"*/*"), (b"accept-encoding", b"gzip"))
    content_bytes: int = 0
    """Of the request."""
    answer_bytes: int = 13

    @property
    def data(self) -> bytes:
        """The request as HTTP/1.1 sends it."""
        fields = [(b"host", b"measured.test"), *self.headers]
        if self.content_bytes:
            fields.append((b"content-length", b"%d" % self.content_bytes))
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (self.method.encode(), self.target.encode(), lines) + bytes(
            self.content_bytes
        )

    @property
    def answer(self) -> bytes:
        """The content of the answer."""
        return b"hello, world\n"[: self.answer_bytes].ljust(self.answer_bytes, b".")


def speak_http1(message: Message) -> Iterator[bytes]:
    """What an HTTP/1.1 client says for each request."""
    return repeat(message.data)


class Wire(Struct, frozen=True):
    """The protocol that a lane's client speaks. `http1` is always loaded: upstreams in memory speak it."""

    protocol: str = _PROTOCOL
    settings: dict[str, Any] = {}
    """Its section of the settings file."""
    speak: Callable[[Message], Iterator[bytes]] = speak_http1
    """What the client of one connection says for each request; for the first one with what comes before it."""
    ends: Callable[[bytes], bool] = bool
    """Whether what the gateway sends at once ends an answer: for protocols of which a connection has many exchanges."""


class Lane:
    """One route on a protocol fed from memory. Use `open_lane` to have one."""

    def __init__(self, parts: Parts, message: Message, wire: Wire, answers: _Answers) -> None:
        registry = parts.registry
        self.message = message
        self.observers = len(parts.observers)
        self.dialects = tuple(dialect.name for dialect in registry.dialects)
        self._services = Services(
            parts.table, parts.connections, parts.timers, list(registry.dialects), parts.observers, registry.blame
        )
        self._table = parts.table
        self._answers = answers
        self._protocol = registry.protocol(wire.protocol)
        self._settings = parts.protocols[wire.protocol]
        self._speak = wire.speak
        self._ends = wire.ends
        self._peer = Peer(
            listener="lane", address="192.0.2.7", port=50_000, local="127.0.0.1:8080", lender=parts.shared
        )

    @property
    def chain(self) -> list[str]:
        """What a request passes, in words."""
        return self._route.chain

    @property
    def _route(self) -> CompiledRoute:
        return self._table.current.routes[0]

    async def run(self, requests: int) -> float:
        """Sends `requests`, one after the other on one connection. CPU nanoseconds of one, threads included, without
        what the connection itself costs."""
        left, spent = requests, 0
        while left > 0:
            client = MemoryClient(self._says(), left)
            await self._serve(client)
            spent += (client.ended or process_time_ns()) - client.begun
            left -= client.asked
        return spent / requests

    async def answer(self) -> tuple[int, bytes]:
        """Sends one request. The status of its answer (0: none, or not in HTTP/1) and all the bytes of it."""
        client = MemoryClient(self._says(), 1)
        await self._serve(client)
        data = b"".join(client.said)
        return int(data[9:12]) if data[:5] == b"HTTP/" else 0, data

    async def calls(self, requests: int = _COUNTED) -> float:
        """Python functions that are called or resumed for one request, in all modules; `4 * requests` are sent."""
        await self.run(requests)
        counts = [await self._calls(count) for count in (requests, 2 * requests)]
        return (counts[1] - counts[0]) / requests

    async def _calls(self, requests: int) -> int:
        count, own = 0, (__name__, MemoryClient.__module__, self._ends.__module__)

        def seen(frame: FrameType, event: str, _: Any) -> None:
            nonlocal count
            if event == "call" and frame.f_globals.get("__name__") not in own:
                count += 1

        sys.setprofile(seen)
        try:
            await self._serve(MemoryClient(self._says(), requests))
        finally:
            sys.setprofile(None)
        return count

    async def memory(self, requests: int = _COUNTED) -> Memory:
        """What one request takes of memory; about `14 * requests` are sent."""
        await self.run(requests)
        gc.collect()
        gc.disable()
        try:
            blocks = await self._sampled(requests, sys.getallocatedblocks)
            with traced():
                bytes_ = await self._sampled(requests, lambda: tracemalloc.get_traced_memory()[0])
                peaks = PeakClient(self._says(), requests)
                await self._serve(peaks)
            kept, deferred = await self._kept_blocks(requests * _LEAKING_TIMES)
        finally:
            self._answers.sample = None
            gc.enable()
        inside, answering = (Held(*pair) for pair in zip(blocks, bytes_, strict=True))
        return Memory(inside, answering, int(median(peaks.peaks[requests // _WARM_UP_SHARE : -1])), kept, deferred)

    async def _kept_blocks(self, requests: int) -> tuple[float, float]:
        gc.collect()
        before = sys.getallocatedblocks()
        await self.run(requests)
        gc.collect()
        kept = at_first = (sys.getallocatedblocks() - before) / requests
        for _ in range(_SETTLE_POLLS):
            if kept < _SUSPECT_BLOCKS:
                break
            await anyio.sleep(_SETTLE_SECONDS / _SETTLE_POLLS)
            gc.collect()
            kept = (sys.getallocatedblocks() - before) / requests
        return round(kept, 2), round(at_first - kept, 2)

    async def later(self, requests: int = 50 * _COUNTED) -> float:
        """CPU nanoseconds that a request leaves for the second after it, in tasks or threads of a plugin. The event
        loop's own work is in it: take the difference to another lane."""
        await anyio.sleep(_SETTLE_SECONDS)
        await self.run(requests)
        since = process_time_ns()
        await anyio.sleep(_SETTLE_SECONDS)
        return (process_time_ns() - since) / requests

    async def _sampled(self, requests: int, now: Callable[[], int]) -> tuple[int, int]:
        client, start = SamplingClient(self._says(), requests, now), requests // _WARM_UP_SHARE
        self._answers.sample = client.sample
        await self._serve(client)
        self._answers.sample = None
        return int(median(client.inside[start:])), int(median(client.answering[start:]))

    async def waits(self) -> float:
        """Seconds by the clock of one request that lets other tasks run in its middle; 0: it never does."""
        others_ran = False

        async def other() -> None:
            nonlocal others_ran
            others_ran = True

        await self.run(2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            since = perf_counter_ns()
            await self.run(1)
            seconds = (perf_counter_ns() - since) / 1e9
            waited = others_ran
        return seconds if waited else 0.0

    def _says(self) -> Iterator[bytes]:
        return self._speak(self.message)

    async def _serve(self, client: MemoryClient) -> None:
        connection = DownstreamConnection(self._services, self._peer, Forwarding(self._peer, ForwardedSettings()))
        assert self._protocol.serve is not None
        if self._protocol.multiplexed:
            client.ends = self._ends
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.feed)
                await self._protocol.serve(client, connection, self._settings)
                tasks.cancel_scope.cancel()
        else:
            await self._protocol.serve(client, connection, self._settings)
        if not client.asked:
            raise RuntimeError("the protocol ended a connection without reading from it")


@asynccontextmanager
async def open_lane(
    *plugins: ModuleType,
    only: Iterable[str] = (),
    filters: Sequence[FilterSpec] = (),
    backend: BackendSpec = ANSWER,
    observers: Sequence[Mapping[str, Any]] = (),
    message: Message = Message(),  # noqa: B008  (frozen)
    wire: Wire = Wire(),  # noqa: B008  (frozen)
    base_dir: Path | None = None,
) -> AsyncIterator[Lane]:
    """A lane whose route has `filters` and leads to `backend`.

    `plugins` are modules, `only` names installed ones besides the wire protocol. Raises `SettingsError` or
    `PluginError` for what cannot be compiled.
    """
    source, answers = HandSource("lane"), _Answers(message)
    manager = load_plugins(only={_PROTOCOL, *only, wire.protocol}, extra=[source.plugin, answers.plugin, *plugins])
    raw = {**source.settings, "observers": list(observers), "protocols": {wire.protocol: wire.settings}}
    async with open_table(convert(raw, Settings), manager, base_dir or Path.cwd()) as parts:
        answers.protocol, answers.settings = parts.registry.protocol(_PROTOCOL), parts.protocols[_PROTOCOL]
        with _nobody_accepts() as address:
            if backend.type == "endpoints" and not backend.endpoints:
                backend = replace(backend, endpoints=(EndpointSpec(address, "lane_upstream"),))
            route = RouteSpec("measured", Forward((Split(backend.name),)), filters=tuple(filters))
            refused = (await source.publish(route, backends=[backend])).refused
            if refused:
                raise SettingsError(refused[0].error)
            yield Lane(parts, message, wire, answers)
            await source.publish(*Snapshot().routes)


@contextmanager
def settled_collector() -> Iterator[None]:
    """The garbage collector as `daemun run` sets it, for as long as something is measured."""
    before = gc.get_threshold()
    settle_memory()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class _Answers:
    """The plugin that answers at the end of a lane."""

    def __init__(self, message: Message) -> None:
        self.sample: Callable[[], None] | None = None
        """Called when a request has come to the back end."""
        self.protocol: WireProtocol
        self.settings: Any
        content = message.answer
        fields = ((b"content-type", b"text/plain"), (b"server", b"lane"))
        lines = b"".join(b"%b: %b\r\n" % field for field in (*fields, (b"content-length", b"%d" % len(content))))
        bytes_ = b"HTTP/1.1 200 OK\r\n%b\r\n%b" % (lines, content)

        async def answer(request: Request) -> Response:
            self.sent()
            return Response(200, fields, Buffered(content))

        async def refuse(request: Request) -> Response:
            raise ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream closed the connection")

        async def serve(*_: Any) -> None:
            raise AssertionError("nobody speaks it downstream")

        async def connect(stream: Stream, endpoint: Any, settings: NoSettings) -> Any:
            stream.abort()
            assert self.protocol.connect is not None
            return await self.protocol.connect(MemoryServer(bytes_, self.sent), endpoint, self.settings)

        protocol = WireProtocol("lane_upstream", NoSettings, (), lambda _: Sniff.NO, serve, connect)
        kinds = [
            BackendType(ANSWER.type, NoSettings, built(answer)),
            BackendType(REFUSAL.type, NoSettings, built(refuse)),
        ]
        self.plugin = make_plugin("lane", daemun_backends=lambda: kinds, daemun_protocols=lambda: [protocol])

    def sent(self) -> None:
        """A request has come to the end of the chain."""
        if self.sample is not None:
            self.sample()


@contextmanager
def _nobody_accepts() -> Iterator[str]:
    """An address at which a dial succeeds: the kernel keeps what nobody accepts."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield f"127.0.0.1:{sock.getsockname()[1]}"
