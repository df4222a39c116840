"""Which files and modules the code of a plugin is: its package or its file, and what these import from the same
folder."""

from __future__ import annotations

import ast
import sys
import sysconfig
from collections.abc import Callable, Iterator
from hashlib import blake2b
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

from daemun.errors import PluginError

__all__ = ["Sources"]

_INSTALLED = frozenset(
    Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib", "platstdlib")
)

_PACKAGES = frozenset(("site-packages", "dist-packages"))
"""Folders below which all is installed, such as in a virtual environment beside a plugin."""


class Sources:
    """The source files of one plugin, as the modules that were imported last have them."""

    def __init__(self, plugin: str, module: ModuleType, is_other: Callable[[str], bool]) -> None:
        """`module` holds the hooks. `is_other` says of the name of a package whether it is another plugin's, or ours.
        Raises `PluginError` for code without source files."""
        self.plugin = plugin
        self.module = module.__name__
        self.root = _root(module)
        file = getattr(sys.modules.get(self.root, module), "__file__", None)
        if file is None or not file.endswith(".py") or not Path(file).is_file():
            words = "its code is in no file that could change (accepted: modules of .py files)"
            raise PluginError(words, plugin=plugin)
        self.file = Path(file).resolve()
        """The file, or `__init__.py` of the package."""
        self.is_package = self.file.name == "__init__.py"
        self.folder = self.file.parents[1] if self.is_package else self.file.parent
        """What `import` finds it in."""
        self._is_other = is_other
        self._alone = self.folder in _INSTALLED
        """Beside it is all that is installed, and nothing of its own."""
        self.helpers: dict[str, Path] = {}
        """Modules beside it that it imports, directly or not, by name."""
        self.note_helpers()

    def modules(self) -> list[str]:
        """The names of all modules that are imported now and are its code."""
        inside = f"{self.root}."
        own = {self.root, *self.helpers}
        return [name for name in list(sys.modules) if name in own or name.startswith(inside)]

    def holds(self, file: str) -> bool:
        """Whether `file` is its code."""
        path = Path(file).resolve()
        return path == self.file or self._inside(path) or path in self.helpers.values()

    def is_beside(self, module: str) -> bool:
        """Whether `module` is found in the same folder, and is nobody else's."""
        top = module.partition(".")[0]
        found = sys.modules.get(top)
        if self._alone or found is None or self._is_other(top):
            return False
        file = getattr(found, "__file__", None)
        if file is not None:
            path = Path(file).resolve()
            home = path.parents[1] if path.name == "__init__.py" else path.parent
        else:
            places = [*getattr(found, "__path__", ())]
            if not places:
                return False
            home = Path(places[0]).resolve().parent
        return home == self.folder

    def note_helpers(self) -> None:
        """Looks anew which modules beside it its code imports."""
        self.helpers = {}
        waiting = self.modules()
        seen = set(waiting)
        while waiting:
            for name in _imported(sys.modules.get(waiting.pop())):
                if name in sys.modules and name not in seen and self.is_beside(name):
                    seen.add(name)
                    waiting.append(name)
                    file = getattr(sys.modules[name], "__file__", None)
                    self.helpers[name] = Path(file).resolve() if file else self.folder / name

    def may_find(self, module: str) -> bool:
        """Whether an import of `module` would find code of the plugin, imported before or not."""
        top = module.partition(".")[0]
        if module == self.root or module.startswith(f"{self.root}.") or module in self.helpers:
            return True
        if self._alone or self._is_other(top):
            return False
        return (self.folder / f"{top}.py").is_file() or (self.folder / top).is_dir()

    def is_near(self, module: str) -> bool:
        """Whether `module`, whose import may have failed half-way, came from the same folder or below, and is nobody
        else's."""
        file = getattr(sys.modules.get(module), "__file__", None)
        if self._alone or file is None or self._is_other(module.partition(".")[0]):
            return False
        path = Path(file).resolve()
        return path.is_relative_to(self.folder) and not _PACKAGES.intersection(path.relative_to(self.folder).parts)

    def folders(self) -> set[Path]:
        """What must be watched to see every change of it."""
        folders = set() if self._alone else {self.folder}
        if self.is_package:
            folders.add(self.file.parent)
            folders |= {path.parent for path in self._files_inside()}
        folders |= {path.parent for path in self.helpers.values()}
        return {folder for folder in folders if folder.is_dir()}

    def digests(self, *, all_beside: bool) -> dict[Path, bytes]:
        """What each file holds; with `all_beside` also those beside it that it does not import, or not yet."""
        files = {self.file, *(path for path in self.helpers.values() if path.suffix == ".py")}
        if self.is_package:
            files.update(self._files_inside())
        if all_beside and not self._alone:
            files.update(self.folder.glob("*.py"))
        found = {}
        for file in files:
            try:
                found[file] = blake2b(file.read_bytes(), digest_size=16).digest()
            except OSError:
                continue  # gone, or about to be there again
        return found

    def _inside(self, path: Path) -> bool:
        return self.is_package and path.is_relative_to(self.file.parent)

    def _files_inside(self) -> Iterator[Path]:
        return self.file.parent.rglob("*.py")


def _root(module: ModuleType) -> str:
    """The outermost package that `module` is in and that has a file; for a namespace is nobody's."""
    parts = module.__name__.split(".")
    for count in range(1, len(parts)):
        name = ".".join(parts[:count])
        if getattr(sys.modules.get(name), "__file__", None):
            return name
    return module.__name__


def _imported(module: ModuleType | None) -> Iterator[str]:
    """Names of modules that the code of `module` may import, as its text says."""
    file = getattr(module, "__file__", None)
    if module is None or file is None or not file.endswith(".py"):
        return
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    package = module.__name__ if hasattr(module, "__path__") else module.__name__.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                try:
                    name = resolve_name("." * node.level + name, package)
                except ImportError:
                    continue
            yield from _with_parents(name)
            for alias in node.names:
                yield f"{name}.{alias.name}"


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
