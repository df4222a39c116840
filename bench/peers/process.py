"""Processes of the suite: each in a session of its own, its output in a file, ended and reaped whatever happens."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from bench.peers.cpu import tree
from msgspec import Struct

__all__ = ["Running", "StartError", "alive", "free_port", "last_lines", "started", "unbroken"]

_PORTS = range(10_000, 20_000)  # below all that kernels choose from
_START_SECONDS = 30.0
_STOP_SECONDS = 2.0


class StartError(Exception):
    """A process did not come up; the message ends with the last lines of its log."""


class Running(Struct, frozen=True):
    """A process that listens."""

    pid: int
    port: int
    log: Path


def free_port() -> int:
    """A port of the loopback interface that nobody uses. Kernels give it to nobody by themselves: no connection gets it
    before the process that it is for."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for a person."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(line[:300] for line in lines[-count:])


@contextmanager
def unbroken() -> Iterator[None]:
    """An interrupt waits for the end of the context and is raised there: no process that is being started is lost."""
    told: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if callable(signal.getsignal(number))]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt


@contextmanager
def started(argv: list[str], *, port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[Running]:
    """A process that listens on `port`, ended with all that it started. Raises `StartError`."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with log.open("wb") as output, unbroken():
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={**os.environ, **(env or {})},
                    start_new_session=True,
                )
            except OSError as error:
                raise StartError(f"cannot be started: {error}") from error
        _await_port(process, port, log)
        yield Running(process.pid, port, log)
    finally:
        if process is not None:
            _end(process)


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(f"ended at once with code {process.returncode}: {last_lines(log)}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise StartError(f"does not listen after {_START_SECONDS:.0f} s: {last_lines(log)}")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = tree(process.pid)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for member in members[1:]:
        with suppress(ProcessLookupError):
            if os.getsid(member) == process.pid:
                os.kill(member, signal.SIGKILL)
    deadline = time.monotonic() + _STOP_SECONDS
    while any(map(alive, members)) and time.monotonic() < deadline:
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether the process runs; one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
