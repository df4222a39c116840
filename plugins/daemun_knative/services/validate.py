"""What Knative's webhook refuses, refused here with the same field paths; and the parts of a Service."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from daemun_file import ObjectError
from daemun_knative.services.manifest import ALPHA, Container, Path, Revision, Service, Template, Traffic

__all__ = [
    "DEFAULT_TIMEOUT_SECONDS",
    "MAX_CONCURRENCY",
    "MAX_TIMEOUT_SECONDS",
    "OLD_VISIBILITY",
    "RESERVED_PORTS",
    "RESERVED_VARIABLES",
    "VISIBILITY",
    "Parts",
    "parts_of",
]

MAX_CONCURRENCY = 1000
MAX_TIMEOUT_SECONDS = 600
DEFAULT_TIMEOUT_SECONDS = 300
RESERVED_PORTS = (8012, 8013, 8022, 8112, 9090, 9091)
RESERVED_VARIABLES = ("PORT", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
VISIBILITY = "networking.knative.dev/visibility"
OLD_VISIBILITY = "serving.knative.dev/visibility"

_DNS_1035 = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_AUTOSCALING = "autoscaling.knative.dev/"


class Parts(Struct, frozen=True):
    """A valid Service, taken apart."""

    name: str
    namespace: str
    local: bool
    """Visible inside only."""
    container: Container
    container_path: Path
    revision: str
    """Name of the revision."""
    concurrency: int
    timeout_seconds: int
    tags: tuple[str, ...]
    min_scale: int
    max_scale: int
    """0: no limit."""


def parts_of(service: Service, namespace: str) -> Parts:
    """The parts of `service`, in `namespace` unless it names one. Raises `ObjectError` with a path."""
    metadata = service.metadata
    if not metadata.name:
        raise ObjectError(("metadata", "name"), "missing field")
    if not _DNS_1035.fullmatch(metadata.name):
        raise _invalid(metadata.name, "metadata", "name", accepted="a label of lower-case letters, digits and -")
    namespace = metadata.namespace or namespace
    if not _DNS_1123.fullmatch(namespace):
        raise _invalid(namespace, "metadata", "namespace", accepted="a label of lower-case letters, digits and -")
    template, path = _template(service)
    revision, here = template.spec, (*path, "spec")
    container, container_path = _container(revision, here, alpha=service.api_version == ALPHA)
    _check_container(container, container_path)
    name = template.metadata.name
    if name and not (name.startswith(f"{metadata.name}-") and _DNS_1035.fullmatch(name)):
        raise _invalid(name, *path, "metadata", "name", accepted=f"a label that begins with {metadata.name}-")
    least, most = _scales(template.metadata.annotations, (*path, "metadata", "annotations"))
    return Parts(
        name=metadata.name,
        namespace=namespace,
        local=_is_local(metadata.labels),
        container=container,
        container_path=container_path,
        revision=name or f"{metadata.name}-00001",
        concurrency=_concurrency(revision, here),
        timeout_seconds=_timeout(revision, here),
        tags=_tags(service.spec.traffic, name, metadata.name),
        min_scale=least,
        max_scale=most,
    )


def _invalid(value: object, *path: str | int, accepted: str) -> ObjectError:
    return ObjectError(path, f"invalid value {value!r}; accepted: {accepted}")


def _template(service: Service) -> tuple[Template, Path]:
    spec = service.spec
    if service.api_version != ALPHA:
        if spec.run_latest is not None:
            raise ObjectError(("spec", "runLatest"), f"is of {ALPHA}; accepted: template, traffic")
    elif spec.run_latest is not None:
        if spec.template is not None or spec.traffic:
            raise ObjectError(("spec",), "expected exactly one, got both: runLatest, template")
        path = ("spec", "runLatest", "configuration", "revisionTemplate")
        return spec.run_latest.configuration.revision_template, path
    elif spec.template is None:
        raise ObjectError(("spec",), "expected exactly one, got neither: runLatest, template")
    if spec.template is None:
        raise ObjectError(("spec", "template"), "missing field")
    return spec.template, ("spec", "template")


def _container(revision: Revision, path: Path, *, alpha: bool) -> tuple[Container, Path]:
    if revision.container is not None:
        if not alpha:
            raise ObjectError((*path, "container"), f"is of {ALPHA}; accepted: containers")
        if revision.containers:
            raise ObjectError(path, "expected exactly one, got both: container, containers")
        return revision.container, (*path, "container")
    if not revision.containers:
        raise ObjectError((*path, "containers"), "missing field")
    if len(revision.containers) > 1:
        raise ObjectError((*path, "containers", 1), "one process runs here; accepted: one container")
    return revision.containers[0], (*path, "containers", 0)


def _check_container(container: Container, path: Path) -> None:
    if not container.image:
        raise ObjectError((*path, "image"), "missing field")
    if len(container.ports) > 1:
        raise ObjectError((*path, "ports"), "more than one container port is set; accepted: one")
    for port in container.ports:
        here = (*path, "ports", 0)
        if not 1 <= port.container_port <= 65535 or port.container_port in RESERVED_PORTS:
            reserved = ", ".join(map(str, RESERVED_PORTS))
            accepted = f"1 to 65535 without {reserved}"
            raise _invalid(port.container_port, *here, "containerPort", accepted=accepted)
        if port.name not in ("", "http1", "h2c"):
            raise _invalid(port.name, *here, "name", accepted="http1, h2c")
        if port.protocol not in ("", "TCP"):
            raise _invalid(port.protocol, *here, "protocol", accepted="TCP")
    for index, variable in enumerate(container.env):
        here = (*path, "env", index, "name")
        if not variable.name:
            raise ObjectError(here, "missing field")
        if variable.name in RESERVED_VARIABLES:
            raise ObjectError(here, f"{variable.name!r} is a reserved environment variable and is set by the gateway")
        if "=" in variable.name or "\0" in variable.name or "\0" in variable.value:
            raise _invalid(variable.name, *here, accepted="a name without =, and no NUL")


def _concurrency(revision: Revision, path: Path) -> int:
    if revision.concurrency_model:
        if revision.concurrency_model not in ("Single", "Multi"):
            raise _invalid(revision.concurrency_model, *path, "concurrencyModel", accepted="Single, Multi")
        if revision.concurrency_model == "Single" and revision.container_concurrency == 0:
            return 1
    return _within(revision.container_concurrency, MAX_CONCURRENCY, *path, "containerConcurrency")


def _timeout(revision: Revision, path: Path) -> int:
    total = _within(revision.timeout_seconds, MAX_TIMEOUT_SECONDS, *path, "timeoutSeconds")
    total = total or DEFAULT_TIMEOUT_SECONDS
    _within(revision.response_start_timeout_seconds, total, *path, "responseStartTimeoutSeconds")
    _within(revision.idle_timeout_seconds, total, *path, "idleTimeoutSeconds")
    return total


def _within(value: int, most: int, *path: str | int) -> int:
    if not 0 <= value <= most:
        raise ObjectError(path, f"expected 0 <= {value} <= {most}")
    return value


def _is_local(labels: Mapping[str, str]) -> bool:
    for key in (VISIBILITY, OLD_VISIBILITY):
        if key in labels:
            if labels[key] != "cluster-local":
                raise _invalid(labels[key], "metadata", "labels", key, accepted="cluster-local")
            return True
    return False


def _tags(traffic: tuple[Traffic, ...], revision: str, name: str) -> tuple[str, ...]:
    """The tags. All traffic goes to the one revision, whatever the shares."""
    tags: list[str] = []
    for index, target in enumerate(traffic):
        here = ("spec", "traffic", index)
        if target.revision_name:
            if target.latest_revision:
                raise ObjectError((*here, "latestRevision"), "may not be true beside revisionName")
            if target.revision_name != revision:
                words = "files have one revision, the template's; accepted: latestRevision: true"
                raise ObjectError((*here, "revisionName"), words)
        elif target.latest_revision is False:
            raise ObjectError((*here, "revisionName"), "missing field; accepted: latestRevision: true")
        _within(target.percent, 100, *here, "percent")
        if target.tag:
            if not _DNS_1035.fullmatch(target.tag) or len(target.tag) + 1 + len(name) > 63:
                raise _invalid(target.tag, *here, "tag", accepted=f"a label so short that tag-{name} is one")
            if target.tag in tags:
                raise ObjectError((*here, "tag"), f"multiple definitions for {target.tag!r}")
            tags.append(target.tag)
    total = sum(target.percent for target in traffic)
    if traffic and total != 100:
        raise ObjectError(("spec", "traffic"), f"traffic targets sum to {total}, want 100")
    return tuple(tags)


def _scales(annotations: Mapping[str, str], path: Path) -> tuple[int, int]:
    found = []
    for new, old in (("min-scale", "minScale"), ("max-scale", "maxScale")):
        key = next((key for key in (_AUTOSCALING + new, _AUTOSCALING + old) if key in annotations), "")
        text = annotations.get(key, "0")
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise _invalid(text, *path, key, accepted="a number from 0")
        found.append(int(text))
    least, most = found
    if most and most < least:
        raise ObjectError(path, f"max-scale {most} is less than min-scale {least}")
    return least, most
