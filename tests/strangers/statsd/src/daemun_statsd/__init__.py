"""`statsd`: counts and times of exchanges, sent to a StatsD server over UDP now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Annotated

import anyio
from msgspec import Meta, Struct

from daemun import Exchange, ExchangeError, Observer, ObserverContext, ObserverType, Peer, Request, Response, hookimpl

_PACKET_BYTES = 1432
"""What fits into an Ethernet frame."""
_MAX_TIMES = 10_000
"""Times that are kept between two sendings; more are only counted."""


class StatsdSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Of the observer."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = 8125
    prefix: str = "daemun"
    interval_seconds: Annotated[float, Meta(gt=0)] = 1.0
    """How often it sends."""


class Statsd(Observer):
    """Adds up what `lines` gives away."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._counts: Counter[str] = Counter()
        self._times: list[tuple[str, float]] = []

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        route = exchange.route or "none"
        self._counts[f"{route}.{exchange.status}"] += 1
        if exchange.reason is not None:
            self._counts[f"error.{exchange.reason.value}"] += 1
        if len(self._times) < _MAX_TIMES:
            self._times.append((route, monotonic() - exchange.started))

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        self._counts[f"refused.{error.reason.value}"] += 1

    def lines(self) -> Iterator[bytes]:
        """What came together since the last time, as StatsD reads it."""
        counts, self._counts = self._counts, Counter()
        times, self._times = self._times, []
        for name, count in counts.items():
            yield f"{self._prefix}.{_plain(name)}:{count}|c".encode()
        for route, seconds in times:
            yield f"{self._prefix}.{_plain(route)}.time:{seconds * 1000:.3f}|ms".encode()


def _plain(name: str) -> str:
    """A name without what means something to StatsD."""
    return "".join(character if character.isalnum() or character in "._-" else "_" for character in name)


def packets(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, as many together as fit."""
    packet = b""
    for line in lines:
        if packet and len(packet) + 1 + len(line) > _PACKET_BYTES:
            yield packet
            packet = b""
        packet = packet + b"\n" + line if packet else line
    if packet:
        yield packet


@asynccontextmanager
async def build(settings: StatsdSettings, context: ObserverContext) -> AsyncIterator[Observer]:
    observer = Statsd(settings.prefix)
    async with await anyio.create_connected_udp_socket(settings.host, settings.port) as udp:

        async def send() -> None:
            for packet in packets(observer.lines()):
                try:
                    await udp.send(packet)
                except (OSError, anyio.BrokenResourceError):  # nobody listens, for now
                    return

        async def keep_sending() -> None:
            while True:
                await anyio.sleep(settings.interval_seconds)
                await send()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep_sending)
            yield observer
            tasks.cancel_scope.cancel()
        await send()


@hookimpl
def daemun_observers() -> Iterable[ObserverType]:
    return [ObserverType("statsd", StatsdSettings, build)]
