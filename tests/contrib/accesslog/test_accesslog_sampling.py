"""Which exchanges are logged."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.contrib.accesslog.conftest import Desk

pytestmark = pytest.mark.anyio

ALL = ["/", "/health", "/status/302", "/status/404", "/status/503", "/fault"]
FAILED = ["/status/503", "/fault", None]


@pytest.mark.parametrize(
    ("settings", "logged"),
    [
        ({}, [*ALL, None]),
        ({"sample": 0}, FAILED),
        ({"sample": 0, "keep_errors": False}, []),
        ({"min_status": 400}, ["/status/404", *FAILED]),
        ({"min_status": 501}, FAILED),
        ({"min_status": 501, "keep_errors": False}, ["/status/503"]),
        ({"skip_routes": ["health", "gone"]}, ["/", "/status/302", *FAILED]),
        ({"skip_routes": ["all"], "keep_errors": False}, ["/health", "/status/404", None]),
    ],
)
async def test_what_is_logged(desk: Desk, settings: dict[str, Any], logged: list[str | None]) -> None:
    async with desk.open(fields=["path"], **settings) as door:
        for path in ALL:
            await door.ask(path)
        await door.send(b"GET / HTTP/1.1\r\n\r\n")
    assert [line["path"] for line in desk.objects()] == logged


async def test_a_share_is_logged_and_every_error(desk: Desk) -> None:
    async with desk.open(fields=["path"], sample=0.5) as door:
        await door.ask_many(300, "/")
        for _ in range(5):
            await door.ask("/status/500")
    counts = Counter(line["path"] for line in desk.objects())
    assert 75 <= counts["/"] <= 225  # 8.6 standard deviations
    assert counts["/status/500"] == 5
