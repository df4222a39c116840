"""One peer, one workload, once: CPU time of a load, latency at a rate, memory of idle connections, a huge body."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bench.peers import load
from bench.peers.cpu import Cpu, cpu, peak_rss_bytes, reset_peak, rss_bytes
from bench.peers.load import Load, LoadError
from bench.peers.machine import load_average
from bench.peers.process import Running
from bench.peers.results import Round
from bench.peers.websocket import echo, opened
from bench.peers.workloads import Kind, Workload

__all__ = ["MEASURES", "Desk"]

_IDLE_LIMIT_SECONDS = 60.0
_SETTLE_SECONDS = 0.5
_SPARE = 500
"""Descriptors that a peer has for other things; a WebSocket takes two."""
_SHARE = 0.5
"""Of the capacity: where latency is measured."""
_GENERATOR_SHARE = 0.6
"""Of what the generator can do at all: above it would time itself."""
_REFERENCE = "Envoy"


class Desk:
    """What all measurements of a run share."""

    def __init__(
        self,
        *,
        seconds: float,
        wrk: str | None,
        h2load: str | None,
        folder: Path,
        descriptors: int,
        websocket: str = "",
    ) -> None:
        self.seconds = seconds
        self.wrk = wrk
        self.h2load = h2load
        self.websocket = websocket
        """The program with WebSocket's clients; "": none."""
        self.folder = folder
        self.descriptors = descriptors
        self.capacities: dict[str, float] = {}
        """Requests a second of each peer as fast as it answers."""
        self.generator_per_second = 0.0
        """Requests a second that our own generator gets from the origin itself; 0: not looked at."""

    def run(self, workload: Workload, port: int, seconds: float | None = None) -> Load:
        """A load as fast as it is answered. Raises `LoadError` if too many answers are wrong."""
        seconds = seconds or self.seconds
        if workload.setup.clients == "http2":
            assert self.h2load is not None  # or the workload is left out
            done = load.run_h2load(workload, port, seconds=seconds, h2load=self.h2load, folder=self.folder)
        elif workload.setup.upstream == "websocket":
            done = load.run_websocket(workload, port, seconds=seconds, program=self.websocket)
        else:
            done = load.run_load(workload, port, seconds=seconds, wrk=self.wrk, folder=self.folder)
        if done.requests == 0:
            raise LoadError("no request was answered")
        if done.failed > done.requests * 0.01:
            raise LoadError(f"{done.failed} of {done.requests} requests failed")
        return done


def measure_cpu(desk: Desk, workload: Workload, peer: str, running: Running) -> Round:
    """CPU time over a counted number of requests."""
    before = cpu(running.pid)
    done = desk.run(workload, running.port)
    return _round(done, cpu(running.pid).since(before))


def measure_latency(desk: Desk, workload: Workload, peer: str, running: Running) -> Round:
    """Latency at half of a capacity: the peer's own, or Envoy's. Raises `LoadError` if that is more than it can do."""
    own = desk.capacities[peer]
    if workload.same_rate and _REFERENCE not in desk.capacities:
        raise LoadError(f"{_REFERENCE}, whose capacity sets the rate, was not measured")
    rate = _SHARE * (desk.capacities[_REFERENCE] if workload.same_rate else own)
    if rate > 0.9 * own:
        raise LoadError(f"{rate:,.0f} requests a second are more than it can do ({own:,.0f})")
    if rate > _GENERATOR_SHARE * desk.generator_per_second:
        limit = f"it gets {desk.generator_per_second:,.0f} from the origin itself"
        raise LoadError(f"{rate:,.0f} requests a second are more than the load generator can time here ({limit})")
    before = cpu(running.pid)
    done = load.paced(workload, running.port, seconds=desk.seconds, rate=rate)
    if done.failed > done.requests * 0.01:
        raise LoadError(f"{done.failed} of {done.requests} requests failed or were not answered")
    spent = cpu(running.pid).since(before)
    return _round(done, spent, capacity_per_second=own, rate_per_second=rate)


def _round(done: Load, spent: Cpu, *, capacity_per_second: float = 0.0, rate_per_second: float = 0.0) -> Round:
    return Round(
        load_average=load_average(),
        requests=done.requests,
        seconds=done.seconds,
        user_seconds=spent.user_seconds,
        system_seconds=spent.system_seconds,
        failed=done.failed,
        p50_seconds=done.p50_seconds,
        p99_seconds=done.p99_seconds,
        lag_seconds=done.lag_seconds,
        capacity_per_second=capacity_per_second,
        rate_per_second=rate_per_second,
    )


def measure_idle(desk: Desk, workload: Workload, peer: str, running: Running) -> Round:
    """Resident memory with many connections open, each of which has had one answer. As many as descriptors allow."""
    websocket = workload.setup.upstream == "websocket"
    wanted = min(workload.connections, (desk.descriptors - _SPARE) // (2 if websocket else 1))
    connect = _idle_websocket if websocket else _idle_connection
    for _ in range(20):  # what is allocated once is no cost of a connection
        connect(running.port).close()
    time.sleep(_SETTLE_SECONDS)
    before, start, spent = rss_bytes(running.pid), time.monotonic(), cpu(running.pid)
    held: list[socket.socket] = []
    fault = ""
    try:
        while len(held) < wanted and time.monotonic() - start < _IDLE_LIMIT_SECONDS:
            try:
                held.append(connect(running.port))
            except OSError as error:
                fault = str(error)
                break
        time.sleep(_SETTLE_SECONDS)
        after = rss_bytes(running.pid)
        taken = cpu(running.pid).since(spent)
    finally:
        for one in held:
            # a reset leaves no TIME_WAIT behind, of which there are only so many ports
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.close()
    if len(held) < wanted / 10:
        raise LoadError(f"only {len(held)} connections could be held: {fault or 'it is too slow'}")
    return Round(
        load_average=load_average(),
        requests=len(held),
        seconds=time.monotonic() - start,
        user_seconds=taken.user_seconds,
        system_seconds=taken.system_seconds,
        connections=len(held),
        rss_before_bytes=before,
        rss_bytes=after,
    )


def _idle_websocket(port: int) -> socket.socket:
    connection = opened(port)
    try:
        echo(connection)
    except OSError:
        connection.close()
        raise
    return connection


def _idle_connection(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    try:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: bench.test\r\n\r\n")
        got = b""
        while not got.endswith(b"ok"):
            piece = connection.recv(4096)
            if not piece:
                raise ConnectionResetError("the connection was closed before the answer")
            got += piece
    except OSError:
        connection.close()
        raise
    return connection


def measure_huge(desk: Desk, workload: Workload, peer: str, running: Running) -> Round:
    """Time, CPU time and peak resident memory of one large body."""
    reset_peak(running.pid)
    before, start = cpu(running.pid), time.monotonic()
    if workload.setup.clients == "http2":
        taken = _download_http2(desk, workload, running.port)
    else:
        _transfer(workload, running.port)
        taken = time.monotonic() - start
    spent, peak = cpu(running.pid).since(before), peak_rss_bytes(running.pid)
    return Round(
        load_average=load_average(),
        requests=1,
        seconds=taken,
        user_seconds=spent.user_seconds,
        system_seconds=spent.system_seconds,
        peak_rss_bytes=peak,
    )


def measure_stream(desk: Desk, workload: Workload, peer: str, running: Running) -> Round:
    """CPU time over the messages of one gRPC stream."""
    before = cpu(running.pid)
    done = load.grpc_stream(workload, running.port)
    return _round(done, cpu(running.pid).since(before))


def _download_http2(desk: Desk, workload: Workload, port: int) -> float:
    assert desk.h2load is not None  # or the workload is left out
    done = load.run_h2load(workload, port, seconds=0.0, h2load=desk.h2load, folder=desk.folder)
    if done.requests != 1 or done.failed:
        raise LoadError("it did not answer with the whole body")
    return done.seconds


def _transfer(workload: Workload, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        if workload.upload_bytes:
            _upload(connection, workload)
        else:
            _download(connection, workload.path)


def _download(connection: socket.socket, path: str) -> None:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n".encode())
    buffer = bytearray(1024 * 1024)
    total = connection.recv_into(buffer)
    if buffer[9:12] != b"200":
        raise LoadError(f"it answers {bytes(buffer[:total]).splitlines()[0][:80]!r}")
    with suppress(ConnectionResetError):
        while read := connection.recv_into(buffer):
            total += read
    if total < 1024**3:
        raise LoadError(f"it ended the body after {total:,} bytes")


def _upload(connection: socket.socket, workload: Workload) -> None:
    posted = workload.posted
    fields = {"Host": "bench.test", "Connection": "close", "Content-Length": str(posted.length), **posted.fields}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    connection.sendall(f"POST {workload.path} HTTP/1.1\r\n{lines}\r\n".encode())
    for piece in posted.pieces():
        connection.sendall(piece)
    answer = connection.recv(4096)
    if answer[9:12] != b"200":
        raise LoadError(f"it answers {answer[:80]!r}")


MEASURES: dict[Kind, Callable[[Desk, Workload, str, Running], Round]] = {
    "cpu": measure_cpu,
    "latency": measure_latency,
    "idle": measure_idle,
    "huge": measure_huge,
    "stream": measure_stream,
    "sockets": measure_cpu,
}
