"""Gateways of a class of their own: several replicas in the cluster's network, beside whatever else serves there.

Each is a Pod by its address; its process is ours. Whoever asks is in the cluster's network too: see `inside_cluster`.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM, Signals
from typing import Any

import pytest
import yaml

from daemun.testing.program import children, soon

from .cluster import Cluster
from .implementation import CLASS
from .networks import CLUSTER, inside

__all__ = ["Replicas", "inside_cluster", "made", "replicas"]

_LABELS = {"app": "daemun-replica"}
_READ = ["get", "list", "watch"]
_RULES = [
    {"apiGroups": [""], "resources": ["services", "secrets"], "verbs": _READ},
    {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": _READ},
    {"apiGroups": ["networking.internal.knative.dev"], "resources": ["ingresses"], "verbs": _READ},
    {"apiGroups": ["networking.internal.knative.dev"], "resources": ["ingresses/status"], "verbs": ["patch"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"]},
]
_NEW_NETWORK = 0x40000000


def made(version: str, kind: str, name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    """An object."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


@contextmanager
def inside_cluster() -> Iterator[None]:
    """This thread's sockets, and those of threads that it starts, are in the cluster's network."""
    enter = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/self/ns/net", "rb") as before, open(f"/run/netns/{CLUSTER}", "rb") as there:
        if enter(there.fileno(), _NEW_NETWORK) != 0:
            pytest.skip(f"network namespaces: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            enter(before.fileno(), _NEW_NETWORK)


class Replicas:
    """Gateways `0`, `1` … of one class. All that is theirs is in the namespace `name`, which is also their load
    balancer's, and their Lease's."""

    def __init__(self, cluster: Cluster, name: str, network: str, settings: Mapping[str, Any]) -> None:
        """`network` is the beginning of their addresses, in the cluster's network: `198.18.111.`."""
        self.cluster = cluster
        self.name = name
        self.ingress_class = f"{name}.{CLASS}"
        self._network = network
        self._settings = settings
        self._kubeconfig = cluster.folder / f"{name}.kubeconfig"

    @property
    def balancer(self) -> str:
        """Address of the load balancer, port 80."""

        def address() -> str:
            status = self.cluster.get("service", "-n", self.name, self.name)["status"]
            ingress = status.get("loadBalancer", {}).get("ingress", [])
            return ingress[0]["ip"] if ingress else ""

        return str(soon(address))

    def address(self, number: int) -> str:
        """Where one listens: 8080 and, with TLS, 8443 for everybody, 8081 and 8444 for the cluster."""
        return f"{self._network}{number + 1}"

    def process(self, number: int) -> str:
        """The name of its process among the cluster's."""
        return f"{self.name}-{number}"

    def install(self) -> None:
        """Everything around them; what an earlier run left is removed first."""
        if self.cluster.answers("get", "namespace", self.name):
            self.uninstall("--timeout=100s")
        rbac, role = "rbac.authorization.k8s.io", {"kind": "ClusterRole", "name": self.name}
        account = {"kind": "ServiceAccount", "name": self.name, "namespace": self.name}
        self.cluster.apply_objects(
            [
                made("v1", "Namespace", self.name),
                made("v1", "ServiceAccount", self.name, self.name),
                made(f"{rbac}/v1", "ClusterRole", self.name, rules=_RULES),
                made(
                    f"{rbac}/v1",
                    "ClusterRoleBinding",
                    self.name,
                    roleRef={"apiGroup": rbac, **role},
                    subjects=[account],
                ),
                self._service(self.name, 8080, 8443, type="LoadBalancer"),
                self._service(f"{self.name}-internal", 8081, 8444),
            ]
        )
        self._kubeconfig.write_text(self.cluster.credentials.kubeconfig(self.cluster.token(self.name, self.name)))

    def uninstall(self, how: str = "--wait=false") -> None:
        """Ends and removes all of them; `how` is an option of kubectl."""
        for number in range(8):
            self.cluster.processes.end(self.process(number))
        self.cluster.kubectl("delete", f"namespace/{self.name}", "--ignore-not-found", how)
        roles = (f"clusterrole/{self.name}", f"clusterrolebinding/{self.name}")
        self.cluster.kubectl("delete", *roles, "--ignore-not-found")

    def start(self, number: int = 0, *, wait: bool = True, **more: Any) -> None:
        """Starts one, with further settings, and makes it a Pod; returns when that is ready."""
        address = self.address(number)
        source = {
            "type": "knative",
            "kubeconfig": str(self._kubeconfig),
            "namespace": self.name,
            "ingress_class": self.ingress_class,
            "external_service": f"{self.name}/{self.name}",
            "internal_service": f"{self.name}/{self.name}-internal",
        }
        listeners = [
            {"name": "http", "bind": f"{address}:8080"},
            {"name": "https", "bind": f"{address}:8443", "tls": {}},
            {"name": "internal", "bind": f"{address}:8081"},
            {"name": "internal-tls", "bind": f"{address}:8444", "tls": {}},
        ]
        document = {"listeners": listeners, "sources": [source], **self._settings, **more}
        file = self.cluster.folder / f"{self.process(number)}.yaml"
        file.write_text(yaml.safe_dump(json.loads(json.dumps(document))))
        command = [sys.executable, "-m", "daemun.cli", "run", str(file), "--json"]
        environment = {"POD_NAME": self.process(number)}
        self.cluster.processes.start(self.process(number), inside(CLUSTER, *command), environment)
        if wait:
            self.add_pod(number)
            soon(lambda: self.is_ready(number), 60)

    def add_pod(self, number: int) -> None:
        """Makes it one of those that have traffic, as soon as it accepts."""
        outside = {"kn.local/pod-ip": self.address(number), "kn.local/ready-port": "8081"}
        pod = made("v1", "Pod", self.process(number), self.name, metadata={"labels": _LABELS, "annotations": outside})
        containers = [{"name": "gateway", "image": "external"}]
        self.cluster.apply_objects([{**pod, "spec": {"nodeName": "kn-node", "containers": containers}}])

    def remove_pod(self, number: int) -> None:
        """Has it get no new connections."""
        self.cluster.kubectl("delete", "pod", self.process(number), "-n", self.name, "--wait=true")

    def is_ready(self, number: int) -> bool:
        """Whether the cluster knows that it accepts."""
        if not self.cluster.processes.runs(self.process(number)):
            raise AssertionError(f"the gateway ended: {self.log(number)[-2000:]}")
        pod = self.cluster.get("pod", "-n", self.name, self.process(number))
        return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", ()))

    def signal(self, number: int, which: Signals) -> None:
        """Sends its processes a signal."""
        for pid in self.processes(number):
            os.kill(pid, which)

    def stop(self, number: int, which: Signals = SIGTERM) -> None:
        """Ends its process."""
        self.cluster.processes.end(self.process(number), which)

    def log(self, number: int = 0) -> str:
        """What it said so far."""
        return self.cluster.processes.log(self.process(number))

    def processes(self, number: int = 0) -> list[int]:
        """The first one, and its workers with what they need."""
        found = [int((self.cluster.processes.folder / f"{self.process(number)}.pid").read_text().split()[0])]
        for pid in found:
            found += children(pid)
        return found

    def cpu_seconds(self, number: int = 0) -> float:
        """What it and its workers have used so far."""
        ticks = 0
        for pid in self.processes(number):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self, number: int = 0) -> int:
        """The memory of it and its workers."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes(number))
        return pages * os.sysconf("SC_PAGE_SIZE")

    def leader(self) -> str:
        """The name of the process that writes statuses; "": nobody does."""
        lease = self.cluster.get("lease", "-n", self.name, "daemun-knative")
        return str(lease["spec"].get("holderIdentity") or "").rpartition("-")[0]

    def _service(self, name: str, plain: int, tls: int, **more: Any) -> dict[str, Any]:
        ports = [
            {"name": "http2", "port": 80, "targetPort": plain},
            {"name": "https", "port": 443, "targetPort": tls},
        ]
        return made("v1", "Service", name, self.name, spec={"selector": _LABELS, "ports": ports, **more})


@contextmanager
def replicas(cluster: Cluster, name: str, network: str, **settings: Any) -> Iterator[Replicas]:
    """Gateways to start, with these settings, in the cluster's network, where this thread is until they are gone."""
    found = Replicas(cluster, name, network, settings)
    with inside_cluster():
        try:
            found.install()
            yield found
        finally:
            found.uninstall()
