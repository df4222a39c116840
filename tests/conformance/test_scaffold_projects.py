"""`daemun plugin new` as an author would use it: each kind of project made, installed, tested, type-checked, and tried.

All projects are installed into one environment. Nothing is downloaded: what they need
is in the environment that the tests run in.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemun.scaffold.kinds import KINDS
from daemun.scaffold.names import project_name
from daemun.scaffold.project import project_files, write_project

from .tools import debian_tool, run_tool

pytestmark = pytest.mark.conformance

_PATIENCE_SECONDS = 60.0
_PORT = re.compile(r"(?<=127\.0\.0\.1:)80\d\d\b")
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

by_kind = pytest.mark.parametrize("kind", [kind.name for kind in KINDS])


class Workshop:
    """An environment with a project of each kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "venv" / "bin"
        self.environment = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "MYPY_CACHE_DIR": str(folder / "types"),
            "NO_COLOR": "1",
        }

    def project(self, kind: str) -> Path:
        """Its folder."""
        return self.folder / f"daemun-new-{kind}"

    def run(self, kind: str, *words: str) -> str:
        """The output of a Python module in a project's folder. Raises `AssertionError` with it if the exit code is not 0."""
        done = subprocess.run(
            [self.programs / "python", "-m", *words],
            cwd=self.project(kind),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Each kind of project, made and installed editable."""
    shop = Workshop(tmp_path_factory.mktemp("workshop"))
    run_tool([sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", "venv"], shop.folder, {})
    (site,) = (shop.folder / "venv").glob("lib/python*/site-packages")
    (site / "tools.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    daemun = shop.programs / "daemun"
    daemun.write_text(f'#!/bin/sh\nexec {shop.programs}/python -m daemun.cli "$@"\n')
    daemun.chmod(0o755)
    for kind in KINDS:
        write_project(shop.project(kind.name), project_files(project_name(f"new-{kind.name}"), kind))
    pip = [sys.executable, "-m", "pip", "--python", str(shop.programs / "python"), "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index"]
    for kind in KINDS:
        pip += ["--editable", str(shop.project(kind.name))]
    run_tool(pip, shop.folder, {})
    return shop


def test_each_is_found_with_what_it_brings(workshop: Workshop) -> None:
    found = {one["name"]: one for one in json.loads(workshop.run("filter", "daemun.cli", "plugins", "--json"))}
    for kind in KINDS:
        plugin = found[f"new-{kind.name}"]
        assert plugin["version"] == "0.1.0"
        assert [thing["name"] for thing in plugin["things"]] == [f"new-{kind.name}"]


@by_kind
def test_its_tests_pass(kind: str, workshop: Workshop) -> None:
    assert " passed" in workshop.run(kind, "pytest", "--quiet")


@by_kind
def test_it_is_typed_and_in_form(kind: str, workshop: Workshop) -> None:
    workshop.run(kind, "mypy", "--strict")
    workshop.run(kind, "ruff", "check", "--no-cache")
    workshop.run(kind, "ruff", "format", "--check", "--no-cache")


@by_kind
def test_the_commands_of_its_readme_print_what_it_says(kind: str, workshop: Workshop, tmp_path: Path) -> None:
    debian_tool("curl", "curl")
    project = workshop.project(kind)
    block = _BLOCK.findall((project / "README.md").read_text())[0]
    with ExitStack() as stack:
        ports = {
            written: stack.enter_context(_held_port()) for written in sorted({*_PORT.findall(block), *_ports(project)})
        }
        for file in (project / "daemun.yaml", project / "routes.txt"):
            if file.exists():
                (tmp_path / file.name).write_text(_with(ports, file.read_text()))
        patient = False
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = _with(ports, part).partition("\n")
            if command.endswith(" &"):
                stack.enter_context(_gateway(workshop, command.removesuffix(" &").split(), tmp_path))
            else:
                _play(workshop, command, expected, tmp_path, patient=patient)
                patient = command.startswith("sleep ")


def _ports(project: Path) -> set[str]:
    return set(_PORT.findall((project / "daemun.yaml").read_text()))


def _with(ports: dict[str, int], text: str) -> str:
    return _PORT.sub(lambda match: str(ports[match[0]]), text)


@contextmanager
def _held_port() -> Iterator[int]:
    """A free port. It stays bound, without listening, so that nobody else is given it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def _gateway(workshop: Workshop, command: list[str], folder: Path) -> Iterator[None]:
    """`daemun run`, until the context is left; it must end well."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=workshop.environment,
        text=True,
        stdout=subprocess.PIPE,
        executable=workshop.programs / command[0],
    ) as gateway:
        try:
            assert gateway.stdout is not None
            assert any(line.lstrip().startswith("routes") for line in gateway.stdout)
            yield
            gateway.send_signal(signal.SIGTERM)
            assert gateway.wait(_PATIENCE_SECONDS) == 0
        finally:
            gateway.kill()


def _play(workshop: Workshop, command: str, expected: str, folder: Path, *, patient: bool) -> None:
    """Runs a command, which must print what is expected; if `patient`, sooner or later: what it waits for was slept for."""
    pattern = ".*?".join(map(re.escape, expected.strip().split("...")))
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=workshop.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        real = (done.stdout or done.stderr).replace("\r", "").strip()
        if re.fullmatch(pattern, real, re.DOTALL):
            return
        assert patient, f"$ {command}\n{real}\n(expected: {expected})"
        assert time.monotonic() < deadline, f"$ {command}\n{real}\n(expected: {expected})"
        time.sleep(0.1)
