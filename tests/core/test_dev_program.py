"""`daemun run --dev` as a program: an edit, and the next request has the new code."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from daemun.testing.program import logged, soon

PLUGIN = """
from contextlib import asynccontextmanager

from daemun import BackendType, Buffered, NoSettings, Response, hookimpl


@asynccontextmanager
async def build(settings, context):
    async def handle(request):
        return Response(200, (), Buffered(b"one"))

    yield handle


@hookimpl
def daemun_backends():
    return [BackendType("mine", NoSettings, build)]
"""
SETTINGS = """
listeners: [{name: web, bind: "127.0.0.1:0"}]
workers: 2
plugins: {only: [http1, file]}
sources:
  - type: inline
    backends: {mine: {type: mine}}
    routes: [{name: all, to: mine}]
"""


def test_an_edit_is_served(tmp_path: Path) -> None:
    (tmp_path / "daemun.yaml").write_text(SETTINGS)
    file = tmp_path / "my_backend.py"
    file.write_text(PLUGIN)
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # a cache of bytecode is what may be wrong
    command = [sys.executable, "-m", "daemun.cli", "run", "--json", "--dev", "my_backend"]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=tmp_path, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            info = json.loads(process.stdout.readline())
            assert info["workers"] == []
            port = int(info["listeners"][0]["url"].rpartition(":")[2])

            def get() -> bytes:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                try:
                    connection.request("GET", "/")
                    return connection.getresponse().read()
                finally:
                    connection.close()

            assert get() == b"one"
            file.write_text(PLUGIN.replace("one", "two"))
            soon(lambda: get() == b"two")
            file.write_text(PLUGIN.replace("yield", "yeld"))
            soon(lambda: "not reloaded, generation 2 stays in use\n  my_backend.py:12\n" in logged(log))
            assert get() == b"two"
            file.write_text(PLUGIN.replace("one", "six"))
            soon(lambda: get() == b"six")
            soon(lambda: "my_backend: good again, generation 3 after " in logged(log))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
        assert logged(log).startswith(
            "workers: 2 in daemun.yaml, and 1 with --dev\nmy_backend: reloaded on save (my_backend.py)\n"
        )
        assert "Traceback" not in logged(log)


def test_a_plugin_that_cannot_be_imported_at_first_is_shown_with_its_line(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "daemun.yaml").write_text(SETTINGS)
    (tmp_path / "breaks.py").write_text("import json\n\nx = json.nothing\n")
    done = cli("run", "--dev", "breaks.py")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "  breaks.py:3\n     3 | x = json.nothing\ndaemun: plugin breaks: its import failed: "
    )


def test_a_plugin_that_nobody_knows_is_said_so(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "daemun.yaml").write_text(SETTINGS)
    done = cli("run", "--dev", "no_such_plugin")
    assert done.exit_code == 1
    assert "plugin no_such_plugin: neither installed nor a module that can be imported from here" in done.stderr
