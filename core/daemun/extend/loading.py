"""Finding plugins: entry points of the group `daemun`, without those that are blocked."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pluggy

from daemun import hookspecs
from daemun.errors import PluginError

__all__ = ["GROUP", "installed", "load_plugins"]

GROUP = "daemun"
"""The entry-point group; built-ins stand in it like a stranger's plugins."""


def installed() -> dict[str, EntryPoint]:
    """Every installed plugin by name, imported or not. Raises `PluginError` if two distributions use one name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise PluginError(f"the name stands for {other.value} and for {point.value}", plugin=point.name)
        found[point.name] = point
    return found


def load_plugins(
    block: Iterable[str] = (), only: Iterable[str] | None = None, extra: Iterable[ModuleType] = ()
) -> pluggy.PluginManager:
    """A manager with the installed plugins, imported and checked.

    Blocked ones are not imported; with `only`, all others are blocked. `extra` are modules that need no entry
    point (tests, scripts). Raises `PluginError`: the import failed, a dependency is missing, a hook
    or an argument of one is misspelt.
    """
    manager = pluggy.PluginManager("daemun")
    manager.add_hookspecs(hookspecs)
    points = installed()
    blocked = set(block)
    wanted = set(points) if only is None else set(only)
    unknown = sorted((blocked | wanted) - set(points))
    if unknown:
        raise PluginError(f"not installed; installed are: {', '.join(sorted(points)) or 'none'}", plugin=unknown[0])
    for name in sorted(wanted - blocked):
        _register(manager, _import(points[name]), name)
    for module in extra:
        _register(manager, module, module.__name__)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise PluginError(_spelling(error), plugin=manager.get_name(error.plugin) or "?") from error
    return manager


def _import(point: EntryPoint) -> object:
    try:
        loaded: object = point.load()
        return loaded
    except ModuleNotFoundError as error:
        extras = f" (pip install '{point.dist.name}[{point.extras[0]}]')" if point.dist and point.extras else ""
        raise PluginError(
            f"needs the module {error.name}, which is not installed{extras}", plugin=point.name
        ) from error
    except Exception as error:
        raise PluginError(f"its import failed: {type(error).__name__}: {error}", plugin=point.name) from error


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise PluginError(_spelling(error), plugin=name) from error
    except ValueError as error:
        raise PluginError(str(error), plugin=name) from error


def _spelling(error: Exception) -> str:
    known = ", ".join(name for name in vars(hookspecs) if name.startswith("daemun_"))
    return f"{' '.join(str(error).split())}; hooks are: {known}"
