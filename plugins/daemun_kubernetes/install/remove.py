"""Uninstalling: what install made and nothing else, in the reverse order behind the Pods."""

from __future__ import annotations

from typing import Any

import anyio
from msgspec.structs import replace

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.errors import ApiError
from daemun_kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, INGRESS, POD, SERVICE
from daemun_kubernetes.ingress.status import addresses_of, has_addresses
from daemun_kubernetes.install.knative import (
    CLASS_KEY,
    CONFIG_NETWORK,
    PREVIOUS,
    class_job,
    give_back_patch,
    job_labels,
)
from daemun_kubernetes.install.manifests import manifests_of
from daemun_kubernetes.install.objects import JOB, KINDS, find, find_namespace, is_ours, selector_of, words_of
from daemun_kubernetes.install.plan import KNATIVE_CLASS, MODE_LABEL, OURS, Mode, Plan
from daemun_kubernetes.install.step import InstallError, Say, Step
from daemun_kubernetes.install.workload import KNATIVE_NAMESPACE

__all__ = ["remove_plan"]

_SHARED = ("IngressClass",)
_POLL_SECONDS = 0.2


async def remove_plan(cluster: Cluster, plan: Plan, say: Say, *, dry_run: bool = False) -> None:
    """Removes an installation of the mode, name and namespace of `plan`, and tells each step.

    What lacks our label is kept, and so is what another installation needs. The namespace always is: all that it holds
    would go with it, of kinds that nobody here knows. Raises `InstallError` if the gateway there is of another mode, or
    if there is nothing; `ApiError` where the API server refuses.
    """
    removal = _Removal(cluster, replace(plan, max_replicas=plan.min_replicas + 1), say, dry_run=dry_run)
    await removal.run()


class _Removal:
    def __init__(self, cluster: Cluster, plan: Plan, say: Say, *, dry_run: bool) -> None:
        self._cluster = cluster
        self._plan = plan
        self._say = say
        self._dry_run = dry_run
        self._others: dict[str, str] = {}
        """Deployments for the same objects, for people, and where the Knative is that asks each; "": nobody knows."""
        self._removed = 0

    async def run(self) -> None:
        await self._look()
        plan = self._plan
        another = next(iter(self._others), "")
        if plan.mode is Mode.INGRESS:
            await self._statuses()
        if plan.mode is Mode.KNATIVE:
            await self._give_back_class()
            await self._remove_jobs()
        manifests = (_lease(plan), *manifests_of(plan))
        for manifest in manifests:
            if manifest["kind"] == "Deployment":
                await self._remove(manifest)
        if not self._dry_run:
            await self._drained()
        for manifest in reversed(manifests):
            if manifest["kind"] in _SHARED and another:
                self._say(Step("kept", words_of(manifest["kind"], manifest["metadata"]), f"{another} needs it"))
            elif manifest["kind"] not in ("Namespace", "Deployment"):
                await self._remove(manifest)
        if not self._removed:
            raise InstallError(
                f"nothing of mode {plan.mode.value} is installed in namespace {plan.namespace} by the name {plan.name}"
                + (f"; {another} is one, which --namespace and --name tell" if another else "")
            )
        await self._keep_namespace()

    async def _look(self) -> None:
        """Who else serves the same objects, and where Knative is: our Deployment knows that better than who asks.
        Raises `InstallError` if ours is of another mode."""
        plan = self._plan
        for deployment in await self._cluster.list(DEPLOYMENT, plan.met_in, labels=selector_of(OURS)):
            metadata = deployment.metadata
            mode = metadata.labels.get(MODE_LABEL, "")
            here = (metadata.namespace, metadata.name) == (plan.namespace, plan.name)
            if here and mode != plan.mode.value:
                raise InstallError(
                    f"Deployment {plan.namespace}/{plan.name} is a gateway of mode {mode}; accepted: `daemun uninstall "
                    f"{mode}`"
                )
            knative = metadata.annotations.get(KNATIVE_NAMESPACE, "")
            if here and knative:
                self._plan = replace(plan, knative_namespace=knative)
            if not here and plan.meets(mode, metadata.name):
                self._others[f"Deployment {metadata.namespace}/{metadata.name}"] = knative

    async def _remove(self, manifest: dict[str, Any]) -> None:
        kind, metadata = KINDS[manifest["kind"]], manifest["metadata"]
        found = await find(self._cluster, kind, metadata["name"], metadata.get("namespace", ""))
        if found is None:
            return
        thing = words_of(kind.kind, metadata)
        if not is_ours(found) and kind.kind != "Lease":  # which the gateway made
            self._say(Step("kept", thing, "it was not installed by daemun"))
            return
        if not self._dry_run:
            path = kind.path(metadata.get("namespace", ""), metadata["name"])
            await self._cluster.raw("DELETE", path, query={"propagationPolicy": "Background"})
        self._done(Step("removed", thing))

    async def _drained(self) -> None:
        """Returns once no Pod is left, or none may be looked at: until then they need their Services and roles."""
        plan = self._plan
        with anyio.move_on_after(plan.termination_seconds):
            try:
                while await self._cluster.list(POD, plan.namespace, labels=selector_of(plan.selector)):  # noqa: ASYNC110
                    await anyio.sleep(_POLL_SECONDS)
            except ApiError as error:
                if error.status != 403:
                    raise

    async def _remove_jobs(self) -> None:
        """Those that `kubectl apply` of the manifests made, with all that they needed."""
        plan = self._plan
        for job in await self._cluster.list(JOB, plan.namespace, labels=selector_of(job_labels(plan))):
            await self._remove({"kind": "Job", "metadata": {"name": job.metadata.name, "namespace": plan.namespace}})
        for manifest in reversed(list(class_job(plan))):
            if manifest["kind"] != "Job":
                await self._remove(manifest)

    async def _give_back_class(self) -> None:
        plan = self._plan
        config = await find(self._cluster, CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace)
        if config is None:
            return
        thing = words_of("ConfigMap", {"name": CONFIG_NETWORK, "namespace": plan.knative_namespace})
        kept = self._why_class_stays(config.data.get(CLASS_KEY, ""), PREVIOUS in config.metadata.annotations)
        if kept:
            self._say(Step("kept", thing, kept))
            return
        patch = give_back_patch(config.metadata.annotations)
        if not self._dry_run:
            patch["metadata"]["resourceVersion"] = config.metadata.resource_version
            await self._cluster.patch(CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace, patch)
        before = patch["data"][CLASS_KEY]
        words = f"{CLASS_KEY} is {before} again" if before else f"{CLASS_KEY} is taken away"
        self._done(Step("configured", thing, words))

    def _why_class_stays(self, asked: str, set_by_us: bool) -> str:
        """Words; "": it was set by this installation, and is given back."""
        if asked != KNATIVE_CLASS:
            return f"{CLASS_KEY} is {asked}, which is another gateway" if asked else f"it has no {CLASS_KEY}"
        for another, knative in self._others.items():
            if knative in ("", self._plan.knative_namespace):
                return f"{another} needs it"
        return "" if set_by_us else f"{CLASS_KEY} is {asked}, and not `daemun install` set it"

    async def _statuses(self) -> None:
        """Nobody is left who would take the gateway's address out of what it served."""
        plan = self._plan
        addresses = set(addresses_of(await find(self._cluster, SERVICE, plan.name, plan.namespace)))
        if not addresses:
            return
        left = sum(not addresses.isdisjoint(has_addresses(one)) for one in await self._cluster.list(INGRESS))
        if left:
            words = (
                "they name this gateway's address in their status, until another gateway writes it or they are deleted"
            )
            self._say(Step("kept", f"{left} Ingress{'es' * (left > 1)}", words))

    async def _keep_namespace(self) -> None:
        plan = self._plan
        namespace = await find_namespace(self._cluster, plan.namespace)
        if namespace is None or namespace.metadata.deletion_timestamp or plan.beside_knative:
            return
        words = f"`kubectl delete namespace {plan.namespace}` removes it with all that is in it"
        thing = words_of("Namespace", {"name": plan.namespace})
        self._say(Step("kept", thing, words if is_ours(namespace) else "it was not made by daemun"))

    def _done(self, step: Step) -> None:
        self._removed += 1
        self._say(step)


def _lease(plan: Plan) -> dict[str, Any]:
    return {"kind": "Lease", "metadata": {"name": plan.lease_name, "namespace": plan.namespace}}
