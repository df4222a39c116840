"""A page in Chromium opens WebSockets through the gateway: over HTTP/1, over HTTP/2 with TLS; as bytes and through the lens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty

import pytest

from daemun.testing.program import soon

from . import echo_websocket
from .conftest import Start
from .echo_websocket import MODES
from .tools import FOREIGN, debian_tool

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(600)]  # it may have to be installed

SIDES = {"ws": ("http1", False), "wss": ("http1", True), "wss over http2": ("http2", True)}
"""What the listener speaks, and whether with TLS."""
ALPN = {"http1": "http/1.1", "http2": "h2"}
LOGGED = {"http1": "HTTP/1.1", "http2": "HTTP/2"}
ALONE = (
    *("--headless", "--no-sandbox", "--no-first-run", "--no-proxy-server", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--ignore-certificate-errors"),
)


@contextmanager
def browser(url: str, folder: Path) -> Iterator[None]:
    """Chromium shows a page."""
    argv = [debian_tool("chromium", "chromium"), *ALONE, f"--user-data-dir={folder / 'profile'}", url]
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("mode", MODES)
def test_a_page_opens_websockets(
    mode: str,
    side: str,
    start: Start,
    free_port: Callable[[], int],
    certificate_files: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    version, tls = SIDES[side]
    port, log = free_port(), tmp_path / "access.log"
    page = {"body": (FOREIGN / "browser" / "page.html").read_text(), "headers": {"content-type": "text/html"}}
    routes = [
        {"name": "page", "match": {"path": "/"}, "respond": page},
        {"name": "refused", "match": {"path": "/refused"}, "respond": {"status": 403}},
        {"name": "all", "to": "up", "filters": MODES[mode]},
    ]
    fields = ["version", "path", "status", "response.sec-websocket-extensions"]
    observer = {"type": "accesslog", "file": str(log), "fields": fields}
    with echo_websocket.serving(port) as told:
        gateway = start(
            port, speaks=(version,), tls=certificate_files if tls else None, routes=routes, observers=[observer]
        )
        with browser(f"{gateway.url}/", tmp_path):
            try:
                said = json.loads(told.get(timeout=60))
            except Empty:
                raise AssertionError((tmp_path / "chromium.log").read_text()[-2000:]) from None
        assert said == {
            "version": ALPN[version],
            "protocol": "echo.test",
            "compressed": True,
            "text": True,
            "binary": True,
            "empty": True,
            "closedByServer": [4321, "enough", True],
            "closedByPage": [3210, "bye", True],
            "many": True,
            "refused": "/refused was closed: 1006",
        }
        lines = soon(
            lambda: [line for line in map(json.loads, log.read_text().splitlines()) if line["path"] == "/echo"]
        )
    assert {line["version"] for line in lines} == {LOGGED[version]}
