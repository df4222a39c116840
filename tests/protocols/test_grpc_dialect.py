"""The dialect: deadlines that clients set, answers that always end in a status, errors of ours as trailers-only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from daemun import (
    EMPTY,
    Body,
    Buffered,
    Exchange,
    ExchangeError,
    Handler,
    Headers,
    Reason,
    Request,
    Response,
    header,
)
from daemun.testing import Pieces, content, make_request
from daemun_grpc.dialect import GRPC
from daemun_grpc.messages import frame
from daemun_grpc.status import Code, decode_words
from daemun_grpc.web import GRPC_WEB

pytestmark = pytest.mark.anyio

GRPC_TYPE = (b"content-type", b"application/grpc")
OK: Headers = ((b"grpc-status", b"0"),)


class Ready(Pieces):
    """The same, with what has come."""

    def read_nowait(self) -> bytes:
        return self._next() if self._pieces else b""


def call(*headers: tuple[bytes, bytes]) -> Request:
    return make_request("POST", "http://a.test/pkg.Svc/Method", (GRPC_TYPE, *headers))


def through(handler: Handler) -> Handler:
    assert GRPC.layer is not None
    return GRPC.layer(handler)


async def answered(response: Response, exchange: Exchange | None = None) -> Response:
    """What a client gets if the upstream answers `response`."""
    request = call()

    async def handle(_: Request) -> Response:
        return response

    if exchange is not None:
        request = Request(request.method, request.target, b"a.test", request.headers, EMPTY, exchange)
    return await through(handle)(request)


def status(fields: Headers) -> tuple[Code, str]:
    value, words = header(fields, b"grpc-status"), header(fields, b"grpc-message")
    assert value is not None
    return Code(int(value)), decode_words(words or b"")


# --- claims and errors ---


@pytest.mark.parametrize(
    ("content_type", "claimed"),
    [
        (b"application/grpc", "grpc"),
        (b"application/grpc+proto", "grpc"),
        (b"Application/GRPC+json; charset=utf-8", "grpc"),
        (b"application/grpc;x", "grpc"),
        (b"application/grpc-web", "grpc-web"),
        (b"application/grpc-web-text+proto", "grpc-web"),
        (b"application/grpcx", None),
        (b"application/json", None),
        (None, None),
    ],
)
def test_the_dialects_of_one_prefix_are_told_apart(content_type: bytes | None, claimed: str | None) -> None:
    headers: Headers = () if content_type is None else ((b"content-type", content_type),)
    request = make_request("POST", headers=headers)
    assert [one.name for one in (GRPC, GRPC_WEB) if one.claims(request)] == ([claimed] if claimed else [])


@pytest.mark.parametrize("reason", list(Reason))
def test_any_error_of_ours_is_one_head_that_ends_the_call(reason: Reason) -> None:
    response = GRPC.render(call(), ExchangeError(reason, "näh: 100%"))
    assert (response.status, response.body) == (200, EMPTY)
    assert response.header(b"content-type") == b"application/grpc"
    assert response.header(b"x-daemun-reason") == reason.value.encode()
    code, words = status(response.headers)
    assert code is not Code.OK
    assert words == "näh: 100%"


def test_when_to_try_again_is_said_in_milliseconds() -> None:
    response = GRPC.render(call(), ExchangeError(Reason.WAITING_ROOM_FULL, retry_after_seconds=3))
    assert response.header(b"grpc-retry-pushback-ms") == b"3000"


def test_words_without_end_are_cut() -> None:
    response = GRPC.render(call(), ExchangeError(Reason.ACTIVATION_FAILED, "☃" * 100_000))
    assert sum(len(name) + len(value) for name, value in response.headers) < 10_000


# --- deadlines ---


async def test_a_client_limits_its_call() -> None:
    request = call((b"grpc-timeout", b"5S"))

    async def handle(inner: Request) -> Response:
        assert 4 < inner.exchange.remaining_seconds() <= 5
        assert inner.exchange.timeout_reason is Reason.CLIENT_TIMEOUT
        return Response(200, (GRPC_TYPE, *OK))

    assert (await through(handle)(request)).status == 200


@pytest.mark.parametrize(
    ("timeout", "reason"),
    [(b"0n", Reason.CLIENT_TIMEOUT), (b"1", Reason.BAD_REQUEST), (b"1x", Reason.BAD_REQUEST)],
)
async def test_a_call_without_time_reaches_nobody(timeout: bytes, reason: Reason) -> None:
    reached = []

    async def handle(inner: Request) -> Response:
        reached.append(inner)
        return Response(200)

    with pytest.raises(ExchangeError) as caught:
        await through(handle)(call((b"grpc-timeout", timeout)))
    assert caught.value.reason is reason
    assert reached == []


# --- answers ---


async def test_an_answer_passes_with_its_content_and_trailers() -> None:
    body = Pieces(frame(b"a"), frame(b"b"), trailers=(*OK, (b"x-t", b"1")))
    response = await answered(Response(200, ((b"content-type", b"application/grpc+proto"), (b"x-h", b"1")), body))
    assert response.headers == ((b"content-type", b"application/grpc+proto"), (b"x-h", b"1"))
    assert response.body.length is None
    assert await content(response.body) == frame(b"a") + frame(b"b")
    assert response.body.trailers == (*OK, (b"x-t", b"1"))
    await response.body.aclose()
    assert body.closed == 1


@pytest.mark.parametrize(
    "whole",
    [
        Response(200, (GRPC_TYPE, (b"grpc-status", b"5"))),
        Response(200, (GRPC_TYPE,), Buffered(frame(b"a"), OK)),
        Response(503, ((b"content-type", b"text/html"), (b"grpc-status", b"14")), Buffered(b"<html>")),
    ],
)
async def test_an_answer_that_says_its_status_is_left_alone(whole: Response) -> None:
    assert await answered(whole) is whole


async def test_what_has_come_can_be_taken_at_once() -> None:
    response = await answered(Response(200, (GRPC_TYPE,), Ready(b"a", b"b", trailers=OK)))
    read_nowait: Callable[[], bytes] = response.body.read_nowait  # type: ignore[attr-defined]
    assert [read_nowait(), await response.body.read(), read_nowait()] == [b"a", b"b", b""]
    assert await content(response.body) == b""
    assert response.body.trailers == OK


@pytest.mark.parametrize("body", [Pieces(b"<html>"), Buffered(b"<html>"), EMPTY])
@pytest.mark.parametrize(
    ("http", "code"),
    [
        (200, Code.UNKNOWN),
        (401, Code.UNAUTHENTICATED),
        (404, Code.UNIMPLEMENTED),
        (503, Code.UNAVAILABLE),
        (599, Code.UNKNOWN),
    ],
)
async def test_what_is_no_grpc_becomes_a_status_by_its_http_status(http: int, code: Code, body: Body) -> None:
    headers = ((b"content-type", b"text/html"), (b"content-encoding", b"br"), (b"www-authenticate", b"Bearer"))
    response = await answered(Response(http, headers, body))
    assert (response.status, response.body) == (200, EMPTY)
    found, words = status(response.headers)
    assert found is code
    assert str(http) in words
    assert response.header(b"content-type") == b"application/grpc"
    assert response.header(b"content-encoding") is None
    assert response.header(b"www-authenticate") == b"Bearer"
    if isinstance(body, Pieces):
        assert body.closed > 0


async def test_a_failure_that_calls_itself_grpc_is_one_all_the_same() -> None:
    response = await answered(Response(503, (GRPC_TYPE,), Pieces(b"busy")))
    assert status(response.headers)[0] is Code.UNAVAILABLE


@pytest.mark.parametrize("trailers", [(), ((b"x-t", b"1"),)])
async def test_a_status_that_was_lost_is_unknown_and_never_missing(trailers: Headers) -> None:
    streamed = await answered(Response(200, (GRPC_TYPE,), Pieces(frame(b"a"), trailers=trailers)))
    whole = await answered(Response(200, (GRPC_TYPE,), Buffered(frame(b"a"), trailers)))
    for response in (streamed, whole):
        assert await content(response.body) == frame(b"a")
        assert response.body.trailers[: len(trailers)] == trailers
        code, words = status(response.body.trailers)
        assert code is Code.UNKNOWN
        assert "grpc-status" in words


async def test_a_head_alone_without_a_status_gets_one() -> None:
    response = await answered(Response(200, (GRPC_TYPE,), EMPTY))
    assert status(response.headers)[0] is Code.UNKNOWN
    assert response.body is EMPTY


@pytest.mark.parametrize("kind", [Pieces, Ready])
async def test_an_answer_that_breaks_off_ends_in_the_status_of_the_error(kind: type[Pieces]) -> None:
    request, error = call(), ExchangeError(Reason.UPSTREAM_CLOSED, "the upstream closed the connection")
    body = kind(frame(b"a"), error)
    response = await answered(Response(200, (GRPC_TYPE,), body), request.exchange)
    found = await response.body.read()
    if kind is Ready:
        assert response.body.read_nowait() == b""  # type: ignore[attr-defined]
    assert found + await content(response.body) == frame(b"a")
    assert status(response.body.trailers) == (Code.UNAVAILABLE, "the upstream closed the connection")
    assert request.exchange.reason is Reason.UPSTREAM_CLOSED


async def test_an_answer_with_a_length_that_breaks_off_stays_broken_off() -> None:
    error = ExchangeError(Reason.UPSTREAM_CLOSED)
    response = await answered(Response(200, (GRPC_TYPE,), Pieces(b"a", error, length=10)))
    assert await response.body.read() == b"a"
    with pytest.raises(ExchangeError):
        await response.body.read()


async def test_errors_of_handlers_pass() -> None:
    async def handle(_: Request) -> Response:
        raise ExchangeError(Reason.NO_ENDPOINT)

    with pytest.raises(ExchangeError):
        await through(handle)(call())
