"""Which Ingresses are the gateway's: those of an IngressClass whose controller it is. All others are never touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from daemun_kubernetes.client.kinds import Ingress, IngressClass

__all__ = ["ANNOTATION", "DEFAULT", "class_of", "default_class", "is_ours"]

ANNOTATION = "kubernetes.io/ingress.class"
"""Older than `spec.ingressClassName`, and wins over it where both are there."""
DEFAULT = "ingressclass.kubernetes.io/is-default-class"


def default_class(classes: Iterable[IngressClass]) -> str:
    """The class of Ingresses that name none, of several the newest; "": there is none."""
    marked = [one.metadata for one in classes if one.metadata.annotations.get(DEFAULT, "").lower() == "true"]
    newest = max(marked, key=lambda metadata: (metadata.creation_timestamp, metadata.name), default=None)
    return newest.name if newest is not None else ""


def class_of(ingress: Ingress, default: str) -> str:
    """The name of its class; "": it has none."""
    return ingress.metadata.annotations.get(ANNOTATION, "") or ingress.spec.ingress_class_name or default


def is_ours(ingress: Ingress, classes: Mapping[str, IngressClass], default: str, controller: str) -> bool:
    """Whether the class of `ingress` exists and has `controller`. `default` is what `default_class` said."""
    found = classes.get(class_of(ingress, default))
    return found is not None and found.spec.controller == controller
