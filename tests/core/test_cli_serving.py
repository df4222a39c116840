"""Commands that serve: run with its signals, and one-liners that only write settings."""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import pytest
import yaml
from click.testing import Result

from daemun.process.info import GatewayInfo, ListenerInfo
from daemun.process.log import set_up_log
from daemun.process.serve import print_started
from daemun.settings import Settings, load_settings

Cli = Callable[..., Result]


class Running:
    """`daemun` in a process of its own, ready."""

    def __init__(self, process: subprocess.Popen[str], output: IO[str], log: IO[str]) -> None:
        self.process = process
        self._output = output
        self._log = log
        self.first = output.readline()
        """Its first line of output."""

    @property
    def port(self) -> int:
        return int(json.loads(self.first)["listeners"][0]["url"].rpartition(":")[2])

    def printed_port(self) -> int:
        """The port in its second line."""
        return int(self._output.readline().split()[1].rpartition(":")[2])

    def get(self) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/", headers={"Host": "a.test"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of the output, and the log."""
        code = self.process.wait(timeout=20)
        self._log.seek(0)
        return code, self._output.read(), self._log.read()


@contextmanager
def daemun(*arguments: object) -> Iterator[Running]:
    command = [sys.executable, "-c", "from daemun.cli.main import main; main()", *map(str, arguments)]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            program = Running(process, process.stdout, log)
            assert program.first, program.end()
            yield program
        finally:
            process.kill()


def write(folder: Path, **settings: Any) -> Path:
    file = folder / "daemun.yaml"
    file.write_text(yaml.safe_dump({"listeners": [{"name": "http", "bind": "127.0.0.1:0"}], **settings}))
    return file


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def inline(**route: Any) -> dict[str, Any]:
    return {"sources": [{"type": "inline", "routes": [{"name": "all", **route}]}]}


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_run_serves_reloads_on_sighup_and_drains_on_sigterm(tmp_path: Path) -> None:
    routes = tmp_path / "routes.yaml"
    routes.write_text("routes: [{name: r, respond: {body: one}}]")
    file = write(tmp_path, sources=[{"type": "file", "paths": ["routes.yaml"], "watch": False}])
    with daemun("run", file, "--json") as program:
        info = json.loads(program.first)
        assert (info["routes"], info["refused"]) == (1, 0)
        assert info["listeners"][0]["name"] == "http"
        assert program.get() == (200, b"one")
        routes.write_text("routes: [{name: r, respond: {body: two}}]")
        program.tell(signal.SIGHUP)
        until(lambda: program.get() == (200, b"two"))
        program.tell(signal.SIGTERM)
        code, output, errors = program.end()
    assert (code, output) == (0, "")
    assert "Traceback" not in errors


def test_run_prints_what_listens_where_with_which_plugins_and_how_many_routes(tmp_path: Path) -> None:
    file = write(tmp_path, **inline(respond={}), plugins={"only": ["http1", "file"]})
    with daemun("run", file) as program:
        program.tell(signal.SIGINT)
        code, output, errors = program.end()
    assert code == 0
    assert re.fullmatch(r"daemun \S+ on (uvloop|asyncio), ready in \d+ ms\n", program.first)
    lines = output.splitlines()
    assert re.fullmatch(r"  http       http://127\.0\.0\.1:\d+  http1", lines[0])
    assert lines[1:] == ["  plugins    file, http1", "  routes     1"]
    assert "\x1b" not in program.first + output + errors


def test_a_second_sigint_cuts_off_what_still_runs(tmp_path: Path) -> None:
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", 0))
        upstream.listen()
        source = {
            "type": "inline",
            "backends": {"up": {"endpoints": [f"http://127.0.0.1:{upstream.getsockname()[1]}"]}},
            "routes": [{"name": "all", "to": "up"}],
        }
        file = write(tmp_path, sources=[source], drain={"grace_seconds": 60})
        with daemun("run", file, "--json") as program, socket.create_connection(("127.0.0.1", program.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            accepted, _ = upstream.accept()
            with accepted:
                program.tell(signal.SIGINT)
                until(lambda: refuses(program.port))
                assert program.process.poll() is None
                program.tell(signal.SIGINT)
                code, _, errors = program.end()
    assert code == 0
    assert "1 connection was cut off" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("command", [["run"], ["--log-level", "error", "run"]])
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listeners": []}, "$.listeners: no listener: nothing would be served"),
        ({"listeners": [{"name": "a", "bind": "nowhere"}]}, "listener a cannot bind nowhere"),
        ({"sources": [{"type": "fil"}]}, "unknown source 'fil'"),
    ],
)
def test_run_that_cannot_start_exits_1(
    cli: Cli, tmp_path: Path, settings: dict[str, Any], words: str, command: list[str]
) -> None:
    result = cli(*command, write(tmp_path, **settings))
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_reverse_proxy_serves(tmp_path: Path) -> None:
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    with socket.socket() as upstream:
        upstream.bind(("127.0.0.1", 0))
        upstream.listen()
        to = f"http://127.0.0.1:{upstream.getsockname()[1]}"
        with (
            daemun("reverse-proxy", "--listen", "127.0.0.1:0", "--to", to) as program,
            socket.create_connection(("127.0.0.1", program.printed_port())) as client,
        ):
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n")
            accepted, _ = upstream.accept()
            with accepted:
                assert accepted.recv(65536).startswith(b"GET /x HTTP/1.1\r\nhost: a.test\r\n")
                accepted.sendall(body)
                response = http.client.HTTPResponse(client)
                response.begin()
                assert (response.status, response.read()) == (200, b"ok")
            program.tell(signal.SIGTERM)
            assert program.end()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "endpoints"),
    [
        (["--to", "http://127.0.0.1:9000"], ["http://127.0.0.1:9000"]),
        (["--to", "http://a:1", "--to", "unix:/run/b.sock"], ["http://a:1", "unix:/run/b.sock"]),
        (["--to", "https://a", "--listen", "unix:/run/d.sock"], ["https://a"]),
    ],
)
def test_the_settings_of_a_reverse_proxy_can_be_loaded(
    cli: Cli, tmp_path: Path, arguments: list[str], endpoints: list[str]
) -> None:
    result = cli("reverse-proxy", *arguments, "--print-settings")
    assert result.exit_code == 0
    file = tmp_path / "s.yaml"
    file.write_text(result.stdout)
    settings = load_settings(file)
    assert settings.listeners[0].bind == ("unix:/run/d.sock" if "--listen" in arguments else "127.0.0.1:8080")
    assert settings.sources[0]["backends"]["upstream"]["endpoints"] == endpoints
    assert cli("check", "-s", file).exit_code == 0
    explained = cli("explain", "GET", "http://any.test/at/all", "-s", file)
    assert "all wins" in explained.stdout
    assert "forward upstream" in explained.stdout


def test_the_settings_of_a_reverse_proxy_with_tls(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pem", "a.key"):
        (tmp_path / name).touch()
    to = ["reverse-proxy", "--to", "http://a", "--print-settings"]
    result = cli(*to, "--tls-cert", "a.pem", "--tls-key", "a.key")
    tls = msgspec.convert(yaml.safe_load(result.stdout), Settings).listeners[0].tls
    assert tls is not None
    assert (tls.certificate, tls.key) == (str(tmp_path / "a.pem"), str(tmp_path / "a.key"))
    for alone in (["--tls-cert", "a.pem"], ["--tls-key", "a.key"]):
        result = cli(*to, *alone)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "--tls-cert and --tls-key go together" in result.stderr
    assert cli(*to, "--tls-cert", "none.pem", "--tls-key", "a.key").exit_code == 2


def test_the_settings_of_a_file_server_can_be_loaded(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "www").mkdir()
    result = cli("file-server", "--root", "www", "--listen", "[::1]:8081", "--print-settings")
    assert result.exit_code == 0
    file = tmp_path / "s.yaml"
    file.write_text(result.stdout)
    settings = load_settings(file)
    assert settings.listeners[0].bind == "[::1]:8081"
    assert settings.sources[0]["backends"]["files"]["settings"]["root"] == str(tmp_path / "www")
    assert cli("check", "-s", file).exit_code == 0
    assert "forward files" in cli("explain", "GET", "a.test", "-s", file).stdout


def test_refused_objects_are_pointed_at_on_start(capsys: pytest.CaptureFixture[str]) -> None:
    listeners = (ListenerInfo("a", "http://127.0.0.1:1", ("http1",)),)
    print_started(GatewayInfo("1", listeners, ("http1",), 3, 2, "asyncio", 0.1), 0.25)
    printed = capsys.readouterr().out
    assert printed.startswith("daemun 1 on asyncio, ready in 250 ms\n")
    assert "routes     3, 2 objects refused (see `daemun check`)\n" in printed


def test_the_log_is_coloured_only_on_a_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del cli  # it puts the log back
    monkeypatch.delenv("NO_COLOR", raising=False)
    for terminal, no_color, coloured in ((True, "", True), (False, "", False), (True, "1", False)):
        if no_color:
            monkeypatch.setenv("NO_COLOR", no_color)
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        set_up_log("info")
        logging.getLogger("daemun.test").warning("careful")
        logging.getLogger("daemun.test").debug("hidden")
        line = capsys.readouterr().err
        assert ("\x1b[33m" in line) is coloured
        assert "WARNING daemun.test: careful" in line
        assert "hidden" not in line
    assert os.environ["NO_COLOR"] == "1"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_gateway_that_still_waits_for_a_source_ends_with_the_first_signal(tmp_path: Path, workers: int) -> None:
    (tmp_path / "patient-1.0.dist-info").mkdir()
    (tmp_path / "patient-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: patient\nVersion: 1.0\n")
    (tmp_path / "patient-1.0.dist-info" / "entry_points.txt").write_text("[daemun]\npatient = patient_module\n")
    (tmp_path / "patient_module.py").write_text(
        "import math, sys\nfrom contextlib import asynccontextmanager\nimport anyio\n"
        "from daemun import NoSettings, SourceType, hookimpl\n"
        "class Waits:\n"
        "    async def run(self, publish):\n"
        "        print('waits', file=sys.stderr, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "    def reload(self): pass\n"
        "@asynccontextmanager\nasync def build(settings, context):\n    yield Waits()\n"
        "@hookimpl\ndef daemun_sources(): return [SourceType('waits', NoSettings, build, math.inf)]\n"
    )
    file = tmp_path / "daemun.yaml"
    listener = {"name": "http", "bind": "127.0.0.1:0"}
    file.write_text(yaml.safe_dump({"listeners": [listener], "sources": [{"type": "waits"}], "workers": workers}))
    command = [sys.executable, "-m", "daemun.cli", "run", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        assert any(line == "waits\n" for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert "Traceback" not in process.stderr.read()
