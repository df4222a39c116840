"""What a StatsD server is told."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import daemun_statsd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun.testing import running
from daemun.testing.batteries import check_observer

pytestmark = pytest.mark.anyio


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(10)
        yield udp


async def test_it_tells_counts_and_times(server: socket.socket) -> None:
    settings = {
        "observers": [{"type": "statsd", "port": server.getsockname()[1], "interval_seconds": 1000}],
        "sources": [{"type": "inline", "routes": [{"name": "hello/world", "hosts": ["a.test"], "respond": {}}]}],
    }
    async with running(settings, only=["http1", "file"], extra=[daemun_statsd]) as gateway:
        for host in (b"a.test", b"a.test", b"b.test"):
            await gateway.exchange(b"GET / HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
        await gateway.exchange(b"nonsense\r\n\r\n")
    lines = sorted(server.recv(2000).decode().splitlines())
    assert [line for line in lines if line.endswith("|c")] == [
        "daemun.error.no_route:1|c",
        "daemun.hello_world.200:2|c",
        "daemun.none.404:1|c",
        "daemun.refused.bad_request:1|c",
    ]
    assert len([line for line in lines if re.fullmatch(r"daemun\.(hello_world|none)\.time:\d+\.\d{3}\|ms", line)]) == 3


@given(st.lists(st.binary(min_size=1, max_size=2000).filter(lambda line: b"\n" not in line)))
def test_packets_hold_every_line_and_are_no_larger_than_need_be(lines: list[bytes]) -> None:
    packets = list(daemun_statsd.packets(lines))
    assert [line for packet in packets for line in packet.split(b"\n")] == lines
    assert all(len(packet) <= 1432 or b"\n" not in packet for packet in packets)


async def test_it_keeps_the_contract_of_observers(server: socket.socket) -> None:
    (kind,) = daemun_statsd.daemun_observers()
    await check_observer(kind, {"port": server.getsockname()[1]})
