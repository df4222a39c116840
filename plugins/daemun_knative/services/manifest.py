"""A Knative Service as it is written: `serving.knative.dev/v1`, and the `v1alpha1` of 2019 with `runLatest`.

A field is used, or `IGNORED` because a local process has no such thing (it is logged), or refused because the
Service would not be what its author meant. Everything else is a typing error.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from daemun_file import ObjectError

__all__ = [
    "ALPHA",
    "IGNORED",
    "REFUSED",
    "VERSIONS",
    "Configuration",
    "Container",
    "HttpGet",
    "Metadata",
    "Path",
    "Port",
    "Probe",
    "Revision",
    "RunLatest",
    "Service",
    "Spec",
    "Template",
    "Traffic",
    "Variable",
    "ignored",
]

Path = tuple[str | int, ...]

ALPHA = "serving.knative.dev/v1alpha1"
VERSIONS = ("serving.knative.dev/v1", "serving.knative.dev/v1beta1", ALPHA)
IGNORED: Any = UNSET
REFUSED: Any = None


class _Part(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A part of a manifest."""


class Metadata(_Part, frozen=True):
    """Of the Service or of its template."""

    name: str = ""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    generate_name: Any = IGNORED
    uid: Any = IGNORED
    resource_version: Any = IGNORED
    generation: Any = IGNORED
    creation_timestamp: Any = IGNORED
    deletion_timestamp: Any = IGNORED
    deletion_grace_period_seconds: Any = IGNORED
    finalizers: Any = IGNORED
    managed_fields: Any = IGNORED
    owner_references: Any = IGNORED
    self_link: Any = IGNORED


class Variable(_Part, frozen=True):
    """An environment variable."""

    name: str
    value: str = ""
    value_from: Any = REFUSED


class Port(_Part, frozen=True):
    """Where the container listens; here the process is told a port in `$PORT`."""

    container_port: int = 8080
    name: str = ""
    protocol: str = "TCP"


class HttpGet(_Part, frozen=True):
    """A probe by a request."""

    path: str = "/"
    port: Any = IGNORED
    host: Any = IGNORED
    scheme: Any = IGNORED
    http_headers: Any = IGNORED


class Probe(_Part, frozen=True):
    """How the container is asked whether it is ready."""

    http_get: HttpGet | None = None
    tcp_socket: Any = IGNORED
    exec: Any = IGNORED
    grpc: Any = IGNORED
    initial_delay_seconds: Any = IGNORED
    period_seconds: Any = IGNORED
    timeout_seconds: Any = IGNORED
    success_threshold: Any = IGNORED
    failure_threshold: Any = IGNORED


class Container(_Part, frozen=True):
    """The one container of a revision."""

    image: str = ""
    name: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[Variable, ...] = ()
    ports: tuple[Port, ...] = ()
    readiness_probe: Probe | None = None
    env_from: Any = REFUSED
    volume_mounts: Any = REFUSED
    image_pull_policy: Any = IGNORED
    liveness_probe: Any = IGNORED
    startup_probe: Any = IGNORED
    resources: Any = IGNORED
    security_context: Any = IGNORED
    termination_message_path: Any = IGNORED
    termination_message_policy: Any = IGNORED
    working_dir: Any = IGNORED


class Revision(_Part, frozen=True):
    """What runs, and its limits."""

    containers: tuple[Container, ...] = ()
    container: Container | None = None
    container_concurrency: int = 0
    concurrency_model: str = ""
    timeout_seconds: int = 0
    response_start_timeout_seconds: int = 0
    idle_timeout_seconds: int = 0
    volumes: Any = REFUSED
    init_containers: Any = REFUSED
    affinity: Any = IGNORED
    automount_service_account_token: Any = IGNORED
    dns_config: Any = IGNORED
    dns_policy: Any = IGNORED
    enable_service_links: Any = IGNORED
    image_pull_secrets: Any = IGNORED
    node_selector: Any = IGNORED
    priority_class_name: Any = IGNORED
    runtime_class_name: Any = IGNORED
    security_context: Any = IGNORED
    service_account_name: Any = IGNORED
    tolerations: Any = IGNORED
    topology_spread_constraints: Any = IGNORED


class Template(_Part, frozen=True):
    """The template of the one revision that files have."""

    metadata: Metadata = Metadata()
    spec: Revision = Revision()


class Configuration(_Part, frozen=True):
    """The `v1alpha1` way to write a template."""

    revision_template: Template
    build: Any = REFUSED
    generation: Any = IGNORED


class RunLatest(_Part, frozen=True):
    """The `v1alpha1` way to say that all traffic goes to the newest revision."""

    configuration: Configuration


class Traffic(_Part, frozen=True):
    """A share of the traffic, and a tag that has a host of its own."""

    percent: int = 0
    tag: str = ""
    revision_name: str = ""
    latest_revision: bool | None = None
    configuration_name: Any = REFUSED
    url: Any = IGNORED


class Spec(_Part, frozen=True):
    """What is wanted."""

    template: Template | None = None
    traffic: tuple[Traffic, ...] = ()
    run_latest: RunLatest | None = None
    release: Any = REFUSED
    pinned: Any = REFUSED
    manual: Any = REFUSED
    generation: Any = IGNORED


class Service(_Part, frozen=True):
    """The manifest."""

    api_version: str
    kind: str
    spec: Spec
    metadata: Metadata = Metadata()
    status: Any = IGNORED


_WHY = {
    "build": "nothing is built here; accepted: an image of the table 'images'",
    "configurationName": "the configuration is the Service's own; accepted: latestRevision",
    "envFrom": "files have no ConfigMap and no Secret; accepted: env with values",
    "initContainers": "one process runs here; accepted: one container",
    "manual": "files have one revision; accepted: runLatest",
    "pinned": "files have one revision; accepted: runLatest",
    "release": "files have one revision; accepted: runLatest",
    "valueFrom": "files have no ConfigMap and no Secret; accepted: value",
    "volumeMounts": "a local process has no volumes of its own",
    "volumes": "a local process has no volumes of its own",
}


def ignored(part: Struct, path: Path = ()) -> Iterator[Path]:
    """The paths of written fields that mean nothing here. Raises `ObjectError` for a refused one."""
    for field in msgspec.structs.fields(type(part)):
        value = getattr(part, field.name)
        here = (*path, field.encode_name)
        if field.type is Any:
            if field.default is UNSET:
                if value is not UNSET and value != {}:
                    yield here
            elif value:
                raise ObjectError(here, _WHY[field.encode_name])
        elif isinstance(value, Struct):
            yield from ignored(value, here)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Struct):
                    yield from ignored(item, (*here, index))
