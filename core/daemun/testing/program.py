"""`daemun run` as a program of its own: for what a test cannot see from inside, such as signals and workers."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Self

import yaml

__all__ = ["Load", "Program", "children", "logged", "program", "soon"]


_LOG_CHARACTERS = 8000


def soon(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `condition` returns, once that is true. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
    return value


class Program:
    """A gateway in a process of its own that is ready."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self.process = process
        self._log = log
        assert process.stdout is not None
        self._output = process.stdout
        self.first = self._output.readline()
        """Its first line of output; "" if it ended before."""

    @property
    def info(self) -> dict[str, Any]:
        """What runs, as it told it at its start."""
        found: dict[str, Any] = json.loads(self.first)
        return found

    @property
    def port(self) -> int:
        """Of its first listener."""
        return int(self.info["listeners"][0]["url"].rpartition(":")[2])

    def log(self) -> str:
        """What it logged so far."""
        return logged(self._log)

    def workers(self) -> list[int]:
        """The processes that serve or drain now: children of its fork server."""
        return [pid for one in children(self.process.pid) for pid in children(one)]

    def get(self, path: str = "/", timeout: float = 10.0) -> tuple[int, bytes]:
        """Status and content of an answer, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": "a.test", "Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A connection to its first listener."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def worker_of(self, connection: socket.socket) -> int:
        """The process that has the other end of a connection which was served."""
        inode = _inode(connection.getpeername()[1], connection.getsockname()[1])
        for pid in self.workers():
            if inode in _sockets(pid):
                return pid
        raise AssertionError("no worker has it")

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)

    def end(self, seconds: float = 10.0) -> int:
        """Its exit code, once it ended."""
        return self.process.wait(timeout=seconds)


def logged(log: IO[str]) -> str:
    """What a process that was given `log` wrote to it so far.

    Where the next line goes is shared with the process: whoever moved that to read would have it overwrite one.
    """
    return os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0).decode(errors="replace")


@contextmanager
def program(folder: Path, settings: dict[str, Any], **environment: str) -> Iterator[Program]:
    """`daemun run` with `settings`, written as in a settings file `daemun.yaml` in `folder`; a listener on a free
    port is added if there is none."""
    file = folder / "daemun.yaml"
    file.write_text(yaml.safe_dump({"listeners": [{"name": "http", "bind": "127.0.0.1:0"}], **settings}))
    command = [sys.executable, "-m", "daemun.cli", "run", str(file), "--json"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}
        ) as process,
    ):
        one = Program(process, log)
        try:
            yield one
        except AssertionError:
            print(one.log()[-_LOG_CHARACTERS:], file=sys.stderr)  # what somebody looks for whose test failed
            raise
        finally:
            for pid in (*one.workers(), process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass


class Load:
    """Clients that ask for `/` without a pause until the context is left, each in a thread of its own."""

    def __init__(self, port: int, clients: int = 4, *, keep_alive: bool = False) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self.slowest_seconds = 0.0
        self._port = port
        self._keep_alive = keep_alive
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        soon(lambda: self.answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def more(self, answers: int = 50) -> None:
        """Waits for some more answers."""
        wanted = self.answers + answers
        soon(lambda: self.answers >= wanted)

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._over.is_set():
            began, fresh = time.monotonic(), connection is None
            connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            try:
                connection.request("GET", "/", headers={"Host": "a.test"})
                response = connection.getresponse()
                response.read()
                assert response.status == 200, response.status
                again = self._keep_alive and not response.will_close
                self.answers += 1
            except (OSError, http.client.HTTPException, AssertionError) as error:
                again = False
                if fresh:  # an idle connection may be closed at any time: a client tries once more
                    self.failures.append(repr(error))
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
            if not again:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()


def children(pid: int) -> list[int]:
    """The child processes of `pid` that are no zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)


def _inode(local: int, remote: int) -> str:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if (int(fields[1][9:], 16), int(fields[2][9:], 16)) == (local, remote):
            return f"socket:[{fields[9]}]"
    raise AssertionError("there is no such connection")


def _sockets(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(os.readlink(descriptor))
        except OSError:
            continue
    return found
