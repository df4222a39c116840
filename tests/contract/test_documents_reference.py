"""References agree with the code: hooks, reasons, settings, commands, maps of packages, the changelog."""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from daemun import Reason
from daemun.cli.main import main as daemun
from daemun.extend.loading import installed, load_plugins
from daemun.extend.registry import Registry
from daemun.settings import Settings
from daemun.testing import running
from daemun.upstream.backend import EndpointsSettings
from daemun.upstream.health import HealthSettings
from daemun.upstream.health_http import HttpHealthSettings
from daemun_http1 import Http1Settings

from .documents import READMES, ROOT, generated
from .fields import nested, rows
from .generate import PARTS, hook_signatures, own_plugins

CORE = (ROOT / "core" / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
SOURCES = [path for root in ("core", "protocols", "plugins", "contrib") for path in (ROOT / root).rglob("*.py")]


@pytest.mark.parametrize(("document", "name", "part"), [(*key, part) for key, part in PARTS.items()])
def test_generated_parts_are_what_the_code_says(document: str, name: str, part: Callable[[], str]) -> None:
    assert generated(ROOT / document)[name] == part(), "run: python -m tests.contract.generate"


def test_every_mark_of_a_generated_part_is_known() -> None:
    marked = {(str(readme.relative_to(ROOT)), name) for readme in READMES for name in generated(readme)}
    assert marked == set(PARTS)


def test_every_hook_is_a_heading_with_its_signature() -> None:
    headings = re.findall(r"^#+ `(daemun_\w+\(.*)`$", CORE, re.MULTILINE)
    assert headings == list(hook_signatures().values())
    assert "daemun_filters() -> Iterable[FilterType]" in headings


def test_the_changelog_names_every_hook_with_its_arguments() -> None:
    section = CHANGELOG.partition("### Hooks")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(daemun_\w+(?:\([^`]*\))?)`", section))
    wanted = {re.sub(r": \w+|\(\)$", "", signature.partition(" -> ")[0]) for signature in hook_signatures().values()}
    assert {name.removesuffix("()") for name in named} == wanted


def test_the_changelog_names_every_command() -> None:
    assert [name for name in daemun.list_commands(click.Context(daemun)) if f"`{name}`" not in CHANGELOG] == []


def test_every_reason_is_in_the_table_of_errors() -> None:
    found = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (\w+) \| (?=\S)", CORE, re.MULTILINE)
    assert found == [(reason.value, str(reason.status), reason.side.value) for reason in Reason]


def test_exit_codes_are_those_of_the_help() -> None:
    words = " ".join((daemun.help or "").split()).partition("Exit codes: ")[2].rstrip(".")
    codes = re.findall(r"(\d) ([\w, ]+?)(?:, (?=\d)|$)", words)
    assert [code for code, _ in codes] == ["0", "1", "2"]
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert all(f"{code} {meaning}" in readme for code, meaning in codes)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


# --- settings ---


def _registered() -> Iterator[tuple[str, str, type[msgspec.Struct]]]:
    registry = Registry(load_plugins(only=own_plugins()))
    for things in registry.kinds.values():
        for name, plugin in things.items().items():
            settings = getattr(things.get(name), "settings", None)
            if settings is not None and plugin != "daemun":
                yield name, plugin, settings


REGISTERED = list(_registered())


@pytest.mark.parametrize(("name", "plugin", "settings"), REGISTERED, ids=[name for name, _, _ in REGISTERED])
def test_every_setting_stands_in_the_readme_of_its_plugin(name: str, plugin: str, settings: type[Any]) -> None:
    (folder,) = ROOT.glob(f"*/{installed()[plugin].value}")
    text = (folder / "README.md").read_text()
    code = " ".join(re.findall(r"`([^`\n]+)`", text))
    keys = {field.encode_name for kind in nested(settings) for field in msgspec.structs.fields(kind)}
    assert {key for key in keys if not re.search(rf"(?<!\w){re.escape(key)}(?!\w)", code)} == set()


@pytest.mark.parametrize("settings", [Settings, EndpointsSettings, HealthSettings, HttpHealthSettings, Http1Settings])
def test_every_setting_of_the_core_is_described(settings: type[msgspec.Struct]) -> None:
    for kind in nested(settings):
        assert rows(kind)


# --- HTTP/1 refuses what its README says ---


def _refused() -> list[tuple[str, list[str]]]:
    text = (ROOT / "protocols" / "daemun_http1" / "README.md").read_text()
    found = re.findall(r"^\| `(\S+ \S+ HTTP/\d\.\d.*?)` \| (\d{3}(?: or \d{3})?) \| ", text, re.MULTILINE)
    return [(request, answer.split(" or ")) for request, answer in found]


REFUSED = _refused()


def test_the_table_of_refused_requests_is_read() -> None:
    assert len(REFUSED) > 15


@pytest.mark.anyio
async def test_what_is_refused_is_answered_as_its_table_says(codec: str) -> None:
    source = {"type": "inline", "routes": [{"name": "all", "respond": {"body": "taken"}}]}
    async with running({"sources": [source], "protocols": {"http1": {"codec": codec}}}) as gateway:
        for request, answers in REFUSED:
            lines = request.split("⏎")
            if not any(line.startswith("Host:") for line in lines):
                lines.append("Host: a.test")
            received = await gateway.exchange("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            assert received[9:12].decode() in answers, request


# --- modules ---


PACKAGES = [path for path in SOURCES if path.name == "__init__.py" and path.parent.name != "daemun"]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.name)
def test_the_docstring_of_a_package_names_its_modules(package: Path) -> None:
    words = set(re.findall(r"[\w*]+", ast.get_docstring(ast.parse(package.read_text())) or ""))
    inside = [path for path in package.parent.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    names = {path.stem for path in inside} - {"__init__", "__main__"}
    patterns = [word for word in words if "*" in word]
    assert {name for name in names - words if not any(fnmatch.fnmatch(name, one) for one in patterns)} == set()


def test_what_is_imported_is_what_pip_installs() -> None:
    """`pip install daemun` must bring every module that is imported without a condition."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=\[;]", line)[0].lower() for line in project["dependencies"]}
    optional = {
        "httptools",
        "uvloop",
        "trio",
        "prometheus_client",
        "httpcore",
        "httpx",
        "lxml",
        "pytest",
        "PyInstaller",
        "xmlschema",
    }
    own = {path.name for root in ("core", "protocols", "plugins", "contrib") for path in (ROOT / root).iterdir()}
    homes = packages_distributions()
    missing = set()
    for path in SOURCES:
        for module in _imports(path):
            if module not in sys.stdlib_module_names and module not in own and module not in optional:
                missing |= {module for home in homes.get(module, [module]) if home.lower() not in needed}
    assert missing == set()


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
