"""Everything that plugins registered, by kind and by name. Filled once, at start."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from daemun.errors import PluginError, SettingsError
from daemun.extend.checks import CheckType
from daemun.extend.observe import ObserverType
from daemun.extend.types import (
    ActivatorType,
    BackendType,
    BalancerType,
    Dialect,
    FilterType,
    HealthCheckType,
    MatcherType,
    SourceType,
)
from daemun.extend.wire import WireProtocol
from daemun.upstream.balance import BALANCERS
from daemun.upstream.health_http import HEALTH_CHECKS

if TYPE_CHECKING:
    import click

__all__ = ["Kind", "Registry"]

T = TypeVar("T")


class Kind(Generic[T]):
    """The things of one kind, by name, each with the plugin that brought it."""

    def __init__(self, word: str) -> None:
        self._word = word
        self._things: dict[str, tuple[T, str]] = {}

    def add(self, name: str, thing: T, plugin: str) -> None:
        """Raises `PluginError` naming both plugins when the name is taken."""
        if name in self._things:
            other = self._things[name][1]
            raise PluginError(f"{self._word} {name!r} is registered by plugin {other} too", plugin=plugin)
        self._things[name] = (thing, plugin)

    def get(self, name: str) -> T:
        """Raises `SettingsError` that lists what there is."""
        try:
            return self._things[name][0]
        except KeyError:
            near = difflib.get_close_matches(name, self._things, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            known = ", ".join(sorted(self._things)) or "none"
            raise SettingsError(f"unknown {self._word} {name!r}{hint} (accepted: {known})") from None

    def __iter__(self) -> Iterator[T]:
        return iter([thing for thing, _ in self._things.values()])

    def items(self) -> Mapping[str, str]:
        """Name to plugin."""
        return {name: plugin for name, (_, plugin) in self._things.items()}


class Registry:
    """What the loaded plugins brought. Raises `PluginError` while it is filled, naming who is at fault."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.manager = manager
        self.protocols: Kind[WireProtocol] = Kind("wire protocol")
        self.dialects: Kind[Dialect] = Kind("dialect")
        self.sources: Kind[SourceType] = Kind("source")
        self.filters: Kind[FilterType] = Kind("filter")
        self.backends: Kind[BackendType] = Kind("back end type")
        self.balancers: Kind[BalancerType] = Kind("balancer")
        self.health_checks: Kind[HealthCheckType] = Kind("health check")
        self.matchers: Kind[MatcherType] = Kind("matcher")
        self.activators: Kind[ActivatorType] = Kind("activator")
        self.observers: Kind[ObserverType] = Kind("observer")
        self.commands: Kind[click.Command] = Kind("command")
        self.checks: Kind[CheckType] = Kind("check")
        for balancer in BALANCERS:
            self.balancers.add(balancer.name, balancer, "daemun")
        for check in HEALTH_CHECKS:
            self.health_checks.add(check.name, check, "daemun")
        hook = manager.hook
        self._collect(hook.daemun_protocols, self.protocols, WireProtocol)
        self._collect(hook.daemun_dialects, self.dialects, Dialect)
        self._collect(hook.daemun_sources, self.sources, SourceType)
        self._collect(hook.daemun_filters, self.filters, FilterType)
        self._collect(hook.daemun_backends, self.backends, BackendType)
        self._collect(hook.daemun_balancers, self.balancers, BalancerType)
        self._collect(hook.daemun_health_checks, self.health_checks, HealthCheckType)
        self._collect(hook.daemun_matchers, self.matchers, MatcherType)
        self._collect(hook.daemun_activators, self.activators, ActivatorType)
        self._collect(hook.daemun_observers, self.observers, ObserverType)
        self._collect(hook.daemun_checks, self.checks, CheckType)

        import click

        self._collect(hook.daemun_commands, self.commands, click.Command)

    def _collect(self, hook: pluggy.HookCaller, kind: Kind[Any], wanted: type[Any]) -> None:
        for implementation in hook.get_hookimpls():
            plugin = implementation.plugin_name
            things = _call(implementation.function, hook.name, plugin)
            for thing in things:
                if not isinstance(thing, wanted) or not getattr(thing, "name", None):
                    raise PluginError(
                        f"{hook.name} returned {thing!r}; accepted: {wanted.__name__} with a name",
                        plugin=plugin,
                    )
                kind.add(thing.name, thing, plugin)

    def packages(self) -> dict[str, str]:
        """The plugin by each package that code of plugins is in: who is to blame for an exception."""
        packages: dict[str, str] = {}
        for name, plugin in self.manager.list_name_plugin():
            for caller in self.manager.get_hookcallers(plugin) or ():
                for implementation in caller.get_hookimpls():
                    if implementation.plugin is plugin:
                        packages[implementation.function.__module__.partition(".")[0]] = name
        return packages

    def protocol(self, name: str) -> WireProtocol:
        """The wire protocol `name`; raises `SettingsError` that lists what there is."""
        return self.protocols.get(name)

    def spoken(self, names: Sequence[str]) -> list[WireProtocol]:
        """What a listener speaks that names these wire protocols; none: all that a TLS handshake can name, the
        preferred first. Raises `SettingsError` that lists what there is."""
        if names:
            return [self.protocol(name) for name in names]
        return sorted((one for one in self.protocols if one.alpn), key=lambda one: -one.preference)

    def balancer(self, name: str) -> BalancerType:
        """The balancer `name`; raises `SettingsError` that lists what there is."""
        return self.balancers.get(name)

    def health_check(self, name: str) -> HealthCheckType:
        """The kind of health check `name`; raises `SettingsError` that lists what there is."""
        return self.health_checks.get(name)

    def activator(self, name: str) -> ActivatorType:
        """The activator `name`; raises `SettingsError` that lists what there is."""
        return self.activators.get(name)


def _call(function: Any, hook: str, plugin: str) -> list[Any]:
    try:
        return list(function())
    except Exception as error:
        raise PluginError(f"{hook} failed: {type(error).__name__}: {error}", plugin=plugin) from error
