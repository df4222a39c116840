"""Two network namespaces, joined by one pair of interfaces, from which nothing leaves.

In `CLUSTER` a whole range of addresses is local: the control plane, Services, load balancers and Pods live there.
`GATEWAY` has one address, so that what listens on all of them is in nobody's way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conformance.tools import debian_tool

__all__ = ["API", "CLUSTER", "DNS", "GATEWAY", "GATEWAY_ADDRESS", "inside", "lower", "namespaces", "needs", "raise_up"]

CLUSTER = "kn"
GATEWAY = "kngw"
GATEWAY_ADDRESS = "198.19.0.2"
API = "198.18.64.1"
DNS = "198.18.64.53"

_ROUTER = "198.19.0.1"
_PODS = "knp-"  # the node names the namespaces of its Pods so
_ETC = Path("/etc/netns")
_LIMITS = (
    "net.ipv4.ip_unprivileged_port_start=0",
    "net.core.somaxconn=4096",
    "net.ipv4.ip_local_port_range=20000 60999",
)


def needs() -> None:
    """Skips the test where no network namespace can be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces: only root makes them")
    ip = debian_tool("ip", "iproute2")
    name = f"kn-try-{os.getpid()}"
    made = subprocess.run([ip, "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"network namespaces: none can be made here: {made.stderr.strip()}")
    _ip("netns", "del", name)


def inside(namespace: str, *argv: str | Path) -> list[str]:
    """The words that run a program in one of the namespaces."""
    return ["ip", "netns", "exec", namespace, *map(str, argv)]


def namespaces() -> set[str]:
    """The names of all network namespaces of this machine."""
    told = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in told.splitlines() if line.strip()}


def raise_up() -> None:
    """Makes both namespaces, with routes and a resolver that asks the cluster's DNS."""
    resolver = f"nameserver {DNS}\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
    for name in (CLUSTER, GATEWAY):
        folder = _ETC / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resolv.conf").write_text(resolver)
        (folder / "hosts").write_text("127.0.0.1 localhost\n")
        _ip("netns", "add", name)
        _ip("-n", name, "link", "set", "lo", "up")
        for limit in _LIMITS:
            subprocess.run(inside(name, "sysctl", "-qw", limit), check=False, capture_output=True)
    _ip("-n", CLUSTER, "route", "add", "local", "198.18.0.0/17", "dev", "lo")
    _ip("link", "add", "kn0", "netns", CLUSTER, "type", "veth", "peer", "name", "eth0", "netns", GATEWAY)
    _ip("-n", CLUSTER, "addr", "add", f"{_ROUTER}/24", "dev", "kn0")
    _ip("-n", CLUSTER, "link", "set", "kn0", "up")
    _ip("-n", GATEWAY, "addr", "add", f"{GATEWAY_ADDRESS}/24", "dev", "eth0")
    _ip("-n", GATEWAY, "link", "set", "eth0", "up")
    _ip("-n", GATEWAY, "route", "add", "default", "via", _ROUTER)


def lower() -> None:
    """Removes both namespaces and those of the Pods, as far as they are there."""
    for name in namespaces():
        if name in (CLUSTER, GATEWAY) or name.startswith(_PODS):
            _ip("netns", "del", name)
            shutil.rmtree(_ETC / name, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
