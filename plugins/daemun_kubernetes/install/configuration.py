"""The settings file of the gateway in a Pod: its listeners, and where its routes come from."""

from __future__ import annotations

from typing import Any

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


def settings_of(plan: Plan) -> dict[str, Any]:
    """The settings, as `daemun run` takes them.

    The health listener begins to accept with all others, which is when every source has published: who answers there
    can serve. It says nothing of the API server, so that its failure never takes a serving Pod out of a Service.
    """
    listeners = ["http"]
    if plan.has_https:
        listeners.append("https")
    if plan.has_internal:
        listeners += ["internal", "internal-tls"]
    return {
        "listeners": [_listener(plan, name) for name in (*listeners, "health")],
        "sources": [_health(), _source(plan)],
        "observers": [{"type": "prometheus", "bind": f"0.0.0.0:{METRICS_PORT}"}],
        "drain": {"delay_seconds": plan.delay_seconds, "grace_seconds": plan.grace_seconds},
    }


def _listener(plan: Plan, name: str) -> dict[str, Any]:
    listener: dict[str, Any] = {"name": name, "bind": f"0.0.0.0:{PORTS[name]}"}
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
