"""Finding plugins: what is installed, what is blocked, and what is wrong with one, in words."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from daemun import PluginError, hookimpl
from daemun.extend.loading import GROUP, installed, load_plugins
from daemun.extend.places import at
from daemun.testing import make_plugin

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterable[Install]:
    """Installs a distribution with one plugin, for the duration of a test."""
    modules: list[str] = []

    def add(name: str, source: str = "", *, module: str = "", distribution: str = "", extra: str = "") -> None:
        module = module or f"daemun_test_{name}"
        info = tmp_path / f"{distribution or module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution or module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {module}{f' [{extra}]' if extra else ''}\n")
        (tmp_path / f"{module}.py").write_text(source)
        modules.append(module)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield add
    for module in modules:
        sys.modules.pop(module, None)


WORKING = """
from daemun import NoSettings, FilterType, hookimpl

@hookimpl
def daemun_filters():
    return [FilterType("shiny", NoSettings, None)]
"""


def names(manager: Any) -> list[str]:
    return sorted(name for name, _ in manager.list_name_plugin())


def test_what_ships_is_found_by_the_same_entry_points_as_a_strangers(install: Install) -> None:
    install("shiny", WORKING)
    points = installed()
    assert {"http1", "file", "static", "process", "knative", "shiny"} <= set(points)
    assert points["shiny"].value == "daemun_test_shiny"


def test_everything_that_is_installed_is_loaded(install: Install) -> None:
    install("shiny", WORKING)
    assert {"http1", "file", "shiny"} <= set(names(load_plugins()))


def test_only_those_that_are_asked_for(install: Install) -> None:
    install("shiny", WORKING)
    assert names(load_plugins(only=["shiny", "http1"])) == ["http1", "shiny"]
    assert names(load_plugins(only=[])) == []


def test_a_blocked_plugin_is_not_even_imported(install: Install) -> None:
    install("dangerous", "raise SystemExit('imported')")
    manager = load_plugins(block=["dangerous"])
    assert "dangerous" not in names(manager)
    assert "daemun_test_dangerous" not in sys.modules
    assert names(load_plugins(block=["dangerous", "file"], only=["http1", "file"])) == ["http1"]


@pytest.mark.parametrize("how", [{"block": ["nobody"]}, {"only": ["http1", "nobody"]}])
def test_a_name_that_nobody_has_is_told_with_what_there_is(how: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match=r"plugin nobody: not installed; installed are: .*file.*http1") as raised:
        load_plugins(**how)
    assert raised.value.plugin == "nobody"


def test_a_missing_module_is_told_with_the_extra_that_brings_it(install: Install) -> None:
    install("needy", "import module_that_nobody_has", distribution="needy-dist", extra="more")
    with pytest.raises(PluginError) as raised:
        load_plugins(only=["needy"])
    assert str(raised.value) == (
        "plugin needy: needs the module module_that_nobody_has, which is not installed (pip install 'needy-dist[more]')"
    )


def test_a_missing_module_without_an_extra(install: Install) -> None:
    install("needy", "import module_that_nobody_has")
    with pytest.raises(PluginError, match=r"needs the module module_that_nobody_has, which is not installed$"):
        load_plugins(only=["needy"])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import json\njson.loads('{')", "JSONDecodeError: Expecting property name .*"),
        ("from daemun import NoSuchName", "ImportError: cannot import name 'NoSuchName' .*"),
        ("import daemun_test_broken.settings", "ModuleNotFoundError: No module named 'daemun_test_broken.settings'.*"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def :", "SyntaxError: [a-z ]+"),
    ],
)
def test_an_import_that_fails_is_told_with_file_and_line(
    install: Install, tmp_path: Path, source: str, words: str
) -> None:
    install("broken", source)
    where = f"{tmp_path / 'daemun_test_broken.py'}:{len(source.splitlines())}"
    with pytest.raises(PluginError, match=f"^plugin broken: its import failed: {words} at {where}$"):
        load_plugins(only=["broken"])


def test_two_distributions_with_one_name_are_told_apart(install: Install) -> None:
    install("twin", WORKING, module="daemun_test_one", distribution="one")
    install("twin", WORKING, module="daemun_test_two", distribution="two")
    with pytest.raises(PluginError, match="plugin twin: the name stands for daemun_test_") as raised:
        load_plugins(only=["http1"])
    assert "daemun_test_one" in str(raised.value)
    assert "daemun_test_two" in str(raised.value)


def test_a_misspelt_hook_fails_at_start_and_names_the_plugin() -> None:
    plugin = make_plugin("sloppy", daemun_filtres=lambda: ())
    with pytest.raises(PluginError) as raised:
        load_plugins(only=[], extra=[plugin])
    assert raised.value.plugin == "sloppy"
    words = f"plugin sloppy: unknown hook 'daemun_filtres'{at(plugin.daemun_filtres)}; did you mean 'daemun_filters'?"
    assert str(raised.value).startswith(f"{words} (hooks are: daemun_protocols, ")


def test_a_misspelt_argument_fails_at_start_and_names_the_plugin() -> None:
    plugin = make_plugin("sloppy", daemun_route_filters=lambda rout: [])
    with pytest.raises(PluginError) as raised:
        load_plugins(only=[], extra=[plugin])
    assert raised.value.plugin == "sloppy"
    assert str(raised.value) == (
        f"plugin sloppy: daemun_route_filters{at(plugin.daemun_route_filters)} has no argument 'rout'; did you mean "
        "'route'? (accepted: route)"
    )


def test_an_argument_where_there_is_none_is_told() -> None:
    plugin = make_plugin("sloppy", daemun_filters=lambda context: [])
    with pytest.raises(
        PluginError, match=rf"daemun_filters at {__file__}:\d+ has no argument 'context' \(accepted: none"
    ):
        load_plugins(only=[], extra=[plugin])


def test_a_misspelt_hook_of_an_installed_plugin_names_its_entry_point(install: Install) -> None:
    install("sloppy", "from daemun import hookimpl\n@hookimpl\ndef daemun_filter():\n    return []\n")
    with pytest.raises(PluginError, match=r"plugin sloppy: .*daemun_filter"):
        load_plugins(only=["sloppy"])


def test_a_hook_may_leave_out_arguments() -> None:
    plugin = make_plugin("terse", daemun_route_filters=lambda: (), daemun_started=lambda: None)
    assert names(load_plugins(only=[], extra=[plugin])) == ["terse"]


def test_a_name_that_is_used_twice_is_told() -> None:
    with pytest.raises(PluginError, match="plugin http1: "):
        load_plugins(only=["http1"], extra=[ModuleType("http1")])


def test_functions_without_the_mark_are_no_hooks() -> None:
    module = ModuleType("quiet")
    module.daemun_filters = lambda: 1 / 0  # type: ignore[attr-defined]
    manager = load_plugins(only=[], extra=[module])
    assert manager.hook.daemun_filters.get_hookimpls() == []
    assert hookimpl(lambda: None) is not None
