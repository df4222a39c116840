"""One Ingress, by itself, as what it claims: hosts with paths and where they lead, and hosts with certificates.

Pure: whether a Service is there, and who wins where two Ingresses claim the same, is seen later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from msgspec import Struct

from daemun import (
    ExchangeError,
    Forward,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Redirect,
    RouteSpec,
    Split,
    normal_target,
)
from daemun_kubernetes.client.kinds import Ingress, IngressBackend
from daemun_kubernetes.ingress.settings import IngressSettings

__all__ = [
    "NOWHERE",
    "REDIRECT",
    "Place",
    "Problem",
    "Target",
    "Translation",
    "host_match",
    "host_name",
    "path_match",
    "rank",
    "translate",
    "wider",
]

REDIRECT = "daemun.dev/redirect"
"""Annotation: `https` has requests without TLS come again with it."""

NOWHERE = "nowhere"
"""Name of the back end, without endpoints, of paths whose back end cannot be used: 503, and nobody else's."""

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_HOSTS = {HostKind.EXACT: 0, HostKind.ONE_LABEL: 1, HostKind.ANY: 2}
_EXPRESSION = re.compile(r"[()\[\]*^$|\\]")
_IN_PATHS = "/%:@!$&'()*+,;=~"
_PERMANENT = 308


class Target(NamedTuple):
    """A port, by number or name, of a Service."""

    namespace: str
    service: str
    port: int | str

    @property
    def backend(self) -> str:
        """The name of its back end."""
        return f"{self.namespace}/{self.service}:{self.port}"


class Place(NamedTuple):
    """What one Ingress at a time can have: a host with a path, or all that no path of a host takes."""

    host: HostMatch
    path: PathMatch
    fallback: bool = False

    @property
    def name(self) -> str:
        """For the names of routes."""
        if self.fallback:
            return f"{self._host}!default"
        return f"{self._host}{'=' if self.path.kind is PathKind.EXACT else ''}{self.path.value}"

    @property
    def words(self) -> str:
        """For people."""
        if self.fallback:
            return f"what no rule takes of {self._host}" if self.host.value else "what no rule takes"
        return f"{self._host}{self.path.value}{' (Exact)' if self.path.kind is PathKind.EXACT else ''}"

    @property
    def _host(self) -> str:
        return host_name(self.host) or "*"


def rank(place: Place) -> tuple[int, str, bool, int, bool, str]:
    """Orders places, the first wins: exact hosts, wildcards, any; of a host longer paths, exact ones, what is left."""
    host, path = place.host, place.path
    length = len(path.value) if path.kind is PathKind.EXACT else len(path.value.rstrip("/"))
    return _HOSTS[host.kind], host.value, place.fallback, -length, path.kind is not PathKind.EXACT, path.value


class Problem(Struct, frozen=True):
    """Something of an Ingress that is not as its author meant it: an event."""

    reason: str
    message: str
    passing: bool = False
    """Whether it may pass by itself."""


class Translation(Struct, frozen=True):
    """What an Ingress asks for."""

    routes: dict[Place, tuple[RouteSpec, ...]] = {}
    names: frozenset[HostMatch] = frozenset()
    """The hosts of its rules; without any rule, any host."""
    hosts: dict[str, str] = {}
    """Hosts to present a certificate for ("": all others), each with the name of its Secret. Unless hosts are shared,
    requests for them are for one of `names`."""
    targets: frozenset[Target] = frozenset()
    problems: tuple[Problem, ...] = ()


def host_match(host: str) -> HostMatch:
    """`foo.bar.com`, `*.bar.com` (one label), or "" (any). Raises `ValueError` in words."""
    name = host.lower().removesuffix(".")
    if not name:
        return HostMatch(HostKind.ANY)
    kind = HostKind.ONE_LABEL if name.startswith("*.") else HostKind.EXACT
    name = name.removeprefix("*.")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"{host!r} is no host; accepted: a name, *. before a name, or nothing")
    return HostMatch(kind, name)


def host_name(match: HostMatch) -> str:
    """The host as certificates have it: a name, `*.` before a name, or "" (any)."""
    return f"*.{match.value}" if match.kind is HostKind.ONE_LABEL else match.value


def wider(match: HostMatch) -> tuple[HostMatch, ...]:
    """Whose rules are for requests of a host, the first that there is: its own, those of its wildcard, those of any."""
    any_host = HostMatch(HostKind.ANY)
    if match.kind is HostKind.EXACT:
        return match, HostMatch(HostKind.ONE_LABEL, match.value.partition(".")[2]), any_host
    return (match, any_host) if match.kind is HostKind.ONE_LABEL else (any_host,)


def path_match(path: str, path_type: str) -> PathMatch:
    """What `path` takes; `ImplementationSpecific` is as `Prefix`. Raises `ValueError` in words."""
    if path_type not in ("Exact", "Prefix", "ImplementationSpecific"):
        raise ValueError(f"path type {path_type!r} is not known; accepted: Exact, Prefix, ImplementationSpecific")
    if not path and path_type == "ImplementationSpecific":
        path = "/"
    if not path.startswith("/"):
        raise ValueError(f"path {path!r} takes nothing; accepted: a path that begins with /")
    try:
        value = normal_target(quote(path, safe=_IN_PATHS).encode()).decode()
    except ExchangeError as error:
        raise ValueError(f"path {path!r} takes nothing: {error}") from None
    if path_type == "Exact":
        return PathMatch(PathKind.EXACT, value)
    return PathMatch(PathKind.SEGMENT_PREFIX, value.rstrip("/") or "/")


def translate(ingress: Ingress, settings: IngressSettings) -> Translation:
    """What `ingress` claims. Of what cannot be used the rest is not hurt; `problems` says what is wrong."""
    return _Reading(ingress, settings).translation()


class _Reading:
    """One Ingress while it is read."""

    def __init__(self, ingress: Ingress, settings: IngressSettings) -> None:
        self._ingress = ingress
        self._settings = settings
        self._owner = f"{ingress.metadata.namespace}/{ingress.metadata.name}"
        self._problems: list[Problem] = []
        self._targets: set[Target] = set()
        self._names: set[HostMatch] = set()
        self._listeners = (*settings.http_listeners, *settings.https_listeners)
        self._redirects = self._redirect()
        self._narrowed: list[tuple[str, str]] = []

    def translation(self) -> Translation:
        routes: dict[Place, tuple[RouteSpec, ...]] = {}
        for place, backend in self._places():
            if place in routes:
                self._note("Duplicate", f"{place.words} is there twice; the first is served")
                continue
            routes[place] = self._routes(place, self._target(backend, place.words))
        if not routes:
            self._note("NothingServed", "there is no rule with a path, and no defaultBackend; nothing is served")
        hosts = dict(self._hosts())
        problems = tuple(dict.fromkeys(self._problems))
        return Translation(routes, frozenset(self._names), hosts, frozenset(self._targets), problems)

    def _places(self) -> Iterator[tuple[Place, IngressBackend]]:
        spec = self._ingress.spec
        fallback = spec.default_backend
        hosts: dict[HostMatch, None] = {}
        for index, rule in enumerate(spec.rules):
            try:
                host = host_match(rule.host)
            except ValueError as error:
                self._note("BadHost", f"spec.rules[{index}].host: {error}")
                continue
            hosts[host] = None
            self._names.add(host)
            for number, path in enumerate(rule.http.paths if rule.http is not None else ()):
                where = f"spec.rules[{index}].http.paths[{number}]"
                try:
                    match = path_match(path.path, path.path_type)
                except ValueError as error:
                    self._note("BadPath", f"{where}: {error}")
                    continue
                if path.path_type == "ImplementationSpecific" and _EXPRESSION.search(path.path):
                    self._note("BadPath", f"{where}: {path.path!r} is taken as a prefix, not as a regular expression")
                yield Place(host, match), path.backend
            if rule.http is None and fallback is not None:
                yield Place(host, PathMatch()), fallback
        if fallback is not None:
            any_host = HostMatch(HostKind.ANY)
            hosts[any_host] = None
            if not spec.rules:
                self._names.add(any_host)
            for host in hosts:
                yield Place(host, PathMatch(), fallback=True), fallback

    def _target(self, backend: IngressBackend, where: str) -> Target | None:
        if backend.resource is not None:
            kind = backend.resource.kind
            self._note(
                "BadBackend", f"{where}: a resource ({kind} {backend.resource.name}) cannot be served; use a service"
            )
            return None
        service = backend.service
        if service is None or not service.name:
            self._note("BadBackend", f"{where}: the back end names no service")
            return None
        port = service.port.number or service.port.name
        if not port:
            self._note("BadBackend", f"{where}: service {service.name} is named without a port")
            return None
        target = Target(self._ingress.metadata.namespace, service.name, port)
        self._targets.add(target)
        return target

    def _routes(self, place: Place, target: Target | None) -> tuple[RouteSpec, ...]:
        name, origin = f"{self._owner}:{place.name}", f"ingress {self._owner}"
        forward = RouteSpec(
            name,
            Forward((Split(target.backend if target is not None else NOWHERE),)),
            hosts=(place.host,),
            path=place.path,
            listeners=self._settings.https_listeners if self._redirects else self._listeners,
            origin=origin,
        )
        if not self._redirects:
            return (forward,)
        again = RouteSpec(
            f"{name}!https",
            Redirect(scheme="https", status=_PERMANENT),
            hosts=(place.host,),
            path=place.path,
            listeners=self._settings.http_listeners,
            origin=origin,
        )
        return forward, again

    def _redirect(self) -> bool:
        value = self._ingress.metadata.annotations.get(REDIRECT)
        if value is None:
            return False
        if value != "https":
            self._note("BadAnnotation", f"{REDIRECT}: {value!r} is not known; accepted: https")
            return False
        if not (self._settings.http_listeners and self._settings.https_listeners):
            self._note("BadAnnotation", f"{REDIRECT}: the gateway has no listeners with TLS for Ingresses")
            return False
        return True

    def _hosts(self) -> Iterator[tuple[str, str]]:
        """Each host once: the first entry that names it counts. An entry without hosts is for those of the rules."""
        seen: set[str] = set()
        for name, secret in (*self._certified(), *self._narrowed):
            if name not in seen:
                seen.add(name)
                yield name, secret

    def _certified(self) -> Iterator[tuple[str, str]]:
        """The hosts of all entries. Of a wildcard that is in no rule what is left is the hosts that are."""
        for index, entry in enumerate(self._ingress.spec.tls):
            where = f"spec.tls[{index}]"
            if not self._settings.https_listeners:
                self._note("NoTls", f"{where}: the gateway has no listeners with TLS for Ingresses")
                continue
            if not entry.secret_name:
                continue  # the listener's own certificate is meant
            for host in entry.hosts or [rule.host for rule in self._ingress.spec.rules] or [""]:
                try:
                    match = host_match(host)
                except ValueError as error:
                    self._note("BadHost", f"{where}.hosts: {error}")
                    continue
                if self._settings.share_hosts or not self._names.isdisjoint(wider(match)):
                    yield host_name(match), entry.secret_name
                    continue
                under = sorted(host_name(one) for one in self._names if match in wider(one))
                self._narrowed += [(name, entry.secret_name) for name in under]
                if not under:
                    self._note("BadHost", f"{where}.hosts: {host!r} is in no rule of this Ingress; accepted: what is")

    def _note(self, reason: str, message: str) -> None:
        self._problems.append(Problem(reason, message))
