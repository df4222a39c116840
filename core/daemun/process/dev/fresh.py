"""A plugin's modules, imported anew from their source, beside the old ones that exchanges still run on.

Nothing is reloaded in place: the old modules leave `sys.modules` and live as long as something uses them. Bytecode
caches are not asked, since they tell versions apart by seconds and sizes, nor written.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType

from daemun.errors import PluginError, is_fault
from daemun.process.dev.sources import Sources

__all__ = ["FromSource", "imported_anew"]


class _Loader(SourceFileLoader):
    """Compiles what the file holds now."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class FromSource(MetaPathFinder):
    """Finds modules of the plugins that are developed, those imported late included; to stand in `sys.meta_path`."""

    def __init__(self, plugins: Sequence[Sources]) -> None:
        self._plugins = plugins

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for what is not theirs."""
        for plugin in self._plugins:
            if fullname == plugin.root and plugin.file.is_file():
                places = [str(plugin.file.parent)] if plugin.is_package else None
                return spec_from_file_location(
                    fullname, plugin.file, loader=_Loader(fullname, str(plugin.file)), submodule_search_locations=places
                )
            if plugin.may_find(fullname):
                spec = PathFinder.find_spec(fullname, path)
                if spec is not None and type(spec.loader) is SourceFileLoader and spec.origin is not None:
                    spec.loader = _Loader(fullname, spec.origin)
                    return spec
        return None


@contextmanager
def imported_anew(plugins: Sequence[Sources]) -> Iterator[Mapping[str, ModuleType]]:
    """The modules that hold the hooks of `plugins`, by plugin: imported anew with all that is their code. If that or
    the body raises, the modules from before are put back.

    Raises `PluginError` from what the import raised, or if a file is gone.
    """
    before: dict[str, ModuleType] = {}
    for plugin in plugins:
        if not plugin.file.is_file():
            raise PluginError("its file is gone", plugin=plugin.plugin, code=plugin.file)
    for plugin in plugins:
        before.update((name, sys.modules[name]) for name in plugin.modules())
    known = set(sys.modules)
    for name in before:
        del sys.modules[name]
    importlib.invalidate_caches()
    for file in {getattr(module, "__file__", None) for module in before.values()}:
        linecache.cache.pop(file, None)  # type: ignore[arg-type]
    try:
        yield {plugin.plugin: _import(plugin) for plugin in plugins}
    except BaseException:
        for plugin in plugins:
            fresh = [name for name in set(sys.modules) - known if plugin.is_near(name)]
            for name in {*plugin.modules(), *fresh}:
                del sys.modules[name]
        for name, module in before.items():
            sys.modules[name] = module
            parent, _, own = name.rpartition(".")
            if parent in sys.modules:
                setattr(sys.modules[parent], own, module)
        raise
    for plugin in plugins:
        plugin.note_helpers()


def _import(plugin: Sources) -> ModuleType:
    try:
        return importlib.import_module(plugin.module)
    except ModuleNotFoundError as error:
        words = f"needs the module {error.name}, which is not there" if error.name else str(error)
        raise PluginError(words, plugin=plugin.plugin) from error
    except BaseException as error:
        if not is_fault(error):
            raise
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        raise PluginError(f"its import failed: {type(error).__name__}: {words}", plugin=plugin.plugin) from error
