"""Distributions that somebody else could have written: installed from their folders, tested, typed, served."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
NAMES = sorted(path.parent.name for path in HERE.glob("*/pyproject.toml"))
PUBLIC = {"daemun", "daemun.testing", "daemun.testing.batteries"}

by_name = pytest.mark.parametrize("name", NAMES)


class Installed:
    """A folder that holds the distributions as pip installs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "COLUMNS": "300"}

    def run(
        self, *command: str, cwd: Path, environment: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What a module says that is run in this environment. Fails if it does."""
        result = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=environment or self.environment,
            capture_output=True,
            text=True,
            timeout=170,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result

    def source(self, name: str) -> Path:
        """A copy of the distribution's folder, without what it installs."""
        return self.folder / name


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    one = Installed(tmp_path_factory.mktemp("strangers"))
    for name in NAMES:
        shutil.copytree(HERE / name, one.folder / name)
    folders = [str(one.folder / name) for name in NAMES]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    one.run("pip", "install", *options, "--target", str(one.folder / "site"), *folders, cwd=one.folder)
    return one


def entry_point(name: str) -> tuple[str, str]:
    """Name of the plugin, and its module."""
    project = tomllib.loads((HERE / name / "pyproject.toml").read_text())["project"]
    ((plugin, module),) = project["entry-points"]["daemun"].items()
    return plugin, module


BROUGHT = {"daemun", "anyio", "click", "msgspec"}
"""What is there where daemun is."""


@by_name
def test_what_its_code_and_its_tests_import_is_declared(name: str) -> None:
    project = tomllib.loads((HERE / name / "pyproject.toml").read_text())["project"]
    needs, extras = project["dependencies"], project["optional-dependencies"]["dev"]
    words = {re.split(r"[\[<>=]", one)[0].replace("-", "_") for one in (*needs, *extras)}
    code = {path.stem for path in (HERE / name).rglob("*.py")} | {path.name for path in (HERE / name).glob("src/*")}
    for path in (HERE / name).glob("tests/*.py"):
        roots = {one.partition(".")[0] for one in imported(path)}
        assert roots <= words | BROUGHT | code | set(sys.stdlib_module_names), path


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""


@by_name
def test_it_imports_public_names_only(name: str) -> None:
    _, module = entry_point(name)
    for path in (HERE / name).rglob("*.py"):
        ours = {one for one in imported(path) if one.split(".")[0].startswith("daemun")}
        assert {one for one in ours if one.split(".")[0] != module} <= PUBLIC, path


def test_there_is_one_of_each_kind(installed: Installed) -> None:
    plugins = [entry_point(name)[0] for name in NAMES]
    rows = json.loads(installed.run("daemun.cli", "plugins", *plugins, "--json", cwd=installed.folder).stdout)
    kinds = {thing["kind"] for row in rows for thing in row["things"]}
    assert kinds == {
        *("filter", "source", "protocol", "dialect", "backend", "activator", "balancer", "observer", "command"),
    }
    assert {row["version"] for row in rows} == {"1.0"}


@pytest.mark.conformance
@by_name
def test_its_own_tests_pass(installed: Installed, name: str) -> None:
    result = installed.run("pytest", "-q", "-p", "no:cacheprovider", cwd=installed.source(name))
    assert re.search(r"^\d+ passed", result.stdout, re.MULTILINE), result.stdout


@pytest.mark.conformance
def test_they_are_typed(installed: Installed) -> None:
    modules = [option for name in NAMES for option in ("-p", entry_point(name)[1])]
    environment = {**installed.environment, "MYPYPATH": str(installed.folder / "site")}
    installed.run("mypy", "--strict", "--no-incremental", *modules, cwd=installed.folder, environment=environment)


@pytest.mark.conformance
@by_name
def test_the_settings_of_its_readme_are_accepted(installed: Installed, name: str) -> None:
    folder = installed.source(name)
    (block,) = re.findall(r"^```yaml\n(.*?)^```", (folder / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (folder / "daemun.yaml").write_text(block)
    assert yaml.safe_load(block)["listeners"]
    if name == "sqlite-routes":
        import sqlite3

        with sqlite3.connect(folder / "routes.db") as database:
            database.execute("CREATE TABLE IF NOT EXISTS routes (host TEXT, path TEXT, address TEXT)")
        database.close()
    result = installed.run("daemun.cli", "check", "-s", "daemun.yaml", cwd=folder)
    assert re.search(r"\d+ objects?, all good", result.stdout), result.stdout


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("thing", "settings"),
    [
        ("dialect:graphql", {}),
        ("balancer:near", {"near": {"networks": ["10.0.0.0/8"]}}),
        ("protocol:fastcgi", {}),
        ("command:nftables", {}),
        ("observer:statsd", {}),
    ],
)
def test_the_battery_runs_from_the_command_line(
    installed: Installed, thing: str, settings: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    options = [f"--daemun-conformance={thing}", "--daemun-settings", "settings.yaml", "-p", "no:cacheprovider"]
    result = installed.run("pytest", "-q", *options, cwd=tmp_path)
    assert re.search(r"^\d+ passed", result.stdout, re.MULTILINE), result.stdout
