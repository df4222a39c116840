"""The load generator of ours, in a process of its own: at a rate, or as fast as it is answered.

python paced.py '{"port": 8080, "connections": 32, "seconds": 2, "rate": 1000, "path": "/"}'

At a rate the requests are due at equal distances, and each is timed from when it was due: a peer that stalls is
charged for all that it kept waiting (no coordinated omission). `select`, for its timeout is in microseconds.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import deque

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_GRACE_SECONDS = 2.0


class _Connection:
    """One connection with at most one request on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.due = 0.0
        self._connect()

    def _connect(self) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno  # select asks for it often
        self.unsent = memoryview(b"")
        self._got = b""
        self._missing = -1
        self._status = 0

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self._got, self._missing = b"", -1
        self.unsent = memoryview(request)
        self.flush()

    def flush(self) -> None:
        try:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self.unsent = memoryview(b"")  # the end shows when it is read

    def receive(self) -> int:
        """0: not all is here; 1: a good answer; -1: another answer, or the connection broke and is open anew."""
        try:
            data = self.socket.recv(262144)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self.socket.close()
            self._connect()
            return -1
        if self._missing > 0:
            self._missing -= len(data)
            return self._status if self._missing <= 0 else 0
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return 0
        self._status = 1 if self._got[9:10] in (b"2", b"3") else -1
        length = _LENGTH.search(self._got, 0, end + 2)
        if length is not None:
            self._missing = int(length[1]) - (len(self._got) - end - 4)
            return self._status if self._missing <= 0 else 0
        if _CHUNKED.search(self._got, 0, end + 2):
            return self._status if self._got.endswith(b"\r\n0\r\n\r\n") else 0
        return self._status


def requests(order: dict[str, object]) -> list[bytes]:
    """The requests that are sent in turn."""
    path, upload = str(order.get("path", "/")), int(str(order.get("upload_bytes", 0)))
    routes = int(str(order.get("routes", 0)))
    if upload:
        return [
            b"POST %b HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n" % (path.encode(), upload)
            + b"x" * upload
        ]
    if order.get("varied"):
        return [
            f"GET {path}{n * 7919}?page={n} HTTP/1.1\r\nHost: bench.test\r\n"
            f"User-Agent: bench/{n}\r\nCookie: s={n}\r\n\r\n".encode()
            for n in range(9973)
        ]
    hosts = [f"r{number}.bench.test" for number in range(routes)] or ["bench.test"]
    return [f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode() for host in hosts]


def drive(order: dict[str, object]) -> dict[str, float]:
    """Runs the load. Requests that were due and never answered count with the time that they have waited.

    `lag_seconds` is how late this generator itself woke: figures of latency below it say nothing.
    """
    rate, seconds = float(str(order.get("rate", 0))), float(str(order["seconds"]))
    idle = deque(_Connection(int(str(order["port"]))) for _ in range(int(str(order["connections"]))))
    busy: set[_Connection] = set()
    blocked: set[_Connection] = set()
    texts, turn = requests(order), 0
    waiting: deque[float] = deque()
    times: list[float] = []
    lags: list[float] = []
    failed = 0
    begin = now = time.perf_counter()
    end, step = begin + seconds, 1 / rate if rate else 0.0
    due = begin
    while now < end or (rate and (busy or waiting or due < end) and now < end + _GRACE_SECONDS):
        if rate:
            while due <= now and due < end:
                waiting.append(due)
                lags.append(now - due)
                due += step
        elif idle:
            waiting.extend([now] * len(idle))
        while waiting and idle:
            connection = idle.popleft()
            connection.send(texts[turn], waiting.popleft())
            turn = turn + 1 if turn + 1 < len(texts) else 0
            busy.add(connection)
            if connection.unsent:
                blocked.add(connection)
        pause = max(min(due, end + _GRACE_SECONDS) - time.perf_counter(), 0.0) if rate and due < end else 0.05
        ready, writable, _ = select.select(busy, blocked, [], pause)
        for connection in writable:
            connection.flush()
            if not connection.unsent:
                blocked.discard(connection)
        now = time.perf_counter()
        for connection in ready:
            state = connection.receive()
            if state:
                busy.discard(connection)
                blocked.discard(connection)
                idle.append(connection)
                times.append(now - connection.due)
                failed += state < 0
    if rate:
        while due < end:
            waiting.append(due)
            due += step
        unanswered = [now - connection.due for connection in busy] + [now - moment for moment in waiting]
        times += unanswered
        failed += len(unanswered)
    taken = (min(now, end) if rate else now) - begin
    return {
        "requests": len(times),
        "seconds": taken,
        "failed": failed,
        "p50_seconds": quantile(times, 0.5),
        "p99_seconds": quantile(times, 0.99),
        "lag_seconds": quantile(lags, 0.99),
    }


def quantile(values: list[float], share: float) -> float:
    """The value that this share of all lies below; 0 of none."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)] if values else 0.0


if __name__ == "__main__":
    print(json.dumps(drive(json.loads(sys.argv[1]))))
