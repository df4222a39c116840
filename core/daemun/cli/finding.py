"""A plugin by what its author calls it: its installed name, a module of the current folder, or a file."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from daemun.errors import PluginError
from daemun.extend.loading import installed

__all__ = ["FoundPlugin", "find_plugin"]


class FoundPlugin(Struct, frozen=True):
    """A plugin that can be loaded."""

    name: str
    """As its things are registered under."""
    module: ModuleType | None
    """None: it is installed, and loaded by its name."""
    where: str
    """Where it was found, in words."""


def find_plugin(word: str) -> FoundPlugin:
    """The plugin that `word` stands for, imported unless it is installed. Raises `PluginError` in words."""
    points = installed()
    for name, point in points.items():
        if word in (name, point.value):
            return FoundPlugin(name, None, f"installed, {point.value}")
    path = Path(word)
    if path.suffix == ".py" or "/" in word or not word.strip("."):
        path = path.resolve()
        if path.is_dir() and not (path / "__init__.py").is_file():
            return _from_project(word, path, points)
        return _from_file(word, path / "__init__.py" if path.is_dir() else path)
    if word.partition(".")[0] == "daemun":
        raise PluginError("it is the gateway itself (accepted: a plugin)", plugin=word)
    return _from_module(word, list(points))


def _from_project(word: str, folder: Path, points: Mapping[str, EntryPoint]) -> FoundPlugin:
    """The installed plugin whose code is somewhere in `folder`."""
    found = []
    for name, point in points.items():
        spec = importlib.util.find_spec(point.module.partition(".")[0])
        if spec is not None and spec.origin is not None and Path(spec.origin).resolve().is_relative_to(folder):
            found.append(name)
    if len(found) == 1:
        return FoundPlugin(found[0], None, f"installed, {points[found[0]].value}")
    if found:
        raise PluginError(f"{len(found)} plugins are in this folder (accepted: {', '.join(found)})", plugin=word)
    words = "it has no __init__.py, and no installed plugin is in it (accepted: a .py file, the folder of a package)"
    raise PluginError(words, plugin=word)


def _from_file(word: str, path: Path) -> FoundPlugin:
    if not path.is_file():
        raise PluginError("there is no such file (accepted: a .py file, the folder of a package)", plugin=word)
    is_package = path.name == "__init__.py"
    name = path.parent.name if is_package else path.stem
    _look_in(path.parents[1] if is_package else path.parent)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        raise _import_error(error, name) from error
    return FoundPlugin(name, module, word)


def _from_module(word: str, names: list[str]) -> FoundPlugin:
    _look_in(Path.cwd())
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(word)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{word}.".startswith(f"{error.name}."):
            raise _unknown(word, names) from None
        raise _import_error(error, word) from error
    except BaseException as error:
        raise _import_error(error, word) from error
    return FoundPlugin(word, module, f"module {word}")


def _look_in(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _import_error(error: BaseException, name: str) -> BaseException:
    """The error to raise for what an import raised."""
    if isinstance(error, ModuleNotFoundError):
        return PluginError(f"needs the module {error.name}, which is not installed", plugin=name)
    if isinstance(error, (Exception, SystemExit)):
        return PluginError(f"its import failed: {type(error).__name__}: {error}", plugin=name)
    return error


def _unknown(word: str, names: list[str]) -> PluginError:
    here = [path.stem for path in sorted(Path.cwd().glob("*.py"))]
    here += [path.parent.name for path in sorted(Path.cwd().glob("*/__init__.py"))]
    near = difflib.get_close_matches(word, [*names, *here], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    known = ", ".join(sorted(names)) or "none"
    return PluginError(
        f"neither installed nor a module that can be imported from here{hint} (installed: {known}; accepted besides: "
        f"a module, a .py file)",
        plugin=word,
    )
