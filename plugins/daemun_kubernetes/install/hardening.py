"""What no container of ours may do: be root, become root, write to its image, call the kernel as it likes."""

from __future__ import annotations

from typing import Any

__all__ = ["TMP_VOLUME", "USER", "container_security", "pod_security", "tmp_mount"]

USER = 10001
"""As in the Dockerfile."""
TMP_VOLUME: dict[str, Any] = {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}
"""The one place to write to."""


def pod_security() -> dict[str, Any]:
    """The `securityContext` of a Pod: with that of its container it meets the standard `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """The `securityContext` of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
    }


def tmp_mount() -> dict[str, Any]:
    """Where it is found."""
    return {"name": TMP_VOLUME["name"], "mountPath": "/tmp"}
