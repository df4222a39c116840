"""Knative's `Ingress` (KIngress) as the API server has it: what Serving writes for a Route and a DomainMapping.

Fields have the order of the original, are skipped where they are not modelled, and may be null or absent.
"""

from __future__ import annotations

from msgspec import field

from daemun_kubernetes.client.kinds import Kind, Metadata, Wire

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


class HeaderMatch(Wire, frozen=True):
    """What a header must be like."""

    exact: str = ""


class BackendSplit(Wire, frozen=True):
    """A share of a path's traffic."""

    service_namespace: str = ""
    service_name: str = ""
    service_port: int | str = 0
    """A number, or the name of a port of the Service."""
    percent: int = 0
    append_headers: dict[str, str] = field(default_factory=dict)


class HttpPath(Wire, frozen=True):
    """What is done with paths that begin with `path`, character by character."""

    path: str = ""
    rewrite_host: str = ""
    headers: dict[str, HeaderMatch] = field(default_factory=dict)
    splits: tuple[BackendSplit, ...] = ()
    append_headers: dict[str, str] = field(default_factory=dict)
    """Headers of the request to set, whatever the client sent."""


class HttpRule(Wire, frozen=True):
    """The paths of a rule; the first that matches wins."""

    paths: tuple[HttpPath, ...] = ()


class Rule(Wire, frozen=True):
    """What is done for some hosts; without hosts: for any."""

    hosts: tuple[str, ...] = ()
    visibility: str = ""
    http: HttpRule | None = None

    @property
    def paths(self) -> tuple[HttpPath, ...]:
        """The paths of `http`."""
        return self.http.paths if self.http is not None else ()


class Tls(Wire, frozen=True):
    """The Secret that has the certificate of some hosts."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""
    secret_namespace: str = ""


class Spec(Wire, frozen=True):
    """What is asked for."""

    tls: tuple[Tls, ...] = ()
    rules: tuple[Rule, ...] = ()
    http_option: str = ""


class Condition(Wire, frozen=True):
    """One thing that is `True`, `False` or `Unknown`."""

    type: str = ""
    status: str = ""
    severity: str = ""
    last_transition_time: str = ""
    reason: str = ""
    message: str = ""


class LoadBalancerIngress(Wire, frozen=True):
    """Where a load balancer is reached."""

    ip: str = ""
    domain: str = ""
    domain_internal: str = ""
    """Name of a Service within the cluster: `daemun.knative-serving.svc.cluster.local`."""
    mesh_only: bool = False


class LoadBalancer(Wire, frozen=True):
    """A load balancer; Serving takes exactly one item."""

    ingress: tuple[LoadBalancerIngress, ...] = ()


class Status(Wire, frozen=True):
    """What has become of it."""

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    public_load_balancer: LoadBalancer | None = None
    private_load_balancer: LoadBalancer | None = None


class KIngress(Wire, frozen=True):
    """Ingress, networking.internal.knative.dev/v1alpha1."""

    metadata: Metadata = Metadata()
    spec: Spec = Spec()
    status: Status = Status()


KINGRESS = Kind("Ingress", "networking.internal.knative.dev/v1alpha1", "ingresses", KIngress)
