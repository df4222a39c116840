"""The manifests of `daemun install`: the same each time, hardened, with the least rights, and good for what they name."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import daemun_knative
import daemun_kubernetes
from daemun import load_settings
from daemun_kubernetes.client import kinds
from daemun_kubernetes.ingress.settings import CONTROLLER
from daemun_kubernetes.install.manifests import manifests_of, stream_of
from daemun_kubernetes.install.objects import KINDS
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan, ServiceKind
from daemun_kubernetes.install.render import render
from daemun_kubernetes.install.rights import rights_of

REPOSITORY = Path(__file__).parents[3]
PLANS = {
    **{mode.value: Plan(mode, "daemun:1") for mode in Mode},
    "ingress, told otherwise": Plan(
        Mode.INGRESS, "daemun:1", settings={"workers": 2, "sources": {"kubernetes_ingress": {"share_hosts": True}}}
    ),
    "gateway with https": Plan(Mode.GATEWAY, "daemun:1", tls_secret="web"),
    "ingress, 3 and default": Plan(Mode.INGRESS, "daemun:1", min_replicas=3, max_replicas=3, default_class=True),
    "knative elsewhere": Plan(
        Mode.KNATIVE,
        "registry.test/a/daemun@sha256:12",
        namespace="edge",
        name="front",
        knative_namespace="serving",
        service=ServiceKind.NODE_PORT,
    ),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def documents(plan: Plan, **more: bool) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(stream_of(plan, **more)))


def one(plan: Plan, kind: str, name: str = "") -> dict[str, Any]:
    found = [item for item in documents(plan) if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    assert len(found) == 1
    return found[0]


def pod_of(plan: Plan) -> dict[str, Any]:
    pod: dict[str, Any] = one(plan, "Deployment")["spec"]["template"]["spec"]
    return pod


def pods_of(plan: Plan) -> Iterator[dict[str, Any]]:
    """Of the Deployment, and of the Job if there is one."""
    for document in documents(plan):
        if document["kind"] in ("Deployment", "Job"):
            yield document["spec"]["template"]["spec"]


# --- the stream ---


@every_plan
def test_equal_plans_give_equal_bytes(plan: Plan) -> None:
    assert stream_of(plan) == stream_of(Plan(**{field: getattr(plan, field) for field in plan.__struct_fields__}))


@every_plan
def test_the_stream_is_what_the_manifests_say_and_each_object_is_there_once(plan: Plan) -> None:
    stream = documents(plan)
    manifests = list(manifests_of(plan))
    assert stream[: len(manifests)] == manifests
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in stream]
    assert len(names) == len(set(names))


@every_plan
def test_keys_come_in_the_order_that_people_expect(plan: Plan) -> None:
    for document in documents(plan):
        keys = list(document)
        assert keys[:3] == ["apiVersion", "kind", "metadata"]
        assert next(iter(document["metadata"])) == "name"


@every_plan
def test_what_is_used_comes_before_what_uses_it(plan: Plan) -> None:
    kinds_in_order = [item["kind"] for item in documents(plan)]
    for first, then in (
        ("Namespace", "ServiceAccount"),
        ("ServiceAccount", "Deployment"),
        ("ConfigMap", "Deployment"),
        ("Role", "RoleBinding"),
    ):
        if first in kinds_in_order and then in kinds_in_order:
            assert kinds_in_order.index(first) < kinds_in_order.index(then)


@every_plan
def test_every_kind_can_be_found_again_in_a_cluster(plan: Plan) -> None:
    for document in documents(plan):
        kind = KINDS[document["kind"]]
        assert kind.api_version == document["apiVersion"]
        assert kind.namespaced is ("namespace" in document["metadata"])


@every_plan
def test_everything_says_whose_it_is(plan: Plan) -> None:
    for document in documents(plan):
        assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "daemun"


@pytest.mark.parametrize(
    "text", ["y", "N", "no", "on", "null", "12e4", "4940e10637263409", "0x1f", "1_000", "8:30", "0o7", ".5", "+1"]
)
def test_what_looks_like_no_text_to_some_reader_of_yaml_is_quoted(text: str) -> None:
    assert render([text]) == f"- '{text}'\n"


def test_there_is_no_anchor_in_yaml_for_people() -> None:
    shared = {"a": 1}
    assert render({"p": shared, "q": shared, "text": "one\ntwo\n"}) == "p:\n  a: 1\nq:\n  a: 1\ntext: |\n  one\n  two\n"


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_what_is_rendered_reads_the_same(value: Any) -> None:
    assert yaml.safe_load(render({"value": value})) == {"value": value}


# --- the Pods ---


@every_plan
def test_a_container_may_do_nothing_but_serve(plan: Plan) -> None:
    pods = list(pods_of(plan))
    assert pods
    for pod in pods:
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "fsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert "hostNetwork" not in pod
        for container in pod["containers"]:
            assert container["image"] == plan.image
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "privileged": False,
                "readOnlyRootFilesystem": True,
            }
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
            writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
            assert writable == ["/tmp"]
            assert {mount["name"] for mount in container["volumeMounts"]} == {item["name"] for item in pod["volumes"]}


def test_the_user_is_that_of_the_dockerfile() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.search(r"^USER 10001\b", dockerfile, re.MULTILINE)


def test_the_image_has_what_the_settings_need() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    installed = re.search(r"pip install [^\n]*'\.\[([a-z,]+)\]'", dockerfile)
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert installed is not None
    assert {"fast", "kubernetes", "prometheus"} <= set(installed[1].split(",")) <= extras.keys()
    arguments = pod_of(PLANS["knative"])["containers"][0]["args"]
    assert f'CMD ["{arguments[0]}", "{arguments[1]}"]' in dockerfile


@every_plan
def test_probes_ask_the_health_listener(plan: Plan) -> None:
    (container,) = pod_of(plan)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert ports["health"] == 8090
    patience = {
        probe: container[probe]["periodSeconds"] * container[probe]["failureThreshold"]
        for probe in container
        if probe.endswith("Probe")
    }
    assert patience["readinessProbe"] < patience["livenessProbe"] < patience["startupProbe"]


@every_plan
def test_a_pod_is_replaced_when_its_successor_serves_and_has_time_to_drain(plan: Plan, tmp_path: Path) -> None:
    deployment = one(plan, "Deployment")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    drain = settings_of_stream(plan, tmp_path).drain
    assert drain.delay_seconds > 0
    assert pod_of(plan)["terminationGracePeriodSeconds"] > drain.delay_seconds + drain.grace_seconds


@every_plan
def test_pods_that_are_selected_are_gateways_and_no_jobs(plan: Plan) -> None:
    selector = one(plan, "Deployment")["spec"]["selector"]["matchLabels"]
    assert one(plan, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    for document in documents(plan):
        if document["kind"] == "Service":
            assert document["spec"]["selector"] == selector
        if document["kind"] == "Deployment":
            assert selector.items() <= document["spec"]["template"]["metadata"]["labels"].items()
        if document["kind"] == "Job":
            assert not selector.items() <= document["spec"]["template"]["metadata"]["labels"].items()


@every_plan
def test_a_token_is_mounted_only_where_the_api_server_is_asked(plan: Plan) -> None:
    for document in documents(plan):
        if document["kind"] == "ServiceAccount":
            assert document["automountServiceAccountToken"] is False
    assert pod_of(plan)["automountServiceAccountToken"] is (plan.mode is not Mode.GATEWAY)


def test_a_pod_knows_its_name() -> None:
    environment = pod_of(PLANS["knative"])["containers"][0]["env"]
    fields = {variable["name"]: variable["valueFrom"]["fieldRef"]["fieldPath"] for variable in environment}
    assert fields == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}


def test_other_settings_are_other_pods() -> None:
    def digest(plan: Plan) -> str:
        annotations = one(plan, "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["daemun.dev/settings-digest"])

    assert digest(PLANS["gateway"]) != digest(PLANS["gateway with https"])
    assert digest(PLANS["gateway"]) == digest(Plan(Mode.GATEWAY, "daemun:2"))


# --- the settings file ---


def settings_of_stream(plan: Plan, folder: Path) -> Any:
    file = folder / "daemun.yaml"
    file.write_text(one(plan, "ConfigMap")["data"]["daemun.yaml"])
    return load_settings(file)


@every_plan
def test_the_settings_load_and_every_listener_is_a_port_of_the_container(plan: Plan, tmp_path: Path) -> None:
    settings = settings_of_stream(plan, tmp_path)
    (container,) = pod_of(plan)["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for listener in settings.listeners:
        assert listener.bind == f"0.0.0.0:{ports[listener.name]}"
        assert (listener.tls is not None) is (listener.name in ("https", "internal-tls"))
    served = {
        port["targetPort"] for item in documents(plan) if item["kind"] == "Service" for port in item["spec"]["ports"]
    }
    assert served == {port for name, port in ports.items() if name not in ("health", "metrics")}


@every_plan
def test_every_source_and_observer_takes_its_settings(plan: Plan, tmp_path: Path) -> None:
    from daemun.extend.loading import load_plugins
    from daemun.extend.registry import Registry
    from daemun.strict import convert

    settings = settings_of_stream(plan, tmp_path)
    registry = Registry(load_plugins())
    for name, protocol in settings.protocols.items():
        assert convert(protocol, registry.protocols.get(name).settings) is not None
    for kinds_of, items in ((registry.sources, settings.sources), (registry.observers, settings.observers)):
        for item in items:
            rest = dict(item)
            kind = kinds_of.get(rest.pop("type"))
            assert convert(rest, kind.settings) is not None


def test_knatives_gateway_limits_no_request_and_keeps_what_another_listener_of_it_said(tmp_path: Path) -> None:
    """How long a request may take and be quiet is for the queue-proxy to say."""
    settings = settings_of_stream(PLANS["knative"], tmp_path)
    limits = {(name, key): value for name, of in settings.protocols.items() for key, value in of.items()}
    assert limits == {
        ("http1", "body_min_bytes_per_second"): 0,
        ("http1", "send_timeout_seconds"): 0,
        ("http2", "body_min_bytes_per_second"): 0,
        ("http2", "content_timeout_seconds"): 0,
        ("http2", "send_timeout_seconds"): 0,
    }
    hops = {one.name: one.forwarded.trusted_hops for one in settings.listeners}
    assert hops == {"http": 0, "https": 0, "internal": 1, "internal-tls": 1, "health": 0}
    assert settings_of_stream(PLANS["ingress"], tmp_path).protocols == {}


def test_whoever_drains_longer_is_not_killed_before() -> None:
    usual = pod_of(Plan(Mode.GATEWAY, "daemun:1"))["terminationGracePeriodSeconds"]
    longer = Plan(Mode.GATEWAY, "daemun:1", settings={"drain": {"grace_seconds": 300.5, "delay_seconds": None}})
    assert pod_of(longer)["terminationGracePeriodSeconds"] == usual - 30 + 301


def test_the_gateway_reads_a_folder_of_routes_that_is_the_users(tmp_path: Path) -> None:
    plan = PLANS["gateway"]
    (source,) = [source for source in settings_of_stream(plan, tmp_path).sources if source["type"] == "file"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod_of(plan)["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(plan)["volumes"]}
    assert source["paths"] == [mounts["routes"]]
    assert volumes["routes"]["configMap"] == {"name": "daemun-routes", "optional": True}
    assert "daemun-routes" not in [item["metadata"]["name"] for item in documents(plan)]


def test_https_of_a_gateway_has_the_certificate_of_the_secret(tmp_path: Path) -> None:
    plan = PLANS["gateway with https"]
    listener = {one.name: one for one in settings_of_stream(plan, tmp_path).listeners}["https"]
    volumes = {volume["name"]: volume for volume in pod_of(plan)["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod_of(plan)["containers"][0]["volumeMounts"]}
    assert volumes["tls"]["secret"]["secretName"] == "web"
    assert listener.tls.certificate == f"{mounts['tls']}/tls.crt"
    assert listener.tls.key == f"{mounts['tls']}/tls.key"


# --- Services, scaling, classes ---


def test_the_public_service_and_the_one_for_the_cluster() -> None:
    plan = PLANS["knative"]
    public, internal = one(plan, "Service", "daemun"), one(plan, "Service", "daemun-internal")
    assert public["spec"]["type"] == "LoadBalancer"
    assert [(port["name"], port["port"], port["targetPort"]) for port in public["spec"]["ports"]] == [
        ("http", 80, 8080),
        ("https", 443, 8443),
    ]
    assert internal["spec"]["type"] == "ClusterIP"
    assert [(port["name"], port["port"], port["targetPort"]) for port in internal["spec"]["ports"]] == [
        ("http2", 80, 8081),
        ("https", 443, 8444),
    ]
    assert one(PLANS["ingress"], "Service")["metadata"]["name"] == "daemun"
    assert one(PLANS["knative elsewhere"], "Service", "front")["spec"]["type"] == "NodePort"


def test_an_autoscaler_owns_the_number_and_a_fixed_number_has_none() -> None:
    plan = PLANS["knative"]
    scaler = one(plan, "HorizontalPodAutoscaler")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["scaleTargetRef"]["name"] == one(plan, "Deployment")["metadata"]["name"]
    assert "replicas" not in one(plan, "Deployment")["spec"]
    fixed = PLANS["ingress, 3 and default"]
    assert one(fixed, "Deployment")["spec"]["replicas"] == 3
    assert "HorizontalPodAutoscaler" not in [item["kind"] for item in documents(fixed)]


@every_plan
def test_a_budget_never_keeps_a_node_from_being_drained(plan: Plan) -> None:
    budget = one(plan, "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "or Pods that do not serve would keep a node"


def test_the_ingress_class_is_told_by_its_controller() -> None:
    default = "ingressclass.kubernetes.io/is-default-class"
    plain, marked = one(PLANS["ingress"], "IngressClass"), one(PLANS["ingress, 3 and default"], "IngressClass")
    assert plain["metadata"]["name"] == "daemun"
    assert plain["spec"] == {"controller": CONTROLLER}
    assert default not in plain["metadata"].get("annotations", {})
    assert marked["metadata"]["annotations"] == {default: "true"}


def test_gateways_of_two_names_serve_two_classes() -> None:
    other = Plan(Mode.INGRESS, "daemun:1", name="front")
    assert one(other, "IngressClass")["metadata"]["name"] == "front"
    assert one(other, "IngressClass")["spec"]["controller"] != CONTROLLER


@every_plan
def test_only_a_namespace_for_gateways_alone_is_part_of_the_stream(plan: Plan) -> None:
    """`kubectl delete -f` of the stream would take any other with all that it holds."""
    for namespace, words in (("daemun-system", ""), ("team", "# The namespace must be there:\n#   kubectl create")):
        there = replace(plan, namespace=namespace)
        kinds_of_it = [item["kind"] for item in documents(there)]
        assert ("Namespace" in kinds_of_it) is not bool(words)
        assert stream_of(there).startswith(f"---\n{words}")


# --- Knative's class ---


def test_knative_is_told_by_a_job_that_may_change_this_one_configmap() -> None:
    plan = PLANS["knative elsewhere"]
    job, account = one(plan, "Job"), "front-config-network"
    role = one(plan, "Role", "edge:front")
    assert role["metadata"]["namespace"] == "serving"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["config-network"], "verbs": ["get", "patch"]}
    ]
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == account
    assert pod["containers"][0]["args"] == [
        "install",
        "knative",
        "--config-network",
        "only",
        "--name",
        "front",
        "--namespace",
        "edge",
        "--knative-namespace",
        "serving",
    ]
    looks = one(plan, "Role", account)
    assert looks["metadata"]["namespace"] == "edge"
    assert looks["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["front"], "verbs": ["get"]}
    ]
    for name in ("edge:front", account):
        bound = one(plan, "RoleBinding", name)
        assert bound["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "edge"}]
        assert bound["roleRef"]["name"] == name


def test_no_configmap_of_knative_is_in_a_stream_that_kubectl_applies() -> None:
    names = [item["metadata"]["name"] for item in documents(PLANS["knative"]) if item["kind"] == "ConfigMap"]
    assert names == ["daemun"]
    assert f'"ingress-class":"{KNATIVE_CLASS}"' in stream_of(PLANS["knative"])


def test_a_job_that_would_differ_has_another_name() -> None:
    names = {one(Plan(Mode.KNATIVE, image), "Job")["metadata"]["name"] for image in ("daemun:1", "daemun:2")}
    assert len(names) == 2
    assert all(len(name) <= 63 for name in names)


def test_the_job_goes_when_it_is_done_so_that_another_apply_makes_it_again() -> None:
    assert 60 <= one(PLANS["knative"], "Job")["spec"]["ttlSecondsAfterFinished"] <= 86400


def test_the_job_can_be_left_out() -> None:
    plan = PLANS["knative"]
    assert documents(plan, config_network=False) == list(manifests_of(plan))


# --- rights ---


def granted(plan: Plan) -> set[tuple[str, str, str]]:
    """Scope, resource with group, and verb of all that the gateway's own roles grant."""
    found = set()
    for item in documents(plan):
        if item["kind"] in ("ClusterRole", "Role") and item["metadata"]["labels"]["app.kubernetes.io/name"] == "daemun":
            for rule in item["rules"]:
                (group,), (resource,) = rule["apiGroups"], rule["resources"]
                whole = f"{resource}.{group}" if group else resource
                found |= {(item["kind"], whole, verb) for verb in rule["verbs"]}
    return found


def test_a_gateway_of_routes_has_no_right_at_all() -> None:
    assert granted(PLANS["gateway"]) == set()
    assert not {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"} & {
        item["kind"] for item in documents(PLANS["gateway"])
    }


@every_plan
def test_secrets_are_only_read_and_no_right_is_a_star(plan: Plan) -> None:
    rights = granted(plan)
    assert {verb for _, resource, verb in rights if resource == "secrets"} <= {"get", "list", "watch"}
    assert not any("*" in resource + verb for _, resource, verb in rights)
    assert not any(verb in ("delete", "deletecollection", "escalate", "bind", "impersonate") for *_, verb in rights)


@every_plan
def test_every_right_says_what_it_is_for(plan: Plan) -> None:
    assert all(right.why.startswith("to ") for right in rights_of(plan))


VERBS = {"get": "get", "list": "list", "create": "create", "replace": "update", "patch": "patch", "delete": "delete"}
WATCHED = {"Reflector": 1, "open_references": 1}
"""Who lists and watches the kind that is its second argument."""


CLIENT = Path(daemun_kubernetes.__file__).parent / "client"
USED = {"Recorder": CLIENT / "events.py", "Elector": CLIENT / "lease.py"}
"""What calls in the name of those that make one."""


def called(*folders: Path) -> set[tuple[str, str]]:
    """Resource and verb of every call of the client in the sources of `folders`, told by the constants of kinds."""
    found = set()
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    for file in files:
        for call in ast.walk(ast.parse(file.read_text())):
            if not isinstance(call, ast.Call):
                continue
            function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if isinstance(call.func, ast.Attribute) and function in VERBS and "cluster" in ast.unparse(call.func.value):
                subresource = next(
                    (ast.literal_eval(word.value) for word in call.keywords if word.arg == "subresource"), ""
                )
                found.add((_resource(call.args[0], subresource), VERBS[function]))
            elif function in USED and USED[function] not in files:
                files.append(USED[function])
            elif function == "StatusWriter":
                found.add((_resource(call.args[1], "status"), "patch"))
            elif function in WATCHED and len(call.args) > WATCHED[function]:
                resource = _resource(call.args[WATCHED[function]], "")
                found |= {(resource, "list"), (resource, "watch")}
    return {(resource, verb) for resource, verb in found if resource}


def _resource(kind: ast.expr, subresource: str) -> str:
    """Of a constant of kinds; "" for a variable, whose values are seen elsewhere."""
    name = getattr(kind, "id", "")
    if name == "KINGRESS":
        resource = "ingresses.networking.internal.knative.dev"
    else:
        resource = getattr(getattr(kinds, name, None), "resource", "")
    whole, dot, group = resource.partition(".")
    return f"{whole}/{subresource}{dot}{group}" if subresource and resource else resource


@pytest.mark.parametrize(
    ("mode", "own"),
    [
        (Mode.INGRESS, Path(daemun_kubernetes.__file__).parent / "ingress"),
        (Mode.KNATIVE, Path(daemun_knative.__file__).parent / "kingress"),
    ],
)
def test_rights_are_what_the_sources_call_and_no_more(mode: Mode, own: Path) -> None:
    asked = called(CLIENT.parent / "view", own)
    rights = {(resource, verb) for _, resource, verb in granted(PLANS[mode.value])}
    assert asked - rights == set(), "called, and not granted"
    assert rights - asked == set(), "granted, and never called"


def test_one_lease_is_the_gateways_own() -> None:
    rules = [rule for rule in one(PLANS["knative"], "Role", "daemun")["rules"] if rule["resources"] == ["leases"]]
    assert {tuple(rule.get("resourceNames", ())): set(rule["verbs"]) for rule in rules} == {
        (): {"create"},
        ("daemun-knative",): {"get", "update"},
    }


def test_printing_manifests_imports_no_client_of_http() -> None:
    assert "daemun_kubernetes.install.manifests" in sys.modules
    source = (Path(daemun_kubernetes.__file__).parent / "install" / "commands.py").read_text()
    top = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    assert {node.module for node in top} == {
        "__future__",
        "collections.abc",
        "typing",
        "daemun",
        "daemun_kubernetes.install.options",
        "daemun_kubernetes.install.plan",
    }
