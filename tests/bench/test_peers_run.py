"""The suite itself, in small: our own load generator, a run against the small origin, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from bench.peers import load
from bench.peers.cpu import tree
from bench.peers.load import LoadError
from bench.peers.measure import Desk
from bench.peers.peers import PEERS, Found, find
from bench.peers.place import Command, Peer, Place
from bench.peers.process import Running, StartError, alive, free_port, started
from bench.peers.results import Result, Skipped, read
from bench.peers.run import Plan, run
from bench.peers.workloads import Workload

from daemun.testing.program import soon

_SCRIPTS = Path(load.__file__).parent
_CHECKOUT = _SCRIPTS.parents[1]
_GET = Workload("get-4", "small GET", "plain", connections=4)


@pytest.fixture
def small_origin(tmp_path: Path) -> Iterator[Running]:
    port = free_port()
    argv = [sys.executable, str(_SCRIPTS / "plain_origin.py"), str(port)]
    with started(argv, port=port, log=tmp_path / "origin.log") as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/64k", "/stream/64k"])
def test_the_generator_counts_answers(small_origin: Running, path: str) -> None:
    done = load.paced(msgspec.structs.replace(_GET, path=path), small_origin.port, seconds=1.0, rate=0.0)
    assert done.requests > 20
    assert done.failed == 0
    assert 0 < done.p50_seconds <= done.p99_seconds < done.seconds


def test_the_generator_sends_bodies(small_origin: Running) -> None:
    upload = msgspec.structs.replace(_GET, path="/upload", upload_bytes=1024**2)
    done = load.paced(upload, small_origin.port, seconds=1.0, rate=0.0)
    assert done.requests > 4
    assert done.failed == 0


def test_the_generator_keeps_its_rate(small_origin: Running) -> None:
    done = load.paced(_GET, small_origin.port, seconds=0.5, rate=200.0)
    assert done.requests in range(99, 102)
    assert done.failed == 0


def test_a_server_that_stalls_is_charged_for_all_that_waited(tmp_path: Path) -> None:
    script = (
        "import socket, sys, time\n"
        "with socket.create_server(('127.0.0.1', int(sys.argv[1]))) as server:\n"
        "    while True:\n"
        "        one, _ = server.accept()\n"
        "        count = 0\n"
        "        while one.recv(4096):\n"
        "            count += 1\n"
        "            time.sleep(0.3 if count == 10 else 0)\n"
        "            one.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')\n"
    )
    port = free_port()
    one = msgspec.structs.replace(_GET, connections=1)
    with started([sys.executable, "-c", script, str(port)], port=port, log=tmp_path / "log"):
        done = load.paced(one, port, seconds=0.5, rate=100.0)
    assert done.requests in range(49, 52)
    assert done.p99_seconds > 0.2
    assert done.p50_seconds > 0.02  # thirty of fifty were due while it stalled, not one


def test_a_peer_that_answers_wrongly_is_no_figure(tmp_path: Path, small_origin: Running) -> None:
    desk = Desk(seconds=0.2, wrk=None, h2load=None, folder=tmp_path, descriptors=1000)
    closed = free_port()
    with pytest.raises(LoadError, match="ConnectionRefusedError"):
        desk.run(_GET, closed)


def test_a_process_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('no such setting')"]
    with pytest.raises(StartError, match="no such setting"), started(argv, port=free_port(), log=tmp_path / "log"):
        pass


def test_all_that_a_process_started_ends_with_it(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import subprocess, socket, sys, time, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "server = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "time.sleep(60)\n"
    )
    with started([sys.executable, "-c", script, str(port)], port=port, log=tmp_path / "log") as running:
        members = tree(running.pid)
        assert len(members) == 2
    for member in members:
        assert not alive(member)


def _broken(place: Place) -> Command:
    return Command([sys.executable, "-c", "raise SystemExit('it wants a licence')"])


def test_daemun_is_measured_and_a_peer_that_does_not_start_is_named() -> None:
    ours = find(PEERS[0], Path("nowhere"))
    assert isinstance(ours, Found)
    broken = Peer("Brokenproxy", "compiled", "none", "buy it", "brokenproxy", (), _broken)
    said: list[str] = []
    steps: list[str] = []
    plan = Plan(
        found=[Found(broken, "brokenproxy", "1.0", "none"), ours],
        missing=[Skipped("Envoy", "", "not installed (ask for it)")],
        workloads=[_GET],
        rounds=2,
        seconds=1.0,
        full=False,
        wrk=None,
        h2load=None,
        generator="ours",
        nginx=None,
    )
    results: list[Result] = []
    with closing(run(plan, said.append, lambda what, count: steps.append(what))) as going:
        results += going
    result = results[-1]
    assert result.complete
    assert [(one.peer, one.workload) for one in result.skipped] == [("Envoy", ""), ("Brokenproxy", "get-4")]
    assert "it wants a licence" in result.skipped[1].reason
    assert any("Brokenproxy" in line for line in said)
    assert list(result.measured[0].rounds) == ["daemun"]
    for one in result.measured[0].rounds["daemun"]:
        assert one.requests > 10
        assert one.user_seconds + one.system_seconds > 0
    assert result.peers[1].arrived.startswith("X-Forwarded-For")
    assert "get-4, round 2: daemun" in steps


_AS_IN_A_TERMINAL = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGINT, signal.SIG_DFL)\n"  # a shell starts what runs in the background with it ignored
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_broken_off_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    argv = [sys.executable, "-c", _AS_IN_A_TERMINAL, "-m", "bench.peers", "run", "--peer", "daemun"]
    argv += ["--workload", "get-32", "--rounds", "50", "--output", str(tmp_path / "out.json")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(argv, cwd=_CHECKOUT, env=env, stdout=log, stderr=log) as running,
    ):
        try:
            soon(lambda: "round 1" in (tmp_path / "log").read_text() or running.poll() is not None, 35)
            assert running.poll() is None, (tmp_path / "log").read_text()
            members = tree(running.pid)
            assert len(members) > 2
            running.send_signal(number)
            assert running.wait(20) == 130
        finally:
            for member in tree(running.pid) if running.poll() is None else []:
                os.kill(member, signal.SIGKILL)
    assert not [member for member in members if alive(member)]
    assert not list(tmp_path.glob("daemun-peers-*"))
    result = read(tmp_path / "out.json")
    assert not result.complete
    assert "no: it was broken off" in (tmp_path / "out.md").read_text()
