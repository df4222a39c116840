"""The budget of the request path in memory: what one plain proxied request holds, exact for one version of Python."""

from __future__ import annotations

import sys

import pytest

from daemun.testing.measuring import UPSTREAM, Wire, open_lane
from daemun.testing.sampling import Memory

_MARGIN = 1.05
_BUDGET = {
    "plain": {"inside_blocks": 4, "inside_bytes": 1151, "answering_blocks": 6, "peak_bytes": 1550},
    "h11": {"inside_blocks": 4, "inside_bytes": 1151, "answering_blocks": 6, "peak_bytes": 1550},
}
"""By codec, as CPython 3.11 counts: blocks and bytes in use while the upstream has the request, blocks while the answer
is written, and the most bytes at any moment."""


def _figures(memory: Memory) -> dict[str, int]:
    return {
        "inside_blocks": memory.inside.blocks,
        "inside_bytes": memory.inside.bytes,
        "answering_blocks": memory.answering.blocks,
        "peak_bytes": memory.peak_bytes,
    }


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": False})], ids=["asyncio"])
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions of Python lay objects out differently")
async def test_a_plain_request_stays_within_its_memory(codec: str) -> None:
    async with open_lane(backend=UPSTREAM, wire=Wire(settings={"codec": codec})) as lane:
        memory = await lane.memory(200)
    found = _figures(memory)
    over = {
        name: (value, _BUDGET[codec][name]) for name, value in found.items() if value > _BUDGET[codec][name] * _MARGIN
    }
    assert not over, f"(now, budget): {over}"
    assert memory.kept_blocks < 0.05, "something stays of every request"
