"""What a plugin that does nothing adds to a request, for each kind of plugin: the price of being one."""

from __future__ import annotations

import pytest

from daemun.testing.costs import cost_of

from .host import Host
from .kinds import BUDGETS, no_op
from .results import Fact, Results


@pytest.mark.parametrize("kind", BUDGETS)
def test_a_plugin_that_does_nothing(host: Host, rounds: int, results: Results, kind: str) -> None:
    report = host.run(cost_of("still", no_op(kind), seconds=rounds / 10))
    assert report.runs_for_requests == BUDGETS[kind].runs
    for part in report.parts[:1]:
        assert part.cost.calls <= BUDGETS[kind].calls
        cpu = part.cost.cpu
        results.facts.append(Fact(f"a no-op {kind} adds", cpu.ns / 1000, "µs", cpu.error_ns / 1000))
