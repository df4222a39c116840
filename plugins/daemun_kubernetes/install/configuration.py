"""The settings file of the gateway in a Pod: its listeners, where its routes come from, and what an operator wants
otherwise."""

from __future__ import annotations

from typing import Any

from daemun_kubernetes.install.overlay import overlaid
from daemun_kubernetes.install.plan import Mode, Plan

__all__ = [
    "HEALTH_PATH",
    "METRICS_PORT",
    "PORTS",
    "ROUTES_FOLDER",
    "SETTINGS_FILE",
    "SETTINGS_FOLDER",
    "TLS_FOLDER",
    "settings_of",
]

SETTINGS_FOLDER = "/etc/daemun"
SETTINGS_FILE = "daemun.yaml"
ROUTES_FOLDER = "/etc/daemun-routes"
TLS_FOLDER = "/etc/daemun-tls"
HEALTH_PATH = "/healthz"
PORTS = {"http": 8080, "https": 8443, "internal": 8081, "internal-tls": 8444, "health": 8090}
"""What each listener binds, by name: above 1024, as the gateway is not root."""
METRICS_PORT = 9090
_NO_LIMITS = {
    "http1": {"body_min_bytes_per_second": 0, "send_timeout_seconds": 0},
    "http2": {"body_min_bytes_per_second": 0, "content_timeout_seconds": 0, "send_timeout_seconds": 0},
}
"""Knative's own: how long a request may take, and be quiet, says its Service, and the queue-proxy sees to it."""


def settings_of(plan: Plan) -> dict[str, Any]:
    """The settings, as `daemun run` takes them. Raises `SettingsError` if the plan's changes to them cannot be made.

    The health listener begins to accept with all others, which is when every source has published: who answers there
    can serve. It says nothing of the API server, so that its failure never takes a serving Pod out of a Service.
    """
    listeners = ["http"]
    if plan.has_https:
        listeners.append("https")
    if plan.has_internal:
        listeners += ["internal", "internal-tls"]
    settings = overlaid(
        {
            "listeners": [_listener(plan, name) for name in listeners],
            "sources": [_source(plan)],
            "observers": [{"type": "prometheus", "bind": f"0.0.0.0:{METRICS_PORT}"}],
            **({"protocols": _NO_LIMITS} if plan.mode is Mode.KNATIVE else {}),
            "drain": {"delay_seconds": plan.delay_seconds, "grace_seconds": plan.grace_seconds},
        },
        plan.settings,
    )
    settings["listeners"].append(_listener(plan, "health"))
    settings["sources"].insert(0, _health())
    return settings


def _listener(plan: Plan, name: str) -> dict[str, Any]:
    listener: dict[str, Any] = {"name": name, "bind": f"0.0.0.0:{PORTS[name]}"}
    if name in ("internal", "internal-tls"):
        # a DomainMapping comes here from another listener of this gateway, which has said who asks
        listener["forwarded"] = {"trusted_hops": 1}
    if name in ("https", "internal-tls"):
        files = {"certificate": f"{TLS_FOLDER}/tls.crt", "key": f"{TLS_FOLDER}/tls.key"}
        listener["tls"] = files if plan.tls_secret else {}
    return listener


def _health() -> dict[str, Any]:
    route = {"name": "health", "listeners": ["health"], "match": {"path": HEALTH_PATH}, "respond": {"body": "fine\n"}}
    return {"type": "inline", "routes": [route]}


def _source(plan: Plan) -> dict[str, Any]:
    if plan.mode is Mode.GATEWAY:
        return {"type": "file", "paths": [ROUTES_FOLDER]}
    if plan.mode is Mode.INGRESS:
        return {
            "type": "kubernetes_ingress",
            "controller": plan.controller,
            "service": f"{plan.namespace}/{plan.name}",
            "lease": plan.lease_name,
        }
    return {
        "type": "knative",
        "external_service": f"{plan.namespace}/{plan.name}",
        "internal_service": f"{plan.namespace}/{plan.internal_name}",
        "lease": plan.lease_name,
    }
