"""`python -m tests.conformance.kubernetes WORD`: the cluster by hand. What is up stays up, and the tests use it.

up                     builds what is missing and raises the cluster
install                the gateway's Services, account and rights; tells its kubeconfig
gateway FILE           starts `daemun run FILE` as the gateway's Pod
settings               settings for `gateway` that serve Knative's class
suite PARALLEL [-flag] Knative's tests of an ingress
serving                installs Knative Serving on top
kubectl WORD...        kubectl as the cluster's administrator
down                   ends and forgets everything
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from . import implementation, serving
from .build import ingress_suite
from .cluster import Cluster
from .networks import CLUSTER
from .suite import ingress_options, run_suite


def main(words: Sequence[str]) -> int:
    """Does what the first word says; returns the exit code."""
    cluster = Cluster()
    match words:
        case ["up"]:
            up(cluster)
        case ["install"]:
            print(implementation.install(cluster))
        case ["settings"]:
            print(yaml.safe_dump(implementation.knative_settings(implementation.install(cluster))), end="")
        case ["gateway", file]:
            implementation.install(cluster)
            implementation.start(cluster, Path(file))
        case ["suite", parallel, *options]:
            return suite(cluster, int(parallel), options)
        case ["serving"]:
            serving.install(cluster)
        case ["kubectl", *arguments]:
            print(cluster.kubectl(*arguments), end="")
        case ["down"]:
            cluster.lower()
        case _:
            print(__doc__)
            return 2
    return 0


def up(cluster: Cluster) -> None:
    """Raises the cluster, unless it is up, and tells how it is reached."""
    if not cluster.is_kept:
        cluster.raise_up()
        cluster.keep()
    print(f"it is reached in the network namespace {CLUSTER}, with the kubeconfig {cluster.credentials.administrator}")


def suite(cluster: Cluster, parallel: int, options: Sequence[str]) -> int:
    """Runs the tests and tells the outcome of each."""
    binary = ingress_suite() / "ingress.test"
    report = run_suite(cluster, binary, *ingress_options(), *options, parallel=parallel)
    for name, test in sorted(report.tests.items()):
        print(f"{test.word:10} {test.seconds:7.2f} s  {name}")
        if test.word not in ("passed", "skipped"):
            print(test.output[-1500:])
    print(f"{report.seconds:.1f} s; all that was said: {cluster.processes.folder / 'test-ingress.log'}")
    return int(any(test.word not in ("passed", "skipped") for test in report.tests.values()))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except pytest.skip.Exception as missing:
        sys.exit(f"it cannot be done here: {missing}")
