"""HTTP/2 and gRPC in the suite: how peers are set up for it, who is left out, and what the small gRPC origin answers."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bench.peers import asking, load
from bench.peers.asking import Http2Error
from bench.peers.interpreted import daemun
from bench.peers.load import LoadError
from bench.peers.origin import Origin
from bench.peers.peers import PEERS
from bench.peers.place import Command, Place, Setup
from bench.peers.process import Running, free_port, started
from bench.peers.workloads import SHORT, WORKLOADS, Workload

_SCRIPTS = Path(load.__file__).parent
_PLAIN = Setup(clients="http2")
_BOTH = Setup(clients="http2", upstream="http2")
_GRPC = Setup(clients="http2", upstream="grpc")
_STREAM = Workload("s", "messages", "grpc", "stream", "/bench.Echo/Say", 1, messages=300, setup=_GRPC)
_UNARY = Workload("u", "calls", "grpc", "cpu", "/bench.Echo/Say", 2, 4, setup=_GRPC)


@pytest.fixture
def grpc_origin(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    argv = [sys.executable, str(_SCRIPTS / "grpc_origin.py"), str(port)]
    with started(argv, port=port, log=tmp_path / "origin.log") as running:
        yield running


def _place(folder: Path, setup: Setup, origin: int = 2) -> Place:
    return Place("binary", folder, free_port(), origin, setup, Path(), Path())


def _configured(name: str, folder: Path, setup: Setup) -> str:
    """What a peer is configured with, all of its files."""
    peer = next(peer for peer in PEERS if peer.name == name)
    assert peer.lacks(setup) == ""
    command: Command = peer.command(_place(folder, setup))
    assert command.argv[0]
    return re.sub(r"\s+", " ", "\n".join(file.read_text() for file in sorted(folder.iterdir())))


@pytest.mark.parametrize(
    ("name", "clients", "http2", "grpc"),
    [
        ("daemun", "", '"protocol": "http2"', '"protocol": "http2"'),
        ("nginx", " http2 backlog", None, "grpc_pass grpc://up"),
        ("HAProxy", "", "server origin 127.0.0.1:2 proto h2", "proto h2"),
        ("Envoy", "", "explicit_http_config", "http2_protocol_options"),
        ("Traefik", "", "h2c://127.0.0.1:2", "h2c://127.0.0.1:2"),
        ("Caddy", '"protocols": ["h1", "h2", "h2c"]', '"versions": ["h2c"]', '"versions": ["h2c"]'),
    ],
)
def test_a_peer_speaks_what_the_workload_wants(
    tmp_path: Path, name: str, clients: str, http2: str | None, grpc: str
) -> None:
    configured = {}
    for setup in (Setup(), _PLAIN, _BOTH, _GRPC):
        folder = tmp_path / setup.label
        folder.mkdir()
        if setup is not _BOTH or http2 is not None:
            configured[setup] = _configured(name, folder, setup)
    for words in filter(None, (http2, grpc)):
        assert words not in configured[Setup()]
        assert words not in configured[_PLAIN]
    assert clients in configured[_PLAIN]
    assert not clients or clients not in configured[Setup()]
    assert http2 is None or http2 in configured[_BOTH]
    assert grpc in configured[_GRPC]


def test_peers_that_cannot_are_left_out_with_the_reason() -> None:
    lacking = {peer.name: [peer.lacks(setup) for setup in (Setup(), _PLAIN, _BOTH, _GRPC)] for peer in PEERS}
    assert lacking["nginx"] == ["", "", "it speaks HTTP/2 to upstreams for gRPC only", ""]
    for name in ("aiohttp", "mitmproxy", "proxy.py"):
        assert lacking[name] == ["", *["it does not speak HTTP/2 in plaintext"] * 3]
    for name in ("daemun", "HAProxy", "Envoy", "Traefik", "Caddy"):
        assert lacking[name] == [""] * 4


def test_without_h2load_only_what_it_asks_is_left_out() -> None:
    asked = {one.name: load.cannot(one, "wrk", None) for one in WORKLOADS}
    assert asked["get-32"] == asked["tls-32"] == ""
    for name in ("h2-32", "grpc-unary", "h2-huge"):
        assert "apt-get install nghttp2-client" in asked[name]
    assert not any(load.cannot(one, "wrk", "h2load") for one in WORKLOADS if one.kind != "stream")


def test_messages_need_grpcio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "grpcio is not installed" in load.cannot(_STREAM, "wrk", "h2load")


def test_the_origin_has_a_port_for_each_protocol() -> None:
    origin = Origin(1, 0, 3, 0, "none")
    assert [origin.port_for(setup) for setup in (Setup(), _PLAIN, _BOTH, _GRPC)] == [1, 1, 0, 3]


def test_the_short_form_has_one_workload_of_each() -> None:
    setups = [one.setup for one in WORKLOADS if one.name in SHORT]
    assert setups.count(_PLAIN) == setups.count(_GRPC) == setups.count(Setup(upstream="websocket")) == 1
    assert len(setups) == len(SHORT) == 6


def test_the_origin_answers_an_empty_message_with_trailers(grpc_origin: Running) -> None:
    assert asking.call(grpc_origin.port, "/bench.Echo/Say") == (200, 5, "0000000000 0")


def test_a_peer_without_http2_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_TIMEOUT_SECONDS", 1.0)
    port = free_port()
    argv = [sys.executable, str(_SCRIPTS / "plain_origin.py"), str(port)]
    with started(argv, port=port, log=tmp_path / "log"), pytest.raises((Http2Error, OSError)):
        asking.get(port, "/")


@pytest.mark.skipif(shutil.which("h2load") is None, reason="h2load is not installed")
def test_calls_and_messages_pass_daemun(tmp_path: Path, grpc_origin: Running) -> None:
    place = _place(tmp_path, _GRPC, grpc_origin.port)
    place = msgspec.structs.replace(place, binary=sys.executable)
    command = daemun(place)
    assert json.loads((tmp_path / "daemun.json").read_text())["sources"][0]["type"] == "inline"
    with started(command.argv, port=place.port, log=tmp_path / "log"):
        assert asking.call(place.port, "/bench.Echo/Say") == (200, 5, "0000000000 0")
        done = load.run_h2load(_UNARY, place.port, seconds=1.0, h2load=shutil.which("h2load") or "", folder=tmp_path)
        assert done.requests > 20
        assert done.failed == 0
        for in_turns in (False, True):
            done = load.grpc_stream(msgspec.structs.replace(_STREAM, in_turns=in_turns), place.port)
            assert (done.requests, done.failed) == (300, 0)


@pytest.mark.parametrize("in_turns", [False, True])
def test_messages_that_nobody_takes_are_an_error(in_turns: bool) -> None:
    with pytest.raises(LoadError, match="UNAVAILABLE"):
        load.grpc_stream(msgspec.structs.replace(_STREAM, in_turns=in_turns), free_port())
