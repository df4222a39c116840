"""Activators with several workers: one process for all of them, which lives as long as any of them uses it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemun.testing.program import Load, Program, program, soon

SERVER = """
import http.server, os, sys, time
open(sys.argv[1], "a").write("%d\\n" % os.getpid())
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(float(self.path[1:] or 0))
        body = b"%d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def settings(folder: Path, *, command: list[str] | None = None, **activation: Any) -> dict[str, Any]:
    default = [sys.executable, "-c", SERVER, str(folder / "starts"), "$PORT"]
    backend = {"activator": "process", "activation": {"command": command or default, **activation}}
    source = {"type": "inline", "backends": {"app": backend}, "routes": [{"name": "all", "to": "app"}]}
    return {"workers": 2, "sources": [source], "plugins": {"only": ["http1", "file", "process"]}}


def starts(folder: Path) -> list[int]:
    """The processes that were started, in their order."""
    file = folder / "starts"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def asking(gateway: Program, path: str, clients: int) -> Iterator[list[tuple[int, bytes]]]:
    """Clients that ask at once; their answers are complete when the context is left."""
    answers: list[tuple[int, bytes]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(gateway.get(path, timeout=30)), daemon=True)
        for _ in range(clients)
    ]
    for thread in threads:
        thread.start()
    yield answers
    for thread in threads:
        thread.join()


def exchange(connection: socket.socket) -> bytes:
    """The content of an answer; its connection stays open."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    response = http.client.HTTPResponse(connection)
    response.begin()
    assert response.status == 200
    return response.read()


def connected_to_both(gateway: Program, stack: ExitStack) -> dict[int, socket.socket]:
    """One connection to each worker, on which one request was answered."""
    found: dict[int, socket.socket] = {}

    def more() -> bool:
        connection = stack.enter_context(gateway.connect())
        exchange(connection)
        found[gateway.worker_of(connection)] = connection
        return len(found) == 2

    soon(more)
    return found


def test_a_cold_start_starts_one_process_for_all_workers(tmp_path: Path) -> None:
    with program(tmp_path, settings(tmp_path)) as gateway, ExitStack() as stack:
        with asking(gateway, "/", 12) as answers:
            pass
        (pid,) = starts(tmp_path)
        assert answers == [(200, b"%d" % pid)] * 12
        for connection in connected_to_both(gateway, stack).values():
            assert exchange(connection) == b"%d" % pid
        assert starts(tmp_path) == [pid]
        stack.close()
        gateway.tell(signal.SIGTERM)
        assert gateway.end(20) == 0
        assert not alive(pid)
        assert "Traceback" not in gateway.log()


def test_it_outlives_workers_and_a_reload_and_is_stopped_when_idle(tmp_path: Path) -> None:
    wanted = settings(tmp_path, idle_timeout_seconds=3)
    with program(tmp_path, wanted) as gateway:
        status, content = gateway.get()
        (pid,) = starts(tmp_path)
        assert (status, content) == (200, b"%d" % pid)
        with Load(gateway.port, 1):  # it is not idle meanwhile
            for times, worker in enumerate(gateway.info["workers"], 1):
                os.kill(worker, signal.SIGKILL)
                soon(lambda times=times: gateway.log().count("serves after") == times)  # type: ignore[misc]
            assert gateway.get() == (200, b"%d" % pid)
            listeners = [{"name": "http", "bind": "127.0.0.1:0"}]
            (tmp_path / "daemun.yaml").write_text(
                yaml.safe_dump({**wanted, "listeners": listeners, "drain": {"grace_seconds": 5}})
            )
            gateway.tell(signal.SIGHUP)
            soon(lambda: "settings reloaded" in gateway.log())
            assert gateway.get() == (200, b"%d" % pid)
            assert starts(tmp_path) == [pid]
        soon(lambda: not alive(pid))
        status, content = gateway.get()
        assert (status, content) == (200, b"%d" % starts(tmp_path)[1])


def test_it_is_not_idle_while_one_worker_has_a_request_on_it(tmp_path: Path) -> None:
    with program(tmp_path, settings(tmp_path, idle_timeout_seconds=0.3)) as gateway:
        with asking(gateway, "/1.5", 1) as answers:
            soon(lambda: starts(tmp_path))
        (pid,) = starts(tmp_path)
        assert answers == [(200, b"%d" % pid)]
        soon(lambda: not alive(pid))


def test_more_processes_start_when_all_workers_together_fill_them(tmp_path: Path) -> None:
    wanted = settings(tmp_path, capacity=1, max_instances=2, idle_timeout_seconds=30)
    with program(tmp_path, wanted) as gateway:
        gateway.get()
        with asking(gateway, "/2", 4) as answers:
            soon(lambda: len(starts(tmp_path)) == 2)
        assert [status for status, _ in answers] == [200] * 4
        assert {content for _, content in answers} == {b"%d" % pid for pid in starts(tmp_path)}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"command": [sys.executable, "-c", "raise SystemExit(3)"], "start_attempts": 1}, 504, "exited with status 3"),
        ({"command": ["/no/such/program"]}, 504, "cannot be started"),
    ],
)
def test_a_start_that_fails_is_told_in_the_activators_words(
    tmp_path: Path, change: dict[str, Any], status: int, words: str
) -> None:
    with program(tmp_path, settings(tmp_path, **change)) as gateway:
        found, content = gateway.get(timeout=20)
        assert found == status
        assert words in content.decode()
        assert "queued for" in content.decode()


def test_settings_that_an_activator_refuses_refuse_the_route_in_its_words_once(tmp_path: Path) -> None:
    with program(tmp_path, settings(tmp_path, port=99999)) as gateway:
        assert (gateway.info["routes"], gateway.info["refused"]) == (0, 1)
        assert gateway.log().count("$.activation.port") == 1
        assert gateway.get()[0] == 404


def test_processes_end_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with program(tmp_path, settings(tmp_path)) as gateway:
        gateway.get()
        (pid,) = starts(tmp_path)
        began = time.monotonic()
        gateway.process.kill()
        soon(lambda: not alive(pid))
        assert time.monotonic() - began < 15
