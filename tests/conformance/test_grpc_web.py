"""gRPC-Web and Connect through the gateway to grpcio: the client from npm for browsers, and Connect's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import GatewayProcess, Start
from .echo_grpc import FACTS, serving, write_service
from .tools import told_by_node

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

DETAILS = ["why"]
"""What Connect's client reads from the details of a status."""
WEB = {key: FACTS[key] for key in FACTS if key not in ("client_streaming", "ping_pong", "cancelled")}
"""A browser has no streams of its own, and nothing to see of the server's side."""


@pytest.fixture
def gateway(start: Start, free_port: Callable[[], int], tmp_path: Path) -> Iterator[GatewayProcess]:
    """A gateway that translates, before a service of `grpcio` that knows only gRPC."""
    write_service(tmp_path)
    port = free_port()
    filters = [{"type": "grpc-web"}, {"type": "connect"}]
    with serving(port):
        yield start(
            port, speaks=("http2", "http1"), upstream="h2c", routes=[{"name": "all", "to": "up", "filters": filters}]
        )


def connect_facts(*left_out: str) -> dict[str, Any]:
    code, words, _ = FACTS["status"]
    facts = {**FACTS, "status": [code, words, DETAILS]}
    return {key: facts[key] for key in facts if key not in ("unimplemented", *left_out)}


@pytest.mark.parametrize("mode", ["text", "binary"])
def test_the_browsers_client(mode: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    assert told_by_node("grpc_web_client.mjs", str(tmp_path), gateway.url, mode) == WEB


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_connects_client_speaks_grpc_web(version: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    told = told_by_node("connect_client.mjs", str(tmp_path), gateway.url, "grpc-web", version)
    assert told == connect_facts("client_streaming", "ping_pong", *(["cancelled"] if version == "1.1" else []))


def test_connects_client_speaks_connect_over_http1(gateway: GatewayProcess, tmp_path: Path) -> None:
    told = told_by_node("connect_client.mjs", str(tmp_path), gateway.url, "connect", "1.1")
    assert told == connect_facts("ping_pong", "cancelled")


@pytest.mark.parametrize("protocol", ["connect", "grpc"])
def test_connects_client_over_http2(protocol: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    assert told_by_node("connect_client.mjs", str(tmp_path), gateway.url, protocol, "2") == connect_facts()
