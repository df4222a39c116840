"""Ingresses, Services and Secrets as the cluster has them, without a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from daemun import Applied
from daemun.testing import HandSource, RunningGateway, Wire, running
from daemun.testing.wire import Answer
from daemun_kubernetes.client.kinds import (
    EndpointPort,
    EndpointSlice,
    HttpIngressPath,
    HttpIngressRule,
    Ingress,
    IngressBackend,
    IngressRule,
    IngressServiceBackend,
    IngressSpec,
    IngressTls,
    LocalReference,
    Metadata,
    Secret,
    Service,
    ServiceBackendPort,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
)
from daemun_kubernetes.ingress.assembly import Assembly
from daemun_kubernetes.ingress.settings import IngressSettings
from daemun_kubernetes.ingress.translate import Target
from daemun_kubernetes.view.references import Key
from daemun_kubernetes.view.secrets import Pair, pair_of
from daemun_kubernetes.view.services import Resolved, resolve, service_settings

__all__ = ["World", "backend", "get", "ingress", "path", "rule", "serving", "slice_of"]


def backend(text: str) -> IngressBackend:
    """`service:port`, or `kind/name` of a resource."""
    if "/" in text:
        kind, _, name = text.partition("/")
        return IngressBackend(resource=LocalReference(kind=kind, name=name))
    service, _, port = text.partition(":")
    number = int(port) if port.isdigit() else 0
    return IngressBackend(
        service=IngressServiceBackend(name=service, port=ServiceBackendPort(name="" if number else port, number=number))
    )


def path(value: str, to: str, path_type: str = "Prefix") -> HttpIngressPath:
    return HttpIngressPath(path=value, path_type=path_type, backend=backend(to))


def rule(host: str, *paths: HttpIngressPath) -> IngressRule:
    return IngressRule(host=host, http=HttpIngressRule(paths=paths) if paths else None)


def ingress(
    name: str,
    *rules: IngressRule,
    namespace: str = "default",
    default: str = "",
    tls: Iterable[tuple[str, tuple[str, ...]]] = (),
    created: str = "2026-01-01T00:00:00Z",
    class_name: str = "",
    annotations: dict[str, str] | None = None,
) -> Ingress:
    """An Ingress; `tls` are Secrets with their hosts."""
    return Ingress(
        metadata=Metadata(
            name=name, namespace=namespace, uid=name, creation_timestamp=created, annotations=annotations or {}
        ),
        spec=IngressSpec(
            ingress_class_name=class_name,
            rules=rules,
            default_backend=backend(default) if default else None,
            tls=tuple(IngressTls(secret_name=secret, hosts=hosts) for secret, hosts in tls),
        ),
    )


def slice_of(service: str, *addresses: str, namespace: str = "default", number: int = 80) -> EndpointSlice:
    """The endpoints of a Service whose only port has no name."""
    return EndpointSlice(
        metadata=Metadata(name=f"{service}-1", namespace=namespace, labels={"kubernetes.io/service-name": service}),
        endpoints=tuple(SliceEndpoint(addresses=(address,)) for address in addresses),
        ports=(EndpointPort(port=number),),
    )


class World:
    """A cluster's objects, and what the assembly makes of them."""

    def __init__(self, **settings: Any) -> None:
        self.settings = IngressSettings(**settings)
        self.services: dict[Key, tuple[Service, list[EndpointSlice]]] = {}
        self.secrets: dict[Key, Secret] = {}
        self.pending: set[Key] = set()
        """Services and Secrets that the cluster has not told of yet."""
        self.assembly = Assembly(self.settings, self._backend, self._pair)

    def add(self, *ingresses: Ingress) -> World:
        for one in ingresses:
            self.assembly.put((one.metadata.namespace, one.metadata.name), one)
        return self

    def serve(
        self, name: str, *ports: int, namespace: str = "default", number: int = 8080, port_name: str = ""
    ) -> None:
        """A Service with a port `number` and an endpoint on each of `ports` of the loopback interface."""
        metadata = Metadata(name=name, namespace=namespace)
        service = Service(metadata=metadata, spec=ServiceSpec(ports=(ServicePort(port=number, name=port_name),)))
        slices = [
            EndpointSlice(
                metadata=Metadata(name=f"{name}-{port}", namespace=namespace),
                endpoints=(SliceEndpoint(addresses=("127.0.0.1",)),),
                ports=(EndpointPort(name=port_name, port=port),),
            )
            for port in ports
        ]
        self.services[namespace, name] = (service, slices)
        self.assembly.services_changed([(namespace, name)])

    def keep(self, name: str, pair: tuple[str, str], namespace: str = "default") -> None:
        """A Secret of type `kubernetes.io/tls`."""
        data = {"tls.crt": pair[0].encode(), "tls.key": pair[1].encode()}
        metadata = Metadata(name=name, namespace=namespace)
        self.secrets[namespace, name] = Secret(metadata=metadata, type="kubernetes.io/tls", data=data)
        self.assembly.secrets_changed([(namespace, name)])

    def problems(self) -> dict[str, list[str]]:
        """What is news of Ingresses, in words."""
        self.assembly.snapshot()
        return {
            name: [problem.message for problem in problems]
            for (_, name), problems in sorted(self.assembly.news().items())
        }

    def routes(self) -> list[str]:
        return [route.name for route in self.assembly.snapshot().routes]

    async def publish(self, source: HandSource) -> Applied:
        snapshot = self.assembly.snapshot()
        applied = await source.publish(*snapshot.routes, backends=snapshot.backends, certificates=snapshot.certificates)
        self.assembly.applied(applied)
        return applied

    def _backend(self, target: Target) -> Resolved:
        key = target[:2]
        if key in self.pending:
            return Resolved(None, "not known yet", pending=True)
        service, slices = self.services.get(key, (None, []))
        return resolve(key, target.port, service, slices, settings=service_settings(self.settings.backend_settings))

    def _pair(self, key: Key) -> Pair:
        if key in self.pending:
            return Pair(error="not known yet", pending=True)
        return pair_of(key, self.secrets.get(key))


@asynccontextmanager
async def serving(world: World, **settings: Any) -> AsyncIterator[RunningGateway]:
    """A gateway that serves `world` as it is now."""
    source = HandSource()
    async with running({**source.settings, **settings}, extra=[source.plugin], only=["http1", "http2"]) as gateway:
        applied = await world.publish(source)
        assert not applied.refused, applied.refused
        yield gateway


async def get(gateway: RunningGateway, host: str, target: str = "/", method: str = "GET", **fields: str) -> Answer:
    """What the gateway answers to a request on a connection of its own."""
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    wire = Wire(await gateway.connect())
    try:
        length = "" if method == "GET" else "Content-Length: 0\r\n"
        await wire.send(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}{head}\r\n".encode())
        return await wire.answer(method)
    finally:
        await wire.aclose()
