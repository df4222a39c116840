"""KIngress objects for tests, with the names of fields that the API has."""

from __future__ import annotations

import json
from typing import Any

from daemun_knative.kingress.defaults import with_defaults
from daemun_knative.kingress.types import KINGRESS, KIngress


def split(name: str = "hello", percent: int = 0, **more: Any) -> dict[str, Any]:
    return {"serviceNamespace": "default", "serviceName": name, "servicePort": 80, "percent": percent, **more}


def path(*splits: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"splits": splits or (split(),), **more}


def rule(*paths: dict[str, Any], hosts: tuple[str, ...] = ("hello.example.com",), **more: Any) -> dict[str, Any]:
    return {"hosts": hosts, "http": {"paths": paths or (path(),)}, **more}


def written(*rules: dict[str, Any], name: str = "hello", namespace: str = "default", **spec: Any) -> KIngress:
    """As the API server has it."""
    data = {"metadata": {"name": name, "namespace": namespace}, "spec": {"rules": rules, **spec}}
    return KINGRESS.decode(json.dumps(data).encode())


def ingress(*rules: dict[str, Any], **more: Any) -> KIngress:
    """The same with defaults."""
    return with_defaults(written(*rules, **more))
