"""A README played in a folder of its own: its files are written there, and its commands run there, in order.

Ports are exchanged for free ones. `… &` starts a gateway in the background in the place of the one before; what
`curl`, `nc`, `make` and `pip` would do is done or checked here, so that no machine needs them.
"""

from __future__ import annotations

import http.client
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

import daemun_knative

from .documents import ROOT, Block

__all__ = ["Stage", "commands", "matches"]

_PATIENCE_SECONDS = 30.0
_SETTLE_SECONDS = 0.05
_PORT = re.compile(r"(?<=127\.0\.0\.1[: ])\d{4,5}\b")
_TARGET = re.compile(r"^([a-z]+): \$\(READY\)", re.MULTILINE)


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output that it should have."""
    parts = re.split(r"^\$ ", block.text.replace("\\\n", " "), flags=re.MULTILINE)
    assert not parts[0], f"{block.where}: a console block begins with a command"
    return [(command, expected) for command, _, expected in (part.partition("\n") for part in parts[1:])]


def matches(expected: str, real: str) -> bool:
    """Whether `real` is what was expected, where `...` stands for anything."""
    pattern = ".*?".join(map(re.escape, expected.strip().split("...")))
    return re.fullmatch(pattern, real.strip(), re.DOTALL) is not None


class Stage:
    """The folder of one README, on one event loop."""

    def __init__(self, folder: Path, loop: str) -> None:
        self.folder = folder
        self._loop = loop
        self._held: dict[str, socket.socket] = {}
        self._gateway: subprocess.Popen[str] | None = None
        self._plugins: dict[str, str] = {}
        self._projects: dict[str, str] = {}
        self._environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1"}

    def close(self) -> None:
        """Ends what runs."""
        try:
            self._stop()
        finally:
            for held in self._held.values():
                held.close()

    def write(self, block: Block) -> Path:
        """The block as a file; a plugin or a project is as good as installed from now on."""
        file = self.folder / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        text = self._with_ports(block.text)
        if block.kind == "settings":
            head = 'event_loop = "{}"\n' if file.suffix == ".toml" else "event_loop: {}\n"
            text = head.format(self._loop) + text
        file.write_text(text)
        if block.kind == "plugin":
            self._plugins[file.stem] = file.stem
        if block.kind == "project":
            self._projects |= tomllib.loads(text)["project"]["entry-points"]["daemun"]
            assert self._projects.items() <= self._plugins.items(), "a project without its module"
        self._install()
        return file

    def _install(self) -> None:
        information = self.folder / "readme-1.0.dist-info"
        information.mkdir(exist_ok=True)
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: readme\nVersion: 1.0\n")
        points = "\n".join(f"{name} = {module}" for name, module in self._plugins.items())
        (information / "entry_points.txt").write_text(f"[daemun]\n{points}\n")

    def _with_ports(self, text: str) -> str:
        return _PORT.sub(lambda match: str(self._port(match[0])), text)

    def _port(self, written: str) -> int:
        """A free port for the one that is written. It stays bound, without listening, so that nobody is given it."""
        held = self._held.get(written)
        if held is None:
            held = self._held[written] = socket.socket()
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])

    def run(self, command: str, expected: str) -> None:
        """Runs a command. Raises `AssertionError` that shows what it printed, if that is not what was expected."""
        command, expected = self._with_ports(command), self._with_ports(expected)
        if command.endswith("&"):
            self._start(shlex.split(command[:-1]))
            return
        deadline = time.monotonic() + _PATIENCE_SECONDS
        real = self._output(command)
        while not matches(expected, real) and command.startswith("cat ") and time.monotonic() < deadline:
            time.sleep(_SETTLE_SECONDS)
            real = self._output(command)
        assert matches(expected, real), f"$ {command}\n{real}\n(expected: {expected})"

    def _output(self, command: str) -> str:
        if piped := re.fullmatch(r"printf '(.*)' \| nc -N (\S+) (\d+)", command):
            return _send(piped[1].encode().decode("unicode_escape").encode(), piped[2], int(piped[3]))
        words = shlex.split(command)
        match words[0]:
            case "curl":
                return _curl(words[1:], self.folder)
            case "daemun":
                return self._call(sys.executable, "-m", "daemun.cli", *words[1:])
            case "python":
                return self._call(sys.executable, *words[1:])
            case "make":
                assert words[1] in _TARGET.findall((ROOT / "Makefile").read_text())
                return ""
            case "pip":
                return self._pip(words[1:])
            case "mkdir" | "echo" | "cat":
                return self._call("sh", "-c", command)
        raise AssertionError(f"no way to run {command!r}")

    def _call(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, text=True, capture_output=True, timeout=60, check=False
        )
        assert done.returncode in (0, 1), done.stderr
        return done.stdout or done.stderr

    def _pip(self, words: list[str]) -> str:
        """Nothing is installed; what would be must be there to be installed."""
        assert words[0] == "install"
        project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for word in words[1:]:
            name, _, extras = word.rstrip("]").partition("[")
            if name == ".":
                assert self._projects
            elif not word.startswith("-"):
                assert name == project["name"]
                assert not extras or set(extras.split(",")) <= set(project["optional-dependencies"])
        return ""

    def _start(self, words: list[str]) -> None:
        self._stop()
        if words == ["make", "demo"]:
            assert "$(BIN)/daemun demo" in (ROOT / "Makefile").read_text()
            words = ["daemun", "demo"]
        assert words[0] == "daemun"
        if words[1] == "demo":
            words = ["daemun", "run", self._demo()]
        self._gateway = subprocess.Popen(
            [sys.executable, "-m", "daemun.cli", *words[1:]],
            cwd=self.folder,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
        )
        assert self._gateway.stdout is not None
        lines = []
        for line in self._gateway.stdout:
            lines.append(line)
            if line.lstrip().startswith("routes"):
                return
        raise AssertionError(f"{' '.join(words)} did not start: {''.join(lines)}")

    def _demo(self) -> str:
        """The demo's folder with other ports; gives its settings file."""
        shutil.copytree(Path(daemun_knative.__file__).parent / "services" / "demo", self.folder / "demo")
        file = self.folder / "demo" / "daemun.yaml"
        file.write_text(f"event_loop: {self._loop}\n{self._with_ports(file.read_text())}")
        return "demo/daemun.yaml"

    def _stop(self) -> None:
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.send_signal(signal.SIGTERM)
            try:
                assert gateway.wait(_PATIENCE_SECONDS) == 0
            finally:
                gateway.kill()
                gateway.wait()
                assert gateway.stdout is not None
                gateway.stdout.close()


def _curl(words: list[str], folder: Path) -> str:
    """What curl prints: the body, with `-i` the head too. Knows `-s`, `-i`, `-X`, `-H`, `-d`,
    `--http2-prior-knowledge`."""
    show_head, method, data, url, http2 = False, "", None, "", False
    headers: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        match word:
            case "-s" | "-i" | "-si":
                show_head = show_head or "i" in word
            case "-X":
                method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                headers[name] = value.strip()
            case "-d":
                data = next(rest)
                if data.startswith("@"):
                    data = (folder / data[1:]).read_text()
            case "--http2-prior-knowledge":
                http2 = True
            case _:
                assert word.startswith("http://"), word
                url = word
    if http2:
        with httpx.Client(http1=False, http2=True, timeout=_PATIENCE_SECONDS) as asking:
            answer = asking.request(method or ("POST" if data else "GET"), url, content=data, headers=headers)
        head = f"HTTP/2 {answer.status_code}\n" + "".join(
            f"{name}: {value}\n" for name, value in answer.headers.items()
        )
        return f"{head}\n{answer.text}" if show_head else answer.text
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with closing(http.client.HTTPConnection(parts.netloc, timeout=_PATIENCE_SECONDS)) as client:
        client.request(method or ("POST" if data else "GET"), target, data, headers)
        response = client.getresponse()
        head = f"HTTP/1.1 {response.status} {response.reason}\n"
        head += "".join(f"{name}: {value}\n" for name, value in response.getheaders())
        body = response.read().decode()
    return f"{head}\n{body}" if show_head else body


def _send(data: bytes, host: str, port: int) -> str:
    with socket.create_connection((host, port), timeout=_PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
    return received.decode()
