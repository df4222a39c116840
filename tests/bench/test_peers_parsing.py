"""What the suite reads: the summary of wrk, the files of /proc, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.peers.cpu import Cpu, cpu, field_bytes, parse_stat, peak_rss_bytes, rss_bytes, tree
from bench.peers.load import LoadError, parse_wrk
from bench.peers.peers import PEERS, find
from bench.peers.place import Setup
from bench.peers.workloads import WORKLOADS, Workload, lua
from hypothesis import given
from hypothesis import strategies as st

_WRK = """Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.02ms  210.00us   9.11ms   93.31%
    Req/Sec    31.19k     1.01k   33.00k    75.00%
  62345 requests in {took}, 9.87MB read
{faults}Requests/sec:  31024.10
Transfer/sec:      4.91MB
"""


@pytest.mark.parametrize(
    ("took", "seconds"), [("2.01s", 2.01), ("950.00ms", 0.95), ("1.50m", 90.0), ("1.00h", 3600.0), ("700.00us", 0.0007)]
)
def test_the_summary_of_wrk_is_read(took: str, seconds: float) -> None:
    done = parse_wrk(_WRK.format(took=took, faults=""))
    assert (done.requests, done.failed) == (62345, 0)
    assert done.seconds == pytest.approx(seconds)


def test_wrong_answers_and_broken_connections_count_as_failed() -> None:
    faults = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 50000\n"
    assert parse_wrk(_WRK.format(took="2.00s", faults=faults)).failed == 54321


def test_output_without_a_summary_is_an_error_that_shows_it() -> None:
    with pytest.raises(LoadError, match="unable to connect to 127"):
        parse_wrk("unable to connect to 127.0.0.1:1 Connection refused")


@given(
    name=st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=15),
    ticks=st.tuples(*[st.integers(0, 10**9)] * 4),
)
def test_times_are_read_whatever_the_process_is_called(name: str, ticks: tuple[int, int, int, int]) -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    before = "S 1 10 10 0 -1 4194304 500 0 0 0"
    text = f"10 ({name}) {before} {' '.join(map(str, ticks))} 20 0 3 0 12345 1000 200"
    user, system, children_user, children_system = ticks
    assert parse_stat(text) == Cpu((user + children_user) / hertz, (system + children_system) / hertz)


def test_time_spent_is_never_negative() -> None:
    assert Cpu(1.0, 5.0).since(Cpu(2.0, 3.0)) == Cpu(0.0, 2.0)


def test_memory_fields_are_bytes() -> None:
    status = "Name:\tnginx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n"
    assert field_bytes(status, "VmRSS") == 1024**2
    assert field_bytes(status, "VmHWM") == 2 * 1024**2
    assert field_bytes(status, "VmSwap") == 0


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_children_of_a_process_count_with_it(tmp_path: Path) -> None:
    spin = "import time; print('up', flush=True)\nwhile time.process_time() < 0.2: pass\nprint('spun', flush=True); input()"
    script = tmp_path / "parent.py"
    script.write_text(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {spin!r}], stdin=subprocess.PIPE)\n"
        "input()\nchild.communicate(b'\\n')\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(script)], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        assert [parent.stdout.readline() for _ in range(2)] == ["up\n", "spun\n"]
        assert len(tree(parent.pid)) == 2
        spent = cpu(parent.pid)
        assert spent.user_seconds + spent.system_seconds >= 0.15
        assert peak_rss_bytes(parent.pid) >= rss_bytes(parent.pid) > 1024**2
        parent.communicate("\n")


def test_a_process_that_is_gone_has_spent_nothing() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert cpu(gone.pid) == Cpu(0.0, 0.0)
    assert rss_bytes(gone.pid) == 0


def test_a_peer_that_is_not_installed_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    for peer in PEERS:
        if peer.kind != "ours":
            assert find(peer, tmp_path) == f"not installed ({peer.get})"


def test_a_peer_is_found_in_the_folder_given_for_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "traefik"
    script.write_text("#!/bin/sh\necho 'Version:      3.7.15'\n")
    script.chmod(0o755)
    traefik = next(peer for peer in PEERS if peer.name == "Traefik")
    found = find(traefik, tmp_path)
    assert not isinstance(found, str)
    assert (found.version, found.binary) == ("3.7.15", str(script))


def test_workloads_have_names_of_their_own_and_groups_in_one_piece() -> None:
    assert len({one.name for one in WORKLOADS}) == len(WORKLOADS)
    groups = [one.group for one in WORKLOADS]
    assert [name for number, name in enumerate(groups) if name not in groups[:number]] == [
        name for number, name in enumerate(groups) if number == 0 or groups[number - 1] != name
    ]


def test_only_workloads_that_wrk_cannot_ask_by_itself_have_a_script() -> None:
    assert lua(Workload("a", "a", "a")) == ""
    assert 'wrk.method = "POST"' in lua(Workload("a", "a", "a", upload_bytes=10))
    assert '".bench.test"' in lua(Workload("a", "a", "a", setup=Setup(routes=10)))
    assert "Cookie" in lua(Workload("a", "a", "a", varied=True))
