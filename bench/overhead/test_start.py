"""`daemun run` as a process: until it listens, until the first answer, its CPU and its memory."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns, sleep
from typing import Any

import pytest
import yaml
from pytest_benchmark.fixture import BenchmarkFixture

from daemun.testing.alternating import figure

from .results import Fact, Results

_REQUEST = b"GET / HTTP/1.1\r\nHost: host-3.test\r\nConnection: close\r\n\r\n"
_POLL_SECONDS = 0.001
_PATIENCE_SECONDS = 20.0


def _settings(folder: Path, routes: int) -> tuple[Path, int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    source = {
        "type": "inline",
        "routes": [
            {"name": f"route-{number}", "hosts": [f"host-{number}.test"], "respond": {"body": "ok\n"}}
            for number in range(routes)
        ],
    }
    file = folder / "daemun.yaml"
    listeners = [{"name": "web", "bind": f"127.0.0.1:{port}"}]
    file.write_text(yaml.safe_dump({"listeners": listeners, "sources": [source], "drain": {"grace_seconds": 0}}))
    return file, port


@contextmanager
def _running(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "daemun.cli", "run", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


def _first_answer(process: subprocess.Popen[bytes], port: int) -> int:
    """Waits for the first answer. `perf_counter_ns` when the port took a connection."""
    deadline = perf_counter_ns() + int(_PATIENCE_SECONDS * 1e9)
    while True:
        assert process.poll() is None, "it ended"
        assert perf_counter_ns() < deadline, "it does not listen"
        try:
            sock = socket.create_connection(("127.0.0.1", port), _PATIENCE_SECONDS)
        except ConnectionRefusedError:
            sleep(_POLL_SECONDS)
            continue
        with sock:
            listening = perf_counter_ns()
            sock.sendall(_REQUEST)
            answer = b""
            while data := sock.recv(4096):
                answer += data
        assert answer.startswith(b"HTTP/1.1 200")
        return listening


def _resident_bytes(process: subprocess.Popen[bytes]) -> int:
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.benchmark(group="start", disable_gc=False)
@pytest.mark.parametrize("routes", [10, 1000])
def test_start(benchmark: BenchmarkFixture, results: Results, starts: int, tmp_path: Path, routes: int) -> None:
    """From the start of the process, by the clock; CPU with what it takes to stop again."""
    file, port = _settings(tmp_path, routes)
    listening: list[float] = []
    answered: list[float] = []
    memory: list[float] = []

    def start() -> None:
        since = perf_counter_ns()
        with _running(file) as process:
            listening.append(_first_answer(process, port) - since)
            answered.append(perf_counter_ns() - since)
            memory.append(_resident_bytes(process))

    before = os.times()
    pedantic: Any = benchmark.pedantic
    pedantic(start, rounds=starts, warmup_rounds=1)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    words = f"`daemun run`, {routes} routes: "
    for what, values in (("process start to listening", listening), ("process start to first answer", answered)):
        found = figure(values[1:])
        results.facts.append(Fact(words + what, found.ns / 1e6, "ms", found.spread_ns / 1e6))
        benchmark.extra_info[what] = found.ns / 1e6
    results.facts.append(Fact(words + "CPU from start to stop", cpu / len(answered) * 1000, "ms"))
    resident = figure(memory[1:])
    results.facts.append(
        Fact(words + "RSS after the first answer", resident.ns / 2**20, "MiB", resident.spread_ns / 2**20)
    )


def test_an_interpreter_alone(results: Results, starts: int) -> None:
    """The floor that no gateway in Python can be below."""
    spent = []
    for _ in range(starts):
        since = perf_counter_ns()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        spent.append(float(perf_counter_ns() - since))
    code = "import os,resource;print(int(open('/proc/self/statm').read().split()[1])*resource.getpagesize())"
    resident = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    found = figure(spent)
    results.facts.append(
        Fact("an interpreter that does nothing: start to end", found.ns / 1e6, "ms", found.spread_ns / 1e6)
    )
    results.facts.append(Fact("an interpreter that does nothing: RSS", resident / 2**20, "MiB"))
