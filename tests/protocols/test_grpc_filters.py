"""`grpc-limits` and `grpc-stats`: messages that are too long, and how many there were; and what observers learn."""

from __future__ import annotations

from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    EMPTY,
    Body,
    Buffered,
    ExchangeError,
    FilterContext,
    FilterType,
    Handler,
    Headers,
    NoSettings,
    Reason,
    Request,
    Response,
)
from daemun.testing import Pieces, content, make_request
from daemun_grpc import GRPC_CALL, Code, call_of, daemun_filters
from daemun_grpc.dialect import GRPC
from daemun_grpc.limits import LIMITS_FILTER
from daemun_grpc.messages import frame
from daemun_grpc.settings import LimitSettings
from daemun_grpc.stats import STATS_FILTER

pytestmark = pytest.mark.anyio

GRPC_TYPE = (b"content-type", b"application/grpc")
OK: Headers = ((b"grpc-status", b"0"),)
LONG, SHORT = frame(bytes(11)), frame(bytes(10))


def call(body: Body = EMPTY, content_type: bytes = b"application/grpc") -> Request:
    request = make_request("POST", "http://a.test/pkg.Svc/Method", ((b"content-type", content_type),), body)
    request.exchange.dialect = GRPC
    return request


def answering(response: Response) -> Handler:
    """A handler that reads its request."""

    async def handle(request: Request) -> Response:
        await content(request.body)
        return response

    return handle


async def filtered(kind: FilterType, settings: Any, handler: Handler, request: Request) -> Response:
    async with kind.build(settings, FilterContext(kind.name, Path())) as layer:
        return await layer(handler)(request)


def test_filters_have_the_names_of_their_documents() -> None:
    assert [kind.name for kind in daemun_filters()] == ["grpc-web", "connect", "grpc-limits", "grpc-stats"]


# --- limits ---


@pytest.mark.parametrize("whole", [True, False])
async def test_a_message_that_is_too_long_ends_the_call(whole: bool) -> None:
    body: Body = Buffered(SHORT + LONG) if whole else Pieces(SHORT, LONG[:3], LONG[3:6])
    reached = answering(Response(200, (GRPC_TYPE, *OK)))
    with pytest.raises(ExchangeError) as caught:
        await filtered(LIMITS_FILTER, LimitSettings(max_request_bytes=10), reached, call(body))
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE
    assert GRPC.render(call(), caught.value).header(b"grpc-status") == b"%d" % Code.RESOURCE_EXHAUSTED


async def test_a_stream_may_be_as_long_as_it_likes() -> None:
    body, answer = Pieces(*[SHORT] * 50), Pieces(*[SHORT] * 50, trailers=OK)
    settings = LimitSettings(max_request_bytes=10, max_response_bytes=10)
    response = await filtered(LIMITS_FILTER, settings, answering(Response(200, (GRPC_TYPE,), answer)), call(body))
    assert await content(response.body) == SHORT * 50
    assert response.body.trailers == OK
    await response.body.aclose()
    assert answer.closed


async def test_an_answer_that_is_too_long_ends_in_a_status() -> None:
    settings = LimitSettings(max_response_bytes=10)
    request = call()
    answer = Response(200, (GRPC_TYPE,), Pieces(SHORT, LONG, trailers=OK))

    async def limited(inner: Request) -> Response:
        return await filtered(LIMITS_FILTER, settings, answering(answer), inner)

    assert GRPC.layer is not None
    response = await GRPC.layer(limited)(request)
    assert await content(response.body) == SHORT
    assert dict(response.body.trailers)[b"grpc-status"] == b"%d" % Code.RESOURCE_EXHAUSTED
    assert request.exchange.reason is Reason.CONTENT_TOO_LARGE


async def test_a_whole_answer_that_is_too_long_is_refused() -> None:
    answer = answering(Response(200, (GRPC_TYPE,), Buffered(LONG, OK)))
    with pytest.raises(ExchangeError):
        await filtered(LIMITS_FILTER, LimitSettings(max_response_bytes=10), answer, call())


async def test_what_is_no_grpc_is_not_limited() -> None:
    request = call(Buffered(LONG), b"application/json")
    response = Response(200, ((b"content-type", b"text/plain"),), Buffered(LONG))
    settings = LimitSettings(max_request_bytes=1, max_response_bytes=1)
    assert await filtered(LIMITS_FILTER, settings, answering(response), request) is response


# --- stats ---


async def test_messages_are_counted_both_ways() -> None:
    request = call(Pieces(frame(b"a"), frame(b"b")[:2], frame(b"b")[2:]))
    answer = Pieces(frame(b"c"), frame(b"d"), frame(b"e"), trailers=((b"grpc-status", b"5"),))
    response = await filtered(STATS_FILTER, NoSettings(), answering(Response(200, (GRPC_TYPE,), answer)), request)
    await content(response.body)
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert found is request.exchange.stash[GRPC_CALL]
    assert (found.request_messages, found.response_messages, found.code) == (2, 3, Code.NOT_FOUND)


async def test_nothing_is_counted_unless_it_is_asked_for() -> None:
    request = call(Buffered(frame(b"a")))
    response = Response(200, (GRPC_TYPE,), Buffered(frame(b"a"), OK))
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert (found.service, found.method, found.code) == ("pkg.Svc", "Method", Code.OK)
    assert found.request_messages < 0
    assert found.response_messages < 0


async def test_what_is_no_grpc_is_not_counted() -> None:
    request = call(Buffered(b"a"), b"application/json")
    response = Response(200, (), Buffered(b"b"))
    assert await filtered(STATS_FILTER, NoSettings(), answering(response), request) is response
    assert GRPC_CALL not in request.exchange.stash


@given(
    asked=st.lists(st.binary(max_size=10), max_size=6),
    answered=st.lists(st.binary(max_size=10), max_size=6),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=8),
)
async def test_any_chunks_pass_all_filters_as_they_came(
    asked: list[bytes], answered: list[bytes], sizes: list[int]
) -> None:
    question, answer = b"".join(map(frame, asked)), b"".join(map(frame, answered))
    request, received = call(Pieces(*cut(question, sizes))), b""

    async def handle(inner: Request) -> Response:
        nonlocal received
        received = await content(inner.body)
        return Response(200, (GRPC_TYPE,), Pieces(*cut(answer, sizes), trailers=OK))

    handler: Handler = handle
    async with AsyncExitStack() as stack:
        for kind in daemun_filters():
            settings = msgspec.convert({}, kind.settings)
            layer = await stack.enter_async_context(kind.build(settings, FilterContext(kind.name, Path())))
            handler = layer(handler)
        assert GRPC.layer is not None
        response = await GRPC.layer(handler)(request)
        assert await content(response.body) == answer
    assert received == question
    assert response.body.trailers == OK
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert (found.request_messages, found.response_messages) == (len(asked), len(answered))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in chunks of these sizes, again and again."""
    pieces: list[bytes] = []
    for size in cycle(sizes):
        if not data:
            return pieces
        pieces.append(data[:size])
        data = data[size:]
    return pieces


# --- what observers learn ---


def test_an_exchange_of_no_dialect_is_no_call() -> None:
    request = make_request("POST")
    assert call_of(request, Response(200), request.exchange) is None


@pytest.mark.parametrize(
    ("response", "reason", "code"),
    [
        (Response(200, (GRPC_TYPE, (b"grpc-status", b"7"))), None, Code.PERMISSION_DENIED),
        (Response(200, (GRPC_TYPE,), Buffered(b"", ((b"grpc-status", b"3"),))), None, Code.INVALID_ARGUMENT),
        (Response(200, (GRPC_TYPE, (b"grpc-status", b"16"))), Reason.BAD_REQUEST, Code.UNAUTHENTICATED),
        (Response(200, (GRPC_TYPE,), Pieces(b"a")), Reason.CLIENT_LEFT, Code.CANCELLED),
        (None, Reason.CLIENT_TIMEOUT, Code.DEADLINE_EXCEEDED),
        (Response(200, (GRPC_TYPE,), Pieces(b"a")), None, None),
        (None, None, None),
    ],
)
def test_how_a_call_ended_is_told(response: Response | None, reason: Reason | None, code: Code | None) -> None:
    request = call()
    request.exchange.reason = reason
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert found.code is code
