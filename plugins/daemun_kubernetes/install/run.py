"""The commands at work on a cluster: what is printed, and for how long is waited."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal, TypeVar

import anyio
import click
import msgspec

from daemun_kubernetes.client.api import Cluster, open_cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import DEPLOYMENT
from daemun_kubernetes.install.address import address_of, namespace_of
from daemun_kubernetes.install.apply import apply_plan, set_class
from daemun_kubernetes.install.objects import find
from daemun_kubernetes.install.plan import DEFAULT_NAME, Mode, Plan, default_namespace
from daemun_kubernetes.install.remove import remove_plan
from daemun_kubernetes.install.rollout import wait_for_rollout
from daemun_kubernetes.install.step import Step
from daemun_kubernetes.settings import ClusterSettings

__all__ = ["ConfigNetwork", "run_install", "run_uninstall", "run_url"]

T = TypeVar("T")
ConfigNetwork = Literal["yes", "no", "only"]
_COLOURS = {"created": "green", "configured": "yellow", "removed": "red", "ready": "green"}


def run_install(
    plan: Plan, *, config_network: ConfigNetwork, timeout_seconds: float, kubeconfig: str, context: str
) -> None:
    """Installs `plan`, with a line for each object, waits until it serves, and says what to do next."""

    async def work(cluster: Cluster) -> None:
        if config_network != "only":
            await apply_plan(cluster, plan, _say)
        if timeout_seconds and (config_network != "only" or await _is_there(cluster, plan)):
            await wait_for_rollout(cluster, plan, _say, timeout_seconds=timeout_seconds)
        if config_network != "no":  # last: the gateway that Knative asked until now goes on until this one serves
            await set_class(cluster, plan, _say)

    _with_cluster(kubeconfig, context, work)
    if config_network != "only":
        click.echo()
        for line in _next(plan):
            click.echo(line)


async def _is_there(cluster: Cluster, plan: Plan) -> bool:
    """Whether there is a Deployment to be waited for, as far as one may look."""
    try:
        return await find(cluster, DEPLOYMENT, plan.name, plan.namespace) is not None
    except ApiError as error:
        if error.status != 403:
            raise
        return False


def run_uninstall(plan: Plan, *, dry_run: bool, kubeconfig: str, context: str) -> None:
    """Removes `plan`, with a line for each object."""

    async def work(cluster: Cluster) -> None:
        await remove_plan(cluster, plan, _say, dry_run=dry_run)

    _with_cluster(kubeconfig, context, work)
    if dry_run:
        click.echo("nothing was changed (--dry-run)")


def run_url(namespace: str, name: str, listener: str, *, json: bool, kubeconfig: str, context: str) -> None:
    """Prints where the listener answers."""

    async def work(cluster: Cluster) -> None:
        place = await address_of(cluster, namespace or await namespace_of(cluster, name), name, listener)
        if json:
            click.echo(msgspec.json.encode({"listener": listener, **msgspec.structs.asdict(place)}))
        else:
            click.echo(place.url)

    _with_cluster(kubeconfig, context, work)


def _with_cluster(kubeconfig: str, context: str, work: Callable[[Cluster], Awaitable[T]]) -> T:
    settings = ClusterSettings(kubeconfig=kubeconfig, context=context)

    async def main() -> T:
        async with open_cluster(settings, Path.cwd()) as cluster:
            return await work(cluster)

    return anyio.run(main)


def _say(step: Step) -> None:
    words = f"  ({step.words})" if step.words else ""
    try:
        click.echo(f"{click.style(f'{step.did:<10}', fg=_COLOURS.get(step.did))}  {step.thing}{words}")
    except BrokenPipeError:  # `| head`: nobody reads on, and what was begun is still done
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (until the process ends)


def _next(plan: Plan) -> list[str]:
    usual = default_namespace(plan.mode, plan.knative_namespace)
    flags = "".join(
        f" --{option} {value}"
        for option, value, default in (("name", plan.name, DEFAULT_NAME), ("namespace", plan.namespace, usual))
        if value != default
    )
    lines = [
        (f"daemun proxy url{flags}", "prints where it answers"),
        ("daemun check --cluster", "says whether all is well"),
    ]
    if plan.mode is Mode.GATEWAY:
        routes = f"kubectl create configmap {plan.routes_name} -n {plan.namespace} --from-file=routes.yaml"
        lines.insert(0, (routes, "gives it routes"))
    width = max(len(command) for command, _ in lines)
    return [f"{command.ljust(width)}   {words}" for command, words in lines]
