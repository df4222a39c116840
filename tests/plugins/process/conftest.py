"""A back end of tiny servers, each a real process, for the tests of the activator `process`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from daemun import ActivatorContext, Endpoint, Endpoints
from daemun_process import ProcessActivator, ProcessSettings, build_process
from daemun_process.place import take_place

SERVER = """
import json, os, signal, socket, subprocess, sys, time

options = dict(word.split("=", 1) for word in sys.argv[1:])

def note(pid):
    with open("times", "a") as file:
        file.write(f"{time.monotonic()}\\n")
    with open("pids", "a") as file:
        file.write(f"{pid}\\n")

note(os.getpid())
starts = len(open("pids").readlines())
if "say" in options:
    print(options["say"], flush=True)
if "linger" in options:
    def linger(*_):
        time.sleep(float(options["linger"]))
        open("bye", "w").close()
        sys.exit(0)
    signal.signal(signal.SIGTERM, linger)
if "ignore_term" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "child" in options:
    own = options["child"] == "own_session"
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    note(subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=own).pid)
time.sleep(float(options.get("sleep", 0)))
if starts <= int(options.get("failures", 0)):
    sys.exit(int(options["exit"]))
if "deaf" in options:
    time.sleep(600)
if "SOCKET" in os.environ:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(options.get("socket", os.environ["SOCKET"]))
    listener.listen()
else:
    listener = socket.create_server(("127.0.0.1", int(options.get("port", os.environ["PORT"]))))
asked = 0
while True:
    connection, _ = listener.accept()
    with connection:
        head = connection.recv(65536)
        if not head:
            continue
        asked += 1
        path = head.split()[1]
        status = 503 if asked <= int(options.get("not_yet", 0)) else 200
        facts = {"environment": dict(os.environ), "arguments": sys.argv[1:], "pid": os.getpid()}
        body = json.dumps(facts).encode()
        connection.sendall(b"HTTP/1.1 %d X\\r\\ncontent-length: %d\\r\\n\\r\\n" % (status, len(body)) + body)
    if path == b"/die":
        sys.exit(7)
"""


class NoPool:
    """Stands for a pool of connections."""

    def close_idle(self) -> None:
        return None


class Kit:
    """A back end `shop` whose processes run `server.py` in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "server.py").write_text(SERVER)
        self.endpoints = Endpoints("shop", lambda endpoint: NoPool())  # type: ignore[arg-type, return-value]
        self.context = ActivatorContext(backend="shop", endpoints=self.endpoints, base_dir=folder)

    def open(self, *options: str, **settings: Any) -> AbstractAsyncContextManager[ProcessActivator]:
        """The activator, with settings as a file would hold them."""
        plain = {"command": self.server(*options), **settings}
        return build_process(msgspec.convert(plain, ProcessSettings), self.context)

    def server(self, *options: str) -> list[str]:
        """The command that runs the server."""
        return [sys.executable, "-S", "-I", "server.py", *options]

    def pids(self) -> list[int]:
        """Every process that was started, and their children, in order."""
        try:
            return [int(line) for line in (self.folder / "pids").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def pauses(self) -> list[float]:
        """Seconds between the starts of all that are in `pids`."""
        times = [float(line) for line in (self.folder / "times").read_text().splitlines()]
        return [later - earlier for earlier, later in pairwise(times)]

    def alive(self) -> list[int]:
        """Those that live."""
        return [pid for pid in self.pids() if self.lives(pid)]

    @property
    def only(self) -> Endpoint:
        """The one endpoint that is ready."""
        (endpoint,) = self.endpoints.ready
        return endpoint

    @staticmethod
    def lives(pid: int) -> bool:
        """Whether the process is there and no zombie."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except OSError:
            return False

    @staticmethod
    async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Returns when `condition` holds; fails if it does not in time."""
        with anyio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110 - processes and files tell nobody
                await anyio.sleep(0.005)

    @staticmethod
    async def ask(endpoint: Endpoint, path: str = "/") -> dict[str, Any]:
        """The server's answer: its environment, arguments and pid."""
        stream: anyio.abc.ByteStream
        if endpoint.path:
            stream = await anyio.connect_unix(endpoint.path)
        else:
            stream = await anyio.connect_tcp(endpoint.host, endpoint.port)
        answer = b""
        async with stream:
            await stream.send(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            async for chunk in stream:
                answer += chunk
        decoded: dict[str, Any] = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
        return decoded


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something in the gateway's environment that no process should see."""
    monkeypatch.setitem(os.environ, "GATEWAY_SECRET", "hunter2")


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port on which nobody listens."""
    place = take_place()
    yield place.port
    place.give_back()
