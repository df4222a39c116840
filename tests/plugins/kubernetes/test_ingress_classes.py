"""Which Ingresses are the gateway's."""

from __future__ import annotations

import pytest

from daemun_kubernetes.client.kinds import IngressClass, IngressClassSpec, Metadata
from daemun_kubernetes.ingress.classes import default_class, is_ours

from .ingresses import ingress

OURS = "daemun.dev/ingress"
DEFAULT = {"ingressclass.kubernetes.io/is-default-class": "true"}
LEGACY = "kubernetes.io/ingress.class"


def ingress_class(name: str, controller: str = OURS, created: str = "1", **more: dict[str, str]) -> IngressClass:
    metadata = Metadata(name=name, creation_timestamp=created, **more)  # type: ignore[arg-type]
    return IngressClass(metadata=metadata, spec=IngressClassSpec(controller=controller))


CLASSES = {one.metadata.name: one for one in (ingress_class("daemun"), ingress_class("nginx", "k8s.io/ingress-nginx"))}


@pytest.mark.parametrize(
    ("class_name", "annotation", "default", "ours"),
    [
        ("daemun", None, "", True),
        ("nginx", None, "", False),
        ("some-invalid-class-name", None, "daemun", False),
        ("", None, "", False),
        ("", None, "daemun", True),
        ("", None, "nginx", False),
        ("nginx", None, "daemun", False),
        ("", "daemun", "", True),
        ("", "nginx", "daemun", False),
        ("", "unknown", "daemun", False),
        ("", "", "daemun", True),
        ("nginx", "daemun", "", True),
        ("daemun", "nginx", "", False),
    ],
)
def test_ours_is_what_has_a_class_of_our_controller_and_the_old_annotation_wins(
    class_name: str, annotation: str | None, default: str, ours: bool
) -> None:
    annotations = {} if annotation is None else {LEGACY: annotation}
    one = ingress("web", class_name=class_name, annotations=annotations)
    assert is_ours(one, CLASSES, default, OURS) is ours


def test_of_several_default_classes_the_newest_is_meant() -> None:
    old = ingress_class("z", created="2025-01-01T00:00:00Z", annotations=DEFAULT)
    new = ingress_class("a", created="2026-01-01T00:00:00Z", annotations=DEFAULT)
    newest = ingress_class("b", created="2027-01-01T00:00:00Z")
    assert default_class([new, old, newest]) == "a"
    assert default_class([newest]) == ""
