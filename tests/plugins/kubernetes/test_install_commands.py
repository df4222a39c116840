"""`daemun install`, `daemun uninstall` and `daemun proxy url` as they are typed."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import yaml
from click.testing import CliRunner, Result

from daemun.cli.main import main
from daemun_kubernetes.client.kinds import ENDPOINT_SLICE, SERVICE
from daemun_kubernetes.install.knative import PREVIOUS
from daemun_kubernetes.install.manifests import stream_of
from daemun_kubernetes.install.plan import KNATIVE_CLASS, Mode, Plan, default_image

from .cluster_store import ClusterStore, write_kubeconfig
from .store import store_server

Cli = Callable[..., Result]


@pytest.fixture
def cli() -> Iterator[Cli]:
    """Runs `daemun`. What it does to the log is undone."""
    log = logging.getLogger("daemun")
    before = log.handlers, log.level, log.propagate

    def run(*words: object, given: str | None = None) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words], input=given)

    yield run
    log.handlers, log.level, log.propagate = before


@asynccontextmanager
async def ready_cluster(folder: Path, store: ClusterStore) -> AsyncIterator[Path]:
    """The kubeconfig of a cluster whose Deployments are rolled out at once, with Pods behind their Services."""
    put = store.put

    def rolled_out(path: str, namespace: str, name: str, **more: Any) -> dict[str, Any]:
        if path.endswith("/deployments"):
            replicas = more["spec"]["replicas"]
            more["status"] = {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": replicas}
            serving = {"labels": {"kubernetes.io/service-name": name}}
            put(
                ENDPOINT_SLICE.path(), namespace, f"{name}-1", metadata=serving, endpoints=[{"addresses": ["10.0.0.1"]}]
            )
        return put(path, namespace, name, **more)

    store.put = rolled_out  # type: ignore[method-assign]
    async with store_server(store) as server:
        yield write_kubeconfig(server, folder)


async def typed(cli: Cli, *words: object, given: str | None = None) -> Result:
    return await anyio.to_thread.run_sync(partial(cli, *words, given=given))


# --- printing ---


@pytest.mark.parametrize("mode", Mode, ids=lambda mode: mode.value)
def test_a_dry_run_prints_the_manifests_and_asks_no_cluster(mode: Mode, cli: Cli, tmp_path: Path) -> None:
    result = cli("install", mode.value, "--dry-run", "--kubeconfig", tmp_path / "none")
    assert result.exit_code == 0
    namespace = "knative-serving" if mode is Mode.KNATIVE else "daemun-system"
    assert result.stdout == stream_of(Plan(mode, default_image(), namespace=namespace))
    assert result.stderr == ""


def test_options_reach_the_manifests(cli: Cli) -> None:
    words = ("--name", "front", "-n", "edge", "--image", "registry.test/daemun:7", "--service-type", "NodePort")
    result = cli("install", "ingress", "--dry-run", *words, "--replicas", 4, "--default-class")
    documents = {one["kind"]: one for one in yaml.safe_load_all(result.stdout)}
    assert documents["Deployment"]["metadata"]["name"] == "front"
    assert documents["Deployment"]["spec"]["replicas"] == 4
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "registry.test/daemun:7"
    assert documents["Service"]["spec"]["type"] == "NodePort"
    assert documents["Deployment"]["metadata"]["namespace"] == "edge"
    assert documents["ServiceAccount"]["metadata"]["namespace"] == "edge"
    assert documents["IngressClass"]["metadata"]["annotations"]
    assert "HorizontalPodAutoscaler" not in documents


def test_knatives_gateway_goes_where_knative_is(cli: Cli) -> None:
    """A dry run of the server takes nothing into a namespace that is not there, and this one is."""
    words = ("--knative-namespace", "serving")
    for more, namespace in (((), "serving"), (("-n", "edge"), "edge")):
        documents = list(yaml.safe_load_all(cli("install", "knative", "--dry-run", *words, *more).stdout))
        spaces = {one["metadata"]["namespace"] for one in documents if "namespace" in one["metadata"]}
        assert spaces == {namespace, "serving"}
        assert "Namespace" not in [one["kind"] for one in documents]


def test_names_are_taken_that_kubernetes_takes(cli: Cli) -> None:
    words = ("--tls-secret", "wildcard.example.com", "-n", "2048-game")
    assert "secretName: wildcard.example.com" in cli("install", "gateway", "--dry-run", *words).stdout


def test_settings_are_said_over_what_is_installed(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "workers: 2\nobservers: [{type: accesslog}]\nsources: [{type: kubernetes_ingress, share_hosts: true}]\n"
    )
    words = ("--settings", file, "--set", "workers=3", "--set", "listeners.http.forwarded.trusted_hops=1")
    settings = settings_printed(cli("install", "ingress", "--dry-run", *words))
    plain = settings_printed(cli("install", "ingress", "--dry-run"))
    assert settings["workers"] == 3
    assert [one["type"] for one in settings["observers"]] == ["prometheus", "accesslog"]
    assert settings["sources"] == [plain["sources"][0], {**plain["sources"][1], "share_hosts": True}]
    http, *others = settings["listeners"]
    assert http == {**plain["listeners"][0], "forwarded": {"trusted_hops": 1}}
    assert others == plain["listeners"][1:]


def test_other_settings_make_other_pods(cli: Cli) -> None:
    """Whoever reads the settings at start must be started anew."""
    pods = []
    for words in ((), ("--set", "workers=2"), ("--set", "workers=3")):
        documents = yaml.safe_load_all(cli("install", "gateway", "--dry-run", *words).stdout)
        pods += [one["spec"]["template"]["metadata"] for one in documents if one["kind"] == "Deployment"]
    assert all(pods.count(one) == 1 for one in pods)


def settings_printed(result: Result) -> Any:
    """The settings file in the manifests."""
    assert result.exit_code == 0, result.output
    (found,) = [one for one in yaml.safe_load_all(result.stdout) if one["kind"] == "ConfigMap"]
    return yaml.safe_load(found["data"]["daemun.yaml"])


def test_config_network_can_be_left_out_of_the_manifests(cli: Cli) -> None:
    result = cli("install", "knative", "--dry-run", "--config-network", "no")
    assert "config-network" not in result.stdout


def test_the_image_can_come_from_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMUN_IMAGE", "registry.test/daemun:9")
    assert "image: registry.test/daemun:9" in cli("install", "gateway", "--dry-run").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("install", "istio"), "No such command 'istio'"),
        (("install", "gateway", "--dry-run", "--name", "Big"), "'Big' is no name for Kubernetes (accepted: lower-case"),
        (("install", "gateway", "--dry-run", "--name", "n" * 41), "is no name for Kubernetes"),
        (("install", "gateway", "--dry-run", "-n", "a_b"), "'a_b' is no name for Kubernetes"),
        (("install", "gateway", "--dry-run", "--image", "a b"), "--image 'a b' is no name of an image"),
        (("install", "gateway", "--dry-run", "--image", ""), "--image '' is no name of an image"),
        (("install", "gateway", "--dry-run", "--name", "2048"), "'2048' is no name for Kubernetes (accepted: lower"),
        (("install", "gateway", "--dry-run", "--name", ""), "'' is no name for Kubernetes"),
        (("install", "gateway", "--dry-run", "-n", "a.b"), "'a.b' is no name for Kubernetes"),
        (("install", "gateway", "--dry-run", "--tls-secret", "-"), "'-' is no name for Kubernetes"),
        (("install", "gateway", "--dry-run", "--tls-secret", "a..b"), "'a..b' is no name for Kubernetes"),
        (("install", "knative", "--dry-run", "--knative-namespace", ""), "'' is no name for Kubernetes"),
        (("proxy", "url", "--name", ""), "'' is no name for Kubernetes"),
        (("proxy", "url", "-n", "a/b"), "'a/b' is no name for Kubernetes"),
        (
            ("install", "gateway", "--dry-run", "--min-replicas", "4", "--max-replicas", "3"),
            "--min-replicas 4 is above",
        ),
        (("install", "gateway", "--dry-run", "--replicas", "3", "--max-replicas", "5"), "--replicas fixes the number"),
        (("install", "knative", "--dry-run", "--config-network", "only"), "has no manifests to print"),
        (("uninstall", "istio"), "'istio' is not one of"),
        (("install", "gateway", "--dry-run", "--set", "workers"), "--set workers: is no KEY=VALUE"),
        (("install", "gateway", "--dry-run", "--set", "workers.=1"), "--set workers.=1: is no KEY=VALUE"),
        (("install", "gateway", "--dry-run", "--set", "workers={"), "--set workers={: is no YAML"),
        (
            ("install", "gateway", "--dry-run", "--set", "wrokers=2"),
            "$: unknown key `wrokers`; did you mean `workers`?",
        ),
        (("install", "gateway", "--dry-run", "--set", "workers=many"), "the settings of the gateway: $.workers"),
        (("install", "gateway", "--dry-run", "--set", "drain=5"), "$.drain: expected `object`"),
        (("install", "gateway", "--dry-run", "--set", "sources=5"), "$.sources: is no list of settings"),
        (("install", "gateway", "--dry-run", "--set", "sources=[{}]"), "$.sources: each entry needs `type`"),
        (
            ("install", "gateway", "--dry-run", "--set", "sources=[{type: a}, {type: a}]"),
            "$.sources: two entries have the same `type`",
        ),
        (("install", "gateway", "--dry-run", "--set", "sources.file=5"), "$.sources.file: is no mapping of settings"),
        (
            ("install", "gateway", "--dry-run", "--set", "listeners.htp.backlog=9"),
            "$.listeners.htp: there is no such listener (accepted: http)",
        ),
        (
            ("install", "gateway", "--dry-run", "--set", "listeners.http=null"),
            "$.listeners.http: cannot be taken away, as other manifests need it",
        ),
        (
            ("install", "gateway", "--dry-run", "--set", "listeners.http.bind=:1"),
            "$.listeners.http.bind: cannot be set, as other manifests say it too",
        ),
        (
            ("install", "ingress", "--dry-run", "--set", "sources.kubernetes_ingress.lease=x"),
            "$.sources.kubernetes_ingress.lease: cannot be set, as other manifests say it too",
        ),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], message: str, cli: Cli) -> None:
    result = cli(*words)
    assert result.exit_code == 2
    assert message in result.output


def test_names_for_people_say_what_each_mode_is(cli: Cli) -> None:
    result = cli("install", "--help")
    assert [mode.value for mode in Mode if mode.value in result.output] == [mode.value for mode in Mode]


def test_help_loads_nothing_that_speaks_to_a_cluster() -> None:
    code = (
        "import sys; from daemun.cli.main import main\n"
        "try: main(['install', '--help'])\n"
        "finally: print(sorted(name for name in sys.modules if name in ('httpx', 'httpcore', 'daemun_kubernetes.install.run')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


# --- at work ---


@pytest.mark.anyio
async def test_install_url_check_and_uninstall(cli: Cli, tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("Namespace", "knative-serving")
    store.put_kind("ConfigMap", "config-network", "knative-serving", data={"ingress-class": "kourier.test"})
    before = store.all
    async with ready_cluster(tmp_path, store) as kubeconfig:
        here = ("--kubeconfig", kubeconfig)
        installed = await typed(cli, "install", "knative", *here)
        assert (installed.exit_code, installed.stderr) == (0, "")
        lines = installed.stdout.splitlines()
        assert "ready       Deployment knative-serving/daemun  (2 of 2)" in lines
        words = f"ingress-class is {KNATIVE_CLASS}, was kourier.test"
        assert f"configured  ConfigMap knative-serving/config-network  ({words})" in lines
        assert lines[-2].split()[:4] == ["daemun", "proxy", "url", "prints"]

        again = await typed(cli, "install", "knative", *here)
        assert {line.split()[0] for line in again.stdout.split("\n\n")[0].splitlines()} == {"unchanged", "ready"}

        status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
        made = store.of("Service", "daemun", "knative-serving")
        assert made is not None
        store.put(SERVICE.path(), "knative-serving", "daemun", **{**made, "status": status})
        url = await typed(cli, "proxy", "url", *here)
        assert (url.exit_code, url.stdout) == (0, "http://192.0.2.1:80\n")
        told = await typed(cli, "proxy", "url", *here, "--listener", "https", "--json")
        assert json.loads(told.stdout) == {
            "listener": "https",
            "url": "https://192.0.2.1:443",
            "host": "192.0.2.1",
            "port": 443,
            "through": "load balancer",
        }

        dry = await typed(cli, "uninstall", "knative", *here, "--dry-run")
        assert dry.exit_code == 0
        assert dry.stdout.splitlines()[-1] == "nothing was changed (--dry-run)"
        refused = await typed(cli, "uninstall", "knative", *here, given="n\n")
        assert refused.exit_code == 1
        assert store.of("Deployment", "daemun", "knative-serving") is not None
        removed = await typed(cli, "uninstall", "knative", *here, given="y\n")
        assert removed.exit_code == 0
        assert "removed     Deployment knative-serving/daemun" in removed.stdout.splitlines()
    assert store.all - before == {(ENDPOINT_SLICE.path(), "knative-serving", "daemun-1")}


@pytest.mark.anyio
async def test_knative_goes_on_asking_another_gateway_until_this_one_serves(cli: Cli, tmp_path: Path) -> None:
    """The likeliest mistake is an image that cannot be pulled."""
    store = ClusterStore()
    store.put_kind("Namespace", "knative-serving")
    store.put_kind("ConfigMap", "config-network", "knative-serving", data={"ingress-class": "kourier.test"})
    async with store_server(store) as server:
        words = ("--kubeconfig", write_kubeconfig(server, tmp_path), "--timeout", 0.2)
        failed = await typed(cli, "install", "knative", *words)
    assert failed.exit_code == 1
    assert "Deployment knative-serving/daemun is not ready after 0.2 s" in failed.stderr
    assert "config-network" not in failed.stdout
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"ingress-class": "kourier.test"}


@pytest.mark.anyio
async def test_what_was_begun_is_done_though_nobody_reads_on(tmp_path: Path) -> None:
    """`daemun install gateway | head -1`."""
    store = ClusterStore()
    async with ready_cluster(tmp_path, store) as kubeconfig:
        command = [sys.executable, "-m", "daemun.cli", "install", "gateway", "--kubeconfig", str(kubeconfig)]

        def run() -> subprocess.CompletedProcess[bytes]:
            reading, writing = os.pipe()
            os.close(reading)
            with os.fdopen(writing, "wb") as nobody:
                return subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False, timeout=60)

        done = await anyio.to_thread.run_sync(run)
    assert (done.returncode, done.stderr) == (0, b"")
    assert store.of("PodDisruptionBudget", "daemun", "daemun-system") is not None


@pytest.mark.anyio
async def test_a_gateway_is_told_how_it_gets_routes(cli: Cli, tmp_path: Path) -> None:
    async with ready_cluster(tmp_path, ClusterStore()) as kubeconfig:
        words = ("--kubeconfig", kubeconfig, "--name", "front", "-n", "edge")
        installed = await typed(cli, "install", "gateway", *words)
    assert "kubectl create configmap front-routes -n edge --from-file=routes.yaml" in installed.stdout
    assert "daemun proxy url --name front --namespace edge" in installed.stdout


@pytest.mark.anyio
async def test_the_class_alone(cli: Cli, tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("ConfigMap", "config-network", "serving", data={"a": "b"})
    async with ready_cluster(tmp_path, store) as kubeconfig:
        words = ("--config-network", "only", "--knative-namespace", "serving", "--kubeconfig", kubeconfig)
        done = await typed(cli, "install", "knative", *words)
    assert done.exit_code == 0
    assert len(done.stdout.splitlines()) == 1
    assert len(store.all) == 1
    config = store.of("ConfigMap", "config-network", "serving")
    assert config is not None
    assert config["data"] == {"a": "b", "ingress-class": KNATIVE_CLASS}
    assert config["metadata"]["annotations"] == {PREVIOUS: ""}


@pytest.mark.anyio
@pytest.mark.parametrize("closed", [False, True], ids=["who may look at Pods", "who may not"])
async def test_the_class_alone_waits_for_the_gateway_too(closed: bool, cli: Cli, tmp_path: Path) -> None:
    """The Job of the printed manifests is begun beside the Pods, which may never serve."""
    store = ClusterStore()
    store.put_kind("ConfigMap", "config-network", "knative-serving", data={})
    store.put_kind("Deployment", "daemun", "knative-serving", spec={"replicas": 2})
    store.closed |= {"/pods"} if closed else set()
    async with store_server(store) as server:
        words = ("--config-network", "only", "--kubeconfig", write_kubeconfig(server, tmp_path))
        failed = await typed(cli, "install", "knative", *words, "--timeout", 0.2)
        assert failed.exit_code == 1
        assert "is not ready after 0.2 s (0 of 2): no Pod says why" in failed.stderr
        status = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
        store.put_kind("Deployment", "daemun", "knative-serving", spec={"replicas": 2}, status=status)
        done = await typed(cli, "install", "knative", *words)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 2)
    config = store.of("ConfigMap", "config-network", "knative-serving")
    assert config is not None
    assert config["data"] == {"ingress-class": KNATIVE_CLASS}


@pytest.mark.anyio
async def test_who_may_change_only_the_configmap_is_not_made_to_wait(cli: Cli, tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("ConfigMap", "config-network", "knative-serving", data={})
    store.closed.add("/deployments/daemun")
    async with store_server(store) as server:
        words = ("--config-network", "only", "--kubeconfig", write_kubeconfig(server, tmp_path))
        done = await typed(cli, "install", "knative", *words)
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)


@pytest.mark.anyio
async def test_what_goes_wrong_is_one_line_and_exit_code_1(cli: Cli, tmp_path: Path) -> None:
    store = ClusterStore()
    store.put_kind("Namespace", "knative-serving")
    async with ready_cluster(tmp_path, store) as kubeconfig:
        missing = await typed(cli, "proxy", "url", "--kubeconfig", kubeconfig)
        knative = await typed(cli, "install", "knative", "--kubeconfig", kubeconfig, "--timeout", 0)
        store.refusing = (403, "Forbidden")
        forbidden = await typed(cli, "uninstall", "gateway", "--yes", "--kubeconfig", kubeconfig)
    nowhere = await typed(cli, "proxy", "url", "--kubeconfig", tmp_path / "none.yaml")
    for result, words in (
        (missing, "there is no Service daemun in namespace daemun-system"),
        (knative, "install Knative Serving, then run this again"),
        (forbidden, "the right to list deployments.apps is missing"),
        (nowhere, "none.yaml"),
    ):
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("daemun: ")
        assert words in line


@pytest.mark.anyio
async def test_check_cluster_is_an_option_of_check(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ready_cluster(tmp_path, ClusterStore()) as kubeconfig:
        monkeypatch.setitem(os.environ, "KUBECONFIG", str(kubeconfig))
        result = await typed(cli, "check", "--cluster", "--json")
    assert result.exit_code == 1
    words = [one["words"] for one in json.loads(result.stdout)["findings"]]
    assert "nothing is installed" in words
