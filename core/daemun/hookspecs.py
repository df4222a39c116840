"""Every hook of daemun. A plugin is a module (or object) whose functions carry `@hookimpl` and these names.

Registration hooks are called once, at start, and return typed values; a plugin names only the arguments that it
uses. Nothing here is called for a request: what plugins register is compiled into closures.

A later version may add arguments to a hook, and fields with defaults to a type. What is to go stays for two minor
versions as `hookspec(warn_on_impl=DeprecationWarning("use … instead"))`, or `warn_on_impl_args` for an argument:
plugins that implement it work, and are named in the log and by `daemun plugins`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from daemun.extend.checks import CheckType
    from daemun.extend.endpoints import ActivatorType, BalancerType, HealthCheckType
    from daemun.extend.observe import ObserverType
    from daemun.extend.sources import Applied, SourceType
    from daemun.extend.types import BackendType, Dialect, FilterType, MatcherType
    from daemun.extend.wire import WireProtocol
    from daemun.process.info import GatewayInfo
    from daemun.routing.spec import FilterSpec, RouteSpec

__all__ = ["hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker("daemun")
hookimpl = pluggy.HookimplMarker("daemun")
"""Marks an implementation: `@hookimpl def daemun_filters(): return [FilterType(…)]`."""


@hookspec
def daemun_protocols() -> Iterable[WireProtocol]:
    """The wire protocols that the plugin brings, such as HTTP/1."""


@hookspec
def daemun_dialects() -> Iterable[Dialect]:
    """The dialects that the plugin brings: who claims an exchange, and how an error is rendered in it."""


@hookspec
def daemun_sources() -> Iterable[SourceType]:
    """The kinds of source that the plugin brings."""


@hookspec
def daemun_filters() -> Iterable[FilterType]:
    """The kinds of filter that the plugin brings."""


@hookspec
def daemun_matchers() -> Iterable[MatcherType]:
    """The kinds of condition on content that routes may have."""


@hookspec
def daemun_backends() -> Iterable[BackendType]:
    """The kinds of back end that answer by themselves."""


@hookspec
def daemun_balancers() -> Iterable[BalancerType]:
    """The kinds of balancer that the plugin brings."""


@hookspec
def daemun_health_checks() -> Iterable[HealthCheckType]:
    """The kinds of health check that the plugin brings."""


@hookspec
def daemun_activators() -> Iterable[ActivatorType]:
    """The kinds of activator that the plugin brings."""


@hookspec
def daemun_observers() -> Iterable[ObserverType]:
    """The kinds of observer that the plugin brings."""


@hookspec
def daemun_commands() -> Iterable[click.Command]:
    """Commands and command groups for `daemun`; a name that is taken is a clash that names both plugins."""


@hookspec
def daemun_checks() -> Iterable[CheckType]:
    """Checks of what is around the gateway, each an option of `daemun check`."""


@hookspec
def daemun_route_filters(route: RouteSpec) -> Iterable[FilterSpec]:
    """Filters that the plugin adds to `route`. Called each time a route is compiled, never for a request.

    An exception refuses this route and no other.
    """


@hookspec
def daemun_started(info: GatewayInfo) -> None:
    """The gateway listens: what where, with which plugins. Exceptions are logged.

    With several workers this and the other notices are called once, in their supervisor.
    """


@hookspec
def daemun_applied(applied: Applied) -> None:
    """Traffic runs on a new generation. Exceptions are logged."""


@hookspec
def daemun_draining(reason: str) -> None:
    """The gateway is about to stop: it accepts for `drain.delay_seconds` more, then waits for what runs. Exceptions
    are logged."""


@hookspec
def daemun_stopped() -> None:
    """Everything is closed. Exceptions are logged."""
