"""`daemun install` against a real API server, with real Pods: what is printed is taken, what is applied serves, what is
removed is gone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from daemun.testing.program import soon

from .cluster import Cluster
from .image import make_image
from .networks import CLUSTER, inside

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built

MODES = ("knative", "ingress", "gateway")
NAME = "installed"
NAMESPACE = "kn-installed"
APPS = "kn-installed-apps"
SERVING = "kn-installed-serving"
"""Stands in for Knative's namespace, so that the cluster's own is in nobody's way."""
HERE = ("--name", NAME, "--namespace", NAMESPACE)
CLASS = "installed.test"
RESTRICTED = "pod-security.kubernetes.io"

Daemun = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def image(cluster: Cluster) -> str:
    made = make_image(cluster.folder / "made" / NAME, "daemun-installed")
    cluster.add_images(made.parent)
    return f"local/{made.name}"


@pytest.fixture(scope="module")
def daemun(cluster: Cluster) -> Daemun:
    """Runs `daemun` as the cluster's administrator, where the cluster is reached."""

    def run(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        argv = inside(CLUSTER, sys.executable, "-m", "daemun.cli", *map(str, words))
        done = subprocess.run(argv, env=cluster.environment(), capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@contextmanager
def namespaces(cluster: Cluster, *names: str, how: Sequence[str] = ()) -> Iterator[None]:
    """Namespaces that are empty at first, and gone afterwards whatever is left in them. `how` they are applied."""

    def gone() -> bool:
        return not any(cluster.answers("get", "namespace", name) for name in names)

    soon(gone, 120)
    for name in names:
        metadata = {"name": name, "labels": {f"{RESTRICTED}/{verb}": "restricted" for verb in ("enforce", "warn")}}
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": metadata if name == NAMESPACE else {"name": name},
        }
        cluster.kubectl("apply", *how, "-f", "-", given=yaml.safe_dump(namespace))
    try:
        yield
    finally:
        for name in names:
            cluster.kubectl("delete", "namespace", name, "--ignore-not-found", "--wait=false")


@pytest.fixture
def nothing(cluster: Cluster) -> Iterator[None]:
    """Nothing of ours is there before, and none of it stays after."""
    _forget(cluster)
    yield
    _forget(cluster)


def _forget(cluster: Cluster) -> None:
    ours = ("-l", f"app.kubernetes.io/managed-by=daemun,app.kubernetes.io/instance={NAME}", "--ignore-not-found")
    cluster.kubectl("delete", "clusterrole,clusterrolebinding,ingressclass", *ours)
    if cluster.answers("get", "namespace", NAMESPACE):
        hurry = ("--all", "--grace-period=1", "--wait=false")
        cluster.kubectl("delete", "deployment", "--all", "-n", NAMESPACE)
        cluster.kubectl("delete", "pods", "-n", NAMESPACE, *hurry)
        cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")


def left(cluster: Cluster) -> list[str]:
    """What is ours in the cluster, in any namespace that stays."""
    kinds = "clusterrole,clusterrolebinding,ingressclass,role,rolebinding,deployment,service,configmap,job,serviceaccount,hpa,pdb"
    ours = f"app.kubernetes.io/managed-by=daemun,app.kubernetes.io/instance={NAME}"
    items = cluster.get(kinds, "-A", "-l", ours)["items"]
    return [
        f"{item['kind']} {item['metadata']['name']}" for item in items if not item["metadata"].get("deletionTimestamp")
    ]


def backend(cluster: Cluster) -> None:
    """A Pod that answers, behind the Service `web`."""
    container = {
        "name": "web",
        "image": "local/runtime",
        "env": [{"name": "PORT", "value": "8080"}],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    metadata = {"name": "web", "namespace": APPS, "labels": {"app": "web"}}
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    cluster.apply_objects(
        [
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": {"app": "web"}, "ports": ports},
            },
        ]
    )


def status(url: str, host: str) -> str:
    """The status that is answered, or words of curl."""
    argv = inside(
        CLUSTER, "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", f"Host: {host}", url
    )
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else done.stderr


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The findings about this installation, by subject; others may be in the same cluster."""
    return {one["subject"]: one for one in json.loads(done.stdout)["findings"] if NAMESPACE in one["subject"]}


# --- the stream ---


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_printed_is_taken_without_a_word(
    mode: str, how: tuple[str, ...], cluster: Cluster, daemun: Daemun
) -> None:
    """In a namespace that takes `restricted` Pods only and warns of others."""
    words = ("--knative-namespace", SERVING) if mode == "knative" else ()
    printed = daemun("install", mode, "--dry-run", *HERE, *words)
    kubectl = (cluster.folder / "kubectl", "--kubeconfig", cluster.credentials.administrator)
    argv = inside(CLUSTER, *kubectl, "apply", *how, "--dry-run=server", "--validate=strict", "-f", "-")
    with namespaces(cluster, NAMESPACE, SERVING, how=how):
        done = subprocess.run(argv, input=printed.stdout, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(list(yaml.safe_load_all(printed.stdout)))


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_as_it_is_typed_it_asks_for_nothing_but_knative(how: tuple[str, ...], cluster: Cluster, daemun: Daemun) -> None:
    """`daemun install knative --dry-run | kubectl apply --dry-run=server -f -`: a dry run makes no namespace."""
    printed = daemun("install", "knative", "--dry-run").stdout
    done = cluster.kubectl("apply", *how, "--dry-run=server", "--validate=strict", "-f", "-", given=printed)
    assert len(done.splitlines()) == len(list(yaml.safe_load_all(printed)))


FORMS = {
    "client": ("apply",),
    "server": ("apply", "--server-side"),
    "other": ("apply", "--server-side", "--field-manager=x"),
}


def test_a_configmap_of_one_key_would_take_keys_away_and_ours_does_not(cluster: Cluster, daemun: Daemun) -> None:
    """Why Knative's class is set by a patch. First what `kubectl apply` of a ConfigMap with one key does, in each form, to
    one that was applied in each form before."""
    metadata = {"name": "config-network", "namespace": SERVING}
    theirs = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"domain-template": "first"}}
    naive = {**theirs, "data": {"ingress-class": CLASS}}

    def apply(form: str, document: dict[str, Any]) -> None:
        cluster.kubectl(*FORMS[form], "-f", "-", given=yaml.safe_dump(document))

    def keys() -> set[str]:
        return set(cluster.get("configmap", "config-network", "-n", SERVING)["data"])

    kept = set()
    with namespaces(cluster, SERVING):
        for before in ("client", "server"):
            for form in FORMS:
                apply(before, theirs)
                apply(form, naive)
                if "domain-template" in keys():
                    kept.add((before, form))
                cluster.kubectl("delete", "configmap", "config-network", "-n", SERVING)
            apply(before, theirs)
            daemun("install", "knative", "--config-network", "only", "--knative-namespace", SERVING)
            assert keys() == {"domain-template", "ingress-class"}
            apply(before, {**theirs, "data": {"domain-template": "second"}})
            assert keys() == {"domain-template", "ingress-class"}, "nor does Knative's next release"
            cluster.kubectl("delete", "configmap", "config-network", "-n", SERVING)
    assert kept == {("server", "client"), ("server", "other")}


# --- installations ---


@pytest.fixture
def ingress_gateway(cluster: Cluster, daemun: Daemun, image: str, nothing: None) -> Iterator[str]:
    """The address of a gateway for Ingresses that serves `web.test`."""
    with namespaces(cluster, APPS):
        backend(cluster)
        done = daemun("install", "ingress", *HERE, "--image", image)
        assert re.search(rf"ready +Deployment {NAMESPACE}/{NAME}  \(2 of 2\)", done.stdout)
        service = {"service": {"name": "web", "port": {"name": "http"}}}
        paths = {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}
        metadata = {"name": "web", "namespace": APPS}
        spec = {"ingressClassName": NAME, "rules": [{"host": "web.test", "http": paths}]}
        cluster.apply_objects(
            [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}]
        )
        url = daemun("proxy", "url", *HERE).stdout.strip()
        soon(lambda: status(url, "web.test") == "200", 60)
        yield url


def test_ingresses_are_served_by_what_was_installed(ingress_gateway: str, cluster: Cluster, daemun: Daemun) -> None:
    def addressed() -> bool:
        ingress = cluster.get("ingress", "web", "-n", APPS)
        return bool(ingress["status"]["loadBalancer"].get("ingress"))

    soon(addressed, 60)
    assert status(ingress_gateway, "other.test") == "404"
    found = findings(daemun("check", "--cluster", "--json"))
    assert {one["severity"] for one in found.values()} == {"fine"}
    account = found[f"ServiceAccount {NAMESPACE}/{NAME}"]
    assert account["words"] == "it has every right that it needs"
    again = daemun("install", "ingress", *HERE, "--image", cluster_image(cluster))
    assert "created" not in again.stdout
    removed = daemun("uninstall", "ingress", *HERE, "--yes").stdout
    assert left(cluster) == []
    assert re.search(r"kept +1 Ingress  \(they name this gateway's address", removed)
    assert cluster.get("namespace", NAMESPACE)["status"]["phase"] == "Active"


def cluster_image(cluster: Cluster) -> str:
    (container,) = cluster.get("deployment", NAME, "-n", NAMESPACE)["spec"]["template"]["spec"]["containers"]
    return str(container["image"])


LOAD = """
import sys, threading, http.client
host, port, ended, failed, served = sys.argv[1], int(sys.argv[2]), threading.Event(), [], [0] * 8

def hammer(number):
    connection = None
    while not ended.is_set():
        try:
            if connection is None:
                connection = http.client.HTTPConnection(host, port, timeout=10)
            connection.request("GET", "/", headers={"Host": "web.test"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failed.append(response.status)
            served[number] += 1
            if number % 2 or response.will_close:
                connection.close()
                connection = None
        except (OSError, http.client.HTTPException) as error:
            failed.append(repr(error))
            connection = None
        ended.wait(0.01)

threads = [threading.Thread(target=hammer, args=(number,)) for number in range(len(served))]
for thread in threads:
    thread.start()
sys.stdin.read()
ended.set()
for thread in threads:
    thread.join()
print(sum(served), failed)
"""


def test_a_rolling_restart_fails_no_request(ingress_gateway: str, cluster: Cluster) -> None:
    """Kept connections and new ones, while both Pods are replaced."""
    host, _, port = ingress_gateway.removeprefix("http://").rpartition(":")
    argv = inside(CLUSTER, sys.executable, "-c", LOAD, host, port)
    before = {pod["metadata"]["name"] for pod in gateway_pods(cluster)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
        cluster.kubectl("rollout", "restart", f"deployment/{NAME}", "-n", NAMESPACE)
        soon(lambda: not before & {pod["metadata"]["name"] for pod in gateway_pods(cluster)}, 120)
        told, _ = load.communicate("", timeout=60)
    served, _, failed = told.strip().partition(" ")
    cluster.tell(f"a rolling restart under load: {served} requests, failed: {failed}")
    assert failed == "[]"
    assert int(served) > 500


def gateway_pods(cluster: Cluster) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = cluster.get("pods", "-n", NAMESPACE)["items"]
    return items


def test_a_gateway_gets_its_routes_from_a_configmap(
    cluster: Cluster, daemun: Daemun, image: str, nothing: None
) -> None:
    """Installed from the stream, by kubectl."""
    printed = daemun("install", "gateway", "--dry-run", *HERE, "--image", image, "--replicas", 1).stdout
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl("apply", "-f", "-", given=printed)
    document = {"routes": [{"name": "tea", "hosts": ["tea.test"], "respond": {"status": 418}}]}
    metadata = {"name": f"{NAME}-routes", "namespace": NAMESPACE}
    routes = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"routes.yaml": yaml.safe_dump(document)},
    }
    cluster.apply_objects([routes])
    # the stand-in for a node never writes a volume anew, as a kubelet does: the Pods are made anew
    cluster.kubectl("rollout", "restart", f"deployment/{NAME}", "-n", NAMESPACE)
    cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, "--timeout=180s")
    url = daemun("proxy", "url", *HERE).stdout.strip()
    soon(lambda: status(url, "tea.test") == "418", 60)
    told = json.loads(daemun("proxy", "url", *HERE, "--json").stdout)
    assert (told["url"], told["through"]) == (url, "load balancer")
    daemun("uninstall", "gateway", *HERE, "--yes")
    assert left(cluster) == []
    assert cluster.answers("get", "configmap", f"{NAME}-routes", "-n", NAMESPACE)


def test_knative_asks_what_was_installed(cluster: Cluster, daemun: Daemun, image: str, nothing: None) -> None:
    """Installed from the stream. Its class is its own, because the cluster's gateway may run at the same time."""
    words = ("--knative-namespace", SERVING, "--set", f"sources.knative.ingress_class={CLASS}")
    printed = daemun("install", "knative", "--dry-run", *HERE, *words, "--image", image, "--replicas", 2).stdout
    with namespaces(cluster, APPS, SERVING):
        backend(cluster)
        cluster.kubectl(
            "create", "configmap", "config-network", "-n", SERVING, "--from-literal=ingress-class=before.test"
        )
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.kubectl("apply", "-f", "-", given=printed)
        cluster.kubectl("rollout", "status", f"deployment/{NAME}", "-n", NAMESPACE, "--timeout=180s")
        cluster.kubectl("wait", "job", "--all", "-n", NAMESPACE, "--for=condition=Complete", "--timeout=180s")
        config = cluster.get("configmap", "config-network", "-n", SERVING)["data"]
        assert config == {"ingress-class": "daemun.ingress.networking.knative.dev"}

        split = {"serviceNamespace": APPS, "serviceName": "web", "servicePort": 80, "percent": 100}
        rule = {"hosts": ["web.test"], "visibility": "ExternalIP", "http": {"paths": [{"splits": [split]}]}}
        annotations = {"networking.knative.dev/ingress.class": CLASS}
        metadata = {"name": "web", "namespace": APPS, "annotations": annotations}
        version = "networking.internal.knative.dev/v1alpha1"
        kingress = {"apiVersion": version, "kind": "Ingress", "metadata": metadata, "spec": {"rules": [rule]}}
        cluster.apply_objects([kingress])
        cluster.kubectl("wait", "kingress", "web", "-n", APPS, "--for=condition=Ready", "--timeout=60s")
        assert status(daemun("proxy", "url", *HERE).stdout.strip(), "web.test") == "200"
        found = findings(daemun("check", "--cluster", "--json"))
        assert {one["severity"] for one in found.values()} == {"fine"}

        daemun("uninstall", "knative", *HERE, "--yes")  # its Deployment tells where Knative is
        assert left(cluster) == []
        config = cluster.get("configmap", "config-network", "-n", SERVING)["data"]
        assert config == {"ingress-class": "before.test"}


def test_an_image_that_cannot_be_had_leaves_knative_with_the_gateway_from_before(
    cluster: Cluster, daemun: Daemun, nothing: None
) -> None:
    words = ("--knative-namespace", SERVING, "--image", "local/none-such", "--timeout", 5)
    with namespaces(cluster, SERVING):
        cluster.kubectl(
            "create", "configmap", "config-network", "-n", SERVING, "--from-literal=ingress-class=before.test"
        )
        done = daemun("install", "knative", *HERE, *words, code=1)
        assert f"Deployment {NAMESPACE}/{NAME} is not ready after 5 s" in done.stderr
        config = cluster.get("configmap", "config-network", "-n", SERVING)["data"]
        assert config == {"ingress-class": "before.test"}
        done = daemun("proxy", "url", *HERE, code=1)
        assert f"no Pod behind Service {NAMESPACE}/{NAME} is ready" in done.stderr
        daemun("uninstall", "knative", *HERE, "--yes")


def test_other_settings_are_in_use_when_the_installation_is_done(
    ingress_gateway: str, cluster: Cluster, daemun: Daemun
) -> None:
    before = {pod["metadata"]["name"] for pod in gateway_pods(cluster)}
    words = ("--image", cluster_image(cluster), "--set", f"sources.kubernetes_ingress.default_backend={APPS}/web:80")
    daemun("install", "ingress", *HERE, *words)
    assert not before & {
        pod["metadata"]["name"] for pod in gateway_pods(cluster) if not pod["metadata"].get("deletionTimestamp")
    }
    soon(lambda: status(ingress_gateway, "other.test") == "200", 60)
