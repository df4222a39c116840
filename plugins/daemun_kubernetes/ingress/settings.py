"""What the source `kubernetes_ingress` can be told."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from daemun_kubernetes.settings import ClusterSettings

__all__ = ["CONTROLLER", "IngressSettings", "Names", "StatusAddresses"]

CONTROLLER = "daemun.dev/ingress"

Names = tuple[Annotated[str, Meta(min_length=1)], ...]
_NAME = r"([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_IPV6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f.:]*"
StatusAddresses = tuple[Annotated[str, Meta(max_length=253, pattern=f"^({_NAME}|{_IPV6})$")], ...]


class IngressSettings(ClusterSettings, frozen=True, forbid_unknown_fields=True):
    """Settings of the source `kubernetes_ingress`, with those of the cluster."""

    controller: Annotated[
        str, Meta(min_length=1, description="Served is what has an IngressClass with this `spec.controller`.")
    ] = CONTROLLER
    namespaces: Annotated[Names, Meta(description="Where Ingresses are looked for; none: everywhere.")] = ()
    http_listeners: Annotated[Names, Meta(description="Listeners that serve Ingresses without TLS.")] = ("http",)
    https_listeners: Annotated[
        Names, Meta(description="Listeners with TLS that serve them, with the certificates of their Secrets.")
    ] = ("https",)
    service: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9.-]+/[a-z0-9.-]+)?$",
            description="namespace/name of the gateway's own Service, whose load balancer's addresses are published "
            "in the status of Ingresses.",
        ),
    ] = ""
    status_addresses: Annotated[
        StatusAddresses, Meta(description="Addresses or names that are published instead of those of `service`.")
    ] = ()
    default_backend: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9.-]+/[a-z0-9.-]+:[a-z0-9-]+)?$",
            description='namespace/service:port for requests that no Ingress takes; "": 404, and hosts that no '
            "Ingress names are left to other sources.",
        ),
    ] = ""
    share_hosts: Annotated[
        bool,
        Meta(
            description="Whether Ingresses of several namespaces may have paths and certificates of one host. Without, "
            "a host belongs to the namespace of the oldest Ingress that names it."
        ),
    ] = False
    external_names: Annotated[
        bool,
        Meta(
            description="Whether Services of type ExternalName are served: whoever may write one can lead the gateway "
            "to any host. Names and addresses of the gateway's own machine are refused, but names are not looked up."
        ),
    ] = False
    lease: Annotated[
        str,
        Meta(min_length=1, description="Lease, in the gateway's namespace, whose holder writes statuses and events."),
    ] = "daemun-ingress"
    backend_settings: Annotated[
        dict[str, Any],
        Meta(
            description="Settings of each Service's back end, as of the type `endpoints`. Where `tls` says nothing, "
            "the certificates of endpoints that speak TLS must be valid for service.namespace.svc."
        ),
    ] = field(default_factory=dict)
