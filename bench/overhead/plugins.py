"""Plugins for scenarios: what each does is its kind, how a request gets to it is its dispatch.

compiled    a layer in the route's chain, as daemun does it: the route lists the filter
hooks       the same layer, put there by an implementation of `daemun_route_filters` for each plugin
pluggy      what daemun does not do: one call of a pluggy hook for each request, each plugin an implementation
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from types import ModuleType
from typing import Any

import pluggy

from daemun import FilterSpec, FilterType, Handler, Layer, NoSettings, Request, Response
from daemun.testing import built, make_plugin
from daemun.testing.yardsticks import CountedBody, yardsticks

__all__ = ["DISPATCHES", "KINDS", "Loaded", "idle", "load"]

KINDS = ("noop", "header", "body", "stateful")
DISPATCHES = ("compiled", "hooks", "pluggy")

_spec = pluggy.HookspecMarker("per_request")
_impl = pluggy.HookimplMarker("per_request")

Loaded = tuple[list[ModuleType], list[FilterSpec]]
"""Plugins to load, and filters that the route lists."""


class _Slot:
    """What hooks that run for a request would have to be given: something to change."""

    __slots__ = ("request", "response")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.response: Response


class _Specs:
    @_spec
    def on_request(self, slot: _Slot) -> None:
        """A request has come."""

    @_spec
    def on_response(self, slot: _Slot) -> None:
        """It was answered."""


class _Noop:
    @_impl
    def on_request(self, slot: _Slot) -> None:
        return None


class _Header:
    @_impl
    def on_request(self, slot: _Slot) -> None:
        slot.request = slot.request.with_header(b"x-measured", b"yes")


class _Body:
    @_impl
    def on_response(self, slot: _Slot) -> None:
        slot.response = slot.response.with_body(CountedBody(slot.response.body))


class _Stateful:
    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    @_impl
    def on_request(self, slot: _Slot) -> None:
        client, now = slot.request.exchange.peer.address, monotonic()
        tokens, since = self._buckets.get(client, (1e9, now))
        self._buckets[client] = (min(1e9, tokens + (now - since) * 1e9) - 1, now)


_PER_REQUEST: dict[str, type] = {"noop": _Noop, "header": _Header, "body": _Body, "stateful": _Stateful}


def _calling(kind: str, plugins: int) -> Layer:
    """A layer that calls one hook for each request, with `plugins` implementations."""
    manager = pluggy.PluginManager("per_request")
    manager.add_hookspecs(_Specs)
    for _ in range(plugins):
        manager.register(_PER_REQUEST[kind]())
    on_request, on_response = manager.hook.on_request, manager.hook.on_response
    before = kind != "body"

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            slot = _Slot(request)
            if before:
                on_request(slot=slot)
                return await handler(slot.request)
            slot.response = await handler(request)
            on_response(slot=slot)
            return slot.response

        return handle

    return layer


def load(dispatch: str, kind: str, plugins: int) -> Loaded:
    """So many plugins of one kind, for one way of dispatch."""
    name = f"yard_{kind}"
    if not plugins:
        return [yardsticks], []
    if dispatch == "compiled":
        return [yardsticks], [FilterSpec(name)] * plugins
    if dispatch == "hooks":
        return [yardsticks, *(_hooked(number, name) for number in range(plugins))], []
    types = [FilterType("per_request", NoSettings, built(_calling(kind, plugins)))]
    return [make_plugin("per_request", daemun_filters=lambda: types)], [FilterSpec("per_request")]


def _hooked(number: int, filter_name: str) -> ModuleType:
    def add(route: Any) -> Iterable[FilterSpec]:
        return [FilterSpec(filter_name)]

    return make_plugin(f"hooked_{number}", daemun_route_filters=add)


def idle(plugins: int) -> list[ModuleType]:
    """Plugins that implement hooks, but none that concerns a request."""
    return [
        make_plugin(f"idle_{number}", daemun_started=lambda info: None, daemun_applied=lambda applied: None)
        for number in range(plugins)
    ]
