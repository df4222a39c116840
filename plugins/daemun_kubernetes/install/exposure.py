"""How callers find the gateway: Services, and the IngressClass that Ingresses name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from daemun_kubernetes.install.configuration import PORTS
from daemun_kubernetes.install.plan import Mode, Plan

__all__ = ["exposure_of"]

_DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def exposure_of(plan: Plan) -> Iterator[dict[str, Any]]:
    """The public Service; for Knative one for the cluster alone beside it; for Ingresses their class."""
    public = [("http", 80, "http")]
    if plan.has_https:
        public.append(("https", 443, "https"))
    yield _service(plan, plan.name, plan.service.value, public)
    if plan.has_internal:
        # called http2, as Knative's placeholders have it; HTTP/1 is spoken there too
        internal = [("http2", 80, "internal"), ("https", 443, "internal-tls")]
        yield _service(plan, plan.internal_name, "ClusterIP", internal)
    if plan.mode is Mode.INGRESS:
        default = {"annotations": {_DEFAULT: "true"}} if plan.default_class else {}
        yield {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": plan.ingress_class, "labels": plan.labels, **default},
            "spec": {"controller": plan.controller},
        }


def _service(plan: Plan, name: str, kind: str, ports: list[tuple[str, int, str]]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": plan.namespace, "labels": plan.labels},
        "spec": {
            "type": kind,
            "selector": plan.selector,
            "ports": [
                {"name": port, "port": number, "protocol": "TCP", "targetPort": PORTS[listener]}
                for port, number, listener in ports
            ],
        },
    }
