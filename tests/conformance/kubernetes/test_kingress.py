"""Knative's own tests of an ingress, one case each, two at once and eight at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .build import ingress_suite
from .cluster import Cluster
from .implementation import gateway
from .suite import INGRESS_TESTS, Report, ingress_options, run_suite

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(3600)]  # the cluster's programs may have to be built


@pytest.fixture(scope="module", params=[2, 8], ids=["2-at-once", "8-at-once"])
def report(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Report]:
    """What became of Knative's tests, that many of them at once."""
    with gateway(cluster):
        one = run_suite(
            cluster,
            ingress_suite(cluster.tell) / "ingress.test",
            *ingress_options(),
            parallel=request.param,
        )
        cluster.tell(f"Knative's tests of an ingress, {request.param} at once: {one.seconds:.0f} s")
        yield one


@pytest.mark.parametrize("name", INGRESS_TESTS)
def test_knative_ingress_conformance(name: str, report: Report) -> None:
    outcome = report.of(f"TestIngressConformance/{name}")
    assert outcome.word == "passed", outcome.output
