"""What the source `knative` can be told."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, field

from daemun_kubernetes import ClusterSettings

__all__ = ["INGRESS_CLASS", "KnativeSettings"]

INGRESS_CLASS = "daemun.ingress.networking.knative.dev"

_Names = tuple[Annotated[str, Meta(min_length=1)], ...]
_SERVICE = r"^(([a-z0-9.-]+/)?[a-z0-9.-]+)?\Z"


class KnativeSettings(ClusterSettings, frozen=True, forbid_unknown_fields=True):
    """Settings of the source `knative`, with those of the cluster."""

    ingress_class: Annotated[
        str,
        Meta(min_length=1, description="Served are KIngresses with just this annotation; no other is touched."),
    ] = INGRESS_CLASS
    external_http: Annotated[_Names, Meta(description="Listeners without TLS for everybody.")] = ("http",)
    external_https: Annotated[_Names, Meta(description="Listeners with TLS for everybody.")] = ("https",)
    internal_http: Annotated[_Names, Meta(description="Listeners without TLS for the cluster only.")] = ("internal",)
    internal_https: Annotated[_Names, Meta(description="Listeners with TLS for the cluster only.")] = ("internal-tls",)
    external_service: Annotated[
        str,
        Meta(
            pattern=_SERVICE,
            description="namespace/name of the Service in front of the external listeners, with the ports 80 and 443: "
            "it is published in statuses, and each of its endpoints is asked whether it serves what a status says. "
            "Without a namespace: in the gateway's own.",
        ),
    ] = "daemun"
    internal_service: Annotated[str, Meta(pattern=_SERVICE, description="The same for the internal listeners.")] = (
        "daemun-internal"
    )
    cluster_domain: Annotated[
        str, Meta(description='Ends the names of Services; "": what the resolver of the Pod says, else cluster.local.')
    ] = ""
    lease: Annotated[
        str, Meta(min_length=1, description="Lease, in the gateway's namespace, whose holder writes statuses.")
    ] = "daemun-knative"
    backend_settings: Annotated[
        dict[str, Any], Meta(description="Settings of each Service's back end, as of the type `endpoints`.")
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        both = {*self.external_http, *self.external_https} & {*self.internal_http, *self.internal_https}
        if both:
            words = "is external and internal: what is for the cluster only would be for everybody"
            raise ValueError(f"listener {min(both)!r} {words}")
