"""A cluster of real parts on this machine: etcd, kube-apiserver, kube-controller-manager, and a node without containers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from tests.conformance.tools import cache_folder, debian_tool

from daemun.testing.program import soon

from . import build, networks
from .build import Tell
from .credentials import Credentials
from .networks import API, CLUSTER, inside
from .processes import Processes

__all__ = ["Cluster"]

_CRDS = ("ingress.yaml", "serverlessservice.yaml", "certificate.yaml", "domain-claim.yaml")
_CONTROLLERS = (
    *("clusterrole-aggregation-controller", "deployment-controller", "replicaset-controller", "job-controller"),
    *("endpointslice-controller", "endpointslice-mirroring-controller", "endpoints-controller"),
    *("serviceaccount-controller", "namespace-controller", "garbage-collector-controller"),
    "root-ca-certificate-publisher-controller",
)
_ORDER = ("gateway", "knode", "kube-controller-manager", "kube-apiserver", "etcd")
"""In which they are ended: the node takes its Pods' processes along, and tells the API so."""


class Cluster:
    """One for this machine. What it is made of lies in `folder`, so that a later process finds it, or its remains."""

    def __init__(self, tell: Tell = print) -> None:
        self.folder = cache_folder() / "cluster"
        self.credentials = Credentials(self.folder / "credentials")
        self.processes = Processes(self.folder / "processes")
        self.images = self.folder / "images"
        self.tell = tell
        self._kept = self.folder / "kept"

    @property
    def is_kept(self) -> bool:
        """Whether somebody raised it by hand, to stay."""
        return self._kept.exists() and all(self.processes.runs(name) for name in _ORDER[1:])

    def keep(self) -> None:
        """It stays when this process ends, and tests use it."""
        self._kept.touch()

    def raise_up(self) -> None:
        """Builds what is missing and starts everything anew; what an earlier run left is removed first.

        Skips the test where that cannot be done on this machine.
        """
        networks.needs()
        debian_tool("etcd", "etcd-server")
        programs, node, suite = build.control_plane(self.tell), build.node(self.tell), build.ingress_suite(self.tell)
        self.lower()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.credentials.make()
        self.add_images(suite / "images")
        shutil.copy2(programs / "kubectl", self.folder)
        networks.raise_up()
        self.start_etcd()
        self.start_api()
        self._start_controllers(programs)
        for name in ("knative-serving", "serving-tests"):
            self.kubectl("create", "namespace", name)
        config = suite / "config" / "networking"
        self.apply(*(config / name for name in _CRDS))
        self.apply(config / "config-network.yaml", "-n", "knative-serving")
        self.wait_for_kinds("ingresses", "serverlessservices", "certificates", group="networking.internal.knative.dev")
        self._start_node(node)

    def lower(self) -> None:
        """Ends all that runs and forgets the cluster."""
        if self.folder.exists() or networks.namespaces() & {networks.CLUSTER, networks.GATEWAY}:
            self.processes.end_all(_ORDER)
            networks.lower()
            shutil.rmtree(self.folder, ignore_errors=True)

    def start_etcd(self) -> None:
        """Starts etcd with the data that it had, and waits until it answers."""
        listens = ("--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379")
        peers = ("--listen-peer-urls", "http://127.0.0.1:2380")
        data = ("--data-dir", self.folder / "etcd", "--unsafe-no-fsync")
        self.processes.start("etcd", inside(CLUSTER, debian_tool("etcd", "etcd-server"), *data, *listens, *peers))
        self._until("etcd", lambda: "ready to serve client requests" in self.processes.log("etcd"), 20)

    def start_api(self) -> None:
        """Starts kube-apiserver and waits until it is ready."""
        own, files = self.folder, self.credentials
        argv = [
            str(build.control_plane(self.tell) / "kube-apiserver"),
            "--etcd-servers=http://127.0.0.1:2379",
            *("--bind-address=0.0.0.0", "--secure-port=6443", f"--advertise-address={API}"),
            *("--service-cluster-ip-range=198.18.0.0/18", "--service-node-port-range=30000-32767"),
            *(f"--tls-cert-file={files.certificate}", f"--tls-private-key-file={files.key}"),
            *(f"--client-ca-file={files.authority}", f"--token-auth-file={files.tokens}"),
            *("--authorization-mode=RBAC", "--allow-privileged=true"),
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={files.accounts_public}",
            f"--service-account-signing-key-file={files.accounts_key}",
            *("--disable-admission-plugins=ServiceAccount", f"--cert-dir={own / 'api-certificates'}", "--v=1"),
        ]
        self.processes.start("kube-apiserver", inside(CLUSTER, *argv))
        self._until("kube-apiserver", lambda: self.answers("get", "--raw", "/readyz"), 90)

    def kubectl(self, *words: str | Path, given: str | None = None) -> str:
        """What kubectl tells, as the administrator. An error has its words."""
        done = self._kubectl(words, given)
        assert done.returncode == 0, f"kubectl {' '.join(map(str, words))}: {done.stderr.strip()}"
        return done.stdout

    def answers(self, *words: str) -> bool:
        """Whether kubectl succeeds."""
        return self._kubectl(words, None).returncode == 0

    def get(self, *words: str) -> dict[str, Any]:
        """What `kubectl get` tells, as JSON."""
        told: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return told

    def apply(self, *files: Path | str) -> None:
        """Applies files on the server's side; words among them are options."""
        words = [word for file in files for word in (["-f", str(file)] if isinstance(file, Path) else [file])]
        self.kubectl("apply", "--server-side", "--force-conflicts", *words)

    def apply_objects(self, objects: Iterable[Mapping[str, Any]]) -> None:
        """Applies objects on the server's side."""
        text = yaml.safe_dump_all(objects, sort_keys=False)
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def wait_for_kinds(self, *plurals: str, group: str) -> None:
        """Waits until the API serves custom resources."""
        names = [f"crd/{plural}.{group}" for plural in plurals]
        soon(lambda: self.answers("wait", "--for=condition=Established", "--timeout=5s", *names), 60)

    def token(self, namespace: str, account: str) -> str:
        """A token of a ServiceAccount, good for a day."""
        return self.kubectl("create", "token", account, "-n", namespace, "--duration=24h").strip()

    def add_images(self, folder: Path) -> None:
        """What lies there are images that Pods may name; a folder is the part of the name before its last."""
        self.images.mkdir(parents=True, exist_ok=True)
        for image in folder.iterdir():
            link = self.images / image.name
            link.unlink(missing_ok=True)
            link.symlink_to(image)

    def environment(self) -> dict[str, str]:
        """The environment of a program that is the cluster's administrator."""
        return {**os.environ, "KUBECONFIG": str(self.credentials.administrator)}

    def _start_controllers(self, programs: Path) -> None:
        argv = [
            str(programs / "kube-controller-manager"),
            *(f"--kubeconfig={self.credentials.administrator}", "--leader-elect=false", "--v=1"),
            "--use-service-account-credentials=false",
            f"--service-account-private-key-file={self.credentials.accounts_key}",
            f"--root-ca-file={self.credentials.authority}",
            f"--controllers={','.join(_CONTROLLERS)}",
            *("--kube-api-qps=300", "--kube-api-burst=600"),
            *("--concurrent-endpoint-syncs=10", "--concurrent-service-endpoint-syncs=10"),
        ]
        self.processes.start("kube-controller-manager", inside(CLUSTER, *argv))

    def _start_node(self, node: Path) -> None:
        argv = [
            *("nsenter", f"--net=/run/netns/{CLUSTER}"),  # no mounts of its own: others see the Pods' namespaces
            *(str(node / "knode"), f"--kubeconfig={self.credentials.administrator}"),
            *(f"--sandbox={node / 'knsandbox'}", f"--ca={self.credentials.authority}", f"--images={self.images}"),
            *(f"--work={self.folder / 'pods'}", f"--logs={self.folder / 'pod-logs'}"),
        ]
        self.processes.start("knode", argv)
        self._until("knode", lambda: "knode up" in self.processes.log("knode"), 30)

    def _kubectl(self, words: Iterable[str | Path], given: str | None) -> subprocess.CompletedProcess[str]:
        argv = inside(CLUSTER, self.folder / "kubectl", "--kubeconfig", self.credentials.administrator, *words)
        return subprocess.run(argv, input=given, capture_output=True, text=True, check=False, timeout=120)

    def _until(self, name: str, condition: Any, seconds: float) -> None:
        soon(lambda: condition() or not self.processes.runs(name), seconds)
        assert self.processes.runs(name), f"{name} ended: {self.processes.log(name)[-2000:]}"
