"""From a valid KIngress to routes, certificates, and the Services and Secrets that these need.

Every path of every rule is a route, in the order in which they are written: so the first that matches wins, over all
rules of a host. Whether a host is served over TLS is a matter of certificates alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from msgspec import Struct

from daemun import (
    CertificateSpec,
    FilterSpec,
    Forward,
    HeaderEdit,
    HostKind,
    HostMatch,
    PathKind,
    PathMatch,
    Redirect,
    RouteSpec,
    Split,
    ValueKind,
    ValueMatch,
)
from daemun_knative.kingress.types import (
    CLUSTER_LOCAL,
    EXTERNAL_IP,
    REDIRECTED,
    BackendSplit,
    HttpPath,
    KIngress,
    Rule,
    Tls,
)

__all__ = [
    "ANY_HOST",
    "Doors",
    "References",
    "certificates",
    "hosts_of",
    "references",
    "routes",
    "secured_hosts",
]

ANY_HOST = "*"
"""Stands for the hosts of a rule that names none."""

_VISIBILITIES = (EXTERNAL_IP, CLUSTER_LOCAL)
_ANY_HOST_PRIORITY = -1
"""Below the routes of hosts by name."""


class References(Struct, frozen=True):
    """What must exist before a KIngress can be served."""

    services: tuple[tuple[str, str, int | str], ...] = ()
    """Namespace, name and port, each once."""
    secrets: tuple[tuple[str, str], ...] = ()
    """Namespace and name, each once."""


class Doors(Struct, frozen=True):
    """Names of listeners, by who reaches them and what they speak. None: nobody comes this way."""

    external_http: tuple[str, ...] = ()
    external_https: tuple[str, ...] = ()
    internal_http: tuple[str, ...] = ()
    internal_https: tuple[str, ...] = ()

    @property
    def external(self) -> tuple[str, ...]:
        return self.external_http + self.external_https

    @property
    def internal(self) -> tuple[str, ...]:
        return self.internal_http + self.internal_https


def hosts_of(ingress: KIngress) -> tuple[str, ...]:
    """Every host that the KIngress wants for itself, in lower case, each once; `ANY_HOST` for a rule without hosts."""
    return tuple(dict.fromkeys(host for rule in ingress.spec.rules for host in _hosts(rule)))


def references(ingress: KIngress) -> References:
    """The Services that get traffic, and the Secrets of entries of `tls` that apply."""
    paths = (path for rule in ingress.spec.rules for path in rule.paths)
    return References(
        services=tuple(dict.fromkeys(_service(split) for path in paths for split, _ in _shares(path))),
        secrets=tuple(
            dict.fromkeys(
                (tls.secret_namespace, tls.secret_name) for tls, hosts in secured_hosts(ingress) if any(hosts.values())
            )
        ),
    )


def routes(
    ingress: KIngress,
    token: str,
    doors: Doors,
    backend_name: Callable[[str, str, int | str], str],
    hosts: Callable[[str], bool],
) -> tuple[RouteSpec, ...]:
    """The routes of the hosts that `hosts` says yes to, each of which answers probes with `token`.

    `backend_name` gives the name of a Service's back end by namespace, name and port.
    """
    name = f"{ingress.metadata.namespace}/{ingress.metadata.name}"
    probe = (FilterSpec("knative-probe", {"hash": token}),)
    found: list[RouteSpec] = []
    for rule_number, rule in enumerate(ingress.spec.rules):
        matches = tuple(_host_match(host) for host in _hosts(rule) if hosts(host))
        if not matches:
            continue
        outside = rule.visibility in ("", EXTERNAL_IP)
        redirected = doors.external_http if outside and ingress.spec.http_option == REDIRECTED else ()
        forwarding = (doors.external if outside else ()) + doors.internal
        forwarding = tuple(door for door in dict.fromkeys(forwarding) if door not in redirected)
        for path_number, path in enumerate(rule.paths):
            # no listeners would mean all of them
            if redirected:
                found.append(
                    RouteSpec(
                        f"{name}:{rule_number}.{path_number}:redirect",
                        Redirect(scheme="https", status=301),
                        hosts=matches,
                        path=_path_match(path),
                        headers=_header_matches(path),
                        listeners=redirected,
                        priority=_priority(rule),
                        origin=_origin(name, rule_number, path_number),
                    )
                )
            if forwarding:
                found.append(
                    RouteSpec(
                        f"{name}:{rule_number}.{path_number}",
                        Forward(tuple(_split(split, weight, backend_name) for split, weight in _shares(path))),
                        hosts=matches,
                        path=_path_match(path),
                        headers=_header_matches(path),
                        listeners=forwarding,
                        priority=_priority(rule),
                        rewrite_host=path.rewrite_host,
                        request_headers=_edit(path.append_headers),
                        filters=probe,
                        origin=_origin(name, rule_number, path_number),
                    )
                )
    return tuple(found)


def _everything(host: str) -> bool:
    return True


def certificates(
    ingress: KIngress,
    pair: Callable[[str, str], tuple[str, str] | None],
    doors: Doors,
    hosts: Callable[[str], bool] = _everything,
) -> tuple[CertificateSpec, ...]:
    """The certificates of the hosts that the KIngress serves and `hosts` says yes to.

    `pair` gives the chain and the key out of a Secret by namespace and name, None while there is none: then it is left
    out.
    """
    name = f"{ingress.metadata.namespace}/{ingress.metadata.name}"
    listeners = {EXTERNAL_IP: doors.external_https, CLUSTER_LOCAL: doors.internal_https}
    found: list[CertificateSpec] = []
    for number, (tls, secured) in enumerate(secured_hosts(ingress)):
        for visibility in _VISIBILITIES:
            names = tuple(host for host in secured[visibility] if hosts(host))
            # no hosts would mean any, no listeners all of them
            if not names or not listeners[visibility]:
                continue
            if (both := pair(tls.secret_namespace, tls.secret_name)) is not None:
                found.append(
                    CertificateSpec(
                        f"{name}:{number}:{visibility}",
                        names,
                        *both,
                        listeners=listeners[visibility],
                        origin=f"{name}#spec.tls[{number}]",
                    )
                )
    return tuple(found)


def secured_hosts(ingress: KIngress) -> tuple[tuple[Tls, Mapping[str, tuple[str, ...]]], ...]:
    """Each entry of `tls` with the hosts that it is for, by visibility: those of rules all of whose hosts it lists."""
    rules = [tuple(_hosts(rule)) if rule.hosts else () for rule in ingress.spec.rules]
    by_host: dict[str, list[int]] = {}
    for number, hosts in enumerate(rules):
        for host in hosts:
            by_host.setdefault(host, []).append(number)
    found = []
    for tls in ingress.spec.tls:
        listed = Counter(number for host in dict.fromkeys(map(_normal, tls.hosts)) for number in by_host.get(host, ()))
        secured: dict[str, dict[str, None]] = {visibility: {} for visibility in _VISIBILITIES}
        for number in sorted(listed):
            visibility = ingress.spec.rules[number].visibility or EXTERNAL_IP
            if listed[number] == len(rules[number]) and visibility in secured:
                secured[visibility] |= dict.fromkeys(rules[number])
        found.append((tls, {visibility: tuple(hosts) for visibility, hosts in secured.items()}))
    return tuple(found)


def _hosts(rule: Rule) -> Iterator[str]:
    return iter(dict.fromkeys(map(_normal, rule.hosts)) or (ANY_HOST,))


def _normal(host: str) -> str:
    return host.lower().removesuffix(".")


def _host_match(host: str) -> HostMatch:
    return HostMatch(HostKind.ANY) if host == ANY_HOST else HostMatch(HostKind.EXACT, host)


def _priority(rule: Rule) -> int:
    return 0 if rule.hosts else _ANY_HOST_PRIORITY


def _path_match(path: HttpPath) -> PathMatch:
    return PathMatch(PathKind.RAW_PREFIX, path.path or "/")


def _header_matches(path: HttpPath) -> tuple[ValueMatch, ...]:
    return tuple(ValueMatch(name.lower(), ValueKind.EXACT, match.exact) for name, match in path.headers.items())


def _shares(path: HttpPath) -> Iterator[tuple[BackendSplit, int]]:
    """The splits that get traffic, with how much. A lone one gets all of it."""
    if len(path.splits) == 1:
        yield path.splits[0], 100
        return
    for split in path.splits:
        if split.percent > 0:
            yield split, split.percent


def _service(split: BackendSplit) -> tuple[str, str, int | str]:
    return split.service_namespace, split.service_name, split.service_port


def _split(split: BackendSplit, weight: int, backend_name: Callable[[str, str, int | str], str]) -> Split:
    return Split(backend_name(*_service(split)), weight, _edit(split.append_headers))


def _edit(fields: Mapping[str, str]) -> HeaderEdit:
    return HeaderEdit(set={name.lower(): value for name, value in fields.items()})


def _origin(name: str, rule: int, path: int) -> str:
    return f"{name}#spec.rules[{rule}].http.paths[{path}]"
