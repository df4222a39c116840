"""`daemun plugin new`: what it writes for each kind, what it calls it, and what it refuses.

That the projects work is seen in `tests/conformance/test_scaffold_projects.py`.
"""

from __future__ import annotations

import importlib.metadata
import json
import keyword
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

import daemun
from daemun import SettingsError
from daemun.extend.loading import load_plugins
from daemun.extend.registry import Registry
from daemun.scaffold.kinds import KINDS, PluginKind, kind_named
from daemun.scaffold.names import project_name
from daemun.scaffold.project import project_files, write_project

Cli = Callable[..., Result]

LONGEST = "abcdefghijklmnopqrstuvwx"
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
COMMON = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "CHANGELOG.md",
    "README.md",
    "daemun.yaml",
    "pyproject.toml",
    "src/daemun_knock/__init__.py",
    "src/daemun_knock/py.typed",
    "tests/conftest.py",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def texts_of(kind: PluginKind, name: str = "knock") -> dict[str, str]:
    return {str(path): text for path, text in project_files(project_name(name), kind).items()}


# --- what is written ---


@by_kind
def test_a_project_is_complete_and_filled_in(kind: PluginKind) -> None:
    texts = texts_of(kind)
    module = kind.name.replace("-", "_")
    own = {"downstream", "upstream"} if kind.name == "protocol" else {module}
    assert COMMON | {f"src/daemun_knock/{one}.py" for one in own} | {f"tests/test_{module}.py"} <= set(texts)
    has_settings = kind.name not in ("dialect", "command")
    assert ("src/daemun_knock/settings.py" in texts) == has_settings
    for path, text in texts.items():
        assert "@@" not in text, path
        assert text.endswith("\n") or path.endswith("py.typed"), path
        if path.endswith(".py"):
            compile(text, path, "exec")
            assert "daemun." not in text.replace("daemun.testing", "").replace("daemun.yaml", "").replace(
                '"daemun.', ""
            ), path


@by_kind
def test_its_data_can_be_read(kind: PluginKind) -> None:
    texts = texts_of(kind)
    project = tomllib.loads(texts["pyproject.toml"])
    assert project["project"]["name"] == "daemun-knock"
    assert project["project"]["entry-points"]["daemun"] == {"knock": "daemun_knock"}
    assert kind.does in project["project"]["description"]
    assert yaml.safe_load(texts["daemun.yaml"])["listeners"]
    assert "test" in yaml.safe_load(texts[".github/workflows/ci.yml"])["jobs"]


def test_every_kind_that_plugins_register_has_a_project() -> None:
    registry = Registry(load_plugins(only=[]))
    kinds = {name for name, value in vars(registry).items() if type(value).__name__ == "Kind"}
    assert {kind.registered for kind in KINDS} == kinds - {"checks"}
    templates = {folder.name for folder in (files("daemun.scaffold") / "templates").iterdir()}
    assert templates == {kind.name for kind in KINDS} | {"common"}


def test_whatever_a_plugin_is_called_its_code_is_in_form(tmp_path: Path) -> None:
    for kind in KINDS:
        for name in ("z", "access-log_2", LONGEST):
            write_project(tmp_path / f"{kind.name}-{name}", project_files(project_name(name), kind))
    for words in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_of_a_project_pass(tmp_path: Path) -> None:
    write_project(tmp_path / "knock", project_files(project_name("knock"), kind_named("filter")))
    fixtures = any(point.name == "daemun" for point in importlib.metadata.entry_points(group="pytest11"))
    pytest_ = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    pytest_ += [] if fixtures else ["-p", "daemun_pytest"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        pytest_, cwd=tmp_path / "knock", env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


# --- what is said ---


def test_it_shows_what_it_made_and_what_comes_next(cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", "knock", "--kind", "filter")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "daemun-knock: a filter that limits how many requests a client may make"
    assert "  pyproject.toml" in lines
    assert lines[lines.index("    daemun_knock/") + 1] == "      __init__.py"
    assert lines[-4:] == ["next:", "  cd daemun-knock", "  python -m pip install --editable '.[dev]'", "  pytest"]
    assert {str(path) for path in texts_of(kind_named("filter"))} == {
        str(path.relative_to(here / "daemun-knock")) for path in (here / "daemun-knock").rglob("*") if path.is_file()
    }


def test_programs_get_json(cli: Cli, here: Path) -> None:
    told = json.loads(cli("plugin", "new", "hash-it", "--kind", "balancer", "--into", "made/here", "--json").stdout)
    assert told["files"] == sorted(told["files"])
    assert all((here / told["folder"] / file).is_file() for file in told["files"])
    assert {key: told[key] for key in ("name", "kind", "module", "project", "folder")} == {
        "name": "hash-it",
        "kind": "balancer",
        "module": "daemun_hash_it",
        "project": "daemun-hash-it",
        "folder": "made/here",
    }
    assert told["next"][0] == "cd made/here"


def test_an_empty_folder_will_do(cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", "knock", "--kind", "command", "--into", ".")
    assert result.exit_code == 0
    assert (here / "pyproject.toml").is_file()
    assert "  cd " not in result.stdout


# --- what is refused ---


@pytest.fixture(params=["file in it", "file", "link to nothing"])
def taken(request: pytest.FixtureRequest, here: Path) -> Iterator[Path]:
    """A place where something is, which must be as it was in the end."""
    place = here / "daemun-knock"
    match request.param:
        case "file in it":
            place.mkdir()
            (place / "pyproject.toml").write_text("mine")
        case "file":
            place.write_text("mine")
        case _:
            place.symlink_to("nowhere")
    before = sorted(str(path) for path in here.rglob("*"))
    yield place
    assert sorted(str(path) for path in here.rglob("*")) == before


def test_nothing_is_overwritten(cli: Cli, taken: Path) -> None:
    result = cli("plugin", "new", "knock", "--kind", "filter")
    assert result.exit_code == 1
    assert "daemun-knock: there is something already, and nothing is overwritten" in result.stderr


def test_a_folder_that_cannot_be_made_is_an_error(cli: Cli, here: Path) -> None:
    (here / "file").write_text("")
    result = cli("plugin", "new", "knock", "--kind", "filter", "--into", here / "file" / "below")
    assert result.exit_code == 1
    assert "file/below: cannot be written: not a directory" in result.stderr


@pytest.mark.parametrize(
    "name", ["", "2fa", "a b", "a.b", "a/b", "-a", "a-", "a--b", "é", "a\n", "Quota", LONGEST + "y", ".."]
)
def test_a_bad_name_is_wrong_usage(name: str, cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", "--kind", "filter", "--", name)
    assert result.exit_code == 2
    assert "(accepted: lower-case letters, digits, - and _ between them" in " ".join(result.stderr.split())
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"), [("daemun-knock", "accepted: 'knock'"), ("queue", "module of the standard library")]
)
def test_a_name_that_misleads_is_wrong_usage(name: str, words: str, cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", name, "--kind", "filter")
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


def test_an_unknown_kind_is_wrong_usage(cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", "knock", "--kind", "filters")
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "unknown kind of plugin 'filters'; did you mean 'filter'? (accepted: filter, source, protocol" in said
    result = cli("plugin", "new", "knock")
    assert result.exit_code == 2
    assert "which kind of plugin? (accepted: filter, source, protocol" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("http1", "filter", "plugin http1: it is installed, as the module daemun_http1"),
        ("pytest", "filter", "plugin pytest: there is a module daemun_pytest already"),
        ("grpc-web", "filter", "plugin grpc-web: plugin grpc brings a filter of this name"),
        ("least_requests", "balancer", "plugin daemun brings a balancer of this name"),
        ("run", "command", "`daemun run` is daemun's own"),
    ],
)
def test_a_name_that_is_taken_is_an_error(name: str, kind: str, words: str, cli: Cli, here: Path) -> None:
    result = cli("plugin", "new", name, "--kind", kind)
    assert result.exit_code == 1
    assert words in result.stderr
    assert list(here.iterdir()) == []


@given(st.text(max_size=30) | st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,25}", fullmatch=True))
def test_a_name_is_refused_or_good_for_everything(text: str) -> None:
    try:
        name = project_name(text)
    except SettingsError as error:
        assert "accepted: " in str(error)
        return
    assert name.plugin == text
    assert name.module.isidentifier()
    assert name.module == name.module.lower()
    assert f"{name.camel}Settings".isidentifier()
    assert name.camel[0].isupper()
    assert not keyword.iskeyword(name.module)
    assert f"{name.camel}Source" not in daemun.__all__
    assert name.project == name.module.replace("_", "-")


def test_the_document_names_every_kind() -> None:
    text = (Path(__file__).parents[2] / "plugins" / "README.md").read_text()
    _, _, section = text.partition("\n## A new plugin in one command\n")
    words = section.partition("\n## ")[0].partition("KIND is ")[2]
    assert all(f"`{kind.name}`" in words for kind in KINDS)
