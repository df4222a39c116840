"""Knative Serving with the gateway as its ingress: the article's Service starts from zero, and Serving's own tests pass."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from daemun.testing.program import soon

from . import coldstart
from .cluster import Cluster
from .implementation import gateway
from .networks import CLUSTER, GATEWAY_ADDRESS, inside
from .serving import HELLO_HOST, hello, install, is_ready, scaled_to_zero
from .serving_tests import SUITE_NAMES, run_serving_tests
from .suite import Report

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # Serving's programs may have to be built

ROUNDS = 5
SLOWEST_COLD_MILLISECONDS = 1000.0
SLOWEST_WARM_MILLISECONDS = 50.0
"""Medians. What is usual is a fifth of it and less: a busy machine is no failure, a poll or a retry on the way is one."""


@pytest.fixture(scope="module")
def serving(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster with Serving on it, and the gateway as its ingress."""
    with gateway(cluster):
        install(cluster)
        yield cluster


@pytest.fixture(scope="module")
def hello_world(serving: Cluster) -> Cluster:
    """The same, where the article's Service is ready."""
    serving.apply_objects([hello()])
    soon(lambda: is_ready(serving), 60)
    return serving


def asked(address: str = f"{GATEWAY_ADDRESS}:8080") -> dict[str, Any]:
    """What the measuring script tells."""
    argv = inside(CLUSTER, sys.executable, Path(coldstart.__file__), HELLO_HOST, address)
    told: dict[str, Any] = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return told


def test_the_articles_service_scales_to_zero_and_answers(hello_world: Cluster) -> None:
    cold, warm = [], []
    for _ in range(ROUNDS):
        soon(lambda: scaled_to_zero(hello_world), 120)
        told = asked()
        milliseconds, status, content = told["cold"]
        assert (status, content) == (200, "Hello Go Sample v1!\n")
        assert told["statuses"] == [200]
        cold.append(milliseconds)
        warm += told["warm_milliseconds"]
    hello_world.tell(
        f"from zero: median {statistics.median(cold):.0f} ms, {min(cold):.0f} to {max(cold):.0f};"
        f" warm: median {statistics.median(warm):.1f} ms"
    )
    assert statistics.median(cold) < SLOWEST_COLD_MILLISECONDS
    assert statistics.median(warm) < SLOWEST_WARM_MILLISECONDS


@pytest.fixture(scope="module")
def report_of(serving: Cluster) -> Callable[[str], Report]:
    """What became of Serving's tests in a binary, which runs once."""

    @cache
    def run(binary: str) -> Report:
        one = run_serving_tests(serving, binary)
        serving.tell(f"Knative Serving's tests, {binary}: {one.seconds:.0f} s")
        return one

    return run


@pytest.mark.parametrize(("binary", "name"), SUITE_NAMES)
def test_serving_conformance(binary: str, name: str, report_of: Callable[[str], Report]) -> None:
    outcome = report_of(binary).of(name)
    assert outcome.word == "passed", outcome.output[-4000:]
