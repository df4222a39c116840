"""What the binary carries: every distribution that announces a plugin, whole, and what their modules import."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, EntryPoint
from importlib.util import find_spec
from pathlib import Path, PurePath
from pkgutil import iter_modules

from msgspec import Struct

from daemun.errors import PluginError
from daemun.extend.loading import installed

__all__ = ["EXCLUDED", "PRUNED", "Carried", "carried", "programs", "standard_library"]

EXCLUDED = {
    "tkinter": "no screen",
    "_tkinter": "no screen",
    "turtle": "no screen",
    "turtledemo": "no screen",
    "idlelib": "no screen",
    "curses": "no screen",
    "_curses": "no screen",
    "readline": "nobody types into it",
    "rlcompleter": "nobody types into it",
    "pdb": "nobody types into it",
    "pygments": "colours for people who read code",
    "nis": "600 KiB of Kerberos for a service that is gone",
    "sqlite3": "1.5 MiB that only an application may want",
    "_sqlite3": "1.5 MiB that only an application may want",
    "test": "tests of Python itself",
    "lib2to3": "a tool for developers",
    "pydoc_data": "a tool for developers",
    "distutils": "nothing is built or installed in it",
    "ensurepip": "nothing is built or installed in it",
    "venv": "nothing is built or installed in it",
    "setuptools": "nothing is built or installed in it",
    "pkg_resources": "nothing is built or installed in it",
    "pip": "nothing is built or installed in it",
    "PyInstaller": "nothing is built or installed in it",
    "pytest": "tests run where there is Python",
    "_pytest": "tests run where there is Python",
    "hypothesis": "tests run where there is Python",
    "trio": "an event loop for tests; the binary has uvloop's and asyncio's",
    "_gdbm": "1 MiB for files that nobody has",
    "_dbm": "1 MiB for files that nobody has",
    "unittest": "tests run where there is Python",
    "doctest": "tests run where there is Python",
    "lxml.objectify": "3 MiB that SOAP does not use",
    "lxml.html": "SOAP does not use it",
    "lxml.isoschematron": "SOAP does not use it",
}
"""Modules that are left out, and why. `daemun build --include` takes one all the same."""

PRUNED = {
    "xmlschema/locale": "messages are in English",
    "**/py.typed": "for type checkers",
    "*.dist-info/RECORD": "pip's",
    "*.dist-info/INSTALLER": "pip's",
    "*.dist-info/REQUESTED": "pip's",
    "*.dist-info/WHEEL": "pip's",
    "*.dist-info/direct_url.json": "pip's, with a folder of the machine that built it",
    "*.dist-info/sboms": "what the builder of a distribution knew of it",
}
"""Files and folders that libraries bring and the binary does without, and why."""


_IS_PROGRAM = '\nif __name__ == "__main__":'


class Carried(Struct, frozen=True):
    """The plugins of an environment as a build sees them."""

    plugins: tuple[str, ...]
    distributions: tuple[str, ...]
    """That announce them, daemun first. Their metadata goes in, and that of what they require."""
    modules: tuple[str, ...]
    """Packages and modules at the top, which go in whole."""


def carried() -> Carried:
    """What is in the environment that this process runs in. Raises `PluginError` if two use one name."""
    points = installed()
    found: dict[str, Distribution] = {}
    modules = {"daemun"}
    for point in points.values():
        modules.add(_top(point))
        if point.dist is None:
            raise PluginError("it belongs to no distribution, so a binary cannot carry it", plugin=point.name)
        found[point.dist.name] = point.dist
    for distribution in found.values():
        modules.update(_tops(distribution.files or ()))
    names = sorted(found, key=lambda name: (name != "daemun", name))
    return Carried(tuple(sorted(points)), tuple(names), tuple(sorted(modules)))


def standard_library() -> list[str]:
    """Modules of Python that go in although nothing here imports them: a settings file may name code that does."""
    folder = Path(sysconfig.get_path("stdlib"))
    found, wanted = [], [name for name in sys.stdlib_module_names if name[0] != "_"]
    while wanted:
        name = wanted.pop()
        if name not in EXCLUDED and name.rpartition(".")[2] not in ("__main__", "test", "tests"):
            found.append(name)
            wanted += [f"{name}.{inner.name}" for inner in iter_modules([str(folder.joinpath(*name.split(".")))])]
    return sorted(found)


def programs(module: str) -> Iterator[tuple[Path, str]]:
    """Files of a package that are run by their path, each with the folder of the package that it lies in: Python
    beside the package's modules, and modules that are programs too."""
    spec = find_spec(module)
    for root in map(Path, (spec and spec.submodule_search_locations) or ()):
        for file in sorted(root.rglob("*.py")):
            if not (file.parent / "__init__.py").is_file() or _IS_PROGRAM in file.read_text("utf-8"):
                yield file, str(Path(module) / file.parent.relative_to(root))


def _top(point: EntryPoint) -> str:
    return point.module.partition(".")[0]


def _tops(files: Iterable[PurePath]) -> set[str]:
    """The names at the top of a distribution that can be imported; those of an editable one are not among its files."""
    tops = set()
    for file in files:
        first = file.parts[0]
        if len(file.parts) == 2 and file.name == "__init__.py":
            tops.add(first)
        elif len(file.parts) == 1 and file.suffix == ".py" and "editable" not in file.stem:
            tops.add(file.stem)
    return tops
