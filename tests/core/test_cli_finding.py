"""What `daemun bench` and `daemun run --dev` take for a plugin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from daemun import PluginError
from daemun.cli import finding
from daemun.cli.finding import find_plugin


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a project with one plugin, `knocking`, and another with two, as pip installs them for editing."""
    points = {}
    for name, folder in (("knocking", "one"), ("ringing", "two"), ("calling", "two")):
        file = tmp_path / folder / "src" / f"daemun_{name}" / "__init__.py"
        file.parent.mkdir(parents=True)
        file.write_text("raise AssertionError('it is looked for, not imported')\n")
        monkeypatch.syspath_prepend(file.parents[1])
        points[name] = EntryPoint(name, f"daemun_{name}", "daemun")
    monkeypatch.setattr(finding, "installed", lambda: points)
    monkeypatch.chdir(tmp_path / "one")
    yield tmp_path
    assert not any(name in sys.modules for name in ("daemun_knocking", "daemun_ringing", "daemun_calling"))


@pytest.mark.parametrize("word", ["knocking", "daemun_knocking", ".", "./src", "../one", "../one/"])
def test_an_installed_plugin_is_found_by_its_name_its_module_and_its_folder(project: Path, word: str) -> None:
    found = find_plugin(word)
    assert (found.name, found.module, found.where) == ("knocking", None, "installed, daemun_knocking")


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("../two", "2 plugins are in this folder (accepted: ringing, calling)"),
        (
            "/dev",
            "it has no __init__.py, and no installed plugin is in it (accepted: a .py file, the folder of a package)",
        ),
        ("./nowhere.py", "there is no such file (accepted: a .py file, the folder of a package)"),
        ("./nowhere", "there is no such file (accepted: a .py file, the folder of a package)"),
        ("daemun", "it is the gateway itself (accepted: a plugin)"),
        ("daemun.cli", "it is the gateway itself (accepted: a plugin)"),
        ("knoking", "did you mean 'knocking'? (installed: calling, knocking, ringing; accepted besides: a module"),
    ],
)
def test_what_is_no_plugin_is_told_what_would_be_one(project: Path, word: str, words: str) -> None:
    with pytest.raises(PluginError) as raised:
        find_plugin(word)
    assert words in str(raised.value)
