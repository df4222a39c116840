"""The near ones first, then the far ones, and nobody beyond its room."""

from __future__ import annotations

from typing import Any

import daemun_near
import pytest

from daemun.testing import answering, in_memory
from daemun.testing.batteries import check_balancer

pytestmark = pytest.mark.anyio

NETWORKS = ["10.0.1.0/24", "10.0.0.0/16"]
WHERE = {"10.0.1.1:80": b"here", "10.0.2.1:80": b"next door", "192.0.2.1:80": b"far"}


def gateway(*addresses: str) -> Any:
    backend = {
        "endpoints": [f"http://{address}" for address in addresses],
        "balancer": {"type": "near", "networks": NETWORKS},
    }
    source = {"type": "inline", "backends": {"up": backend}, "routes": [{"name": "all", "to": "up"}]}
    upstreams = {address: answering(content=WHERE[address]) for address in addresses}
    return in_memory({"sources": [source]}, plugins=[daemun_near], only=["http1", "file"], upstreams=upstreams)


@pytest.mark.parametrize(
    ("addresses", "answer"),
    [
        (("192.0.2.1:80", "10.0.2.1:80", "10.0.1.1:80"), b"here"),
        (("192.0.2.1:80", "10.0.2.1:80"), b"next door"),
        (("192.0.2.1:80",), b"far"),
    ],
)
async def test_the_nearest_is_used(addresses: tuple[str, ...], answer: bytes) -> None:
    async with gateway(*addresses) as one:
        assert [(await one.ask()).body for _ in range(3)] == [answer] * 3


async def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(Exception, match=r"'10\.0\.0\.300/8' does not appear to be an IPv4 or IPv6 network"):
        daemun_near.build(daemun_near.NearSettings(("10.0.0.300/8",)))


async def test_it_keeps_the_contract_of_balancers() -> None:
    (kind,) = daemun_near.daemun_balancers()
    await check_balancer(kind, {"networks": NETWORKS})
