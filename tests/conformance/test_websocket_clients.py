"""The library `websockets`, Node's own WebSocket and its package `ws` through the gateway: as bytes and through the lens, compressed."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from . import echo_websocket
from .conftest import GatewayProcess, Start
from .echo_websocket import MODES
from .tools import node, node_folder, told_by_node

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # packages may have to be installed

FACTS = {
    "protocol": "echo.test",
    "compressed": True,
    "text": True,
    "binary": True,
    "empty": True,
    "closedByServer": [4321, "enough", True],
    "closedByClient": [3210, "bye", True],
}
"""What a client sees."""


@pytest.fixture(params=["python", "node"])
def backend(
    request: pytest.FixtureRequest, program: Callable[..., None], free_port: Callable[[], int]
) -> Iterator[int]:
    """A port where messages come back by either language's library."""
    port = free_port()
    if request.param == "python":
        with echo_websocket.serving(port):
            yield port
    else:
        program([node(), "websocket_server.mjs", port], port, node_folder())
        yield port


@pytest.fixture(params=MODES)
def filters(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The route's."""
    return MODES[request.param]


@pytest.fixture
def gateway(start: Start, backend: int, filters: list[dict[str, Any]]) -> GatewayProcess:
    return start(backend, speaks=("http2", "http1"), routes=[{"name": "all", "to": "up", "filters": filters}])


def test_the_python_library_sees_what_it_sees_directly(gateway: GatewayProcess) -> None:
    url = f"ws://{gateway.address}/"
    text, data = "text \N{GREEK SMALL LETTER KAPPA} " * 20_000, os.urandom(500_000)
    with connect(url, subprotocols=[Subprotocol("other.test"), echo_websocket.SUBPROTOCOL], proxy=None) as socket:
        assert socket.subprotocol == "echo.test"
        assert any(isinstance(one, PerMessageDeflate) for one in socket.protocol.extensions)
        echoed = []
        for message in (text, data):
            socket.send(message)
            echoed.append(socket.recv() == message)
        assert echoed == [True, True]
        socket.send(iter(["in ", "three ", "frames"]))
        assert socket.recv() == "in three frames"
        assert socket.ping().wait(10)
        socket.send("close 4321 enough")
        with pytest.raises(ConnectionClosedError, match=r"4321.*enough"):
            socket.recv()


def test_the_python_library_sees_the_same_with_tls(
    start: Start, backend: int, filters: list[dict[str, Any]], certificate_files: tuple[Path, Path]
) -> None:
    gateway = start(backend, tls=certificate_files, routes=[{"name": "all", "to": "up", "filters": filters}])
    trusted = ssl.create_default_context(cafile=str(certificate_files[0]))
    with connect(f"wss://localhost:{gateway.port}/", ssl=trusted, proxy=None) as socket:
        socket.send("hello")
        assert socket.recv() == "hello"


def test_nodes_own_client_sees_what_it_sees_directly(gateway: GatewayProcess) -> None:
    flag = "--experimental-websocket"
    if subprocess.run([node(), flag, "-e", ""], capture_output=True, check=False).returncode:
        pytest.skip("node: it has no WebSocket of its own")
    told = told_by_node(flag, "websocket_client.mjs", "own", f"ws://{gateway.address}/")
    assert told == {**FACTS, "compressed": told["compressed"]}  # an old one does not compress


def test_the_package_ws_sees_what_it_sees_directly(gateway: GatewayProcess) -> None:
    told = told_by_node("websocket_client.mjs", "ws", f"ws://{gateway.address}/")
    assert told == {**FACTS, "pong": "are you there"}
