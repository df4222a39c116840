"""A compiled Go test that is run in the cluster's namespace, and what became of its tests."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from .cluster import Cluster
from .implementation import CLASS
from .networks import CLUSTER, inside

__all__ = ["INGRESS_TESTS", "Outcome", "Report", "ingress_options", "run_suite"]

INGRESS_TESTS = (
    *("basics", "basics/http2", "grpc", "grpc/split", "headers/pre-split", "headers/post-split", "headers/probe"),
    *("hosts/multiple", "dispatch/path", "dispatch/percentage", "dispatch/path_and_percentage", "dispatch/rule"),
    *("retry", "timeout", "tls", "update", "visibility", "visibility/split", "visibility/path", "ingressclass"),
    *("websocket", "websocket/split", "host-rewrite", "headers/tags", "httpoption"),
)
"""Knative's names: 22 stable ones, then two of beta and one of alpha quality."""

_ENDS = {"pass": "passed", "fail": "failed", "skip": "skipped"}


class Outcome(msgspec.Struct, frozen=True):
    """What became of one test."""

    word: str
    """`passed`, `failed`, `skipped`, or `unfinished`."""
    seconds: float
    output: str


class Report(msgspec.Struct, frozen=True):
    """What became of a run."""

    tests: dict[str, Outcome]
    """By full name, subtests too: `TestOne/part`."""
    seconds: float
    output: str

    def of(self, name: str) -> Outcome:
        """What became of a test; `unfinished` with the run's last words if it was never reached."""
        return self.tests.get(name) or Outcome("unfinished", 0.0, self.output[-2000:])

    def count(self, word: str) -> int:
        """How many tests, subtests not counted, became that."""
        return sum(test.word == word for name, test in self.tests.items() if "/" not in name)


def ingress_options(ingress_class: str = CLASS) -> list[str]:
    """Options of Knative's tests of an ingress: all of them, for a class."""
    return [f"--ingressClass={ingress_class}", "--enable-beta", "--enable-alpha", "--dockerrepo=local"]


def run_suite(
    cluster: Cluster, binary: Path, *options: str, parallel: int = 2, seconds: float = 600, **environment: str
) -> Report:
    """Runs the tests of a binary, `parallel` at once, for `seconds` at most. `options` are its own and those of `go test`.

    All that it said is the log of the cluster's process `test-NAME`, while it runs and later.
    """
    go = shutil.which("go")
    if go is None:
        pytest.skip("test2json: there is no go here")
    limits = ("-test.v=test2json", "-test.count=1", f"-test.parallel={parallel}", f"-test.timeout={seconds:.0f}s")
    argv = [go, "tool", "test2json", "-t", *inside(CLUSTER, binary, *limits, *options)]
    name, began = f"test-{binary.stem}", time.monotonic()
    try:
        cluster.processes.start(name, argv, {**cluster.environment(), **environment})
        cluster.processes.wait(name, seconds + 60)
    finally:
        cluster.processes.end(name, signal.SIGKILL)
    tests, output = _read(cluster.processes.log(name).splitlines())
    return Report(tests, time.monotonic() - began, output)


def _read(lines: Sequence[str]) -> tuple[dict[str, Outcome], str]:
    ends: dict[str, tuple[str, float]] = {}
    output: defaultdict[str, list[str]] = defaultdict(list)
    for line in lines:
        if not line.startswith("{"):
            output[""].append(f"{line}\n")
            continue
        event = json.loads(line)
        name = event.get("Test", "")
        output[name].append(event.get("Output", ""))
        if name and event["Action"] == "run":
            ends[name] = ("unfinished", 0.0)
        elif name and event["Action"] in _ENDS:
            ends[name] = (_ENDS[event["Action"]], event.get("Elapsed", 0.0))
    tests = {name: Outcome(*end, output="".join(output[name])) for name, end in ends.items()}
    return tests, "".join(output[""])
