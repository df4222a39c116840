"""The gateway as an image of the node without containers: one file, which holds the packages and runs them.

The node gives a container the machine's `/usr` and one file of the image's own. That file is a zip archive with a first
line for the machine's Python; it unpacks itself into the container's `/tmp`, the only place where it may write.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

__all__ = ["make_image"]

_PYTHON = "/usr/bin/python3"
_EXTRAS = ("fast", "prometheus", "kubernetes")
_ROOTS = ("core", "protocols", "plugins", "contrib")
_REPOSITORY = Path(__file__).parents[3]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")
_MAIN = """
import sys, zipfile
sys.dont_write_bytecode = True
zipfile.ZipFile(sys.argv[0]).extractall("/tmp/daemun")
sys.path[0] = "/tmp/daemun"
from daemun.cli.main import main
main()
"""


def make_image(folder: Path, name: str = "daemun") -> Path:
    """Writes the image into `folder`. Skips the test if the machine's Python is not of the version of this one."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    told = (
        subprocess.run([_PYTHON, "--version"], capture_output=True, text=True, check=False)
        if os.path.exists(_PYTHON)
        else None
    )
    if told is None or not told.stdout.startswith(f"Python {version}."):
        pytest.skip(f"an image of the gateway: {_PYTHON} is not Python {version}")
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    with file.open("wb") as image:
        image.write(f"#!{_PYTHON} -ISu\n".encode())
        with zipfile.ZipFile(image, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("__main__.py", _MAIN)
            for there, path in sorted({there: path for path, there in _files()}.items()):
                archive.write(path, there)
    file.chmod(0o755)
    return file


def _files() -> Iterator[tuple[Path, str]]:
    """Every file of the packages, ours from the checkout, with its place on the path."""
    for root in _ROOTS:
        for path in (_REPOSITORY / root).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path, str(path.relative_to(_REPOSITORY / root))
    for one in _distributions():
        for inner in one.files or ():
            path = Path(str(one.locate_file(inner)))
            own = one.name == "daemun" and ".dist-info" not in str(inner)
            if path.is_file() and not own and ".." not in inner.parts and path.suffix != ".pyc":
                yield path, str(inner)


def _distributions() -> Iterator[Distribution]:
    """daemun's own, and all that it needs with the extras of the image."""
    waiting: list[tuple[str, tuple[str, ...]]] = [("daemun", _EXTRAS)]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            one = distribution(name)
        except PackageNotFoundError:  # for another platform or version
            continue
        yield one
        for requirement in one.requires or ():
            needs, _, marker = requirement.partition(";")
            extra = _EXTRA.search(marker)
            found = _NAME.match(needs)
            if found is not None and (extra is None or extra[1] in extras):
                waiting.append((found[0].lower(), ()))
