"""How daemun and the other Python peers are configured: mitmproxy, proxy.py, and our reverse proxy on aiohttp."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from bench.peers.place import Command, Place, Setup
from bench.peers.process import free_port

__all__ = [
    "aiohttp",
    "aiohttp_lacks",
    "daemun",
    "daemun_lacks",
    "daemun_observers",
    "has_metrics",
    "mitmproxy",
    "one_worker_one_route",
    "proxy_py",
    "proxy_py_lacks",
]

_ROUTES: dict[str, dict[str, Any]] = {
    "": {},
    "filter ws_log": {"filters": [{"type": "ws_log", "settings": {"fraction": 0}}]},
    "matcher soap": {"match": {"matchers": [{"type": "soap", "settings": {"operations": ["GetPrices"]}}]}},
    "filter soap": {"filters": [{"type": "soap", "settings": {"operations": ["GetPrices"]}}]},
}
"""What a route has besides, by `Setup.brings`."""
_PROXY_PY = '''"""The route of proxy.py: everything goes to the origin."""
from proxy.http import Url
from proxy.http.server import ReverseProxyBasePlugin

class Everything(ReverseProxyBasePlugin):
    def routes(self):
        return [r"/.*"]

    def handle_route(self, request, pattern):
        url = Url.from_bytes(b"http://127.0.0.1:{origin}/")
        url.remainder = request.path
        request.add_header(b"X-Forwarded-For", b"127.0.0.1")
        return url
'''


def daemun(place: Place) -> Command:
    """daemun of this checkout: an exact host a route."""
    endpoint: Any = f"http://127.0.0.1:{place.origin}"
    if place.setup.http2_upstream:
        endpoint = {"url": endpoint, "protocol": "http2"}
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [endpoint]}},
        "routes": [{"name": host, "hosts": [host], "to": "up"} for host in place.hosts]
        or [{"name": "all", "to": "up", **_ROUTES[place.setup.brings]}],
    }
    listener: dict[str, Any] = {"name": "in", "bind": f"127.0.0.1:{place.port}"}
    if place.setup.tls:
        listener["tls"] = {"certificate": str(place.certificate), "key": str(place.key)}
    settings: dict[str, Any] = {
        "listeners": [listener],
        "sources": [source],
        "observers": daemun_observers(),
    }
    if place.setup.workers > 1:
        settings["workers"] = place.setup.workers
    file = place.write("daemun.json", json.dumps(settings))
    return Command([place.binary, "-m", "daemun.cli", "--log-level", "warning", "run", file])


def daemun_observers() -> list[dict[str, Any]]:
    """The observers that an operator has on: metrics, if the plugin is installed."""
    return [{"type": "prometheus", "bind": f"127.0.0.1:{free_port()}"}] if has_metrics() else []


def has_metrics() -> bool:
    """Whether this checkout has the observer of metrics installed."""
    return "observer prometheus" in _brings()


@cache
def _brings() -> frozenset[str]:
    command = [sys.executable, "-m", "daemun.cli", "plugins", "--json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    try:
        return frozenset(item for plugin in json.loads(printed.stdout) for item in plugin["brings"])
    except (ValueError, TypeError, KeyError):
        return frozenset()


@cache
def _has_workers() -> bool:
    command = [sys.executable, "-m", "daemun.cli", "schema"]
    return '"workers"' in subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


def daemun_lacks(setup: Setup) -> str:
    """What an older checkout does not have."""
    if setup.workers > 1 and not _has_workers():
        return "this checkout has no setting `workers`"
    return f"this checkout has no {setup.brings}" if setup.brings and setup.brings not in _brings() else ""


def aiohttp(place: Place) -> Command:
    """The reverse proxy that a person writes with aiohttp in an afternoon; on uvloop if that is installed."""
    settings = {
        "port": place.port,
        "origin": place.origin,
        "hosts": place.hosts,
        "certificate": str(place.certificate) if place.setup.tls else "",
        "key": str(place.key) if place.setup.tls else "",
    }
    script = Path(__file__).with_name("aiohttp_proxy.py")
    return Command([place.binary, str(script), place.write("aiohttp.json", json.dumps(settings))])


def aiohttp_lacks(setup: Setup) -> str:
    """What the script does not do."""
    if setup.upstream == "websocket":
        return "the script does not switch to WebSocket"
    return "the script runs in one process" if setup.workers > 1 else _http1_only(setup)


def _http1_only(setup: Setup) -> str:
    http2 = setup.clients == "http2" or setup.http2_upstream
    return "it does not speak HTTP/2 in plaintext" if http2 else ""


def mitmproxy(place: Place) -> Command:
    """mitmdump in reverse mode; large bodies streamed, nothing printed."""
    argv = [place.binary, "--mode", f"reverse:http://127.0.0.1:{place.origin}", "--listen-host", "127.0.0.1"]
    argv += ["--listen-port", str(place.port), "--quiet", "--set", f"confdir={place.folder}"]
    argv += ["--set", "flow_detail=0", "--set", "stream_large_bodies=1m", "--set", "keep_host_header=true"]
    argv += ["--modify-headers", "/~q/X-Forwarded-For/127.0.0.1"]
    if place.setup.tls:
        both = place.write("both.pem", place.key.read_text() + place.certificate.read_text())
        argv += ["--certs", f"*={both}"]
    return Command(argv)


def proxy_py(place: Place) -> Command:
    """proxy.py with its reverse proxy core; a thread a connection, because its default breaks on kept connections."""
    place.write("everything.py", _PROXY_PY.format(origin=place.origin))
    argv = [place.binary, "--hostname", "127.0.0.1", "--port", str(place.port), "--enable-reverse-proxy"]
    argv += ["--plugins", "everything.Everything", "--num-acceptors", "1", "--num-workers", "1"]
    argv += ["--threaded", "--log-level", "e", "--disable-http-proxy", "--timeout", "600"]
    if place.setup.tls:
        argv += ["--cert-file", str(place.certificate), "--key-file", str(place.key)]
    return Command(argv, {"PYTHONPATH": str(place.folder), "HOME": str(place.folder)})


def proxy_py_lacks(setup: Setup) -> str:
    """Its reverse proxy neither routes by host nor runs in several processes, nor does it switch."""
    if setup.upstream == "websocket":
        return "its reverse proxy does not switch to WebSocket"
    return one_worker_one_route(setup)


def one_worker_one_route(setup: Setup) -> str:
    """Peers that neither route by host nor run in several processes."""
    if setup.routes:
        return "it has no routes by host"
    return "it has no workers" if setup.workers > 1 else _http1_only(setup)
