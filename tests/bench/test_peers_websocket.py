"""WebSocket in the suite: its two programs, how peers are set up for it, who is left out, and a run through daemun."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from bench.peers import load, websocket
from bench.peers.figures import METRICS
from bench.peers.group import Group
from bench.peers.interpreted import daemun
from bench.peers.load import LoadError
from bench.peers.measure import MEASURES, Desk
from bench.peers.origin import Origin
from bench.peers.peers import PEERS, Found
from bench.peers.place import Place, Setup
from bench.peers.process import Running, StartError, free_port, started
from bench.peers.websocket import COMPILER_MISSING, Programs, WebSocketError, echo, opened
from bench.peers.workloads import WORKLOADS, Workload
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="a C compiler is not installed")

_SOCKETS = Setup(upstream="websocket")
_LENS = Setup(upstream="websocket", brings="filter ws_log")
_ECHO = Workload("w", "messages", "websocket", "sockets", "/", 3, 2, setup=_SOCKETS)
_IDLE = Workload("i", "idle", "ws-idle", "idle", connections=40, setup=_SOCKETS)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return websocket.build(shutil.which("cc") or "", tmp_path_factory.mktemp("programs"))


@pytest.fixture(scope="module")
def origin(programs: Programs) -> Iterator[Running]:
    port = free_port()
    with started([programs.origin, str(port)], port=port, log=Path(programs.origin + ".log")) as running:
        yield running


def _frame(first: int, content: bytes, mask: bytes = b"") -> bytes:
    size = len(content)
    bit = 0x80 if mask else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 65536:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    return head + mask + (bytes(byte ^ mask[at % 4] for at, byte in enumerate(content)) if mask else content)


_FRAMES = st.lists(
    st.tuples(
        st.sampled_from([0x01, 0x00, 0x80, 0x82, 0x89, 0x88]),
        st.sampled_from([0, 1, 3, 125, 126, 1024, 65535, 65536]) | st.integers(0, 300),
        st.binary(min_size=4, max_size=4).filter(any),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=_FRAMES, cuts=st.lists(st.integers(0, 70_000), max_size=6))
def test_the_origin_sends_every_frame_back_however_it_is_cut(
    origin: Running, frames: list[tuple[int, int, bytes]], cuts: list[int]
) -> None:
    contents = [bytes(at % 251 for at in range(size)) for _, size, _ in frames]
    said = b"".join(_frame(first, content, mask) for (first, _, mask), content in zip(frames, contents, strict=True))
    answers = [0x8A if first == 0x89 else first for first, _, _ in frames]
    wanted = b"".join(_frame(first, content) for first, content in zip(answers, contents, strict=True))
    with opened(origin.port) as connection:
        for start, end in pairwise(sorted({0, len(said), *(cut for cut in cuts if cut < len(said))})):
            connection.sendall(said[start:end])
        came = b""
        while len(came) < len(wanted):
            piece = connection.recv(65536)
            assert piece
            came += piece
    assert came == wanted


def test_a_client_that_does_not_mask_is_cut_off(origin: Running) -> None:
    with opened(origin.port) as connection:
        connection.sendall(_frame(0x82, b"plain"))
        assert connection.recv(100) == b""


@pytest.mark.parametrize("in_flight", [1, 4])
def test_messages_that_came_back_are_counted(programs: Programs, origin: Running, in_flight: int) -> None:
    workload = msgspec.structs.replace(_ECHO, streams=in_flight)
    done = load.run_websocket(workload, origin.port, seconds=0.2, program=programs.load)
    assert done.requests > 100
    assert done.seconds >= 0.2
    assert done.failed == 0


def test_clients_that_are_not_let_in_are_an_error(programs: Programs) -> None:
    with pytest.raises(LoadError, match="a client was not let in"):
        load.run_websocket(_ECHO, free_port(), seconds=0.2, program=programs.load)


_WRONG = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        one, _ = server.accept()
        if one.recv(4096):
            one.sendall({answer!r})
            while one.recv(65536):
                one.sendall({message!r})
"""
_SWITCHED = b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "message", "match"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", b"", "404 Not Found"),
        (b"HTTP/1.1 101 x\r\n\r\n", b"", "101 x"),
        (_SWITCHED, b"\x82\x7e\x04\x00" + bytes(1024), "a message came back wrong"),
    ],
    ids=["refused", "no accept", "another message"],
)
def test_what_a_peer_answers_wrongly_is_an_error(
    programs: Programs, tmp_path: Path, answer: bytes, message: bytes, match: str
) -> None:
    port = free_port()
    argv = [sys.executable, "-c", _WRONG.format(answer=answer, message=message), str(port)]
    workload = msgspec.structs.replace(_ECHO, connections=1)
    with started(argv, port=port, log=tmp_path / "log"), pytest.raises(LoadError, match=match):
        load.run_websocket(workload, port, seconds=0.2, program=programs.load)


def test_a_peer_that_does_not_switch_is_told_from_one_that_answers(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-c", _WRONG.format(answer=b"HTTP/1.1 200 OK\r\n\r\n", message=b""), str(port)]
    with started(argv, port=port, log=tmp_path / "log"), pytest.raises(WebSocketError, match="200 OK"):
        opened(port)


def test_what_does_not_compile_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="false does not make websocket_origin"):
        websocket.build(shutil.which("false") or "", tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nginx", "proxy_set_header Upgrade $http_upgrade"),
        ("HAProxy", "server origin 127.0.0.1:2"),
        ("Envoy", '"upgrade_configs": [{"upgrade_type": "websocket"}]'),
        ("Traefik", "http://127.0.0.1:2"),
        ("Caddy", '"versions": ["1.1"]'),
        ("daemun", '"endpoints": ["http://127.0.0.1:2"]'),
    ],
)
def test_a_peer_is_set_up_to_switch(tmp_path: Path, name: str, words: str) -> None:
    peer = next(peer for peer in PEERS if peer.name == name)
    assert peer.lacks(_SOCKETS) == ""
    peer.command(Place("binary", tmp_path, free_port(), 2, _SOCKETS, Path(), Path()))
    assert words in re.sub(r"\s+", " ", "\n".join(file.read_text() for file in sorted(tmp_path.iterdir())))


def test_peers_that_do_not_switch_are_left_out_with_the_reason() -> None:
    lacking = {peer.name: peer.lacks(_SOCKETS) for peer in PEERS}
    assert {name for name, reason in lacking.items() if reason} == {"aiohttp", "proxy.py"}
    assert lacking["aiohttp"] == "the script does not switch to WebSocket"


def _left_out(workload: Workload, origin: Origin, tmp_path: Path) -> dict[str, str]:
    found = [Found(peer, "nowhere", "1.0", "none") for peer in PEERS if peer.name in ("nginx", "HAProxy")]
    desk = Desk(seconds=0.2, wrk="wrk", h2load="h2load", folder=tmp_path, descriptors=1000)
    group = Group([workload], found, desk, origin=origin, say=lambda text: None, step=lambda what, count: None)
    group.run(1)
    return {one.peer: one.reason for one in group.skipped}


def test_without_a_compiler_it_is_left_out_by_name(tmp_path: Path) -> None:
    assert Origin(1, 2, 3, 4, "all").cannot(_SOCKETS) == ""
    assert _left_out(_ECHO, Origin(1, 2, 3, 0, "none"), tmp_path)["nginx"] == COMPILER_MISSING


def test_other_peers_have_no_plugins_of_ours(tmp_path: Path) -> None:
    left_out = _left_out(msgspec.structs.replace(_ECHO, setup=_LENS), Origin(1, 2, 3, 4, "all"), tmp_path)
    assert left_out == {"nginx": "it has no filter ws_log", "HAProxy": "it has no filter ws_log"}


def test_each_group_is_measured_in_one_go() -> None:
    groups = [workload.group for workload in WORKLOADS]
    assert len(set(groups)) == 1 + sum(one != other for one, other in pairwise(groups))


def test_messages_pass_daemun_and_idle_sockets_are_weighed(programs: Programs, origin: Running, tmp_path: Path) -> None:
    place = Place(sys.executable, tmp_path, free_port(), origin.port, _SOCKETS, Path(), Path())
    command = daemun(place)
    assert "filters" not in json.loads((tmp_path / "daemun.json").read_text())["sources"][0]["routes"][0]
    desk = Desk(seconds=0.3, wrk=None, h2load=None, folder=tmp_path, descriptors=560, websocket=programs.load)
    with started(command.argv, port=place.port, log=tmp_path / "log") as running:
        with opened(place.port) as connection:
            assert echo(connection) == b"0123456789abcdef" * 64
        busy = MEASURES["sockets"](desk, _ECHO, "daemun", running)
        assert busy.requests > 20
        assert METRICS["sockets"][0].of(busy) > 0
        idle = MEASURES["idle"](desk, _IDLE, "daemun", running)
        assert idle.connections == 30  # of the sixty descriptors that are to be used each takes two
        assert idle.rss_bytes > 0


def test_another_frame_than_the_message_is_an_error(tmp_path: Path) -> None:
    port = free_port()
    argv = [sys.executable, "-c", _WRONG.format(answer=_SWITCHED, message=b"\x88\x00" + bytes(1100)), str(port)]
    with (
        started(argv, port=port, log=tmp_path / "log"),
        opened(port) as connection,
        pytest.raises(WebSocketError, match="header 8800"),
    ):
        echo(connection)
