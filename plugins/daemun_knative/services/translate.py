"""From a valid Service to a route and a back end that is started on demand."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from daemun import BackendSpec, Forward, HostKind, HostMatch, RouteSpec, Split
from daemun_file import ObjectError
from daemun_knative.services.manifest import Container
from daemun_knative.services.settings import KnativeFilesSettings
from daemun_knative.services.validate import VISIBILITY, Parts

__all__ = ["Specs", "specs_of"]

Specs = tuple[tuple[BackendSpec, ...], tuple[RouteSpec, ...]]
"""What one Service becomes."""


def specs_of(parts: Parts, settings: KnativeFilesSettings, origin: str) -> Specs:
    """The back end and the route of one Service. Raises `ObjectError` with the path of the field."""
    name = f"{parts.namespace}/{parts.name}"
    backend = BackendSpec(
        name,
        settings=settings.backend_settings,
        activator="process",
        activation=_activation(parts, settings),
        origin=origin,
    )
    if parts.local and not settings.local_listeners:
        words = "needs a listener that only insiders reach; name it in 'local_listeners' of the source"
        raise ObjectError(("metadata", "labels", VISIBILITY), words)
    route = RouteSpec(
        name,
        Forward((Split(name),)),
        hosts=tuple(HostMatch(HostKind.EXACT, host) for host in _hosts(parts, settings.domain)),
        listeners=settings.local_listeners if parts.local else settings.listeners,
        timeout_seconds=float(parts.timeout_seconds),
        origin=origin,
    )
    return (backend,), (route,)


def _hosts(parts: Parts, domain: str) -> list[str]:
    suffix = f"{parts.namespace}.{'svc.cluster.local' if parts.local else domain}"
    hosts = [f"{label}.{suffix}" for label in (parts.name, *(f"{tag}-{parts.name}" for tag in parts.tags))]
    if max(map(len, hosts)) > 253:
        raise ObjectError(("metadata", "name"), f"the host {max(hosts, key=len)!r} is longer than 253 characters")
    return hosts


def _activation(parts: Parts, settings: KnativeFilesSettings) -> dict[str, Any]:
    container = parts.container
    entry = _entry(container.image, settings.images, (*parts.container_path, "image"))
    activation = dict(entry)
    environment = {
        **_mapping(entry.get("environment", {}), container.image, "environment"),
        "K_SERVICE": parts.name,
        "K_CONFIGURATION": parts.name,
        "K_REVISION": parts.revision,
    }
    for variable in container.env:
        environment[variable.name] = _expanded(variable.value, environment)
    activation["environment"] = environment
    activation["command"] = _command(parts, entry, environment, allow=settings.allow_commands)
    if container.ports and container.ports[0].name == "h2c":
        activation["protocol"] = "http2"
    if container.readiness_probe is not None and container.readiness_probe.http_get is not None:
        activation.setdefault("readiness", {"kind": "http", "path": container.readiness_probe.http_get.path})
    for key in ("idle_timeout_seconds", "start_timeout_seconds"):
        if (value := getattr(settings, key)) is not None:
            activation.setdefault(key, value)
    _scale(activation, parts)
    return activation


def _entry(image: str, images: Mapping[str, dict[str, Any]], path: tuple[str | int, ...]) -> dict[str, Any]:
    bare = _without_tag(image)
    for key in (image, bare):
        if key in images:
            return images[key]
    for pattern, entry in images.items():
        if fnmatchcase(image, pattern) or fnmatchcase(bare, pattern):
            return entry
    accepted = ", ".join(images) or "nothing, the table is empty"
    raise ObjectError(path, f"image {image!r} has no entry in 'images' of the source; accepted: {accepted}")


def _without_tag(image: str) -> str:
    image = image.partition("@")[0]
    folder, slash, last = image.rpartition("/")
    return folder + slash + last.partition(":")[0]


def _mapping(value: Any, image: str, key: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ObjectError((), f"'images' of the source: {key} of {image!r} is no mapping")
    return value


def _command(parts: Parts, entry: dict[str, Any], environment: Mapping[str, str], *, allow: bool) -> list[str]:
    container: Container = parts.container
    if container.command and not allow:
        words = "what runs is said by 'images' of the source, unless its 'allow_commands' is true"
        raise ObjectError((*parts.container_path, "command"), words)
    if container.command:
        command = [_expanded(word, environment) for word in container.command]
    else:
        command = entry.get("command", [])
        if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
            raise ObjectError((), f"'images' of the source: {container.image!r} has no 'command', a list of text")
        command = [sys.executable if word == "$PYTHON" else word for word in command]
    return command + [_expanded(word, environment) for word in container.args]


_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """`$(NAME)` as Kubernetes fills it in: unknown names stay, `$$` is a `$`."""

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        if match[1] == "PORT":
            return "$PORT"
        return environment.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def _scale(activation: dict[str, Any], parts: Parts) -> None:
    """Concurrency and number of instances. One process without a limit is never full, so it stays one."""
    if parts.concurrency:
        activation["capacity"] = parts.concurrency
    if not activation.get("capacity"):
        if parts.min_scale:
            activation["min_instances"] = 1
        return
    if parts.max_scale:
        activation["max_instances"] = parts.max_scale
    if parts.min_scale:
        activation["min_instances"] = parts.min_scale
        activation["max_instances"] = max(parts.min_scale, activation.get("max_instances", 1))
