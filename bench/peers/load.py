"""Who asks: wrk; without it a generator of ours, and for latency always ours, because wrk cannot keep a rate.

In HTTP/2 h2load asks, and grpcio where messages go both ways on one stream."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from bench.peers.process import unbroken
from bench.peers.websocket import MESSAGE_BYTES
from bench.peers.workloads import EMPTY_MESSAGE, Workload, grpc_fields, lua
from msgspec import Struct

__all__ = [
    "H2LOAD_MISSING",
    "WRK_MISSING",
    "Load",
    "LoadError",
    "cannot",
    "grpc_stream",
    "paced",
    "parse_h2load",
    "parse_wrk",
    "run_h2load",
    "run_load",
    "run_websocket",
]


WRK_MISSING = (
    "wrk is not installed (apt-get install wrk, or brew install wrk): the small generator of ours takes its place, "
    "without TLS, without new connections, and not as fast"
)
H2LOAD_MISSING = "h2load is not installed (apt-get install nghttp2-client): what it asks in HTTP/2 is left out"
_GRPCIO_MISSING = "grpcio is not installed beside this Python (pip install grpcio)"
_REQUESTS = re.compile(r"(\d+) requests in ([\d.]+)(us|ms|s|m|h)\b")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NOT_2XX = re.compile(r"Non-2xx or 3xx responses: (\d+)")
_SOCKET = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")

_FINISHED = re.compile(r"finished in ([\d.]+)(us|ms|s|m|h)\b")
_DONE = re.compile(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed")
_CONTENT = re.compile(r"traffic: .*\((\d+)\) data")
_WINDOW_BITS = 20
_ONE_BODY_SECONDS = 60.0
_STREAM_SECONDS = 120.0


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


def parse_h2load(text: str, least_bytes: int = 0) -> Load:
    """What h2load printed. An answer with less content than `least_bytes` has failed, whatever its status says. Raises
    `LoadError` if it did not get as far as its summary."""
    finished, done, content = _FINISHED.search(text), _DONE.search(text), _CONTENT.search(text)
    if finished is None or done is None or content is None:
        raise LoadError(f"h2load printed no summary: {text.strip()[-300:]}")
    requests, succeeded, failed = map(int, done.groups())
    whole = int(content[1]) // least_bytes if least_bytes else succeeded
    failed = max(failed, requests - succeeded) + max(succeeded - whole, 0)
    return Load(requests, float(finished[1]) * _UNITS[finished[2]], failed)


def cannot(workload: Workload, wrk: str | None, h2load: str | None) -> str:
    """Why this workload cannot be asked for; "": it can."""
    if workload.kind == "stream":
        return "" if importlib.util.find_spec("grpc") else _GRPCIO_MISSING
    if workload.setup.clients == "http2":
        return H2LOAD_MISSING if h2load is None else ""
    if wrk is None and (workload.setup.tls or workload.closing or (workload.soap and workload.kind == "cpu")):
        return "wrk is not installed, and the generator of ours knows neither TLS nor new connections nor SOAP"
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


def run_h2load(workload: Workload, port: int, *, seconds: float, h2load: str, folder: Path) -> Load:
    """Asks in HTTP/2 as fast as it is answered; a huge body once, however long that takes. Raises `LoadError`."""
    argv = [h2load, "-t1", f"-c{workload.connections}", f"-m{workload.streams}", f"-w{_WINDOW_BITS}"]
    argv.append(f"-W{_WINDOW_BITS + 2}")
    least_bytes = 0
    if workload.kind == "huge":
        argv.append("-n1")
        seconds, least_bytes = _ONE_BODY_SECONDS, 1024**3
    else:
        argv.append(f"-D{max(round(seconds), 1)}")
    if workload.setup.upstream == "grpc":
        message = folder / "message"
        message.write_bytes(EMPTY_MESSAGE)
        least_bytes = len(EMPTY_MESSAGE)
        argv += ["-d", str(message)]
        for name, value in grpc_fields():
            argv += ["-H", f"{name}: {value}"]
    return parse_h2load(_run([*argv, f"http://127.0.0.1:{port}{workload.path}"], seconds), least_bytes)


def run_websocket(workload: Workload, port: int, *, seconds: float, program: str) -> Load:
    """Sends messages on so many sockets, `streams` of them under way on each, as fast as they come back. Raises
    `LoadError`."""
    numbers = (port, workload.connections, workload.streams, MESSAGE_BYTES, seconds)
    return _figures(_run([program, *map(str, numbers)], seconds))


def grpc_stream(workload: Workload, port: int) -> Load:
    """Sends messages on one gRPC stream and awaits each of them back. Raises `LoadError`."""
    order = {"port": port, "path": workload.path, "messages": workload.messages, "in_turns": workload.in_turns}
    return _ordered("grpc_stream.py", order, _STREAM_SECONDS)


def paced(workload: Workload, port: int, *, seconds: float, rate: float) -> Load:
    """Asks at `rate` a second whether answers come or not, timed from when each was due; 0: as fast as answered."""
    order: dict[str, Any] = {"port": port, "connections": workload.connections, "seconds": seconds, "rate": rate}
    order |= {"path": workload.path, "upload_bytes": workload.upload_bytes, "varied": workload.varied}
    order["routes"] = workload.setup.routes
    return _ordered("paced.py", order, seconds)


def _ordered(script: str, order: dict[str, Any], seconds: float) -> Load:
    """What one of our own generators says of an order."""
    argv = [sys.executable, str(Path(__file__).with_name(script)), msgspec.json.encode(order).decode()]
    return _figures(_run(argv, seconds))


def _figures(printed: str) -> Load:
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
