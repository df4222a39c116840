"""Ingresses and their classes."""

from __future__ import annotations

from daemun_kubernetes.client.kinds.base import Kind, Metadata, Wire
from daemun_kubernetes.client.kinds.services import LoadBalancer

__all__ = [
    "INGRESS",
    "INGRESS_CLASS",
    "HttpIngressPath",
    "HttpIngressRule",
    "Ingress",
    "IngressBackend",
    "IngressClass",
    "IngressClassParameters",
    "IngressClassSpec",
    "IngressRule",
    "IngressServiceBackend",
    "IngressSpec",
    "IngressStatus",
    "IngressTls",
    "LocalReference",
    "ServiceBackendPort",
]


class ServiceBackendPort(Wire, frozen=True):
    """A port of a Service, by name or by number."""

    name: str = ""
    number: int = 0


class IngressServiceBackend(Wire, frozen=True):
    """A Service in the Ingress's own namespace."""

    name: str = ""
    port: ServiceBackendPort = ServiceBackendPort()


class LocalReference(Wire, frozen=True):
    """An object in the same namespace."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class IngressBackend(Wire, frozen=True):
    """Where requests go: a Service, or else an object of some other kind."""

    service: IngressServiceBackend | None = None
    resource: LocalReference | None = None


class HttpIngressPath(Wire, frozen=True):
    """One path of a rule; `path_type` is `Exact`, `Prefix` or `ImplementationSpecific`."""

    path: str = ""
    path_type: str = ""
    backend: IngressBackend = IngressBackend()


class HttpIngressRule(Wire, frozen=True):
    """The paths of a rule."""

    paths: tuple[HttpIngressPath, ...] = ()


class IngressRule(Wire, frozen=True):
    """What is done for one host; without `http` all of it goes to the default back end."""

    host: str = ""
    http: HttpIngressRule | None = None


class IngressTls(Wire, frozen=True):
    """The hosts that a Secret has the certificate of."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class IngressSpec(Wire, frozen=True):
    """What an Ingress asks for."""

    ingress_class_name: str = ""
    default_backend: IngressBackend | None = None
    tls: tuple[IngressTls, ...] = ()
    rules: tuple[IngressRule, ...] = ()


class IngressStatus(Wire, frozen=True):
    """Where it is served."""

    load_balancer: LoadBalancer = LoadBalancer()


class Ingress(Wire, frozen=True):
    """Ingress, networking.k8s.io/v1; complete."""

    metadata: Metadata
    spec: IngressSpec = IngressSpec()
    status: IngressStatus = IngressStatus()


class IngressClassParameters(Wire, frozen=True):
    """An object with more settings of a class."""

    api_group: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    scope: str = ""


class IngressClassSpec(Wire, frozen=True):
    """Who serves a class."""

    controller: str = ""
    parameters: IngressClassParameters | None = None


class IngressClass(Wire, frozen=True):
    """IngressClass, networking.k8s.io/v1."""

    metadata: Metadata
    spec: IngressClassSpec = IngressClassSpec()


INGRESS = Kind("Ingress", "networking.k8s.io/v1", "ingresses", Ingress)
INGRESS_CLASS = Kind("IngressClass", "networking.k8s.io/v1", "ingressclasses", IngressClass, namespaced=False)
