"""Installing: every manifest by server-side apply, and the class of Knative by a patch of its one key."""

from __future__ import annotations

from typing import Any

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, Deployment, KubeObject
from daemun_kubernetes.install.knative import CLASS_KEY, CONFIG_NETWORK, class_patch
from daemun_kubernetes.install.manifests import manifests_of, namespace_of
from daemun_kubernetes.install.objects import KINDS, find, find_namespace, is_ours, selector_of, words_of
from daemun_kubernetes.install.plan import KNATIVE_CLASS, MANAGER, MODE_LABEL, OURS, Plan
from daemun_kubernetes.install.step import InstallError, Say, Step

__all__ = ["apply_plan", "set_class"]


async def apply_plan(cluster: Cluster, plan: Plan, say: Say) -> None:
    """Makes the cluster hold what `plan` says, and tells each step.

    Raises `InstallError` before anything is changed if another's objects, or a gateway of another mode, have these
    names; `ApiError` where the API server refuses.
    """
    deployment = await _no_other(cluster, plan)
    await _namespace(cluster, plan, say)
    for manifest in manifests_of(plan):
        if manifest["kind"] == "Namespace":
            continue
        if manifest["kind"] == "Deployment" and plan.autoscaled:
            manifest["spec"]["replicas"] = _replicas(plan, deployment)
        await _apply(cluster, manifest, say)
    if not plan.autoscaled:
        await _no_autoscaler(cluster, plan, say)


async def _no_other(cluster: Cluster, plan: Plan) -> Deployment | None:
    """The gateway that is there by this name. Raises `InstallError` if it, or anything, is in the way."""
    there = None
    for deployment in await cluster.list(DEPLOYMENT, plan.met_in, labels=selector_of(OURS)):
        metadata = deployment.metadata
        mode = metadata.labels.get(MODE_LABEL, "")
        thing = f"Deployment {metadata.namespace}/{metadata.name}"
        if (metadata.namespace, metadata.name) == (plan.namespace, plan.name):
            there = deployment
            if mode != plan.mode.value:
                raise InstallError(
                    f"{thing} is a gateway of mode {mode}; accepted: another --name or --namespace, or `daemun "
                    f"uninstall {mode}` first"
                )
        elif plan.meets(mode, metadata.name):
            raise InstallError(
                f"{thing} serves the same objects already, and two would write each other's statuses; accepted: its "
                f"--name and --namespace, or remove it first"
            )
    for manifest in manifests_of(plan):
        if manifest["kind"] == "Namespace":
            continue
        metadata = manifest["metadata"]
        found = await find(cluster, KINDS[manifest["kind"]], metadata["name"], metadata.get("namespace", ""))
        if found is not None and not is_ours(found):
            raise InstallError(
                f"{words_of(manifest['kind'], metadata)} is there and was not installed by daemun; accepted: another "
                f"--name or --namespace, or remove it first"
            )
    return there


def _replicas(plan: Plan, deployment: Deployment | None) -> int:
    """As many as there are: an apply that said nothing would have one, until the autoscaler looks again."""
    there = deployment.spec.replicas if deployment is not None else 0
    return min(max(there, plan.min_replicas), plan.max_replicas)


async def _no_autoscaler(cluster: Cluster, plan: Plan, say: Say) -> None:
    """One from before would change the number that is fixed now."""
    kind = KINDS["HorizontalPodAutoscaler"]
    if await find(cluster, kind, plan.name, plan.namespace) is not None:
        await cluster.delete(kind, plan.name, plan.namespace)
        say(Step("removed", words_of(kind.kind, {"name": plan.name, "namespace": plan.namespace})))


async def _namespace(cluster: Cluster, plan: Plan, say: Say) -> None:
    """Makes it if it is not there. Raises `InstallError` if it is Knative's, which is not ours to make."""
    before = await find_namespace(cluster, plan.namespace)
    if before is None and plan.beside_knative:
        raise InstallError(
            f"there is no namespace {plan.namespace}, in which Knative Serving is: install Knative Serving, then run "
            f"this again; --knative-namespace tells where else it is"
        )
    manifest = namespace_of(plan)
    if before is None or is_ours(before):
        await _apply(cluster, manifest, say)
    else:
        thing = words_of(manifest["kind"], manifest["metadata"])
        say(Step("unchanged", thing, "it was there, and stays whose it is"))


async def _apply(cluster: Cluster, manifest: dict[str, Any], say: Say) -> None:
    metadata = manifest["metadata"]
    thing = words_of(manifest["kind"], metadata)
    before: KubeObject | None = await find(
        cluster, KINDS[manifest["kind"]], metadata["name"], metadata.get("namespace", "")
    )
    after = await cluster.apply(manifest, manager=MANAGER)
    if before is None:
        say(Step("created", thing))
    elif before.metadata.resource_version == after["metadata"]["resourceVersion"]:
        say(Step("unchanged", thing))
    else:
        say(Step("configured", thing))


async def set_class(cluster: Cluster, plan: Plan, say: Say) -> None:
    """Has Knative Serving ask this gateway. Raises `InstallError` if Knative is not there to be told."""
    metadata = {"name": CONFIG_NETWORK, "namespace": plan.knative_namespace}
    thing = words_of("ConfigMap", metadata)
    config = await find(cluster, CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace)
    if config is None:
        raise InstallError(
            f"{thing} is not there, so Knative Serving cannot be told to ask this gateway: install Knative Serving, "
            f"then run this again"
        )
    patch = class_patch(config.data)
    if patch is None:
        say(Step("unchanged", thing, f"{CLASS_KEY} is {KNATIVE_CLASS}"))
        return
    patch["metadata"]["resourceVersion"] = config.metadata.resource_version
    await cluster.patch(CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace, patch)
    before = config.data.get(CLASS_KEY)
    say(Step("configured", thing, f"{CLASS_KEY} is {KNATIVE_CLASS}" + (f", was {before}" if before else "")))
