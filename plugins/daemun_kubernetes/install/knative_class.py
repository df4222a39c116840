"""`config-network`: the one key by which Knative Serving asks this gateway and no other.

The ConfigMap is Knative's, so the key is written by a merge patch, which keeps all others, and the class from before is
remembered in an annotation to be put back. No form of `kubectl apply` of a ConfigMap with one key would do: it takes
away the keys that it had applied before, and the next apply of Knative's own manifests takes away ours.
"""

from __future__ import annotations

from typing import Any

from daemun_kubernetes.install.plan import KNATIVE_CLASS

__all__ = ["CLASS_KEY", "CONFIG_NETWORK", "PREVIOUS", "class_patch", "give_back_patch"]

CONFIG_NETWORK = "config-network"
CLASS_KEY = "ingress-class"
PREVIOUS = "daemun.dev/previous-ingress-class"
"""Annotation with the class that was asked before; "": none was named."""


def class_patch(data: dict[str, str]) -> dict[str, Any] | None:
    """What makes the ConfigMap with `data` ask this gateway; None: it does."""
    before = data.get(CLASS_KEY, "")
    if before == KNATIVE_CLASS:
        return None
    return {"metadata": {"annotations": {PREVIOUS: before}}, "data": {CLASS_KEY: KNATIVE_CLASS}}


def give_back_patch(annotations: dict[str, str]) -> dict[str, Any]:
    """What undoes it, where `PREVIOUS` is among the annotations."""
    return {"metadata": {"annotations": {PREVIOUS: None}}, "data": {CLASS_KEY: annotations[PREVIOUS] or None}}
