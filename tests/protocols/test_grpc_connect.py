"""Connect to gRPC: unary calls as plain HTTP, by POST and by GET, streams in envelopes, errors as JSON."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Body, Buffered, ExchangeError, FilterContext, Handler, Headers, Reason, Request, Response
from daemun.testing import Pieces, content, make_request
from daemun_grpc import call_of
from daemun_grpc.connect import CONNECT, CONNECT_FILTER
from daemun_grpc.messages import Reader, frame
from daemun_grpc.settings import ConnectSettings
from daemun_grpc.status import HTTP_STATUS, Code
from daemun_grpc.timeout import parse_timeout

pytestmark = pytest.mark.anyio

JSON, PROTO = b"application/json", b"application/proto"
STREAM = b"application/connect+proto"
GRPC_TYPE = (b"content-type", b"application/grpc+proto")
OK: Headers = ((b"grpc-status", b"0"),)
PAGE = b"https://app.example.com"


def call(content_type: bytes, body: Body = EMPTY, *headers: tuple[bytes, bytes], method: str = "POST") -> Request:
    return make_request(method, "http://a.test/pkg.Svc/Method", ((b"content-type", content_type), *headers), body)


def get(query: str, *headers: tuple[bytes, bytes]) -> Request:
    return make_request("GET", f"http://a.test/pkg.Svc/Method?{query}", headers)


class Upstream:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self, response: Response | None = None) -> None:
        self.response = response or Response(200, (GRPC_TYPE,), Pieces(frame(b"answer"), trailers=OK))
        self.request: Request | None = None
        self.content = b""

    async def handle(self, request: Request) -> Response:
        self.request = request
        self.content = await content(request.body)
        return self.response


async def filtered(handler: Handler, request: Request, **settings: Any) -> Response:
    async with CONNECT_FILTER.build(ConnectSettings(**settings), FilterContext("connect", Path())) as layer:
        return await layer(handler)(request)


async def failure(response: Response) -> dict[str, Any]:
    assert response.header(b"content-type") == b"application/json"
    found: dict[str, Any] = json.loads(await content(response.body))
    return found


def envelopes(data: bytes) -> tuple[list[bytes], dict[str, Any]]:
    """Messages and the end of a stream as a client reads them."""
    reader = Reader("response", 1_000_000)
    *messages, last = reader.feed(data)
    assert not reader.inside
    assert last.flags == 2
    assert all(not message.flags & 2 for message in messages)
    return [message.data for message in messages], json.loads(last.data)


# --- unary: requests ---


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [(JSON, b"json"), (PROTO, b"proto"), (b"Application/JSON; charset=utf-8", b"json")],
)
@pytest.mark.parametrize("whole", [True, False])
async def test_a_unary_call_becomes_one_message(content_type: bytes, codec: bytes, whole: bool) -> None:
    upstream = Upstream()
    request = call(
        content_type,
        Buffered(b"question") if whole else Pieces(b"que", b"stion"),
        (b"connect-protocol-version", b"1"),
        (b"accept", b"*/*"),
        (b"x-own", b"1"),
        (b"grpc-encoding", b"forged"),
    )
    response = await filtered(upstream.handle, request)
    assert upstream.request is not None
    assert upstream.content == frame(b"question")
    assert upstream.request.headers == ((b"content-type", b"application/grpc+" + codec), (b"x-own", b"1"))
    assert response.status == 200
    assert response.headers == ((b"content-type", b"application/" + codec),)
    assert await content(response.body) == b"answer"


async def test_no_content_is_an_empty_message() -> None:
    upstream = Upstream()
    await filtered(upstream.handle, call(PROTO))
    assert upstream.content == frame(b"")


async def test_compression_of_content_is_that_of_the_message() -> None:
    upstream = Upstream(Response(200, (GRPC_TYPE, (b"grpc-encoding", b"gzip")), Buffered(frame(b"zipped back", 1), OK)))
    encodings = ((b"content-encoding", b"gzip"), (b"accept-encoding", b"gzip, br;q=0.5, zstd;q=0, *;q=0.1"))
    response = await filtered(upstream.handle, call(PROTO, Buffered(b"zipped"), *encodings))
    assert upstream.request is not None
    assert upstream.content == frame(b"zipped", 1)
    assert upstream.request.header(b"grpc-encoding") == b"gzip"
    assert upstream.request.header(b"grpc-accept-encoding") == b"gzip,br"
    assert upstream.request.header(b"content-encoding") is None
    assert upstream.request.header(b"accept-encoding") is None
    assert response.header(b"content-encoding") == b"gzip"
    assert response.header(b"grpc-encoding") is None
    assert await content(response.body) == b"zipped back"


@pytest.mark.parametrize("whole", [True, False])
async def test_a_question_that_is_too_long_reaches_nobody(whole: bool) -> None:
    upstream = Upstream()
    body: Body = Buffered(bytes(11)) if whole else Pieces(bytes(6), bytes(6))
    with pytest.raises(ExchangeError) as caught:
        await filtered(upstream.handle, call(PROTO, body), max_message_bytes=10)
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE
    assert upstream.request is None


async def test_a_client_limits_its_call() -> None:
    upstream = Upstream()
    request = call(JSON, EMPTY, (b"connect-timeout-ms", b"5000"))
    await filtered(upstream.handle, request)
    assert 4 < request.exchange.remaining_seconds() <= 5
    assert request.exchange.timeout_reason is Reason.CLIENT_TIMEOUT
    assert upstream.request is not None
    assert 4 < parse_timeout(upstream.request.header(b"grpc-timeout") or b"") <= 5
    assert request.exchange.dialect is CONNECT
    outgoing = CONNECT.outgoing(upstream.request).header(b"grpc-timeout")
    assert parse_timeout(outgoing or b"") <= parse_timeout(upstream.request.header(b"grpc-timeout") or b"")


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ((b"connect-timeout-ms", b"1s"), Reason.BAD_REQUEST),
        ((b"connect-timeout-ms", b"0"), Reason.CLIENT_TIMEOUT),
        ((b"connect-protocol-version", b"2"), Reason.BAD_REQUEST),
    ],
)
async def test_what_cannot_be_understood_reaches_nobody(header: tuple[bytes, bytes], reason: Reason) -> None:
    upstream = Upstream()
    with pytest.raises(ExchangeError) as caught:
        await filtered(upstream.handle, call(JSON, EMPTY, header))
    assert caught.value.reason is reason
    assert upstream.request is None


@pytest.mark.parametrize("content_type", [b"application/grpc", b"application/grpc-web+proto", b"text/plain", None])
async def test_another_content_type_passes_untouched(content_type: bytes | None) -> None:
    upstream = Upstream()
    request = make_request("POST", headers=() if content_type is None else ((b"content-type", content_type),))
    assert await filtered(upstream.handle, request) is upstream.response
    assert upstream.request is request


async def test_another_method_than_post_is_not_allowed() -> None:
    upstream = Upstream()
    response = await filtered(upstream.handle, call(JSON, EMPTY, method="PUT"))
    assert (response.status, response.header(b"allow")) == (405, b"POST")
    assert upstream.request is None


@pytest.mark.parametrize(
    ("content_type", "codecs"),
    [(b"application/connect+xml", ("proto", "json")), (JSON, ("proto",)), (b"application/connect+json", ("proto",))],
)
async def test_a_codec_that_the_upstream_has_not_is_refused(content_type: bytes, codecs: tuple[str, ...]) -> None:
    upstream = Upstream()
    response = await filtered(upstream.handle, call(content_type), codecs=codecs)
    assert response.status == 415
    assert b"application/proto" in (response.header(b"accept-post") or b"")
    assert upstream.request is None


# --- unary: answers ---


async def test_trailers_become_fields() -> None:
    trailers = (*OK, (b"grpc-message", b""), (b"x-t", b"1"))
    answer = Response(200, (GRPC_TYPE, (b"x-h", b"2")), Pieces(frame(b"a"), trailers=trailers))
    response = await filtered(Upstream(answer).handle, call(PROTO))
    assert response.headers == ((b"content-type", PROTO), (b"x-h", b"2"), (b"trailer-x-t", b"1"))


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_a_failure_is_json_with_a_status_of_its_own(code: Code) -> None:
    trailers = ((b"grpc-status", b"%d" % code), (b"grpc-message", b"n%C3%A4h"), (b"x-t", b"1"))
    for answer in (
        Response(200, (GRPC_TYPE,), Pieces(frame(b"a"), trailers=trailers)),
        Response(200, (GRPC_TYPE, *trailers), EMPTY),
    ):
        response = await filtered(Upstream(answer).handle, call(PROTO))
        assert response.status == HTTP_STATUS[code]
        name = {Code.CANCELLED: "canceled"}.get(code, code.name.lower())
        assert await failure(response) == {"code": name, "message": "näh"}
        assert b"1" in (response.header(b"trailer-x-t"), response.header(b"x-t"))


async def test_details_are_told() -> None:
    name = b"type.googleapis.com/google.rpc.Help"
    detail = b"\x0a" + bytes([len(name)]) + name + b"\x12\x02hi"
    status = b"\x08\x05\x1a" + bytes([len(detail)]) + detail
    trailers = ((b"grpc-status", b"5"), (b"grpc-status-details-bin", base64.b64encode(status).rstrip(b"=")))
    response = await filtered(Upstream(Response(200, (GRPC_TYPE, *trailers))).handle, call(PROTO))
    assert await failure(response) == {"code": "not_found", "details": [{"type": "google.rpc.Help", "value": "aGk"}]}


async def test_an_answer_that_is_no_grpc_becomes_a_failure() -> None:
    html = Response(503, ((b"content-type", b"text/html"),), Pieces(b"<html>"))
    response = await filtered(Upstream(html).handle, call(JSON))
    assert response.status == 503
    assert (await failure(response))["code"] == "unavailable"


async def test_an_answer_that_breaks_off_tells_why() -> None:
    broken = Response(200, (GRPC_TYPE,), Pieces(frame(b"a")[:3], ExchangeError(Reason.UPSTREAM_CLOSED, "closed")))
    response = await filtered(Upstream(broken).handle, call(JSON))
    assert await failure(response) == {"code": "unavailable", "message": "closed"}


@pytest.mark.parametrize(
    "data", [b"", frame(b"a") + frame(b"b"), frame(b"a") + frame(b"b")[:4], frame(b"a")[:-1], frame(b"z", 1)]
)
async def test_an_answer_of_more_or_less_than_one_message_is_the_fault_of_the_upstream(data: bytes) -> None:
    body = Pieces(*([data] if data else []), trailers=OK)
    with pytest.raises(ExchangeError) as caught:
        await filtered(Upstream(Response(200, (GRPC_TYPE,), body)).handle, call(PROTO))
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
    assert body.closed


async def test_an_answer_that_is_too_long_is_not_taken_into_memory() -> None:
    body = Pieces(frame(bytes(11))[:8], AssertionError("the rest was read"))
    with pytest.raises(ExchangeError) as caught:
        await filtered(Upstream(Response(200, (GRPC_TYPE,), body)).handle, call(PROTO), max_message_bytes=10)
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE
    assert body.closed


# --- unary by GET ---

METHODS = ("pkg.Svc/Method",)


@given(st.binary(max_size=60), st.booleans(), st.booleans())
async def test_a_message_in_a_query_is_the_message(message: bytes, encoded: bool, padded: bool) -> None:
    text = base64.urlsafe_b64encode(message).decode() if encoded else quote_from_bytes(message)
    query = f"message={text if padded else text.rstrip('=')}&encoding=proto&connect=v1{'&base64=1' * encoded}"
    upstream = Upstream()
    response = await filtered(upstream.handle, get(query), get_methods=METHODS)
    assert upstream.request is not None
    assert (upstream.request.method, upstream.request.target) == (b"POST", b"/pkg.Svc/Method")
    assert upstream.request.header(b"content-type") == b"application/grpc+proto"
    assert upstream.content == frame(message)
    assert await content(response.body) == b"answer"
    assert response.header(b"content-type") == PROTO


async def test_a_compressed_message_in_a_query() -> None:
    upstream = Upstream()
    query = "connect=v1&encoding=json&compression=gzip&message=eno&base64=1"
    await filtered(upstream.handle, get(query), get_methods=METHODS)
    assert upstream.request is not None
    assert upstream.content == frame(b"zz", 1)
    assert upstream.request.header(b"grpc-encoding") == b"gzip"


@pytest.mark.parametrize(
    "query", ["connect=v1", "connect=v1&encoding=json", "connect=v1&encoding=json&message=a&base64=1"]
)
async def test_a_query_that_lacks_something_is_malformed(query: str) -> None:
    upstream = Upstream()
    with pytest.raises(ExchangeError) as caught:
        await filtered(upstream.handle, get(query), get_methods=METHODS)
    assert caught.value.reason is Reason.BAD_REQUEST
    assert upstream.request is None


@pytest.mark.parametrize("methods", [(), ("pkg.Svc/Other",), ("pkg.Sv/Method",)])
async def test_only_methods_that_are_named_may_be_called_by_get(methods: tuple[str, ...]) -> None:
    upstream = Upstream()
    response = await filtered(upstream.handle, get("connect=v1&encoding=json&message=a"), get_methods=methods)
    assert (response.status, response.header(b"allow")) == (405, b"POST")
    assert upstream.request is None


async def test_a_codec_in_a_query_that_is_not_known_is_refused() -> None:
    response = await filtered(Upstream().handle, get("connect=v1&encoding=xml&message=a"), get_methods=METHODS)
    assert response.status == 415


@pytest.mark.parametrize("query", ["", "a=1", "connect=v2&encoding=json&message=a"])
async def test_any_other_get_passes_untouched(query: str) -> None:
    upstream = Upstream()
    request = get(query)
    assert await filtered(upstream.handle, request, get_methods=METHODS) is upstream.response
    assert upstream.request is request


# --- streams ---


async def test_a_stream_passes_and_ends_in_an_envelope() -> None:
    trailers = (*OK, (b"x-t", b"1"), (b"x-t", b"2"))
    body = Pieces(frame(b"a"), frame(b"b", 1), trailers=trailers)
    upstream = Upstream(Response(200, (GRPC_TYPE, (b"grpc-encoding", b"gzip"), (b"x-h", b"1")), body))
    encodings = ((b"connect-content-encoding", b"gzip"), (b"connect-accept-encoding", b"gzip, br"))
    asked = Pieces(frame(b"q")[:4], frame(b"q")[4:])
    response = await filtered(upstream.handle, call(STREAM, asked, *encodings))
    assert upstream.request is not None
    assert upstream.request.body is asked
    assert upstream.content == frame(b"q")
    assert upstream.request.headers == (
        (b"content-type", b"application/grpc+proto"),
        (b"grpc-encoding", b"gzip"),
        (b"grpc-accept-encoding", b"gzip, br"),
    )
    assert response.status == 200
    assert response.headers == ((b"content-type", STREAM), (b"x-h", b"1"), (b"connect-content-encoding", b"gzip"))
    assert envelopes(await content(response.body)) == ([b"a", b"b"], {"metadata": {"x-t": ["1", "2"]}})
    await response.body.aclose()
    assert body.closed


@pytest.mark.parametrize("in_head", [True, False])
async def test_a_stream_that_fails_says_so_at_its_end(in_head: bool) -> None:
    ending = ((b"grpc-status", b"8"), (b"grpc-message", b"full"))
    if in_head:
        answer = Response(200, (GRPC_TYPE, *ending), EMPTY)
    else:
        answer = Response(200, (GRPC_TYPE,), Pieces(frame(b"a"), trailers=ending))
    response = await filtered(Upstream(answer).handle, call(STREAM))
    assert response.status == 200
    messages, end = envelopes(await content(response.body))
    assert messages == ([] if in_head else [b"a"])
    assert end == {"error": {"code": "resource_exhausted", "message": "full"}}


async def test_a_stream_that_breaks_off_tells_why() -> None:
    body = Pieces(frame(b"a"), ExchangeError(Reason.UPSTREAM_CLOSED, "closed"))
    response = await filtered(Upstream(Response(200, (GRPC_TYPE,), body)).handle, call(STREAM))
    messages, end = envelopes(await content(response.body))
    assert messages == [b"a"]
    assert end["error"] == {"code": "unavailable", "message": "closed"}


@pytest.mark.parametrize("content_type", [STREAM, JSON])
async def test_a_call_is_known_when_it_is_over(content_type: bytes) -> None:
    trailers = ((b"grpc-status", b"9"),)
    request = call(content_type)
    answer = Response(200, (GRPC_TYPE,), Pieces(frame(b"a"), trailers=trailers))
    response = await filtered(Upstream(answer).handle, request)
    await content(response.body)
    found = call_of(request, response, request.exchange)
    assert found is not None
    assert (found.service, found.method, found.code) == ("pkg.Svc", "Method", Code.FAILED_PRECONDITION)


# --- errors of ours ---


@pytest.mark.parametrize(
    ("request_", "claimed"),
    [
        (call(STREAM), True),
        (call(PROTO), True),
        (call(JSON, EMPTY, (b"connect-protocol-version", b"1")), True),
        (get("connect=v1&encoding=json&message=a"), True),
        (call(JSON), False),
        (call(b"application/grpc"), False),
        (get("a=b"), False),
    ],
)
def test_what_is_surely_connect_is_claimed(request_: Request, claimed: bool) -> None:
    assert CONNECT.claims(request_) is claimed


async def test_what_the_filter_took_is_claimed() -> None:
    request = call(JSON)
    await filtered(Upstream().handle, request)
    assert CONNECT.claims(request)


@pytest.mark.parametrize("reason", list(Reason))
def test_an_error_of_ours_is_json(reason: Reason) -> None:
    response = CONNECT.render(call(JSON), ExchangeError(reason, "nö", retry_after_seconds=2))
    assert response.status >= 400
    assert response.header(b"x-daemun-reason") == reason.value.encode()
    assert response.header(b"retry-after") == b"2"
    assert isinstance(response.body, Buffered)
    assert json.loads(response.body.data)["message"] == "nö"


def test_a_malformed_request_is_told_so() -> None:
    response = CONNECT.render(call(JSON), ExchangeError(Reason.BAD_REQUEST, "no"))
    assert response.status == 400
    assert isinstance(response.body, Buffered)
    assert json.loads(response.body.data) == {"code": "invalid_argument", "message": "no"}


def test_an_error_of_ours_in_a_stream_is_its_end() -> None:
    response = CONNECT.render(call(STREAM), ExchangeError(Reason.NO_ROUTE, "no route matches"))
    assert (response.status, response.header(b"content-type")) == (200, STREAM)
    assert isinstance(response.body, Buffered)
    error = {"code": "unimplemented", "message": "no route matches"}
    assert envelopes(response.body.data) == ([], {"error": error})


# --- pages of other origins ---


@pytest.mark.parametrize("content_type", [JSON, STREAM])
async def test_an_answer_may_be_read_with_all_its_fields(content_type: bytes) -> None:
    answer = Response(200, (GRPC_TYPE, (b"x-h", b"1")), Pieces(frame(b"a"), trailers=(*OK, (b"x-t", b"1"))))
    request = call(content_type, EMPTY, (b"origin", PAGE))
    response = await filtered(Upstream(answer).handle, request, allow_origins=(PAGE.decode(),))
    assert response.header(b"access-control-allow-origin") == PAGE
    exposed = (response.header(b"access-control-expose-headers") or b"").split(b", ")
    assert {name for name, _ in response.headers if name.startswith((b"x-", b"trailer-"))} <= set(exposed)


async def test_a_refusal_may_be_read_too() -> None:
    request = call(b"application/connect+xml", EMPTY, (b"origin", PAGE))
    response = await filtered(Upstream().handle, request, allow_origins=(PAGE.decode(),))
    assert response.status == 415
    assert response.header(b"access-control-allow-origin") == PAGE


@pytest.mark.parametrize("method", ["/pkg.Svc/Method", "Method", "pkg.Svc/", "a/b/c", "pkg Svc/M"])
def test_what_is_no_method_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="get_methods"):
        ConnectSettings(get_methods=(method,))
