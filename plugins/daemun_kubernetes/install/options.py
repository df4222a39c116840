"""Options that the commands share, and the plan that they amount to."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from daemun_kubernetes.install.plan import DEFAULT_NAME, DEFAULT_NAMESPACE, Mode, Plan, ServiceKind, default_image

__all__ = ["cluster_options", "name_options", "plan_of", "size_options", "waiting_options"]

F = TypeVar("F", bound=Callable[..., Any])

_LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_LONGEST = {"name": 40, "namespace": 63, "knative_namespace": 63, "tls_secret": 253}


def _label(context: click.Context, parameter: click.Parameter, value: str) -> str:
    longest = _LONGEST[parameter.name or ""]
    if value and (not _LABEL.fullmatch(value) or len(value) > longest):
        raise click.BadParameter(
            f"{value!r} is no name for Kubernetes (accepted: lower-case letters, digits and -, a letter first, "
            f"{longest} at most)"
        )
    return value


def name_options(command: F) -> F:
    """Which installation is meant."""
    for option in (
        click.option("--name", default=DEFAULT_NAME, show_default=True, callback=_label, help="Of the gateway."),
        click.option(
            "--namespace", "-n", default=DEFAULT_NAMESPACE, show_default=True, callback=_label, help="Where it is."
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
        click.option("--max-replicas", type=click.IntRange(1, 1000), default=10, show_default=True, help="At most."),
        click.option(
            "--min-replicas",
            type=click.IntRange(1, 1000),
            default=2,
            show_default=True,
            help="An autoscaler keeps so many gateways at least.",
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
    image: str = "",
    replicas: int | None = None,
    min_replicas: int = 2,
    max_replicas: int = 10,
    service_type: str = ServiceKind.LOAD_BALANCER.value,
    **special: Any,
) -> Plan:
    """The plan of a command. Raises `click.UsageError` for numbers that contradict each other."""
    if replicas is not None:
        min_replicas = max_replicas = replicas
    elif min_replicas > max_replicas:
        raise click.UsageError(f"--min-replicas {min_replicas} is above --max-replicas {max_replicas}")
    if image.strip() != image or any(not "!" <= character <= "~" for character in image):
        raise click.UsageError(f"--image {image!r} is no name of an image")
    return Plan(
        mode,
        image,
        namespace=namespace,
        name=name,
        min_replicas=min_replicas,
        max_replicas=max_replicas,
        service=ServiceKind(service_type),
        **special,
    )
