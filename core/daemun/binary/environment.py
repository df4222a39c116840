"""An environment of its own for `daemun build --with`: this daemun, the extras that it has here, and more plugins."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from daemun.errors import SettingsError

__all__ = ["extras_here", "make_environment", "own_requirement"]

_NOT_CARRIED = ("dev", "trio")
_LAST_LINES = 6


def make_environment(folder: Path, wanted: Sequence[str]) -> Path:
    """The interpreter of a new environment in `folder` with daemun and the distributions in `wanted`.

    Raises `SettingsError` with what pip said if one cannot be installed.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    _install(python, [own_requirement()], "daemun")
    for one in wanted:
        _install(python, [one], one)
    return python


def own_requirement() -> str:
    """This daemun, in the words of pip: from where it was installed."""
    own = distribution("daemun")
    extras = ",".join(sorted({*extras_here(), "binary"}))
    direct = json.loads(own.read_text("direct_url.json") or "{}")
    if direct.get("url", "").startswith("file:"):
        return f"daemun[{extras}] @ {direct['url']}"
    return f"daemun[{extras}]=={own.version}"


def extras_here() -> list[str]:
    """The extras of daemun of which everything is installed, but those that a binary never carries."""
    own = distribution("daemun")
    extras = own.metadata.get_all("Provides-Extra") or []
    return [extra for extra in extras if extra not in _NOT_CARRIED and all(map(_is_installed, _required(own, extra)))]


def _required(own: Distribution, extra: str) -> Iterator[str]:
    """The names of what an extra requires."""
    for line in own.requires or ():
        if re.search(rf"""extra\s*==\s*['"]{re.escape(extra)}['"]""", line):
            yield re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _install(python: Path, words: Sequence[str], name: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *words]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise SettingsError(
            f"{name} cannot be installed (version of Python: {sys.version.split()[0]}); pip said:\n{said}"
        )
