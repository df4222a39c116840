"""The gateway as a process of its own, and the suites that stand beside the checkout in `../shared/corpus`."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.fixture
def corpus() -> Path:
    """The folder of the suites."""
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus beside the checkout")
    return CORPUS


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A port of the loopback interface that nobody uses."""

    def find() -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            return int(sock.getsockname()[1])

    return find


class GatewayProcess:
    """A running `daemun`."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.pid = process.pid
        self.port = port
        self.address = f"127.0.0.1:{port}"


Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Start]:
    """Starts `daemun run` in front of a back end's port, with further settings."""
    processes: list[subprocess.Popen[str]] = []

    def run(backend_port: int, descriptors: int = 0, **settings: Any) -> GatewayProcess:
        port = free_port()
        document = {
            "listeners": [{"name": "http", "bind": f"127.0.0.1:{port}"}],
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [f"http://127.0.0.1:{backend_port}"]}},
                    "routes": [{"name": "all", "to": "up"}],
                }
            ],
            **settings,
        }
        file = tmp_path / f"daemun-{port}.json"
        file.write_text(json.dumps(document))

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        process = subprocess.Popen(
            [sys.executable, "-m", "daemun.cli", "run", str(file)],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=limit if descriptors else None,
        )
        processes.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if line.lstrip().startswith("routes"):
                return GatewayProcess(process, port)
        raise AssertionError("the gateway did not start")

    yield run
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def script(file: Path, *arguments: str, timeout: float = 240) -> dict[str, Any]:
    """The result that a script of the corpus prints as JSON."""
    done = subprocess.run(
        [sys.executable, file.name, *arguments],
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
