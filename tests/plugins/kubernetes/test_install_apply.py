"""Installing into a cluster and removing from it: what is told, what is left alone, what stands in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from daemun.testing import eventually
from daemun_kubernetes import ApiError
from daemun_kubernetes.client.kinds import INGRESS as INGRESS_KIND
from daemun_kubernetes.client.kinds import POD
from daemun_kubernetes.install.apply import apply_plan, set_class
from daemun_kubernetes.install.knative import PREVIOUS, class_job
from daemun_kubernetes.install.manifests import manifests_of
from daemun_kubernetes.install.objects import KINDS
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan
from daemun_kubernetes.install.remove import remove_plan
from daemun_kubernetes.install.rollout import wait_for_rollout
from daemun_kubernetes.install.step import InstallError, Step

from .cluster_store import ClusterStore, cluster_of

pytestmark = pytest.mark.anyio

KNATIVE = Plan(Mode.KNATIVE, "daemun:1")
INGRESS = Plan(Mode.INGRESS, "daemun:1")
GATEWAY = Plan(Mode.GATEWAY, "daemun:1")
MADE = {(KINDS["Namespace"].path(), "", "daemun-system")}
"""What no uninstalling takes away."""
every_mode = pytest.mark.parametrize("plan", [KNATIVE, INGRESS, GATEWAY], ids=lambda plan: plan.mode.value)


def told(steps: list[Step]) -> dict[str, str]:
    return {step.thing: step.did for step in steps}


def made_by_kubectl(store: ClusterStore, *documents: dict[str, Any]) -> None:
    for document in documents:
        metadata = dict(document["metadata"])
        name, namespace = metadata.pop("name"), metadata.pop("namespace", "")
        store.put_kind(document["kind"], name, namespace, **{**document, "metadata": metadata})


def config_network(store: ClusterStore, **data: str) -> None:
    store.put_kind("ConfigMap", "config-network", "knative-serving", data=data)


# --- install ---


@every_mode
async def test_everything_is_created_once_and_then_unchanged(plan: Plan, tmp_path: Path) -> None:
    store = ClusterStore()
    first: list[Step] = []
    second: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, plan, first.append)
        await apply_plan(cluster, plan, second.append)
    assert set(told(first).values()) == {"created"}
    assert set(told(second).values()) == {"unchanged"}
    assert len(store.all) == len(manifests_of(plan)) == len(first)


async def test_what_differs_is_configured(tmp_path: Path) -> None:
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, steps.append)
        steps.clear()
        await apply_plan(cluster, replace(GATEWAY, image="daemun:2"), steps.append)
    assert {thing for thing, did in told(steps).items() if did == "configured"} == {"Deployment daemun-system/daemun"}


async def test_a_namespace_that_was_there_stays_whose_it_is(tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("Namespace", "daemun-system", metadata={"labels": {"team": "a"}})
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, steps.append)
    assert told(steps)["Namespace daemun-system"] == "unchanged"
    namespace = store.of("Namespace", "daemun-system")
    assert namespace is not None
    assert namespace["metadata"]["labels"] == {"team": "a"}


async def test_who_may_use_one_namespace_only_can_install_a_gateway_there(tmp_path: Path) -> None:
    store = ClusterStore()
    store.closed |= {"/namespaces/daemun-system", "/apis/apps/v1/deployments"}
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, steps.append)
        assert told(steps)["Namespace daemun-system"] == "unchanged"
        assert told(steps)["Deployment daemun-system/daemun"] == "created"
        await remove_plan(cluster, GATEWAY, steps.append)
    assert told(steps)["Namespace daemun-system"] == "kept"
    assert store.all == set()


async def test_a_namespace_that_is_not_there_is_made(tmp_path: Path) -> None:
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, replace(GATEWAY, namespace="edge"), steps.append)
    assert told(steps)["Namespace edge"] == "created"
    assert store.of("Namespace", "edge") is not None


async def test_the_namespace_of_knative_is_not_ours_to_make(tmp_path: Path) -> None:
    store = ClusterStore()
    beside = replace(KNATIVE, namespace="knative-serving")
    async with cluster_of(store, tmp_path) as cluster:
        with pytest.raises(InstallError, match="no namespace knative-serving, in which Knative Serving is: install"):
            await apply_plan(cluster, beside, lambda step: None)
        assert store.all == set()
        store.put_kind("Namespace", "knative-serving", metadata={"labels": {"app.kubernetes.io/name": "knative"}})
        before = store.all
        await apply_plan(cluster, beside, lambda step: None)
        steps: list[Step] = []
        await remove_plan(cluster, beside, steps.append)
    assert store.all == before
    assert "Namespace knative-serving" not in told(steps)


async def test_anothers_object_is_in_the_way_and_nothing_is_changed(tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("Service", "daemun", "daemun-system")
    before = store.all
    async with cluster_of(store, tmp_path) as cluster:
        with pytest.raises(
            InstallError, match=r"Service daemun-system/daemun is there and was not installed by daemun"
        ):
            await apply_plan(cluster, GATEWAY, lambda step: None)
    assert store.all == before


async def test_a_gateway_of_another_mode_is_in_the_way(tmp_path: Path) -> None:
    async with cluster_of(ClusterStore(), tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, lambda step: None)
        with pytest.raises(InstallError, match="is a gateway of mode gateway; accepted: another --name"):
            await apply_plan(cluster, INGRESS, lambda step: None)
        with pytest.raises(InstallError, match="mode gateway; accepted: `daemun uninstall gateway`"):
            await remove_plan(cluster, INGRESS, lambda step: None)


async def test_two_gateways_never_write_the_same_statuses(tmp_path: Path) -> None:
    async with cluster_of(ClusterStore(), tmp_path) as cluster:
        await apply_plan(cluster, KNATIVE, lambda step: None)
        with pytest.raises(InstallError, match="Deployment daemun-system/daemun serves the same objects already"):
            await apply_plan(cluster, replace(KNATIVE, namespace="other", name="other"), lambda step: None)
        await apply_plan(cluster, replace(INGRESS, name="front"), lambda step: None)
        await apply_plan(cluster, replace(INGRESS, name="back"), lambda step: None)


async def test_the_autoscalers_number_survives_an_apply(tmp_path: Path) -> None:
    store = ClusterStore()
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, lambda step: None)
        assert replicas(store) == 2
        deployment = store.of("Deployment", "daemun", "daemun-system")
        assert deployment is not None
        deployment["spec"]["replicas"] = 7
        await apply_plan(cluster, replace(GATEWAY, image="daemun:2"), lambda step: None)
        assert replicas(store) == 7
        await apply_plan(cluster, replace(GATEWAY, max_replicas=4), lambda step: None)
        assert replicas(store) == 4


def replicas(store: ClusterStore) -> int:
    deployment = store.of("Deployment", "daemun", "daemun-system")
    assert deployment is not None
    number: int = deployment["spec"]["replicas"]
    return number


async def test_a_fixed_number_has_no_autoscaler_left(tmp_path: Path) -> None:
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, lambda step: None)
        await apply_plan(cluster, replace(GATEWAY, min_replicas=3, max_replicas=3), steps.append)
    assert store.of("HorizontalPodAutoscaler", "daemun", "daemun-system") is None
    assert told(steps)["HorizontalPodAutoscaler daemun-system/daemun"] == "removed"
    assert replicas(store) == 3


async def test_a_refusal_of_the_api_server_is_told(tmp_path: Path) -> None:
    store = ClusterStore()
    store.refusing = (403, "Forbidden")
    async with cluster_of(store, tmp_path) as cluster:
        with pytest.raises(ApiError, match="the right to"):
            await apply_plan(cluster, GATEWAY, lambda step: None)


# --- Knative's class ---


async def test_the_class_is_set_and_every_other_key_kept(tmp_path: Path) -> None:
    store = ClusterStore()
    config_network(store, **{"ingress-class": "kourier.test", "domain-template": "x", "_example": "y"})
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await set_class(cluster, KNATIVE, steps.append)
        await set_class(cluster, KNATIVE, steps.append)
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"ingress-class": KNATIVE_CLASS, "domain-template": "x", "_example": "y"}
    assert config["metadata"]["annotations"] == {PREVIOUS: "kourier.test"}
    assert [step.did for step in steps] == ["configured", "unchanged"]
    assert "was kourier.test" in steps[0].words


async def test_without_knative_the_class_cannot_be_set(tmp_path: Path) -> None:
    async with cluster_of(ClusterStore(), tmp_path) as cluster:
        with pytest.raises(InstallError, match="install Knative Serving, then run this again"):
            await set_class(cluster, KNATIVE, lambda step: None)


@pytest.mark.parametrize("before", ["kourier.test", ""])
async def test_uninstall_gives_the_class_back(before: str, tmp_path: Path) -> None:
    store = ClusterStore()
    config_network(store, **({"ingress-class": before} if before else {}), other="1")
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, KNATIVE, lambda step: None)
        await set_class(cluster, KNATIVE, lambda step: None)
        await remove_plan(cluster, KNATIVE, lambda step: None)
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"other": "1", **({"ingress-class": before} if before else {})}
    assert not config["metadata"].get("annotations")


async def test_the_class_of_another_gateway_stays(tmp_path: Path) -> None:
    store = ClusterStore()
    config_network(store, **{"ingress-class": "kourier.test"})
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, KNATIVE, lambda step: None)
        await remove_plan(cluster, KNATIVE, steps.append)
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"ingress-class": "kourier.test"}
    assert told(steps)["ConfigMap knative-serving/config-network"] == "kept"


async def test_a_class_that_was_not_set_by_install_stays(tmp_path: Path) -> None:
    store = ClusterStore()
    config_network(store, **{"ingress-class": KNATIVE_CLASS})
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, KNATIVE, lambda step: None)
        await remove_plan(cluster, KNATIVE, steps.append)
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"ingress-class": KNATIVE_CLASS}
    (step,) = [step for step in steps if step.thing == "ConfigMap knative-serving/config-network"]
    assert (step.did, step.words) == ("kept", f"ingress-class is {KNATIVE_CLASS}, and not `daemun install` set it")


async def test_the_class_is_given_back_in_the_knative_that_the_gateway_was_installed_for(tmp_path: Path) -> None:
    """Whoever uninstalls need not say again where it is, and a gateway of another Knative is neither asked nor harmed."""
    store = ClusterStore()
    elsewhere = replace(KNATIVE, namespace="edge", knative_namespace="serving")
    config_network(store, **{"ingress-class": "istio.test"})
    store.put_kind("ConfigMap", "config-network", "serving", data={"ingress-class": "kourier.test"})
    async with cluster_of(store, tmp_path) as cluster:
        made_by_kubectl(store, *manifests_of(KNATIVE), *manifests_of(elsewhere), *class_job(elsewhere))
        await set_class(cluster, KNATIVE, lambda step: None)
        await set_class(cluster, elsewhere, lambda step: None)
        await remove_plan(cluster, replace(KNATIVE, namespace="edge"), lambda step: None)
    here, there = (store.of("ConfigMap", "config-network", space) for space in ("knative-serving", "serving"))
    assert here is not None
    assert there is not None
    assert here["data"] == {"ingress-class": KNATIVE_CLASS}
    assert there["data"] == {"ingress-class": "kourier.test"}
    assert store.of("Role", "edge:daemun", "serving") is None


# --- uninstall ---


@every_mode
async def test_uninstall_leaves_nothing(plan: Plan, tmp_path: Path) -> None:
    store = ClusterStore()
    config_network(store, **{"ingress-class": "before"})
    store.put_kind("ConfigMap", "kube-root-ca.crt", plan.namespace)
    before = store.all
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, plan, lambda step: None)
        if plan.mode is Mode.KNATIVE:
            await set_class(cluster, plan, lambda step: None)
        if plan.reads_cluster:
            store.put_kind("Lease", plan.lease_name, plan.namespace)
        await remove_plan(cluster, plan, steps.append)
    assert store.all == before | MADE
    assert {step.did for step in steps[:-1]} <= {"removed", "configured"}
    assert (steps[-1].did, steps[-1].thing) == ("kept", f"Namespace {plan.namespace}")


async def test_uninstall_removes_what_kubectl_applied(tmp_path: Path) -> None:
    store = ClusterStore()
    made_by_kubectl(store, *manifests_of(KNATIVE), *class_job(KNATIVE))
    async with cluster_of(store, tmp_path) as cluster:
        await remove_plan(cluster, KNATIVE, lambda step: None)
    assert store.all == MADE
    (job,) = [how for path, how in store.propagation.items() if "/jobs/" in path]
    assert job == "Background", "or its Pods would stay"


async def test_a_dry_run_changes_nothing_and_tells_the_same(tmp_path: Path) -> None:
    store = ClusterStore()
    made_by_kubectl(store, *manifests_of(INGRESS))
    before, version = store.all, store.version
    dry: list[Step] = []
    wet: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await remove_plan(cluster, INGRESS, dry.append, dry_run=True)
        assert (store.all, store.version) == (before, version)
        await remove_plan(cluster, INGRESS, wet.append)
    assert dry == wet
    assert store.all == MADE


async def test_services_and_rights_stay_until_the_last_pod_has_ended(tmp_path: Path) -> None:
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster, anyio.create_task_group() as tasks:
        await apply_plan(cluster, INGRESS, lambda step: None)
        store.put_pod("daemun-1")
        tasks.start_soon(remove_plan, cluster, INGRESS, steps.append)
        await eventually(lambda: store.listed[POD.path()] >= 2)
        assert store.of("Deployment", "daemun", "daemun-system") is None
        assert store.of("Service", "daemun", "daemun-system") is not None
        assert store.of("ClusterRole", "daemun-system:daemun") is not None
        store.remove(POD.path(), "daemun-system", "daemun-1")
    assert [step.did for step in steps] == ["removed"] * (len(steps) - 1) + ["kept"]
    assert store.all == MADE


async def test_a_namespace_is_never_removed(tmp_path: Path) -> None:
    """Of what it holds only some kinds are known here: a volume would go with it."""
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, GATEWAY, lambda step: None)
        store.put("/api/v1/persistentvolumeclaims", "daemun-system", "mine")
        await remove_plan(cluster, GATEWAY, steps.append)
    assert store.all == MADE | {("/api/v1/persistentvolumeclaims", "daemun-system", "mine")}
    assert steps[-1].did == "kept"
    assert "`kubectl delete namespace daemun-system` removes it with all that is in it" in steps[-1].words


async def test_what_was_served_keeps_the_address_and_that_is_told(tmp_path: Path) -> None:
    store = ClusterStore()
    ours, others = ({"loadBalancer": {"ingress": [{"ip": ip}]}} for ip in ("192.0.2.1", "192.0.2.2"))
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, INGRESS, lambda step: None)
        service = store.of("Service", "daemun", "daemun-system")
        assert service is not None
        store.put_kind("Service", "daemun", "daemun-system", **{**service, "status": ours})
        for name, status in (("a", ours), ("b", others), ("c", ours), ("d", {})):
            store.put(INGRESS_KIND.path(), "apps", name, status=status)
        await remove_plan(cluster, INGRESS, steps.append)
    assert told(steps)["2 Ingresses"] == "kept"


async def test_what_lacks_our_label_is_kept(tmp_path: Path) -> None:
    store = ClusterStore()
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await apply_plan(cluster, INGRESS, lambda step: None)
        store.put_kind("IngressClass", "daemun", metadata={"labels": {}})
        await remove_plan(cluster, INGRESS, steps.append)
    assert store.of("IngressClass", "daemun") is not None
    assert told(steps)["IngressClass daemun"] == "kept"


async def test_an_ingress_class_that_another_installation_needs_is_kept(tmp_path: Path) -> None:
    store = ClusterStore()
    other = replace(INGRESS, namespace="other")
    made_by_kubectl(store, *manifests_of(INGRESS), *manifests_of(other))
    steps: list[Step] = []
    async with cluster_of(store, tmp_path) as cluster:
        await remove_plan(cluster, INGRESS, steps.append)
        assert store.of("IngressClass", "daemun") is not None
        assert "Deployment other/daemun needs it" in {step.words for step in steps}
        await remove_plan(cluster, other, steps.append)
    assert store.all == MADE


async def test_nothing_to_remove_is_an_error(tmp_path: Path) -> None:
    async with cluster_of(ClusterStore(), tmp_path) as cluster:
        with pytest.raises(InstallError, match="nothing of mode knative is installed in namespace daemun-system"):
            await remove_plan(cluster, KNATIVE, lambda step: None)
        await apply_plan(cluster, KNATIVE, lambda step: None)
        with pytest.raises(InstallError, match="Deployment daemun-system/daemun is one, which --namespace and --name"):
            await remove_plan(cluster, replace(KNATIVE, namespace="edge"), lambda step: None)


# --- the rollout ---


def deployment(store: ClusterStore, **status: Any) -> None:
    store.put_kind(
        "Deployment", "daemun", "daemun-system", metadata={"generation": 2}, spec={"replicas": 2}, status=status
    )


async def test_a_rollout_is_told_until_all_pods_are_new_and_ready(tmp_path: Path) -> None:
    store = ClusterStore()
    states = [
        {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
        {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2},
        {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    ]
    steps: list[Step] = []

    def say(step: Step) -> None:
        steps.append(step)
        if len(steps) < len(states):
            deployment(store, **states[len(steps)])

    deployment(store, **states[0])
    async with cluster_of(store, tmp_path) as cluster:
        await wait_for_rollout(cluster, GATEWAY, say, timeout_seconds=30)
    assert [(step.did, step.words) for step in steps] == [
        ("waiting", "not seen by its controller yet"),
        ("waiting", "1 of 2, 2 of before left"),
        ("ready", "2 of 2"),
    ]


async def test_a_rollout_that_takes_too_long_says_what_the_pods_lack(tmp_path: Path) -> None:
    store = ClusterStore()
    deployment(store, observedGeneration=2, replicas=2, updatedReplicas=2)
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    store.put_pod("daemun-1", containerStatuses=[{"name": "daemun", "image": "daemun:1", "state": state}])
    async with cluster_of(store, tmp_path) as cluster:
        with pytest.raises(InstallError, match=r"not ready after 0\.2 s \(0 of 2\): its image daemun:1 cannot be had"):
            await wait_for_rollout(cluster, GATEWAY, lambda step: None, timeout_seconds=0.2)
