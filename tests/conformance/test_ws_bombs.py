"""Abuse of WebSocket: as bytes it costs the gateway no memory; the lens refuses it with the right code, and at no cost either."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import echo_websocket
from .conftest import GatewayProcess, Start
from .h2_bridge import accepted

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

GROWTH_MB = 10
OPEN = "open"
REFUSED: dict[str, set[Any]] = {
    "len-2^62": {1009},
    "len-2^63-bit": {1002, 1009},
    "deflate-bomb-256MB": {1009},
    "deflate-garbage": {1002, 1007},
    "rsv1-without-ext": {1002},
    "fragment-flood-200k-empty": {1009},
    "endless-message-64MB": {1009},
    "ping-flood-100k-unread": {OPEN},
    "unmasked": {1002},
    "ctl-126": {1002},
    "ctl-fragmented": {1002},
    "opcode-3": {1002},
    "cont-first": {1002},
    "bad-utf8": {1007},
    "close-code-999": {1002},
    "close-1-byte": {1002},
    "slow-frame": {OPEN},
}
"""The codes of the Close that may end each case. Pings are not refused but waited for, until the client reads what answers them."""


class Swallow(socketserver.BaseRequestHandler):
    """A server that agrees to everything, reads what comes, and never says a word."""

    def handle(self) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.request.recv(65536)
        key = re.search(rb"(?i)\r\nsec-websocket-key: *(\S+)", head)
        assert key is not None
        deflate = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if b"permessage-deflate" in head else ""
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accepted(key[1].decode())}"
        self.request.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{upgrade}\r\n{deflate}\r\n".encode())
        while self.request.recv(1 << 20):
            pass


class Swallowing(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


@pytest.fixture
def swallowing() -> Iterator[int]:
    """The port of `Swallow`."""
    with Swallowing(("127.0.0.1", 0), Swallow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def echoing(free_port: Callable[[], int]) -> Iterator[int]:
    """The port of a server that answers, pings too, and has limits of its own."""
    port = free_port()
    with echo_websocket.serving(port):
        yield port


def outcomes(corpus: Path, gateway: GatewayProcess) -> tuple[dict[str, Any], dict[str, float]]:
    """How each case ended, and by how many MB the gateway grew."""
    argv = [sys.executable, "ws_bombs.py", "--target", gateway.address, "--pid", str(gateway.pid)]
    folder = corpus / "attacks"
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(told) == 17, done.stderr
    ended, grown = {}, {}
    for one in told:
        name, result, (before, most) = one["test"].removeprefix("ws/"), one["result"], one["rss_mb"]
        ended[name] = OPEN if str(result).startswith("open(") else result
        grown[name] = round(most - before, 1)
    return ended, grown


def assert_no_growth(grown: dict[str, float]) -> None:
    assert {name: mb for name, mb in grown.items() if mb > GROWTH_MB} == {}


def test_as_bytes_everything_is_the_servers_to_refuse(corpus: Path, start: Start, free_port: Callable[[], int]) -> None:
    port = free_port()
    with echo_websocket.serving(port):
        ended, grown = outcomes(corpus, start(port))
    assert_no_growth(grown)
    assert {name: end for name, end in ended.items() if end not in REFUSED[name] | {1002}} == {}


@pytest.mark.parametrize("backend", ["swallowing", "echoing"])
def test_the_lens_refuses_it_in_the_servers_place(
    backend: str, request: pytest.FixtureRequest, corpus: Path, start: Start
) -> None:
    route = {"name": "all", "to": "up", "filters": [{"type": "ws_log", "settings": {"fraction": 0}}]}
    ended, grown = outcomes(corpus, start(request.getfixturevalue(backend), routes=[route]))
    assert_no_growth(grown)
    assert {name: end for name, end in ended.items() if end not in REFUSED[name]} == {}
