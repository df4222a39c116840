"""Who asks: wrk; without it a generator of ours, and for latency always ours, because wrk cannot keep a rate."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from bench.peers.process import unbroken
from bench.peers.workloads import Workload, lua
from msgspec import Struct

__all__ = ["WRK_MISSING", "Load", "LoadError", "cannot", "paced", "parse_wrk", "run_load"]

WRK_MISSING = (
    "wrk is not installed (apt-get install wrk, or brew install wrk): the small generator of ours takes its place, "
    "without TLS, without new connections, and not as fast"
)
_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NOT_2XX = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


class LoadError(Exception):
    """The load did not run, or the peer does not answer as it should."""


class Load(Struct, frozen=True):
    """What was asked and answered."""

    requests: int
    seconds: float
    failed: int = 0
    """Answers that are not 2xx or 3xx, and broken connections."""
    p50_seconds: float = 0.0
    p99_seconds: float = 0.0
    lag_seconds: float = 0.0
    """How late the generator itself was, 99th percentile."""


def parse_wrk(text: str) -> Load:
    """What wrk printed. Raises `LoadError` if it did not get as far as its summary."""
    done = _REQUESTS.search(text)
    if done is None:
        raise LoadError(f"wrk printed no summary: {text.strip()[-300:]}")
    wrong = _NOT_2XX.search(text)
    broken = _SOCKET.search(text)
    failed = (int(wrong[1]) if wrong else 0) + (sum(map(int, broken.groups())) if broken else 0)
    return Load(int(done[1]), float(done[2]) * _UNITS[done[3]], failed)


def cannot(workload: Workload, wrk: str | None) -> str:
    """Why this workload cannot be asked for; "": it can."""
    if wrk is None and (workload.setup.tls or workload.closing):
        return "wrk is not installed, and the generator of ours knows neither TLS nor new connections"
    return ""


def run_load(workload: Workload, port: int, *, seconds: float, wrk: str | None, folder: Path) -> Load:
    """Asks as fast as it is answered. Raises `LoadError`."""
    if wrk is None:
        return paced(workload, port, seconds=seconds, rate=0.0)
    argv = [wrk, "-t1", f"-c{workload.connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s"]
    script = lua(workload)
    if script:
        file = folder / f"{workload.name}.lua"
        file.write_text(script)
        argv += ["-s", str(file)]
    if workload.closing:
        argv += ["-H", "Connection: close"]
    scheme = "https" if workload.setup.tls else "http"
    argv.append(f"{scheme}://127.0.0.1:{port}{workload.path}")
    return parse_wrk(_run(argv, seconds))


def paced(workload: Workload, port: int, *, seconds: float, rate: float) -> Load:
    """Asks at `rate` a second whether answers come or not, timed from when each was due; 0: as fast as answered."""
    order: dict[str, Any] = {"port": port, "connections": workload.connections, "seconds": seconds, "rate": rate}
    order |= {"path": workload.path, "upload_bytes": workload.upload_bytes, "varied": workload.varied}
    order["routes"] = workload.setup.routes
    script = str(Path(__file__).with_name("paced.py"))
    printed = _run([sys.executable, script, msgspec.json.encode(order).decode()], seconds)
    try:
        return msgspec.json.decode(printed.encode(), type=Load)
    except msgspec.DecodeError as error:
        raise LoadError(f"the generator printed no figures: {printed.strip()[-300:]}") from error


def _run(argv: list[str], seconds: float) -> str:
    process: subprocess.Popen[str] | None = None
    try:
        with unbroken():
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        printed, complaints = process.communicate(timeout=seconds + 30)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"{Path(argv[0]).name} did not end") from error
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            process.communicate()
    return printed + complaints
