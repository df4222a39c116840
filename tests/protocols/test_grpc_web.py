"""gRPC-Web to gRPC: requests and answers in both modes, errors in their own form, and what pages of other origins may."""

from __future__ import annotations

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Body, Buffered, ExchangeError, FilterContext, Handler, Headers, Reason, Request, Response
from daemun.testing import Pieces, content, make_request
from daemun_grpc import call_of
from daemun_grpc.base64_stream import Decoder
from daemun_grpc.messages import Reader, frame
from daemun_grpc.settings import WebSettings
from daemun_grpc.status import Code
from daemun_grpc.web import GRPC_WEB, TRAILERS, WEB_FILTER

pytestmark = pytest.mark.anyio

BINARY, TEXT = b"application/grpc-web+proto", b"application/grpc-web-text+proto"
GRPC_TYPE = (b"content-type", b"application/grpc+proto")
OK: Headers = ((b"grpc-status", b"0"),)
PAGE = "https://app.example.com"


def call(content_type: bytes, body: Body = EMPTY, *headers: tuple[bytes, bytes], method: str = "POST") -> Request:
    fields = ((b"content-type", content_type), (b"x-grpc-web", b"1"), *headers)
    return make_request(method, "http://a.test/pkg.Svc/Method", fields, body)


class Upstream:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.request: Request
        self.content = b""

    async def handle(self, request: Request) -> Response:
        self.request = request
        self.content = await content(request.body)
        return self.response


async def filtered(handler: Handler, request: Request, **settings: Any) -> Response:
    async with WEB_FILTER.build(WebSettings(**settings), FilterContext("grpc-web", Path())) as layer:
        return await layer(handler)(request)


def read_answer(content_type: bytes | None, data: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Messages and trailers as a client reads them."""
    assert content_type is not None
    if b"-text" in content_type:
        decoder = Decoder()
        data = decoder.feed(data) + decoder.end()
    reader = Reader("response", 1_000_000)
    *messages, last = reader.feed(data)
    assert not reader.inside
    assert last.flags == TRAILERS
    assert all(not message.flags & TRAILERS for message in messages)
    lines = last.data.decode().splitlines()
    assert last.data == b"".join(line.encode() + b"\r\n" for line in lines)
    return [message.data for message in messages], dict(line.split(": ", 1) for line in lines)


# --- requests ---


@pytest.mark.parametrize(
    ("content_type", "becomes"),
    [
        (b"application/grpc-web", b"application/grpc"),
        (b"application/grpc-web+proto", b"application/grpc+proto"),
        (b"application/grpc-web+json", b"application/grpc+json"),
        (b"Application/grpc-web+proto; charset=utf-8", b"application/grpc+proto"),
    ],
)
async def test_a_request_in_binary_passes_as_it_is(content_type: bytes, becomes: bytes) -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=OK)))
    body = Pieces(frame(b"a"), frame(b"b"))
    await filtered(upstream.handle, call(content_type, body, (b"accept", b"*/*"), (b"x-own", b"1")))
    assert upstream.request.body is body
    assert upstream.content == frame(b"a") + frame(b"b")
    assert upstream.request.headers == ((b"content-type", becomes), (b"x-own", b"1"))
    assert upstream.request.target == b"/pkg.Svc/Method"


@pytest.mark.parametrize("whole", [True, False])
async def test_a_request_in_text_is_decoded(whole: bool) -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=OK)))
    encoded = base64.b64encode(frame(b"a")) + base64.b64encode(frame(b"bc"))
    body: Body = Buffered(encoded) if whole else Pieces(encoded[:3], encoded[3:10], encoded[10:])
    await filtered(upstream.handle, call(TEXT, body))
    assert upstream.content == frame(b"a") + frame(b"bc")
    assert upstream.request.header(b"content-type") == b"application/grpc+proto"
    assert upstream.request.body.length == (len(upstream.content) if whole else None)
    await upstream.request.body.aclose()
    assert isinstance(body, Buffered) or (isinstance(body, Pieces) and body.closed)


@pytest.mark.parametrize("body", [Buffered(b"!!!!"), Pieces(b"AAA")])
async def test_a_request_that_is_no_text_is_malformed(body: Body) -> None:
    upstream = Upstream(Response(200))
    if isinstance(body, Pieces):
        body = Pieces(b"AAAAA")
    with pytest.raises(ExchangeError) as caught:
        await filtered(upstream.handle, call(TEXT, body))
    assert caught.value.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize("content_type", [b"application/grpc", b"application/grpc-webx", b"text/plain"])
async def test_another_content_type_passes_untouched(content_type: bytes) -> None:
    response = Response(200, ((b"content-type", b"text/plain"),), Buffered(b"hello"))
    upstream = Upstream(response)
    request = call(content_type)
    assert await filtered(upstream.handle, request) is response
    assert upstream.request is request


# --- answers ---


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
@pytest.mark.parametrize("whole", [True, False])
async def test_an_answer_ends_in_a_frame_of_trailers(content_type: bytes, whole: bool) -> None:
    trailers = (*OK, (b"grpc-message", b""), (b"x-t", b"a, b"))
    data = frame(b"a") + frame(b"bcd")
    body: Body = Buffered(data, trailers) if whole else Pieces(data[:7], data[7:], trailers=trailers)
    upstream = Upstream(Response(200, (GRPC_TYPE, (b"x-h", b"1")), body))
    response = await filtered(upstream.handle, call(content_type))
    assert response.status == 200
    assert response.headers == ((b"content-type", content_type), (b"x-h", b"1"))
    messages, found = read_answer(content_type, await content(response.body))
    assert messages == [b"a", b"bcd"]
    assert found == {"grpc-status": "0", "grpc-message": "", "x-t": "a, b"}
    assert response.body.trailers == ()
    await response.body.aclose()
    assert isinstance(body, Buffered) or (isinstance(body, Pieces) and body.closed)


async def test_each_chunk_of_text_stands_for_itself() -> None:
    """A client shows a message when it is there: nothing of it may wait for the next one."""
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(frame(b"a"), frame(b"bc"), trailers=OK)))
    response = await filtered(upstream.handle, call(TEXT))
    assert base64.b64decode(await response.body.read()) == frame(b"a")
    assert base64.b64decode(await response.body.read()) == frame(b"bc")


@pytest.mark.parametrize("accept", [b"*/*", b"", None])
@pytest.mark.parametrize("content_type", [BINARY, TEXT])
async def test_the_answer_is_in_the_mode_of_the_request(content_type: bytes, accept: bytes | None) -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=OK)))
    headers = [] if accept is None else [(b"accept", accept)]
    response = await filtered(upstream.handle, call(content_type, EMPTY, *headers))
    assert response.header(b"content-type") == content_type


@pytest.mark.parametrize(("asked", "accept"), [(BINARY, TEXT), (TEXT, BINARY)])
async def test_accept_chooses_another_mode(asked: bytes, accept: bytes) -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=OK)))
    response = await filtered(upstream.handle, call(asked, EMPTY, (b"accept", accept)))
    assert response.header(b"content-type") == accept
    assert read_answer(accept, await content(response.body)) == ([], {"grpc-status": "0"})


@given(
    messages=st.lists(st.binary(max_size=30), max_size=6),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    text=st.booleans(),
)
async def test_any_chunks_of_an_answer_are_the_same_answer(messages: list[bytes], cuts: list[int], text: bool) -> None:
    data = b"".join(map(frame, messages))
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in pairwise(places)]
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(*pieces, trailers=OK)))
    content_type = TEXT if text else BINARY
    response = await filtered(upstream.handle, call(content_type))
    assert read_answer(content_type, await content(response.body)) == (messages, {"grpc-status": "0"})


@pytest.mark.parametrize("content_type", [BINARY, TEXT])
async def test_trailers_only_are_content_too(content_type: bytes) -> None:
    """A page may not be shown fields, but content it always is."""
    headers = (GRPC_TYPE, (b"grpc-status", b"5"), (b"grpc-message", b"no%20such"), (b"x-h", b"1"))
    body = Pieces()
    response = await filtered(Upstream(Response(200, headers, body)).handle, call(content_type))
    assert response.headers == ((b"content-type", content_type), (b"x-h", b"1"))
    assert read_answer(content_type, await content(response.body)) == (
        [],
        {"grpc-status": "5", "grpc-message": "no%20such"},
    )
    assert body.closed


async def test_an_answer_that_is_no_grpc_becomes_a_status() -> None:
    html = Response(403, ((b"content-type", b"text/html"),), Buffered(b"<html>"))
    response = await filtered(Upstream(html).handle, call(BINARY))
    _, trailers = read_answer(response.header(b"content-type"), await content(response.body))
    assert trailers["grpc-status"] == str(int(Code.PERMISSION_DENIED))


async def test_a_call_is_known_when_it_is_over() -> None:
    request = call(BINARY)
    request.exchange.dialect = GRPC_WEB
    response = await filtered(
        Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=((b"grpc-status", b"9"),)))).handle, request
    )
    await content(response.body)
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert (found.service, found.method, found.code) == ("pkg.Svc", "Method", Code.FAILED_PRECONDITION)


# --- errors of ours ---


@pytest.mark.parametrize("content_type", [BINARY, TEXT, b"application/grpc-web"])
def test_an_error_of_ours_is_in_the_form_of_its_client(content_type: bytes) -> None:
    error = ExchangeError(Reason.NO_ROUTE, "nö", retry_after_seconds=2)
    response = GRPC_WEB.render(call(content_type), error)
    assert (response.status, response.header(b"x-daemun-reason")) == (200, b"no_route")
    assert isinstance(response.body, Buffered)
    messages, trailers = read_answer(response.header(b"content-type"), response.body.data)
    assert messages == []
    assert trailers == {"grpc-status": "12", "grpc-message": "n%C3%B6", "grpc-retry-pushback-ms": "2000"}


async def test_a_client_limits_its_call() -> None:
    request = call(BINARY, EMPTY, (b"grpc-timeout", b"5S"))
    assert GRPC_WEB.layer is not None
    await GRPC_WEB.layer(Upstream(Response(200)).handle)(request)
    assert 4 < request.exchange.remaining_seconds() <= 5


# --- pages of other origins ---


def preflight(origin: str) -> Request:
    headers = (
        (b"origin", origin.encode()),
        (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"content-type,x-grpc-web"),
    )
    return make_request("OPTIONS", "http://a.test/pkg.Svc/Method", headers)


@pytest.mark.parametrize("origins", [(PAGE,), ("https://other.example", PAGE), ("*",), (f"{PAGE.upper()}:443",)])
async def test_a_preflight_is_answered_here(origins: tuple[str, ...]) -> None:
    upstream = Upstream(Response(500))
    response = await filtered(upstream.handle, preflight(PAGE), allow_origins=origins)
    assert not hasattr(upstream, "request")
    assert response.status == 204
    assert response.header(b"access-control-allow-origin") == PAGE.encode()
    assert b"POST" in (response.header(b"access-control-allow-methods") or b"")
    assert response.header(b"access-control-allow-headers") == b"content-type,x-grpc-web"
    assert response.header(b"vary") == b"origin"


async def test_a_page_that_may_not_call_gets_no_leave() -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE,), Pieces(trailers=OK)))
    response = await filtered(upstream.handle, preflight("https://evil.example"), allow_origins=(PAGE,))
    assert response.status == 403
    assert response.header(b"access-control-allow-origin") is None
    request = call(BINARY, EMPTY, (b"origin", b"https://evil.example"))
    response = await filtered(upstream.handle, request, allow_origins=(PAGE,))
    assert response.header(b"access-control-allow-origin") is None


async def test_without_origins_preflights_go_to_the_upstream() -> None:
    upstream = Upstream(Response(204))
    await filtered(upstream.handle, preflight(PAGE))
    assert upstream.request.method == b"OPTIONS"


async def test_an_answer_may_be_read_with_all_its_fields() -> None:
    headers = (GRPC_TYPE, (b"x-h", b"1"), (b"access-control-allow-origin", b"*"))
    upstream = Upstream(Response(200, headers, Pieces(trailers=OK)))
    request = call(BINARY, EMPTY, (b"origin", PAGE.encode()))
    response = await filtered(upstream.handle, request, allow_origins=(PAGE,))
    allowed = [value for name, value in response.headers if name == b"access-control-allow-origin"]
    assert allowed == [PAGE.encode()]
    exposed = (response.header(b"access-control-expose-headers") or b"").split(b", ")
    assert {b"grpc-status", b"grpc-message", b"grpc-status-details-bin", b"x-h"} <= set(exposed)


async def test_an_error_of_ours_may_be_read_too() -> None:
    async def handle(_: Request) -> Response:
        raise ExchangeError(Reason.NO_ENDPOINT)

    request = call(BINARY, EMPTY, (b"origin", PAGE.encode()))
    with pytest.raises(ExchangeError) as caught:
        await filtered(handle, request, allow_origins=(PAGE,))
    response = GRPC_WEB.render(request, caught.value)
    assert response.header(b"access-control-allow-origin") == PAGE.encode()
    assert b"x-daemun-reason" in (response.header(b"access-control-expose-headers") or b"")


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/", "ftp://a", "https://", "null"])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="allow_origins"):
        WebSettings(allow_origins=(origin,))
