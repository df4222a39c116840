"""The main job on every event loop and with either codec."""

from __future__ import annotations

from typing import Any

import pytest

from daemun.testing import running, scripted

pytestmark = pytest.mark.anyio


def settings(url: str, codec: str) -> dict[str, Any]:
    return {
        "protocols": {"http1": {"codec": codec}},
        "sources": [
            {
                "type": "inline",
                "backends": {"up": {"endpoints": [url]}},
                "routes": [{"name": "all", "to": "up"}],
            }
        ],
    }


async def test_a_request_is_answered_by_the_upstream(codec: str) -> None:
    async with scripted() as upstream, running(settings(upstream.url, codec)) as gateway:
        answer = await gateway.exchange(b"GET /a?b HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nok")
        assert upstream.requests[0].startswith(b"GET /a?b HTTP/1.1\r\nhost: x.test\r\n")


async def test_a_chunked_request_streams_with_its_trailers(codec: str) -> None:
    async with scripted() as upstream, running(settings(upstream.url, codec)) as gateway:
        answer = await gateway.exchange(
            b"POST / HTTP/1.1\r\nHost: x.test\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert upstream.requests[0].endswith(b"\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n")
