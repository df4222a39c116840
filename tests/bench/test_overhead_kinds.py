"""A plugin that does nothing costs a request next to nothing, whatever its kind: calls are exact on any machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench.overhead.kinds import BUDGETS

_MEASURE = """
import json, anyio
from bench.overhead.kinds import BUDGETS, no_op
from daemun.testing.costs import cost_of

async def main():
    for kind in BUDGETS:
        report = await cost_of("still", no_op(kind), seconds=0.01)
        print(json.dumps([
            kind,
            report.runs_for_requests,
            [part.cost.calls for part in report.parts],
            [part.fault for part in report.parts if part.fault],
            [one.why for one in report.not_measured if one.fault],
        ]))

anyio.run(main, backend_options={"use_uvloop": True})
"""


def test_a_plugin_that_does_nothing_stays_within_its_budget() -> None:
    """In a process of its own: what other tests left in this one is collected for each figure."""
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", _MEASURE], cwd=root, capture_output=True, text=True, timeout=170)
    assert said.returncode == 0, said.stderr
    measured = {kind: rest for kind, *rest in map(json.loads, said.stdout.splitlines())}
    assert list(measured) == list(BUDGETS)
    for kind, (runs, calls, faults, unbuilt) in measured.items():
        assert runs == BUDGETS[kind].runs, kind
        assert all(one <= BUDGETS[kind].calls for one in calls), (kind, calls)
        assert (faults, unbuilt) == ([], []), kind
