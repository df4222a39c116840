"""Without the extra `soap` a gateway runs, and says what is missing where SOAP is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_WITHOUT = (
    "import sys; sys.modules.update(dict.fromkeys(('lxml', 'xmlschema'))); from daemun.cli.main import main; main()"
)


def daemun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program, where neither lxml nor xmlschema is installed."""
    argv = [sys.executable, "-c", _WITHOUT, *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("route", "what"),
    [
        ({"match": {"matchers": [{"type": "soap"}]}}, "matcher soap"),
        ({"filters": [{"type": "soap"}]}, "filter soap"),
        ({"filters": [{"type": "json-to-soap", "settings": {"wsdl": "a.wsdl"}}]}, "filter json-to-soap"),
        ({"filters": [{"type": "soap-to-json", "settings": {"wsdl": "a.wsdl"}}]}, "filter soap-to-json"),
    ],
)
def test_a_route_that_needs_it_is_refused_in_words_and_no_other(
    route: dict[str, object], what: str, tmp_path: Path
) -> None:
    routes = [{"name": "soap", "respond": {}, **route}, {"name": "plain", "respond": {}}]
    (tmp_path / "daemun.yaml").write_text(
        json.dumps({"listeners": [], "sources": [{"type": "inline", "routes": routes}]})
    )
    done = daemun(tmp_path, "check")
    assert done.returncode == 1
    assert f"{what} needs the module " in done.stdout + done.stderr
    assert "pip install 'daemun[soap]'" in done.stdout + done.stderr
    assert "plain" not in done.stdout.replace("soap, plain", "")


def test_the_command_says_so_too(tmp_path: Path) -> None:
    done = daemun(tmp_path, "soap", "operations", "a.wsdl")
    assert done.returncode == 1
    assert "pip install 'daemun[soap]'" in done.stderr
    assert daemun(tmp_path, "plugins").returncode == 0
