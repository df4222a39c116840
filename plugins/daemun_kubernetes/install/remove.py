"""Uninstalling: what install made and nothing else, in the reverse order."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from daemun_kubernetes.client.api import Cluster
from daemun_kubernetes.client.kinds import CONFIG_MAP, DEPLOYMENT, POD, SECRET, SERVICE, Kind
from daemun_kubernetes.install.knative_class import CLASS_KEY, CONFIG_NETWORK, give_back_patch
from daemun_kubernetes.install.knative_job import class_job, job_labels
from daemun_kubernetes.install.manifests import manifests_of
from daemun_kubernetes.install.objects import JOB, KINDS, find, find_namespace, is_ours, selector_of, words_of
from daemun_kubernetes.install.plan import INSTANCE_LABEL, MODE_LABEL, OURS, Mode, Plan
from daemun_kubernetes.install.step import InstallError, Say, Step

__all__ = ["remove_plan"]

_HELD: tuple[Kind[Any], ...] = (DEPLOYMENT, SERVICE, POD, SECRET, CONFIG_MAP)
_OF_EVERY_NAMESPACE = "kube-root-ca.crt"
_SHARED = ("IngressClass",)


async def remove_plan(cluster: Cluster, plan: Plan, say: Say, *, dry_run: bool = False) -> None:
    """Removes an installation of the mode, name and namespace of `plan`, and tells each step.

    What lacks our label is kept, and so is what another installation needs, and a namespace that holds anything else.
    Raises `InstallError` if the gateway there is of another mode, or if there is nothing; `ApiError` where the API
    server refuses.
    """
    removal = _Removal(cluster, replace(plan, max_replicas=plan.min_replicas + 1), say, dry_run=dry_run)
    await removal.run()


class _Removal:
    def __init__(self, cluster: Cluster, plan: Plan, say: Say, *, dry_run: bool) -> None:
        self._cluster = cluster
        self._plan = plan
        self._say = say
        self._dry_run = dry_run
        self._removed = 0

    async def run(self) -> None:
        plan = self._plan
        another = await self._another()
        namespaces = []
        if plan.mode is Mode.KNATIVE:
            await self._give_back_class(another)
            await self._remove_jobs()
        for manifest in reversed((_lease(plan), *manifests_of(plan))):
            if manifest["kind"] == "Namespace":
                namespaces.append(manifest)
            elif manifest["kind"] in _SHARED and another:
                self._say(Step("kept", words_of(manifest["kind"], manifest["metadata"]), f"{another} needs it"))
            else:
                await self._remove(manifest)
        for namespace in namespaces:
            await self._remove_namespace(namespace)
        if not self._removed:
            raise InstallError(
                f"nothing of mode {plan.mode.value} is installed in namespace {plan.namespace} by the name {plan.name}"
            )

    async def _another(self) -> str:
        """Another installation for the same objects, for people. Raises `InstallError` if ours is of another."""
        plan = self._plan
        another = ""
        for deployment in await self._cluster.list(DEPLOYMENT, plan.met_in, labels=selector_of(OURS)):
            metadata = deployment.metadata
            mode = metadata.labels.get(MODE_LABEL, "")
            here = (metadata.namespace, metadata.name) == (plan.namespace, plan.name)
            if here and mode != plan.mode.value:
                raise InstallError(
                    f"Deployment {plan.namespace}/{plan.name} is a gateway of mode {mode}; accepted: `daemun uninstall "
                    f"{mode}`"
                )
            if not here and plan.meets(mode, metadata.name):
                another = f"Deployment {metadata.namespace}/{metadata.name}"
        return another

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

    async def _remove_jobs(self) -> None:
        """Those that `kubectl apply` of the manifests made, with all that they needed."""
        plan = self._plan
        for job in await self._cluster.list(JOB, plan.namespace, labels=selector_of(job_labels(plan))):
            await self._remove({"kind": "Job", "metadata": {"name": job.metadata.name, "namespace": plan.namespace}})
        for manifest in reversed(list(class_job(plan))):
            if manifest["kind"] != "Job":
                await self._remove(manifest)

    async def _give_back_class(self, another: str) -> None:
        plan = self._plan
        config = await find(self._cluster, CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace)
        if config is None:
            return
        thing = words_of("ConfigMap", {"name": CONFIG_NETWORK, "namespace": plan.knative_namespace})
        patch = give_back_patch(config.data, config.metadata.annotations)
        if patch is None:
            asked = config.data.get(CLASS_KEY)
            words = f"{CLASS_KEY} is {asked}, which is another gateway" if asked else f"it has no {CLASS_KEY}"
            self._say(Step("kept", thing, words))
            return
        if another:
            self._say(Step("kept", thing, f"{another} needs it"))
            return
        if not self._dry_run:
            patch["metadata"]["resourceVersion"] = config.metadata.resource_version
            await self._cluster.patch(CONFIG_MAP, CONFIG_NETWORK, plan.knative_namespace, patch)
        before = patch["data"][CLASS_KEY]
        words = f"{CLASS_KEY} is {before} again" if before else f"{CLASS_KEY} is taken away"
        self._done(Step("configured", thing, words))

    async def _remove_namespace(self, manifest: dict[str, Any]) -> None:
        plan = self._plan
        namespace = await find_namespace(self._cluster, plan.namespace)
        if namespace is None or namespace.metadata.deletion_timestamp:
            return
        thing = words_of("Namespace", manifest["metadata"])
        if not is_ours(namespace):
            self._say(Step("kept", thing, "it was not made by daemun"))
            return
        for kind in _HELD:
            for held in await self._cluster.list(kind, plan.namespace):
                labels = held.metadata.labels.items()
                mine = {INSTANCE_LABEL: plan.name, **OURS}.items() <= labels
                if not mine and held.metadata.name != _OF_EVERY_NAMESPACE:
                    words = f"it holds {kind.kind} {held.metadata.name}, which is not of this gateway"
                    self._say(Step("kept", thing, words))
                    return
        await self._remove(manifest)

    def _done(self, step: Step) -> None:
        self._removed += 1
        self._say(step)


def _lease(plan: Plan) -> dict[str, Any]:
    return {"kind": "Lease", "metadata": {"name": plan.lease_name, "namespace": plan.namespace}}
