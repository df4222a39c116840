"""Abuse of HTTP/2: each script of the corpus is stopped early, costs little memory, and hurts no other client."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import GatewayProcess, Start, script

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

PROBE_MS = 250
RUNS = 3
"""Other programs of the machine delay probes too: of so many runs the best one counts, for them and nothing else."""

STOPPED = {
    "rapid_reset": (),
    "made_you_reset window0": ("--how", "window0"),
    "made_you_reset overflow": ("--how", "overflow"),
    "made_you_reset data": ("--how", "data"),
    "made_you_reset priority": ("--how", "priority"),
    "continuation big": ("--mode", "big"),
    "continuation small": ("--mode", "small"),
    "continuation empty": ("--mode", "empty"),
    "hpack_bomb": (),
    "control_flood ping": ("--kind", "ping"),
    "control_flood settings": ("--kind", "settings"),
    "control_flood priority": ("--kind", "priority"),
    "control_flood window": ("--kind", "window"),
    "control_flood unknown": ("--kind", "unknown"),
    "control_flood emptydata": ("--kind", "emptydata"),
}


def attacked(gateway: GatewayProcess, file: Path, *arguments: str) -> dict[str, Any]:
    return script(file, "--target", gateway.address, "--pid", str(gateway.pid), *arguments)


def assert_harmless(run: Callable[[], dict[str, Any]], growth_mb: int) -> None:
    """In every run memory stays and no probe fails; in the best one every probe is quick."""
    slowest = []
    for _ in range(RUNS):
        result = run()
        before, after = result["rss_mb"]
        assert after - before <= growth_mb, result
        assert result["probe_fail"] == 0, result
        slowest.append(result["probe_max_ms"])
        if slowest[-1] <= PROBE_MS:
            return
    raise AssertionError(f"the slowest probes took {slowest} ms")


@pytest.mark.parametrize("attack", STOPPED)
def test_an_attack_is_stopped(attack: str, http2: dict[str, Any], corpus: Path, start: Start, origin: int) -> None:
    gateway = start(origin, speaks=("http2",), protocols=http2)

    def run() -> dict[str, Any]:
        result = attacked(gateway, corpus / "attacks" / f"{attack.split()[0]}.py", *STOPPED[attack])
        assert result["stopped"], result
        return result

    assert_harmless(run, growth_mb=20)


@pytest.fixture
def stalled(http2: dict[str, Any], corpus: Path, start: Start, origin: int) -> Callable[..., dict[str, Any]]:
    """Asks for 300 answers of 1 MiB for some seconds, takes none of them, and leaves."""
    large = {"name": "large", "match": {"path": "/1m.bin"}, "rewrite": {"path": "/1m"}, "to": "up"}
    probed = {"name": "probed", "respond": {"body": "ok"}}  # not the back end's time, which has 300 MiB to make
    gateway = start(origin, speaks=("http2",), routes=[large, probed], protocols=http2)

    def run(seconds: int) -> dict[str, Any]:
        arguments = ("--streams", "100", "--conns", "3", "--seconds", str(seconds))
        result = attacked(gateway, corpus / "attacks" / "zero_window.py", *arguments)
        assert result["answered"] > 0, result  # all 300 in time, unless the machine is busy
        return result

    return run


def test_answers_that_nobody_takes_do_not_fill_memory(stalled: Callable[..., dict[str, Any]]) -> None:
    assert_harmless(lambda: stalled(10), growth_mb=80)


def test_what_a_client_held_back_is_given_back_when_it_leaves(stalled: Callable[..., dict[str, Any]]) -> None:
    first = stalled(3)["rss_mb"][0]
    assert max(stalled(3)["rss_mb"][1] for _ in range(5)) - first <= 110
