"""Knative's `Ingress` (KIngress) as the API server has it: what Serving writes for a Route and a DomainMapping.

Fields have the order of the original, are skipped where they are not modelled, and may be null or absent.
"""

from __future__ import annotations

from msgspec import Struct

from daemun_kubernetes import Kind, Metadata

__all__ = [
    "CLASS_ANNOTATION",
    "CLUSTER_LOCAL",
    "ENABLED",
    "EXTERNAL_IP",
    "KINGRESS",
    "REDIRECTED",
    "BackendSplit",
    "Condition",
    "HeaderMatch",
    "HttpPath",
    "HttpRule",
    "KIngress",
    "LoadBalancer",
    "LoadBalancerIngress",
    "Rule",
    "Spec",
    "Status",
    "Tls",
]

CLASS_ANNOTATION = "networking.knative.dev/ingress.class"
EXTERNAL_IP = "ExternalIP"
CLUSTER_LOCAL = "ClusterLocal"
ENABLED = "Enabled"
REDIRECTED = "Redirected"


class _Part(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of the object."""


class HeaderMatch(_Part, frozen=True):
    """What a header must be like."""

    exact: str = ""


class BackendSplit(_Part, frozen=True):
    """A share of a path's traffic."""

    service_namespace: str = ""
    service_name: str = ""
    service_port: int | str = 0
    """A number, or the name of a port of the Service."""
    percent: int = 0
    append_headers: dict[str, str] = {}


class HttpPath(_Part, frozen=True):
    """What is done with paths that begin with `path`, character by character."""

    path: str = ""
    rewrite_host: str = ""
    headers: dict[str, HeaderMatch] = {}
    splits: tuple[BackendSplit, ...] = ()
    append_headers: dict[str, str] = {}
    """Headers of the request to set, whatever the client sent."""


class HttpRule(_Part, frozen=True):
    """The paths of a rule; the first that matches wins."""

    paths: tuple[HttpPath, ...] = ()


class Rule(_Part, frozen=True):
    """What is done for some hosts; without hosts: for any."""

    hosts: tuple[str, ...] = ()
    visibility: str = ""
    http: HttpRule | None = None

    @property
    def paths(self) -> tuple[HttpPath, ...]:
        """The paths of `http`."""
        return self.http.paths if self.http is not None else ()


class Tls(_Part, frozen=True):
    """The Secret that has the certificate of some hosts."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""
    secret_namespace: str = ""


class Spec(_Part, frozen=True):
    """What is asked for."""

    tls: tuple[Tls, ...] = ()
    rules: tuple[Rule, ...] = ()
    http_option: str = ""


class Condition(_Part, frozen=True):
    """One thing that is `True`, `False` or `Unknown`."""

    type: str = ""
    status: str = ""
    severity: str = ""
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""


class LoadBalancerIngress(_Part, frozen=True):
    """Where a load balancer is reached."""

    ip: str = ""
    domain: str = ""
    domain_internal: str = ""
    """Name of a Service within the cluster: `daemun.knative-serving.svc.cluster.local`."""
    mesh_only: bool = False


class LoadBalancer(_Part, frozen=True):
    """A load balancer; Serving takes exactly one item."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class Status(_Part, frozen=True):
    """What has become of it."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    annotations: dict[str, str] = {}
    public_load_balancer: LoadBalancer | None = None
    private_load_balancer: LoadBalancer | None = None


class KIngress(_Part, frozen=True):
    """Ingress, networking.internal.knative.dev/v1alpha1."""

    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()


KINGRESS = Kind("Ingress", "networking.internal.knative.dev/v1alpha1", "ingresses", KIngress)
