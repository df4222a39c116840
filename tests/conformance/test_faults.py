"""Killed clients and upstreams, full descriptors, slow peers, gigabytes: the promises under fault."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Start, script

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

Port = Callable[[], int]


@pytest.fixture
def helper_backend(corpus: Path, free_port: Port) -> Iterator[Callable[[str], int]]:
    """Starts a back end of the corpus (`echo.py`, `sink.py`); gives its port."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(name: str) -> int:
        port = free_port()
        processes.append(subprocess.Popen([sys.executable, str(corpus / "attacks" / name), str(port)]))
        return port

    yield run
    for process in processes:
        process.kill()
        process.wait()


def test_stopping_finishes_what_runs(corpus: Path, start: Start, free_port: Port) -> None:
    backend = free_port()
    gateway = start(backend)
    result = script(
        corpus / "faults" / "drain.py",
        *("--target", gateway.address, "--backend", str(backend), "--cmd", f"kill -TERM {gateway.pid}"),
    )
    assert (result["completed"], result["lost"]) == (30, 0)
    assert result["listener_closed_after_s"] <= 2
    assert gateway.process.wait(10) == 0


def test_upstreams_that_refuse_hang_or_close(corpus: Path, start: Start, free_port: Port) -> None:
    backend = free_port()
    gateway = start(backend)
    result = script(
        corpus / "faults" / "upstream.py",
        *("--target", gateway.address, "--backend", str(backend), "--wait", "2"),
    )
    assert result["refused"][0] == "502"
    assert result["keepalive_dropped_GET"]["client"] == {"200": 60}
    assert result["keepalive_dropped_POST"]["backend_saw"] == 60
    assert result["idle_closed_GET"]["client"] == {"200": 60}


def test_more_connections_than_descriptors(corpus: Path, start: Start, helper_backend: Callable[[str], int]) -> None:
    gateway = start(helper_backend("echo.py"), descriptors=256)
    result = script(corpus / "faults" / "fds.py", "--target", gateway.address, "--pid", str(gateway.pid))
    assert result["alive"]
    assert result["cpu_in_3s"] < 0.3
    assert (result["first20_served"], result["after_close_ok"]) == (20, "20/20")


def test_idle_connections_are_cheap(corpus: Path, start: Start, helper_backend: Callable[[str], int]) -> None:
    gateway = start(helper_backend("echo.py"))
    result = script(
        corpus / "faults" / "idle.py", "--target", gateway.address, "--pid", str(gateway.pid), "--n", "3000"
    )
    assert (result["bad"], result["sampled_alive"]) == (0, "60/60")
    assert result["kb_per_conn"] <= 40


def test_a_gigabyte_both_ways_stays_out_of_memory(corpus: Path, start: Start, free_port: Port) -> None:
    backend = free_port()
    gateway = start(backend)
    result = script(
        corpus / "faults" / "bigbody.py",
        *("--target", gateway.address, "--pid", str(gateway.pid), "--backend", str(backend), "--seconds", "4"),
    )
    assert result["down_ok"]
    assert result["up_status"] == "200"
    assert result["slow_abort_backend_stopped"]
    assert max(result["slow_read_ahead_mb"], result["slow_up_ahead_mb"]) <= 16
    peaks = [result[key] for key in ("slow_read_rss_peak", "slow_up_rss_peak", "down_rss_peak", "up_rss_peak")]
    assert max(peaks) - result["rss_before"] <= 20


def test_a_head_that_never_ends_gets_408(corpus: Path, start: Start, helper_backend: Callable[[str], int]) -> None:
    gateway = start(helper_backend("echo.py"))
    result = script(corpus / "attacks" / "slowloris.py", "--target", gateway.address, "--seconds", "20")
    assert (result["closed"], result["got_408"], result["probe_fail"]) == (200, 200, 0)
    assert result["last_close_s"] <= 15


def test_content_that_trickles_gets_408(corpus: Path, start: Start, helper_backend: Callable[[str], int]) -> None:
    gateway = start(helper_backend("sink.py"))
    result = script(corpus / "attacks" / "slow_body.py", "--target", gateway.address, "--seconds", "30")
    assert (result["closed"], result["probe_fail"]) == (100, 0)
    assert result["codes"]["408"] == 100
