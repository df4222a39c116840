"""Calls of gRPC by method and status, and how many messages they had; no name that a client made up is a label."""

from __future__ import annotations

from typing import Any

import pytest

import daemun_grpc
from daemun import Buffered, Headers, Request, Response
from daemun_grpc import Code

pytestmark = pytest.mark.anyio

MESSAGE = b"\0\0\0\0\x01a"


async def serve(request: Request) -> Response:
    """Knows the methods of one service; `Fail` fails, `Say` answers each message by two."""
    data = b""
    while chunk := await request.body.read():
        data += chunk
    head: Headers = ((b"content-type", b"application/grpc"),)
    method = request.path.removeprefix(b"/up/")
    if method == b"Say":
        return Response(200, head, Buffered(data * 2, ((b"grpc-status", b"0"),)))
    code = Code.NOT_FOUND if method == b"Fail" else Code.UNIMPLEMENTED
    return Response(200, (*head, (b"grpc-status", b"%d" % code)))


async def call(service: Any, path: str, *, messages: int = 1, content_type: str = "application/grpc") -> None:
    content = MESSAGE * messages
    head = f"POST {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"
    head += f"Content-Type: {content_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    assert await service.gateway.exchange(head.encode() + content)


def source(*filters: str) -> dict[str, Any]:
    route = {"name": "all", "to": "up", "match": {"prefix": "/up"}, "filters": [{"type": one} for one in filters]}
    return {"backends": {"up": {"type": "function"}}, "routes": [route]}


def code_counts(scraped: Any) -> dict[tuple[str, ...], float]:
    name, labels = "daemun_grpc_calls_total", ("route", "service", "method", "code")
    found = scraped.label_sets(name)
    return {tuple(one[label] for label in labels): scraped.value(name, **one) for one in found}


async def test_calls_are_counted_by_method_and_status(metering: Any) -> None:
    async with metering(serve, source=source("grpc-web"), extra=[daemun_grpc]) as service:
        for path in ("/up/Say", "/up/Say", "/up/Fail", "/nowhere/Say"):
            await call(service, path)
        await call(service, "/up/Say", content_type="application/grpc-web")
        await call(service, "/up/Say", content_type="text/plain")
        scraped = await service.scrape()
    assert code_counts(scraped) == {
        ("all", "up", "Say", "OK"): 3,
        ("all", "up", "Fail", "NOT_FOUND"): 1,
        ("", "other", "other", "UNIMPLEMENTED"): 1,
    }
    assert scraped.label_sets("daemun_grpc_request_messages_total") == []


async def test_a_name_that_a_client_made_up_is_no_label(metering: Any) -> None:
    async with metering(serve, source=source(), extra=[daemun_grpc]) as service:
        for number in range(3):
            await call(service, f"/up/Made{number}")
            await call(service, f"/nowhere{number}/Made")
        scraped = await service.scrape()
    assert code_counts(scraped) == {
        ("all", "other", "other", "UNIMPLEMENTED"): 3,
        ("", "other", "other", "UNIMPLEMENTED"): 3,
    }


async def test_messages_are_counted_where_it_is_asked_for(metering: Any) -> None:
    async with metering(serve, source=source("grpc-stats"), extra=[daemun_grpc]) as service:
        await call(service, "/up/Say", messages=2)
        await call(service, "/up/Say", messages=3)
        scraped = await service.scrape()
    labels = {"route": "all", "service": "up", "method": "Say"}
    assert scraped.value("daemun_grpc_request_messages_total", **labels) == 5
    assert scraped.value("daemun_grpc_response_messages_total", **labels) == 10
