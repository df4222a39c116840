"""Finding plugins: entry points of the group `daemun`, without those that are blocked."""

from __future__ import annotations

import difflib
import logging
import warnings
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from types import ModuleType

import pluggy

from daemun import hookspecs
from daemun.errors import PluginError
from daemun.extend.places import at, raised_at

__all__ = ["GROUP", "deprecated_hooks", "exchanged", "installed", "load_plugins"]

log = logging.getLogger("daemun.plugins")

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
    points = installed()
    blocked = set(block)
    wanted = set(points) if only is None else set(only)
    unknown = sorted((blocked | wanted) - set(points))
    if unknown:
        raise PluginError(f"not installed; installed are: {', '.join(sorted(points)) or 'none'}", plugin=unknown[0])
    loaded = [(name, _import(points[name])) for name in sorted(wanted - blocked)]
    return _registered([*loaded, *((module.__name__, module) for module in extra)])


def exchanged(manager: pluggy.PluginManager, plugins: Mapping[str, object]) -> pluggy.PluginManager:
    """Another manager with the plugins of `manager` in their order, those in `plugins` by name in the place of those
    from before. Raises `PluginError`: a hook or an argument of one is misspelt."""
    return _registered((name, plugins.get(name, plugin)) for name, plugin in manager.list_name_plugin())


def _registered(plugins: Iterable[tuple[str, object]]) -> pluggy.PluginManager:
    manager = pluggy.PluginManager("daemun")
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins:
        _register(manager, plugin, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _misspelt(error, manager.get_name(error.plugin) or "?") from error
    return manager


def _import(point: EntryPoint) -> object:
    try:
        loaded: object = point.load()
        return loaded
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and not _is_in(error.name, point.module):
            raise PluginError(_needs(error, point), plugin=point.name) from error
        words = error.msg if isinstance(error, SyntaxError) else str(error)
        where = raised_at(error, point.module)
        raise PluginError(f"its import failed: {type(error).__name__}: {words}{where}", plugin=point.name) from error


def _is_in(name: str | None, module: str) -> bool:
    """Whether the module `name` is of the package of `module`."""
    return name is not None and name.partition(".")[0] == module.partition(".")[0]


def _needs(error: ModuleNotFoundError, point: EntryPoint) -> str:
    extras = f" (pip install '{point.dist.name}[{point.extras[0]}]')" if point.dist and point.extras else ""
    return f"needs the module {error.name}, which is not installed{extras}"


def _register(manager: pluggy.PluginManager, plugin: object, name: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ours, and told below with the plugin's name
            manager.register(plugin, name)
    except pluggy.PluginValidationError as error:
        raise _misspelt(error, name) from error
    except ValueError as error:
        raise PluginError(str(error), plugin=name) from error
    for words in deprecated_hooks(manager, plugin):
        log.warning("plugin %s: %s", name, words)


def deprecated_hooks(manager: pluggy.PluginManager, plugin: object) -> list[str]:
    """What of `plugin` is to go, in words: hooks that it implements, and arguments that it names."""
    found = []
    for caller in manager.get_hookcallers(plugin) or ():
        spec = caller.spec
        if spec is None:
            continue
        if spec.warn_on_impl is not None:
            found.append(f"{caller.name} is deprecated: {spec.warn_on_impl}")
        for implementation in caller.get_hookimpls():
            if implementation.plugin is plugin:
                warned = spec.warn_on_impl_args or {}
                found += [
                    f"{caller.name}({name}) is deprecated: {warned[name]}"
                    for name in implementation.argnames
                    if name in warned
                ]
    return found


def _misspelt(error: pluggy.PluginValidationError, plugin: str) -> PluginError:
    """What to raise for a function that is marked, and neither named nor called as any hook is."""
    known = [name for name in vars(hookspecs) if name.startswith("daemun_")]
    for attribute in dir(error.plugin):
        function = getattr(error.plugin, attribute, None)
        options = getattr(function, "daemun_impl", None)
        if options is None or not callable(function):
            continue
        name = options.get("specname") or attribute
        if name not in known:
            words = f"unknown hook {name!r}{at(function)}{_near(name, known)} (hooks are: {', '.join(known)})"
            return PluginError(words, plugin=plugin, code=function)
        taken = list(signature(getattr(hookspecs, name)).parameters)
        for argument in signature(function).parameters:
            if argument not in taken:
                accepted = ", ".join(taken) or "none"
                hint = _near(argument, taken)
                words = f"{name}{at(function)} has no argument {argument!r}{hint} (accepted: {accepted})"
                return PluginError(words, plugin=plugin, code=function)
    return PluginError(" ".join(str(error).split()), plugin=plugin)


def _near(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""
