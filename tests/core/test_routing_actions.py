"""Redirects, fixed responses and weighted splits."""

from __future__ import annotations

from collections import Counter
from random import seed

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    Exchange,
    ExchangeError,
    Handler,
    PathKind,
    PathMatch,
    Peer,
    Reason,
    Redirect,
    Request,
    Respond,
    Response,
    RouteSpec,
)
from daemun.message import EMPTY
from daemun.routing.actions import redirect, respond, split
from daemun.testing import make_request

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("action", "url", "location"),
    [
        (Redirect(scheme="https"), "http://a.test/p?q=1", "https://a.test/p?q=1"),
        (Redirect(scheme="https"), "http://a.test:8080/p", "https://a.test/p"),
        (Redirect(scheme="https", port=8443), "http://a.test:80/", "https://a.test:8443/"),
        (Redirect(scheme="https", port=443), "http://a.test/", "https://a.test/"),
        (Redirect(scheme="http", port=443), "https://a.test/", "http://a.test:443/"),
        (Redirect(port=81), "http://a.test:80/p", "http://a.test:81/p"),
        (Redirect(port=80), "http://a.test:8080/p", "http://a.test/p"),
        (Redirect(port=81), "http://[::1]:80/p", "http://[::1]:81/p"),
        (Redirect(host="B.Test"), "http://a.test:8080/p", "http://b.test/p"),
        (Redirect(host="b.test"), "https://a.test/p", "https://b.test/p"),
        (Redirect(path="/new"), "http://a.test/old?q=1", "/new?q=1"),
        (Redirect(path="/new", strip_query=True), "http://a.test/old?q=1", "/new"),
        (Redirect(host="b.test", path="/new"), "http://a.test/old?q", "http://b.test/new?q"),
        (Redirect(prefix="/v2"), "http://a.test/api/x?q", "/v2/x?q"),
        (Redirect(prefix="/v2", host="b.test", strip_query=True), "http://a.test/api?q", "http://b.test/v2"),
    ],
)
async def test_redirects(action: Redirect, url: str, location: str) -> None:
    handler = redirect(RouteSpec("r", action, path=PathMatch(value="/api")), action)
    response = await handler(make_request(url=url))
    assert (response.status, response.header(b"location")) == (302, location.encode())
    assert response.body.length == 0


async def test_a_redirect_has_the_status_that_was_asked_for() -> None:
    action = Redirect(path="/b", status=308)
    response = await redirect(RouteSpec("r", action), action)(make_request())
    assert response.status == 308


def test_a_redirect_cannot_replace_a_prefix_that_a_regex_matched() -> None:
    action = Redirect(prefix="/b")
    with pytest.raises(ValueError, match="not by regex"):
        redirect(RouteSpec("r", action, path=PathMatch(PathKind.REGEX, "/.*")), action)


@pytest.mark.parametrize(
    "action",
    [
        Redirect(host="a b"),
        Redirect(host="a\r\nset-cookie: x"),
        Redirect(path="/a\r\nset-cookie: x"),
        Redirect(path="a"),
        Redirect(prefix="/a b"),
        Redirect(scheme="ja va"),
    ],
)
def test_a_redirect_that_would_break_the_head_is_refused(action: Redirect) -> None:
    with pytest.raises(ValueError, match="accepted: "):
        redirect(RouteSpec("r", action), action)


async def test_a_fixed_response_has_a_type_if_it_has_a_body() -> None:
    response = await respond(Respond(201, b"made", (("X-A", "1"),)))(make_request())
    assert response.status == 201
    assert response.headers[1:] == ((b"x-a", b"1"), (b"content-type", b"text/plain; charset=utf-8"))
    assert await response.body.read() == b"made"


async def test_a_fixed_response_keeps_its_own_type() -> None:
    response = await respond(Respond(200, b"{}", (("Content-Type", "application/json"),)))(make_request())
    assert response.headers[1:] == ((b"content-type", b"application/json"),)


async def test_a_fixed_response_keeps_its_own_date() -> None:
    response = await respond(Respond(204, headers=(("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),)))(make_request())
    assert response.headers == ((b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),)


async def test_a_fixed_response_without_a_body_says_only_when() -> None:
    response = await respond(Respond(204))(make_request())
    assert [name for name, _ in response.headers] == [b"date"]
    assert response.body.length == 0


async def test_every_request_gets_the_whole_fixed_body() -> None:
    handler = respond(Respond(200, b"again"))
    assert [await (await handler(make_request())).body.read() for _ in range(2)] == [b"again", b"again"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ((("x y", "v"),), "is no field name"),
        ((("content-length", "1"),), "belongs to the connection"),
        ((("x", "a\r\nb: c"),), "control character"),
    ],
)
def test_a_fixed_response_that_would_break_the_head_is_refused(
    headers: tuple[tuple[str, str], ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        respond(Respond(200, b"", headers))


def answering(status: int) -> Handler:
    async def handle(request: Request) -> Response:
        return Response(status)

    return handle


async def shares_of(weights: list[int], count: int) -> Counter[int]:
    handler = split([(weight, answering(200 + number)) for number, weight in enumerate(weights)])
    request = Request(b"GET", b"/", b"a", (), EMPTY, Exchange(Peer()))
    return Counter([(await handler(request)).status - 200 for _ in range(count)])


@pytest.mark.parametrize("weights", [[1, 1], [90, 10], [1, 2, 3], [0, 5, 0, 5], [1000, 1]])
async def test_traffic_is_split_by_weight_and_weight_0_gets_none(weights: list[int]) -> None:
    seed(7)
    count = 6000
    got = await shares_of(weights, count)
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(got[number] - share * count) <= 5 * (count * share * (1 - share)) ** 0.5
        assert weight or number not in got


async def test_a_single_share_gets_everything() -> None:
    assert await shares_of([0, 3, 0], 50) == {1: 50}


async def test_weights_that_are_all_0_are_a_fault_of_the_route() -> None:
    with pytest.raises(ExchangeError, match="weight 0") as raised:
        await shares_of([0, 0], 1)
    assert raised.value.reason is Reason.ROUTE_FAULT


@given(st.lists(st.integers(0, 3), min_size=1, max_size=5).filter(any))
def test_a_split_picks_only_what_has_a_weight(weights: list[int]) -> None:
    handlers = [answering(200 + number) for number in range(len(weights))]
    pick = split(list(zip(weights, handlers, strict=True)))
    request = Request(b"GET", b"/", b"a", (), EMPTY, Exchange(Peer()))
    for _ in range(5):
        coroutine = pick(request)
        try:
            coroutine.__await__().send(None)
        except StopIteration as done:
            assert weights[done.value.status - 200]
