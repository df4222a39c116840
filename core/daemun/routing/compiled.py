"""A route that can run, and what of its spec decides whether it must be compiled anew."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from daemun.errors import SettingsError
from daemun.extend.culprit import Thing
from daemun.extend.types import Matcher
from daemun.handler import Handler
from daemun.routing.index import Index
from daemun.routing.shared import Resource
from daemun.routing.spec import BackendSpec, Forward, HostKind, PathKind, RouteSpec

__all__ = ["CompiledRoute", "apart", "check_spec", "used_backends"]


class CompiledRoute:
    """A route that can run: its handler, what it holds open, and its chain in words."""

    __slots__ = ("backends", "chain", "handler", "matchers", "resources", "since", "spec", "things")

    def __init__(self, spec: RouteSpec, backends: tuple[BackendSpec, ...]) -> None:
        self.spec = spec
        self.backends = backends
        """Those that it uses, apart from their endpoints."""
        self.handler: Handler
        self.matchers: tuple[tuple[Matcher, int], ...] = ()
        """What it asks of the content, each with how many bytes it may look at."""
        self.resources: list[Resource] = []
        self.chain: list[str] = []
        """What a request passes, outermost first; printed by `daemun routes` and `explain`."""
        self.things: list[Thing] = []
        """What plugins brought of it: who may be to blame for its faults."""
        self.since = 0
        """Number of the first generation that has it."""

    @property
    def broken(self) -> bool:
        """Whether something that it holds open has ended by itself."""
        return any(resource.broken for resource in self.resources)


def used_backends(spec: RouteSpec, backends: Mapping[str, BackendSpec]) -> tuple[BackendSpec, ...]:
    """The back ends that a route names. Raises `SettingsError` for one that does not exist."""
    if not isinstance(spec.action, Forward):
        return ()
    missing = [share.backend for share in spec.action.splits if share.backend not in backends]
    if missing:
        known = ", ".join(sorted(backends)) or "none"
        raise SettingsError(f"unknown back end {missing[0]!r} (accepted: {known})")
    return tuple(backends[share.backend] for share in spec.action.splits)


def apart(spec: BackendSpec) -> BackendSpec:
    """`spec` apart from endpoints that may change without a route being compiled."""
    if spec.type != "endpoints" or spec.activator or not spec.endpoints:
        return spec
    return msgspec.structs.replace(spec, endpoints=())


def check_spec(spec: RouteSpec) -> None:
    """Raises `SettingsError` or `ValueError` for what no route can be."""
    Index([(spec, None)])
    for host in spec.hosts:
        if host.kind in (HostKind.ONE_LABEL, HostKind.ANY_DEPTH) and not host.value:
            raise SettingsError("a wildcard host names a domain; for any host use HostKind.ANY")
    if spec.path.kind is not PathKind.REGEX and not spec.path.value.startswith("/"):
        raise SettingsError(f"path {spec.path.value!r} does not start with /")
    if isinstance(spec.action, Forward) and not spec.action.splits:
        raise SettingsError("a route that forwards needs a back end")
