"""Autobahn's fuzzing client against its own server behind the gateway: as bytes and through the lens, over HTTP/1 and HTTP/2.

Autobahn speaks HTTP/1 only: where a side is HTTP/2, a bridge stands between.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import h2_bridge
from .conftest import Start
from .tools import autobahn

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(900)]  # it may have to be installed

LARGE = {"max_message_bytes": 1 << 24, "max_fragments": 1 << 17}
"""Of the cases of size: 16 MiB in one message, 4 MiB in frames of 64 bytes, and an empty one."""
MODES: dict[str, list[dict[str, Any]]] = {
    "bytes": [],
    "lens": [{"type": "websocket-messages", "settings": LARGE}, {"type": "ws_log", "settings": {"fraction": 0.001}}],
}
"""Filters of the route: with one for messages, every frame is read and written anew."""
WELL = {"OK", "INFORMATIONAL"}

Port = Callable[[], int]


@pytest.fixture
def testee(program: Callable[..., None], free_port: Port) -> int:
    """The port of Autobahn's own server, which has a perfect score."""
    port = free_port()
    program([*autobahn(), "-m", "testeeserver", "-w", f"ws://127.0.0.1:{port}"], port)
    return port


@pytest.fixture
def reached(start: Start, program: Callable[..., None], free_port: Port, testee: int) -> Callable[..., int]:
    """The port at which the testee is reached through a gateway whose sides speak these versions."""

    def run(mode: str, downstream: str = "http1", upstream: str = "http1") -> int:
        behind, before = testee, free_port()
        if upstream == "http2":
            behind = free_port()
            program([sys.executable, h2_bridge.__file__, "up", behind, testee], behind)
        # the server looks at the port in the host
        route = {"name": "all", "to": "up", "rewrite": {"host": f"127.0.0.1:{testee}"}, "filters": MODES[mode]}
        scheme = {"http1": "http", "http2": "h2c"}[upstream]
        gateway = start(behind, speaks=("http2", "http1"), upstream=scheme, routes=[route])
        if downstream == "http1":
            return gateway.port
        program([sys.executable, h2_bridge.__file__, "down", before, gateway.port], before)
        return before

    return run


def failures(port: int, folder: Path, cases: list[str], without: list[str]) -> tuple[int, dict[str, Any]]:
    """How many cases there were, and what Autobahn says of those that did not go well.

    Where an echo and the refusal of what follows it are on their way at once, a bridge may lose the echo (NON-STRICT):
    such a case has a second try.
    """
    count, bad = _run(port, folder / "first", cases, without)
    again = [case for case, said in bad.items() if "NON-STRICT" in said]
    if again:
        bad = {case: said for case, said in bad.items() if case not in again}
        bad |= _run(port, folder / "second", again, [])[1]
    return count, bad


def _run(port: int, folder: Path, cases: list[str], without: list[str]) -> tuple[int, dict[str, Any]]:
    folder.mkdir()
    spec = folder / "spec.json"
    server = {"agent": "daemun", "url": f"ws://127.0.0.1:{port}"}
    reports = folder / "reports"
    spec.write_text(
        json.dumps(
            {
                "outdir": str(reports),
                "servers": [server],
                "cases": cases,
                "exclude-cases": without,
                "exclude-agent-cases": {},
            }
        )
    )
    argv = [*autobahn(), "-m", "fuzzingclient", "-s", spec]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, timeout=600)
    assert (reports / "index.json").exists(), (done.stdout + done.stderr)[-2000:]
    told = json.loads((reports / "index.json").read_text())["daemun"]
    return len(told), {
        case: (said["behavior"], said["behaviorClose"])
        for case, said in told.items()
        if not {said["behavior"], said["behaviorClose"]} <= WELL
    }


@pytest.mark.parametrize("upstream", ["http1", "http2"])
@pytest.mark.parametrize("downstream", ["http1", "http2"])
@pytest.mark.parametrize("mode", MODES)
def test_every_core_case_goes_well(
    mode: str, downstream: str, upstream: str, reached: Callable[..., int], tmp_path: Path
) -> None:
    port = reached(mode, downstream, upstream)
    assert failures(port, tmp_path, ["*"], ["9.*", "12.*", "13.*"]) == (247, {})


@pytest.mark.parametrize("mode", MODES)
def test_every_case_of_size_and_compression_goes_well(mode: str, reached: Callable[..., int], tmp_path: Path) -> None:
    assert failures(reached(mode), tmp_path, ["9.*", "12.1.*"], []) == (72, {})
