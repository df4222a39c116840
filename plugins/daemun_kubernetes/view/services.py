"""Services as back ends. Traffic goes to the endpoints of a Service, never to its cluster address."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import Struct

from daemun import BackendSpec, EndpointSpec
from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, SERVICE, EndpointSlice, Service, ServicePort
from daemun_kubernetes.view.references import Key, References, open_references

__all__ = [
    "Resolved",
    "ServiceView",
    "Spoken",
    "SpokenRule",
    "by_any_port",
    "by_port",
    "open_services",
    "resolve",
    "service_settings",
]

_SERVICE_NAME = "kubernetes.io/service-name"
"""The label by which an EndpointSlice belongs to a Service."""

_OWN_NAME = re.compile(r"(.+\.)?(localhost6?|ip6-localhost|ip6-loopback|localdomain6?)")
"""Names that machines give to themselves."""


class Spoken(Struct, frozen=True):
    """How endpoints are spoken to."""

    protocol: str = "http1"
    tls: bool = False


SpokenRule = Callable[[Service, ServicePort], Spoken]
"""How the endpoints of one port of a Service are spoken to."""

_BY_APP_PROTOCOL = {
    "kubernetes.io/h2c": Spoken("http2"),
    "h2c": Spoken("http2"),
    "http2": Spoken("http2"),
    "grpc": Spoken("http2"),
    "https": Spoken(tls=True),
    "kubernetes.io/wss": Spoken(tls=True),
}
_BY_NAME = {"http2": Spoken("http2"), "h2c": Spoken("http2"), "grpc": Spoken("http2"), "https": Spoken(tls=True)}


def by_port(service: Service, port: ServicePort) -> Spoken:
    """By the port's `appProtocol`; without one by its name, up to a hyphen: `h2c`, `http2-api`, `https` …"""
    if port.app_protocol:
        return _BY_APP_PROTOCOL.get(port.app_protocol.lower(), Spoken())
    return _BY_NAME.get(port.name.partition("-")[0], Spoken())


def by_any_port(service: Service, port: ServicePort) -> Spoken:
    """HTTP/2 if any port of the Service is called `http2` or `h2c`, or its own `appProtocol` is `kubernetes.io/h2c`:
    the rule of Knative."""
    if port.app_protocol == "kubernetes.io/h2c" or any(one.name in ("http2", "h2c") for one in service.spec.ports):
        return Spoken("http2")
    return Spoken()


class Resolved(Struct, frozen=True):
    """What a reference to a Service's port leads to."""

    spec: BackendSpec | None
    """None: it leads nowhere, and `error` says why."""
    error: str = ""
    ready: bool = False
    """Whether at least one endpoint is."""
    pending: bool = False
    """The cluster has not said yet whether there is such a Service; a change will tell."""


def service_settings(more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Settings of a Service's back end, with `more` over them: no hidden time limit, and nobody waits, because nothing
    here starts an endpoint."""
    return {"response_timeout_seconds": 0, "waiting_room": {"max_requests": 0}, **more}


def resolve(
    key: Key,
    port: int | str,
    service: Service | None,
    slices: Iterable[EndpointSlice],
    *,
    rule: SpokenRule = by_port,
    settings: dict[str, Any] | None = None,
    external_names: bool = True,
) -> Resolved:
    """The back end that stands for one port, by number or name, of a Service with its EndpointSlices."""
    namespace, name = key
    words = f"service {namespace}/{name}"
    if service is None:
        return Resolved(None, f"{words} not found")
    tcp = [one for one in service.spec.ports if one.protocol in ("", "TCP")]
    found = _find(tcp, port)
    endpoints: Iterable[EndpointSpec]
    if service.spec.type == "ExternalName":
        host = service.spec.external_name.rstrip(".").lower()
        if not external_names:
            return Resolved(None, f"{words} is of type ExternalName, which is not allowed here")
        if fault := _not_external(host):
            return Resolved(None, f"{words} leads to {host!r}, {fault}")
        number = found.port if found is not None else _number(port) if not tcp and _number(port) else 80
        spoken = rule(service, found or ServicePort(port=number))
        endpoints = [_endpoint(host, number, spoken, host)]
    elif found is None:
        has = ", ".join(f"{one.name} {one.port}".strip() for one in tcp) or "none"
        return Resolved(None, f"{words} has no port {port!r} (it has: {has})")
    else:
        spoken, server_name = rule(service, found), f"{name}.{namespace}.svc"
        places = _chosen(list(_places(slices, found)), next(iter(service.spec.ip_families), ""))
        endpoints = [_endpoint(one.address, one.port, spoken, server_name) for one in places]
    unique = tuple(sorted(set(endpoints), key=lambda one: one.address))
    spec = BackendSpec(
        f"{namespace}/{name}:{port}",
        settings=service_settings() if settings is None else settings,
        endpoints=unique,
        origin=words,
    )
    return Resolved(spec, ready=bool(unique))


def _number(port: int | str) -> int:
    """The port as a number; 0 if it is a name."""
    if isinstance(port, int):
        return port
    return int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0


def _find(ports: Iterable[ServicePort], wanted: int | str) -> ServicePort | None:
    number = _number(wanted)
    for port in ports:
        if port.port == number if number else port.name == wanted:
            return port
    return None


def _not_external(host: str) -> str:
    """Why a name is none that a Service may lead to; "": it is one. A gateway is not tricked into calling itself.

    A name is not looked up here: where it leads is known to those who may write records of its domain.
    """
    if not host:
        return "which is no name"
    if _OWN_NAME.fullmatch(host):
        return "which is the gateway itself"
    address = _address(host)
    if address is None:
        # no domain of the top begins with a digit, but resolvers take 127.1, 2130706433 and 0x7f.1 for addresses
        return "which is no name, and no address in full" if host.rpartition(".")[2][:1].isdigit() else ""
    if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
        return "which is no address outside of the gateway's own machine"
    return ""


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that is written there in full, IPv4 in IPv6 as IPv4; None: it is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address if isinstance(address, ipaddress.IPv4Address) else address.ipv4_mapped or address


class _Place(NamedTuple):
    """Where a Pod listens."""

    address: str
    port: int
    family: str
    is_ready: bool


def _places(slices: Iterable[EndpointSlice], port: ServicePort) -> Iterator[_Place]:
    """The addresses of all slices, ready or still serving, with the number that each slice gives to the port's name.

    Slices of names (`FQDN`) lead nowhere, as in kube-proxy: they would be external names for who may not have them.
    """
    for one in slices:
        if one.address_type not in ("IPv4", "IPv6"):
            continue
        numbers = [
            entry.port
            for entry in one.ports
            if entry.port and (entry.name or "") == port.name and (entry.protocol or "TCP") == "TCP"
        ]
        for endpoint in one.endpoints:
            conditions = endpoint.conditions
            is_ready = conditions.ready is not False
            if not is_ready and not (conditions.serving and conditions.terminating):
                continue
            for address in endpoint.addresses:
                if _address(address) is not None:
                    for number in numbers:
                        yield _Place(address, number, one.address_type, is_ready)


def _chosen(places: list[_Place], family: str) -> list[_Place]:
    """As kube-proxy: those that are ready, and where none is those that still serve while they end; and of a Service of
    both families those of its first, so that no Pod counts twice."""
    places = [one for one in places if one.is_ready] or places
    return [one for one in places if one.family == family] or places


def _endpoint(host: str, port: int, spoken: Spoken, server_name: str) -> EndpointSpec:
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return EndpointSpec(address, spoken.protocol, spoken.tls, server_name if spoken.tls else "")


class ServiceView:
    """Back ends for references to Services. What did not change is the same object as before."""

    def __init__(
        self,
        services: References[Service],
        slices: References[EndpointSlice],
        *,
        resolve: Callable[..., Resolved],
    ) -> None:
        """`resolve` is the function of that name, with its options."""
        self._services = services
        self._slices = slices
        self._resolve = resolve
        self._resolved: dict[Key, dict[int | str, Resolved]] = {}

    def refer(self, keys: Collection[Key]) -> None:
        """Watches these Services (namespace, name), and no others, from now on."""
        keys = frozenset(keys)
        self._services.refer(keys)
        self._slices.refer(keys)
        for key in self._resolved.keys() - keys:
            del self._resolved[key]

    def backend(self, namespace: str, service: str, port: int | str) -> Resolved:
        """What the port leads to now. Only for Services that are referred to does it stay right."""
        key = (namespace, service)
        resolved = self._resolved.setdefault(key, {}).get(port)
        if resolved is None:
            resolved = self._look_up(key, port)
            if key in self._services.keys:
                self._resolved[key][port] = resolved
        return resolved

    async def wait_synced(self) -> None:
        """Returns once all that is referred to was listed, or may not be; what passes is waited for."""
        await self._services.wait_synced()
        await self._slices.wait_synced()

    def forget(self, keys: Collection[Key]) -> None:
        """Resolves these anew when they are next asked for: something about them changed."""
        for key in keys:
            self._resolved.pop(key, None)

    def _look_up(self, key: Key, port: int | str) -> Resolved:
        if not (self._services.settled(key) and self._slices.settled(key)):
            return Resolved(None, f"service {key[0]}/{key[1]} is not known yet", pending=True)
        for trouble in (self._services.trouble(key), self._slices.trouble(key)):
            if trouble:
                return Resolved(None, f"service {key[0]}/{key[1]} is not known: {trouble}")
        service = next(iter(self._services.objects(key)), None)
        return self._resolve(key, port, service, self._slices.objects(key))


@asynccontextmanager
async def open_services(
    cluster: Cluster,
    on_change: Callable[[frozenset[Key]], None],
    *,
    rule: SpokenRule = by_port,
    settings: dict[str, Any] | None = None,
    external_names: bool = True,
    max_namespaces: float = 16,
    patience_seconds: float = 10.0,
) -> AsyncIterator[ServiceView]:
    """A view of Services until the context is left. `on_change` hears which of those referred to changed.

    `rule` says how endpoints are spoken to, `settings` are those of every back end (of type `endpoints`), and
    `external_names` whether Services of type ExternalName lead anywhere. A name that means the gateway's own machine
    does not, but what a name is looked up to is not seen here.
    """

    def changed(keys: frozenset[Key]) -> None:
        view.forget(keys)
        on_change(keys)

    async with (
        open_references(
            cluster,
            SERVICE,
            changed,
            name_of=_own_name,
            max_namespaces=max_namespaces,
            patience_seconds=patience_seconds,
        ) as services,
        open_references(
            cluster,
            ENDPOINT_SLICE,
            changed,
            name_of=_service_name,
            labels=_SERVICE_NAME,
            max_namespaces=max_namespaces,
            patience_seconds=patience_seconds,
        ) as slices,
    ):
        view = ServiceView(
            services,
            slices,
            resolve=partial(resolve, rule=rule, settings=settings, external_names=external_names),
        )
        yield view


def _own_name(service: Service) -> str:
    return service.metadata.name


def _service_name(item: EndpointSlice) -> str:
    return item.metadata.labels.get(_SERVICE_NAME, "")
