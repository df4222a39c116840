"""Commands where an installed plugin cannot be used: those that only look go on without it, and name it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from daemun import PluginError
from daemun.extend.loading import GROUP
from daemun.extend.registry import usable_plugins

BROKEN = {
    "import": ("import json\nraise RuntimeError('boom')\n", "its import failed: RuntimeError: boom at {}:2"),
    "hook": (
        "from daemun import hookimpl\n@hookimpl\ndef daemun_started(inf): ...\n",
        "daemun_started at {}:3 has no argument 'inf'; did you mean 'info'? (accepted: info)",
    ),
    "type": (
        "from daemun import hookimpl\n@hookimpl\ndef daemun_filters(): ...\n",
        "daemun_filters at {}:3 returned None; accepted: a list of FilterType",
    ),
}
SETTINGS = """
listeners: [{name: http, bind: "127.0.0.1:0"}]
sources: [{type: inline, routes: [{name: fine, respond: {status: 204}}]}]
"""


@pytest.fixture(params=BROKEN)
def fault(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A plugin that cannot be used is installed: what is to be said of it."""
    source, words = BROKEN[request.param]
    info = tmp_path / "brokenp-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brokenp\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nbrokenp = brokenp\n")
    (tmp_path / "brokenp.py").write_text(source)
    (tmp_path / "daemun.yaml").write_text(SETTINGS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield words.format(tmp_path / "brokenp.py")
    sys.modules.pop("brokenp", None)


def test_what_can_be_used_is_there_and_the_rest_has_its_reason(fault: str) -> None:
    registry, unusable = usable_plugins(only=["http1", "brokenp"])
    assert [name for name, _ in registry.manager.list_name_plugin()] == ["http1"]
    assert [str(one) for one in unusable] == [f"plugin brokenp: {fault}"]
    registry, unusable = usable_plugins(block=["brokenp"])
    assert unusable == ()
    assert "static" in registry.backends.items()
    with pytest.raises(PluginError, match="plugin nobody: not installed"):
        usable_plugins(only=["nobody"])


def test_plugins_lists_the_others(cli: Callable[..., Any], fault: str) -> None:
    done = cli("plugins", "--json")
    assert done.exit_code == 1
    assert done.stderr == f"daemun: plugin brokenp: {fault}\n"
    assert "static" in {row["name"] for row in json.loads(done.stdout)}
    assert cli("plugins", "brokenp").stderr == done.stderr
    done = cli("plugins", "static")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "backend static" in done.stdout


def test_a_new_plugin_is_made_all_the_same(cli: Callable[..., Any], fault: str) -> None:
    done = cli("plugin", "new", "quota", "--kind", "filter")
    assert done.exit_code == 0
    assert done.stderr == f"daemun: plugin brokenp: {fault}\n"
    assert Path("daemun-quota/pyproject.toml").is_file()


def test_check_tells_it_among_the_faults(cli: Callable[..., Any], fault: str) -> None:
    done = cli("check")
    assert done.exit_code == 1
    assert done.stdout == f"daemun.yaml: plugin brokenp: {fault}\ndaemun.yaml: 1 of 2 objects refused\n"
    Path("daemun.yaml").write_text(f"{SETTINGS}plugins: {{block: [brokenp]}}\n")
    assert cli("check").exit_code == 0


def test_check_tells_it_beside_what_the_settings_miss_without_it(cli: Callable[..., Any], fault: str) -> None:
    Path("daemun.yaml").write_text("sources: [{type: of_brokenp}]\n")
    done = cli("check")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"daemun: plugin brokenp: {fault}\ndaemun: ")
    assert "unknown source 'of_brokenp'" in done.stderr


def test_a_gateway_does_not_start_without_it(cli: Callable[..., Any], fault: str) -> None:
    done = cli("run")
    assert (done.exit_code, done.stderr) == (1, f"daemun: plugin brokenp: {fault}\n")
