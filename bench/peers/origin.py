"""What stands behind every peer: an nginx, or, without one, for gRPC and the largest upload, small servers of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.peers.compiled import nginx_main
from bench.peers.place import Setup
from bench.peers.process import free_port, started
from bench.peers.websocket import COMPILER_MISSING
from msgspec import Struct

__all__ = ["Origin", "certificate", "origin"]

_SIZES = {"64k": 64 * 1024, "1m": 1024**2, "1g": 1024**3}
_SERVER = """
  upstream self {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 1000000000; }}
  upstream plain {{ server 127.0.0.1:{plain}; keepalive 4; }}
  proxy_http_version 1.1; proxy_set_header Connection "";
  server {{
    listen 127.0.0.1:{port} backlog=4096; listen 127.0.0.1:{http2} http2 backlog=4096;
    http2_max_concurrent_streams 1000; root {www}; default_type application/octet-stream;
    location = / {{ return 200 "ok"; }}
    location /v/ {{ return 200 "ok"; }}
    location = /forwarded {{
      return 200 "X-Forwarded-For=$http_x_forwarded_for;X-Forwarded-Proto=$http_x_forwarded_proto;Via=$http_via"; }}
    location /stream/ {{ alias {www}/; ssi on; ssi_types *; }}
    location = /upload {{
      client_body_buffer_size 2m; proxy_pass http://self/; proxy_method GET;
      proxy_pass_request_body off; proxy_set_header Content-Length ""; }}
    location = /sink {{ proxy_request_buffering off; proxy_pass http://plain; }}
  }}
"""


class Origin(Struct, frozen=True):
    """Servers that answer what the workloads ask."""

    port: int
    """Where HTTP/1 is spoken."""
    http2: int
    """Where HTTP/2 is; 0: nowhere."""
    grpc: int
    """Where gRPC is."""
    websocket: int
    """Where WebSocket is; 0: nowhere."""
    what: str

    def port_for(self, setup: Setup) -> int:
        """Where it speaks what the upstream of `setup` does; 0: nowhere."""
        ports = {"http1": self.port, "http2": self.http2, "grpc": self.grpc, "websocket": self.websocket}
        return ports[setup.upstream]

    def cannot(self, setup: Setup) -> str:
        """Why it does not speak what the upstream of `setup` does; "": it does."""
        if self.port_for(setup):
            return ""
        if setup.upstream == "websocket":
            return COMPILER_MISSING
        return "nginx, which would answer in HTTP/2, is not installed"


@contextmanager
def origin(nginx: str | None, folder: Path, websocket: str = "") -> Iterator[Origin]:
    """Starts the origin with its files in `folder`; `websocket` is its program for that. Raises `StartError`."""
    with ExitStack() as stack:
        plain, grpc = free_port(), free_port()
        for name, port in (("plain", plain), ("grpc", grpc)):
            script = str(Path(__file__).with_name(f"{name}_origin.py"))
            stack.enter_context(started([sys.executable, script, str(port)], port=port, log=folder / f"{name}.log"))
        talks = free_port() if websocket else 0
        if websocket:
            stack.enter_context(started([websocket, str(talks)], port=talks, log=folder / "websocket.log"))
        if nginx is None:
            yield Origin(plain, 0, grpc, talks, "a server of ours (nginx is not installed)")
            return
        www = folder / "www"
        www.mkdir()
        for name, size in _SIZES.items():
            with (www / name).open("wb") as file:
                # the largest is a hole: it costs no disk, and nobody compresses
                file.truncate(size) if name == "1g" else file.write(os.urandom(size // 2).hex().encode())
        port, http2 = free_port(), free_port()
        home = folder / "origin"
        home.mkdir()
        settings = home / "nginx.conf"
        settings.write_text(nginx_main(str(home), 1, _SERVER.format(port=port, http2=http2, plain=plain, www=www)))
        argv = [nginx, "-c", str(settings), "-p", str(home), "-e", "stderr"]
        stack.enter_context(started(argv, port=port, log=home / "log"))
        yield Origin(port, http2, grpc, talks, "nginx, one worker; for gRPC and WebSocket servers of ours")


def certificate(chain: Path, key: Path) -> str:
    """Writes a certificate for the loopback interface and its key, of today. Why it could not, or ""."""
    names = "subjectAltName=DNS:localhost,DNS:*.bench.test,IP:127.0.0.1"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-days", "2", "-subj", "/CN=bench.test", "-addext", names, "-keyout", str(key), "-out", str(chain)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return "openssl is not installed"
    return "" if done.returncode == 0 else f"openssl made no certificate: {done.stderr.strip()[-200:]}"
