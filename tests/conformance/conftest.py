"""The gateway as a process of its own, and the suites that stand beside the checkout in `../shared/corpus`."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bench.peers import plain_origin
from bench.peers.origin import certificate

from daemun.testing.program import soon

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"


@pytest.fixture
def corpus() -> Path:
    """The folder of the suites."""
    if not CORPUS.is_dir():
        pytest.skip("no ../shared/corpus beside the checkout")
    return CORPUS


@pytest.fixture(params=["plain", "h2"])
def http2(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of `protocols` for either codec of HTTP/2's frames."""
    return {"http2": {"codec": request.param}}


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

    def __init__(self, process: subprocess.Popen[str], port: int, scheme: str) -> None:
        self.process = process
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.pid = process.pid
        self.port = port
        self.address = f"127.0.0.1:{port}"


Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Start]:
    """Starts `daemun run` in front of a back end's port, with further settings.

    `speaks` are the listener's protocols, `tls` is its chain and key, `upstream` is the scheme of the
    URL of the back end `up`, and `backend` has more of it.
    """
    processes: list[subprocess.Popen[str]] = []

    def run(
        backend_port: int,
        descriptors: int = 0,
        *,
        speaks: tuple[str, ...] = ("http1",),
        tls: tuple[Path, Path] | None = None,
        upstream: str = "http",
        backend: dict[str, Any] | None = None,
        routes: Sequence[dict[str, Any]] = ({"name": "all", "to": "up"},),
        **settings: Any,
    ) -> GatewayProcess:
        port = free_port()
        listener: dict[str, Any] = {"name": "http", "bind": f"127.0.0.1:{port}", "protocols": speaks}
        if tls is not None:
            listener["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
        endpoint = f"{upstream}://127.0.0.1:{backend_port}"
        document = {
            "listeners": [listener],
            "sources": [
                {
                    "type": "inline",
                    "backends": {"up": {"endpoints": [endpoint], **(backend or {})}},
                    "routes": routes,
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
                return GatewayProcess(process, port, "https" if tls else "http")
        raise AssertionError("the gateway did not start")

    yield run
    for process in processes:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture(scope="session")
def certificate_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for the loopback interface, which is its own authority, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    files = (folder / "chain.pem", folder / "key.pem")
    if reason := certificate(*files):
        pytest.skip(reason)
    return files


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts a program in a folder, and ends it after the test; it is ready when its port accepts."""
    with ExitStack() as stack:

        def run(argv: Sequence[str | Path], port: int, folder: Path = tmp_path) -> None:
            log = stack.enter_context((tmp_path / f"log-{port}").open("w+"))
            words = [str(word) for word in argv]
            process = stack.enter_context(subprocess.Popen(words, cwd=folder, stdout=log, stderr=log))
            stack.callback(process.kill)
            soon(lambda: accepts(port) or process.poll() is not None)
            assert process.poll() is None, (tmp_path / f"log-{port}").read_text()

        yield run


def accepts(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def origin(program: Callable[..., None], free_port: Callable[[], int]) -> int:
    """The port of a back end that reads every request to its end and answers 200: `ok`, or 1 MiB at /1m."""
    port = free_port()
    program([sys.executable, plain_origin.__file__, str(port)], port)
    return port


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
