"""A plugin that does nothing, of each kind, and what it may add to a request."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import anyio
import click
from msgspec import Struct

from daemun import (
    ActivatorType,
    BackendType,
    BalancerType,
    Buffered,
    CheckType,
    Dialect,
    Endpoint,
    ExchangeError,
    FilterSpec,
    FilterType,
    Handler,
    HealthCheckType,
    NoSettings,
    Observer,
    ObserverType,
    Publish,
    Request,
    Response,
    SourceType,
)
from daemun.testing import built, make_plugin

__all__ = ["BUDGETS", "Budget", "no_op"]


class Budget(Struct, frozen=True):
    """What a no-op of one kind may add to one request, over what stands in its place without it."""

    calls: float
    """Python functions called or resumed."""
    runs: bool = True
    """Whether it runs for a request at all; if not, the compiled chain is the same with it."""


BUDGETS = {
    "filter": Budget(1),
    "filter for each route": Budget(1),
    "filter that is open": Budget(5),
    "route filters": Budget(1),
    "backend": Budget(1),
    "balancer": Budget(0),
    "observer": Budget(2),
    "dialect": Budget(1),
    "source": Budget(0, runs=False),
    "activator": Budget(0, runs=False),
    "health check": Budget(0, runs=False),
    "command": Budget(0, runs=False),
    "check": Budget(0, runs=False),
}
"""By kind. A filter is its own coroutine; an observer the loop over observers, and its method; a back end makes a body
anew; a dialect is asked whether it claims a request whose answer is an error."""


def _layer(handler: Handler) -> Handler:
    async def handle(request: Request) -> Response:
        return await handler(request)

    return handle


async def _fixed(request: Request) -> Response:
    return Response(200, ((b"content-type", b"text/plain"),), Buffered(b"hello, world\n"))


class _First:
    def pick(self, endpoints: tuple[Endpoint, ...], request: Request) -> Endpoint | None:
        return endpoints[0] if endpoints and endpoints[0].available else None


class _Silent:
    async def run(self, publish: Publish) -> None:
        await anyio.sleep_forever()

    def reload(self) -> None:
        pass


class _Idle(Observer):
    def finished(self, request: Any, response: Any, exchange: Any) -> None:
        pass


class _Asleep:
    async def activate(self) -> None:
        pass


async def _well(send: Handler, endpoint: Endpoint) -> None:
    pass


async def _look() -> list[Any]:
    return []


def _unclaimed(request: Request) -> bool:
    return False


def _rendered(request: Request, error: ExchangeError) -> Response:
    return Response(error.status)


def _filter(**how: Any) -> FilterType:
    return FilterType("still", NoSettings, built(_layer), **how)


def no_op(kind: str) -> ModuleType:
    """A plugin with one thing of `kind`, a key of `BUDGETS`, that is called `still`."""
    from daemun import FailurePolicy

    types: dict[str, tuple[str, Any]] = {
        "filter": ("filters", _filter()),
        "filter for each route": ("filters", _filter(per_route=True)),
        "filter that is open": ("filters", _filter(failure=FailurePolicy.OPEN)),
        "backend": ("backends", BackendType("still", NoSettings, built(_fixed))),
        "balancer": ("balancers", BalancerType("still", NoSettings, lambda settings: _First())),
        "observer": ("observers", ObserverType("still", NoSettings, built(_Idle()))),
        "dialect": ("dialects", Dialect("still", _unclaimed, _rendered)),
        "source": ("sources", SourceType("still", NoSettings, built(_Silent()))),
        "activator": ("activators", ActivatorType("still", NoSettings, built(_Asleep()))),
        "health check": ("health_checks", HealthCheckType("still", NoSettings, lambda settings: _well)),
        "command": ("commands", click.Command("still")),
        "check": ("checks", CheckType("still", "Nothing.", _look)),
    }
    if kind == "route filters":
        hooks = {"daemun_filters": lambda: [_filter()], "daemun_route_filters": lambda: [FilterSpec("still")]}
    else:
        hook, thing = types[kind]
        hooks = {f"daemun_{hook}": lambda: [thing]}
    return make_plugin("still", **hooks)
