"""A compiled Go test that is run in the cluster's namespace, and what became of its tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
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

    All that it said is in the cluster's folder, in `NAME.log`, while it runs and later.
    """
    go = shutil.which("go")
    if go is None:
        pytest.skip("test2json: there is no go here")
    limits = ("-test.v=test2json", "-test.count=1", f"-test.parallel={parallel}", f"-test.timeout={seconds:.0f}s")
    argv = [go, "tool", "test2json", "-t", *inside(CLUSTER, binary, *limits, *options)]
    file = cluster.folder / f"{binary.stem}.log"
    began = time.monotonic()
    with (
        file.open("w") as log,
        subprocess.Popen(
            argv,
            cwd=binary.parent,
            env={**cluster.environment(), **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(seconds + 60)
        finally:
            _end_group(process.pid)
    tests, output = _read(file.read_text(errors="replace").splitlines())
    return Report(tests, time.monotonic() - began, output)


def _end_group(leader: int) -> None:
    """Ends what a program started, too."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


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
