"""Options that the commands share, and the plan that they amount to."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from daemun import SettingsError
from daemun_kubernetes.install.configuration import settings_of
from daemun_kubernetes.install.overlay import check_whole, read_overlay
from daemun_kubernetes.install.plan import (
    DEFAULT_NAME,
    DEFAULT_NAMESPACE,
    Mode,
    Plan,
    ServiceKind,
    default_image,
    default_namespace,
)
from daemun_kubernetes.install.render import render

__all__ = [
    "cluster_options",
    "name_of",
    "name_options",
    "plan_of",
    "settings_options",
    "size_options",
    "waiting_options",
]

F = TypeVar("F", bound=Callable[..., Any])

_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_SERVICE = "lower-case letters, digits and -, a letter first", re.compile(rf"(?=[a-z]){_LABEL}")
_NAMESPACE = "lower-case letters, digits and -", re.compile(_LABEL)
_SUBDOMAIN = "lower-case letters, digits, - and .", re.compile(rf"{_LABEL}(\.{_LABEL})*")
_LEAST, _MOST = 2, 10
_NAMES = {
    "name": (40, *_SERVICE),
    "namespace": (63, *_NAMESPACE),
    "knative_namespace": (63, *_NAMESPACE),
    "tls_secret": (253, *_SUBDOMAIN),
}
_WITHOUT = ("namespace", "tls_secret")
"""Those that may be empty."""


def name_of(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """The value of an option that is a name in Kubernetes. Raises `click.BadParameter`."""
    option = parameter.name or ""
    longest, accepted, pattern = _NAMES[option]
    if not (pattern.fullmatch(value) and len(value) <= longest) and (value or option not in _WITHOUT):
        raise click.BadParameter(f"{value!r} is no name for Kubernetes (accepted: {accepted}, {longest} at most)")
    return value


def name_options(command: F) -> F:
    """Which installation is meant."""
    for option in (
        click.option("--name", default=DEFAULT_NAME, show_default=True, callback=name_of, help="Of the gateway."),
        click.option(
            "--namespace",
            "-n",
            default="",
            callback=name_of,
            help=f"Where it is.  [default: {DEFAULT_NAMESPACE}; of mode knative: where Knative Serving is]",
        ),
    ):
        command = option(command)
    return command


def cluster_options(command: F) -> F:
    """Which cluster is meant."""
    for option in (
        click.option("--context", default="", help="Context of the kubeconfig; default: its current one."),
        click.option(
            "--kubeconfig",
            default="",
            type=click.Path(dir_okay=False),
            help="Default: what $KUBECONFIG names, the Pod that this runs in, ~/.kube/config.",
        ),
    ):
        command = option(command)
    return command


def size_options(command: F) -> F:
    """What is installed, and how much of it."""
    for option in (
        click.option(
            "--service-type",
            type=click.Choice([kind.value for kind in ServiceKind]),
            default=ServiceKind.LOAD_BALANCER.value,
            show_default=True,
            help="How the gateway is reached from outside.",
        ),
        click.option("--max-replicas", type=click.IntRange(1, 1000), help=f"At most.  [default: {_MOST}]"),
        click.option(
            "--min-replicas",
            type=click.IntRange(1, 1000),
            help=f"An autoscaler keeps so many gateways at least.  [default: {_LEAST}]",
        ),
        click.option(
            "--replicas", type=click.IntRange(0, 1000), help="So many, always: there is no autoscaler.", metavar="N"
        ),
        click.option(
            "--image",
            default=default_image,
            show_default="that of this version",
            envvar="DAEMUN_IMAGE",
            show_envvar=True,
            help="Where the nodes find the gateway's image; the checkout has its Dockerfile.",
        ),
    ):
        command = option(command)
    return command


def settings_options(command: F) -> F:
    """What the gateway is told otherwise."""
    for option in (
        click.option(
            "--set",
            "assignments",
            multiple=True,
            metavar="KEY=VALUE",
            help="One setting otherwise, as listeners.http.forwarded.trusted_hops=1; may be given several times.",
        ),
        click.option(
            "--settings",
            "settings_file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Part of a settings file: what it says is said over what is installed.",
        ),
    ):
        command = option(command)
    return command


def waiting_options(command: F) -> F:
    """How the command ends."""
    for option in (
        click.option(
            "--timeout",
            "timeout_seconds",
            type=click.FloatRange(min=0),
            default=180.0,
            show_default=True,
            help="Seconds until the Pods must serve; 0: they are not waited for.",
        ),
        click.option("--dry-run", is_flag=True, help="Print the manifests for `kubectl apply -f -`; ask no cluster."),
    ):
        command = option(command)
    return command


def plan_of(
    mode: Mode,
    *,
    name: str,
    namespace: str,
    image: str,
    replicas: int | None,
    min_replicas: int | None,
    max_replicas: int | None,
    service_type: str,
    settings_file: Path | None,
    assignments: tuple[str, ...],
    **special: Any,
) -> Plan:
    """The plan of a command. Raises `click.UsageError` for what contradicts itself, and for settings that are none."""
    if replicas is not None:
        if min_replicas is not None or max_replicas is not None:
            raise click.UsageError("--replicas fixes the number; --min-replicas and --max-replicas let it vary")
        least = most = replicas
    else:
        least = _LEAST if min_replicas is None else min_replicas
        most = max(least, _MOST) if max_replicas is None else max_replicas
        if least > most:
            raise click.UsageError(f"--min-replicas {least} is above --max-replicas {most}")
    if not image or any(not "!" <= character <= "~" for character in image):
        raise click.UsageError(f"--image {image!r} is no name of an image")
    plan = Plan(
        mode,
        image,
        namespace=namespace or default_namespace(mode, special.get("knative_namespace", "")),
        name=name,
        min_replicas=least,
        max_replicas=most,
        service=ServiceKind(service_type),
        settings=_settings(settings_file, assignments),
        **special,
    )
    try:
        check_whole(render(settings_of(plan)))
    except SettingsError as error:
        raise click.UsageError(f"the settings of the gateway: {error}") from None
    return plan


def _settings(file: Path | None, assignments: tuple[str, ...]) -> dict[str, Any]:
    try:
        return read_overlay(file, assignments)
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
