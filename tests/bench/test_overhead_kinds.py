"""A plugin that does nothing costs a request next to nothing, whatever its kind: calls are exact on any machine."""

from __future__ import annotations

import pytest
from bench.overhead.kinds import BUDGETS, no_op

from daemun.testing.costs import cost_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"])
@pytest.mark.parametrize("kind", BUDGETS)
async def test_a_plugin_that_does_nothing_stays_within_its_budget(kind: str) -> None:
    report = await cost_of("still", no_op(kind), seconds=0.01)
    assert report.runs_for_requests == BUDGETS[kind].runs
    assert [part.cost.calls for part in report.parts if part.cost.calls > BUDGETS[kind].calls] == []
    assert [part.fault for part in report.parts if part.fault] == []
    assert not any(one.fault for one in report.not_measured)
