"""`daemun install`, `uninstall`, `proxy`, `check --cluster`. Who speaks to a cluster is imported when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import click

from daemun import CheckType, Finding
from daemun_kubernetes.install.options import (
    cluster_options,
    name_of,
    name_options,
    plan_of,
    settings_options,
    size_options,
    waiting_options,
)
from daemun_kubernetes.install.plan import (
    DEFAULT_KNATIVE_NAMESPACE,
    DEFAULT_NAME,
    Mode,
    Plan,
    default_namespace,
)

if TYPE_CHECKING:
    from daemun_kubernetes.install.run import ConfigNetwork

__all__ = ["CLUSTER_CHECK", "install", "proxy", "uninstall"]

_knative_namespace = click.option(
    "--knative-namespace",
    default=DEFAULT_KNATIVE_NAMESPACE,
    show_default=True,
    callback=name_of,
    help="Where Knative Serving is.",
)


@click.group()
def install() -> None:
    """Put a gateway into a Kubernetes cluster.

    --dry-run prints the manifests for `kubectl apply -f -`. `daemun uninstall` removes what this made.
    """


@install.command("knative")
@name_options
@size_options
@settings_options
@waiting_options
@cluster_options
@_knative_namespace
@click.option(
    "--config-network",
    type=click.Choice(["yes", "no", "only"]),
    default="yes",
    show_default=True,
    help="Whether Knative Serving is told to ask this gateway; only: that, and nothing else.",
)
def _install_knative(config_network: Literal["yes", "no", "only"], **options: Any) -> None:
    """The gateway of Knative Serving.

    It serves KIngresses, and takes the place of Istio, Kourier or Gloo.
    """
    _install(Mode.KNATIVE, options, config_network)


@install.command("ingress")
@name_options
@size_options
@settings_options
@waiting_options
@cluster_options
@click.option("--default-class", is_flag=True, help="Serve Ingresses that name no class, too.")
def _install_ingress(**options: Any) -> None:
    """A gateway for Ingresses of the class NAME.

    They say so with `ingressClassName: daemun`.
    """
    _install(Mode.INGRESS, options)


@install.command("gateway")
@name_options
@size_options
@settings_options
@waiting_options
@cluster_options
@click.option(
    "--tls-secret",
    default="",
    callback=name_of,
    help="Secret with tls.crt and tls.key of the listener https; none: no https.",
)
def _install_gateway(**options: Any) -> None:
    """A gateway for documents in the ConfigMap NAME-routes.

    They are documents of routes. It asks the API server nothing.
    """
    _install(Mode.GATEWAY, options)


def _install(mode: Mode, options: dict[str, Any], config_network: ConfigNetwork = "no") -> None:
    dry_run, timeout_seconds = options.pop("dry_run"), options.pop("timeout_seconds")
    cluster = {key: options.pop(key) for key in ("kubeconfig", "context")}
    plan = plan_of(mode, **options)
    if not dry_run:
        from daemun_kubernetes.install.run import run_install

        run_install(plan, config_network=config_network, timeout_seconds=timeout_seconds, **cluster)
        return
    if config_network == "only":
        raise click.UsageError("--config-network only changes a cluster, and has no manifests to print")
    from daemun_kubernetes.install.manifests import stream_of

    click.echo(stream_of(plan, config_network=config_network == "yes"), nl=False)


@click.command()
@click.argument("mode", type=click.Choice([mode.value for mode in Mode]))
@name_options
@_knative_namespace
@cluster_options
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def uninstall(
    mode: str,
    name: str,
    namespace: str,
    knative_namespace: str,
    kubeconfig: str,
    context: str,
    dry_run: bool,
    yes: bool,
) -> None:
    """Remove what `daemun install` made, and nothing else.

    Knative Serving gets the class back that it asked before. The namespace is kept.
    """
    namespace = namespace or default_namespace(Mode(mode), knative_namespace)
    if not dry_run and not yes:
        click.confirm(f"Remove the gateway {namespace}/{name} ({mode})?", abort=True, err=True)
    from daemun_kubernetes.install.run import run_uninstall

    plan = Plan(Mode(mode), "", namespace=namespace, name=name, knative_namespace=knative_namespace)
    run_uninstall(plan, dry_run=dry_run, kubeconfig=kubeconfig, context=context)


@click.group()
def proxy() -> None:
    """Look at a gateway in a Kubernetes cluster."""


@proxy.command("url")
@click.option("--name", default=DEFAULT_NAME, show_default=True, callback=name_of, help="Of the gateway's Service.")
@click.option("--namespace", "-n", default="", callback=name_of, help="Where it is; default: where it was installed.")
@click.option("--listener", "-l", default="http", show_default=True, help="Which of its ports: http or https.")
@cluster_options
@click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")
def _url(name: str, namespace: str, listener: str, kubeconfig: str, context: str, json_: bool) -> None:
    """Print the address that answers.

    It is that of the load balancer, else a port of a node.
    """
    from daemun_kubernetes.install.run import run_url

    run_url(namespace, name, listener, json=json_, kubeconfig=kubeconfig, context=context)


async def _check() -> Sequence[Finding]:
    from daemun_kubernetes.install.check import check_cluster

    return await check_cluster()


CLUSTER_CHECK = CheckType(
    "cluster", "Say what is wrong with the gateways in the Kubernetes cluster, and nothing else.", _check
)
