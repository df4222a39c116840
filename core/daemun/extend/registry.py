"""Everything that plugins registered, by kind and by name. Filled once, at start; code that is developed has another
one made for each of its versions."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy
from msgspec import Struct

from daemun.errors import PluginError, SettingsError
from daemun.extend.checks import CheckType
from daemun.extend.culprit import Blame, Thing
from daemun.extend.endpoints import ActivatorType, BalancerType, HealthCheckType
from daemun.extend.fitting import listed, misfit
from daemun.extend.loading import installed, load_plugins
from daemun.extend.observe import ObserverType
from daemun.extend.places import at
from daemun.extend.sources import SourceType
from daemun.extend.types import BackendType, Dialect, FilterType, MatcherType
from daemun.extend.wire import WireProtocol
from daemun.upstream.balance import BALANCERS
from daemun.upstream.health_http import HEALTH_CHECKS

if TYPE_CHECKING:
    import click

__all__ = ["Kind", "Registry", "usable_plugins"]

T = TypeVar("T")

_CORE = "daemun"


class Kind(Generic[T]):
    """The things of one kind, by name, each with the plugin that brought it."""

    def __init__(self, word: str, versions: Mapping[str, int] = {}) -> None:
        """`versions` are those of the code of plugins that may change."""
        self._word = word
        self._things: dict[str, tuple[T, str]] = {}
        self._versions = versions

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

    def thing(self, name: str) -> Thing:
        """What is registered under `name`, with its plugin, for logs."""
        return Thing(f"{self._word} {name}", self._things[name][1] if name in self._things else "")

    def __iter__(self) -> Iterator[T]:
        return iter([thing for thing, _ in self._things.values()])

    def items(self) -> Mapping[str, str]:
        """Name to plugin."""
        return {name: plugin for name, (_, plugin) in self._things.items()}

    def code(self, name: str) -> tuple[str, ...]:
        """Plugin and version of the code of a thing: part of what is shared under its name. Nothing for code that
        cannot change while the gateway runs."""
        if not self._versions or name not in self._things:
            return ()
        plugin = self._things[name][1]
        return (plugin, str(self._versions[plugin])) if plugin in self._versions else ()


class Registry:
    """What the loaded plugins brought. Raises `PluginError` while it is filled, naming who is at fault."""

    def __init__(
        self, manager: pluggy.PluginManager, developed: Collection[str] = (), before: Registry | None = None
    ) -> None:
        """`developed` are plugins whose code may change while the gateway runs. With the registry from `before` only
        they are asked for what they bring, and their code has a new version; all else is taken over."""
        self.manager = manager
        self.versions: Mapping[str, int] = dict.fromkeys(developed, 1)
        """Of the code of plugins that may change."""
        if before is not None:
            self.versions = {**before.versions, **{name: before.versions.get(name, 0) + 1 for name in developed}}
        self._before = before
        self._developed = frozenset(developed)
        self.protocols: Kind[WireProtocol] = Kind("wire protocol", self.versions)
        self.dialects: Kind[Dialect] = Kind("dialect", self.versions)
        self.sources: Kind[SourceType] = Kind("source", self.versions)
        self.filters: Kind[FilterType] = Kind("filter", self.versions)
        self.backends: Kind[BackendType] = Kind("back end type", self.versions)
        self.balancers: Kind[BalancerType] = Kind("balancer", self.versions)
        self.health_checks: Kind[HealthCheckType] = Kind("health check", self.versions)
        self.matchers: Kind[MatcherType] = Kind("matcher", self.versions)
        self.activators: Kind[ActivatorType] = Kind("activator", self.versions)
        self.observers: Kind[ObserverType] = Kind("observer", self.versions)
        self.commands: Kind[click.Command] = Kind("command", self.versions)
        self.checks: Kind[CheckType] = Kind("check", self.versions)
        self.kinds: dict[str, Kind[Any]] = {
            "protocol": self.protocols,
            "dialect": self.dialects,
            "source": self.sources,
            "matcher": self.matchers,
            "filter": self.filters,
            "backend": self.backends,
            "balancer": self.balancers,
            "health check": self.health_checks,
            "activator": self.activators,
            "observer": self.observers,
            "command": self.commands,
            "check": self.checks,
        }
        """All of them, by the word for one of its things."""
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
        self._before = None
        self.blame = Blame(self._owners(), {self.protocols.thing(one.name).plugin for one in self.protocols})
        """Who is to blame for an exception."""

    def _collect(self, hook: pluggy.HookCaller, kind: Kind[Any], wanted: type[Any]) -> None:
        for implementation in hook.get_hookimpls():
            plugin = implementation.plugin_name
            if self._before is not None and plugin not in self._developed:
                self._take_over(self._before, hook, kind, plugin)
                continue
            try:
                for thing in listed(implementation.function, hook.name, plugin, wanted):
                    if not thing.name:
                        words = f"{hook.name}{at(implementation.function)} returned a {wanted.__name__} without a name"
                        raise PluginError(f"{words}; accepted: {wanted.__name__} with a name", plugin=plugin)
                    wrong = misfit(thing) if isinstance(thing, Struct) else ""
                    if wrong:
                        words = f"{hook.name}{at(implementation.function)}: {kind.thing(thing.name).words}: {wrong}"
                        raise PluginError(words, plugin=plugin)
                    kind.add(thing.name, thing, plugin)
            except PluginError as error:
                error.code = implementation.function
                raise

    def _take_over(self, before: Registry, hook: pluggy.HookCaller, kind: Kind[Any], plugin: str) -> None:
        word = next(word for word, one in self.kinds.items() if one is kind)
        for thing in before.brings(plugin).get(word, ()):
            newcomer = kind.items().get(thing.name)
            if newcomer is not None:
                raise PluginError(
                    f"{word} {thing.name!r} is registered by plugin {plugin} too",
                    plugin=newcomer,
                    code=next(one.function for one in hook.get_hookimpls() if one.plugin_name == newcomer),
                )
            kind.add(thing.name, thing, plugin)

    def brings(self, plugin: str) -> dict[str, list[Any]]:
        """What `plugin` registered, by kind; kinds of which it has nothing are left out."""
        found = {
            word: [kind.get(name) for name, owner in kind.items().items() if owner == plugin]
            for word, kind in self.kinds.items()
        }
        return {word: things for word, things in found.items() if things}

    def packages(self) -> dict[str, str]:
        """The plugin by each package, and each module of a hook, that is its alone."""
        return {module: max(names) for module, names in self._owners().items() if len(names) == 1}

    def _owners(self) -> dict[str, set[str]]:
        """The plugins by each package, and each module of a hook, that code of theirs is in."""
        owners: dict[str, set[str]] = {}
        for name, plugin in self.manager.list_name_plugin():
            for caller in self.manager.get_hookcallers(plugin) or ():
                for implementation in caller.get_hookimpls():
                    module = implementation.function.__module__
                    while implementation.plugin is plugin and module and module != _CORE:
                        owners.setdefault(module, set()).add(name)
                        module = module.rpartition(".")[0]
        return owners

    def protocol(self, name: str) -> WireProtocol:
        """The wire protocol `name`; raises `SettingsError` that lists what there is."""
        return self.protocols.get(name)

    def spoken(self, names: Sequence[str]) -> list[WireProtocol]:
        """What a listener speaks that names these wire protocols; none: all that a TLS handshake can name, the
        preferred first. Raises `SettingsError` that lists what there is."""
        if names:
            spoken = [self.protocol(name) for name in names]
            for one in spoken:
                if one.serve is None:
                    raise SettingsError(f"wire protocol {one.name!r} has an upstream half only: no listener speaks it")
            return spoken
        named = (one for one in self.protocols if one.alpn and one.serve is not None)
        return sorted(named, key=lambda one: -one.preference)

    def spoken_upstream(self, name: str) -> WireProtocol:
        """What an endpoint speaks. Raises `SettingsError` if there is none of this name, or it has no upstream half."""
        found = self.protocol(name)
        if found.connect is None:
            raise SettingsError(f"wire protocol {name!r} has a downstream half only: no endpoint speaks it")
        return found

    def balancer(self, name: str) -> BalancerType:
        """The balancer `name`; raises `SettingsError` that lists what there is."""
        return self.balancers.get(name)

    def health_check(self, name: str) -> HealthCheckType:
        """The kind of health check `name`; raises `SettingsError` that lists what there is."""
        return self.health_checks.get(name)

    def activator(self, name: str) -> ActivatorType:
        """The activator `name`; raises `SettingsError` that lists what there is."""
        return self.activators.get(name)


def usable_plugins(
    block: Iterable[str] = (), only: Iterable[str] | None = None
) -> tuple[Registry, tuple[PluginError, ...]]:
    """What the installed plugins bring that can be used, and why each of the others cannot: for who looks at them. A
    gateway starts with all or not at all. Raises `PluginError` for a name in `block` or `only` that nobody has."""
    faults: dict[str, PluginError] = {}
    while True:
        try:
            return Registry(load_plugins({*block, *faults}, only)), tuple(faults.values())
        except PluginError as error:
            if error.plugin in faults or error.plugin not in installed():
                raise
            faults[error.plugin] = error
