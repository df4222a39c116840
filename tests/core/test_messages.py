"""Messages, handlers, and what belongs to an exchange: small parts that everything else is made of."""

from __future__ import annotations

from typing import Any

import pytest

from daemun import EMPTY, Buffered, Handler, Reason, Request, Response, Stash, StashKey, compose
from daemun.testing import make_request

pytestmark = pytest.mark.anyio


async def fine(request: Request) -> Response:
    return Response(200, (), Buffered(b"fine"))


def test_layers_wrap_outermost_first() -> None:
    passed: list[str] = []

    def layer(name: str) -> Any:
        def wrap(handler: Handler) -> Handler:
            passed.append(name)
            return handler

        return wrap

    assert compose([layer("outer"), layer("inner")], fine) is fine
    assert passed == ["inner", "outer"]


def test_what_plugins_stash_is_theirs_alone() -> None:
    first: StashKey[int] = StashKey("same")
    second: StashKey[str] = StashKey("same")
    exchange = make_request().exchange
    exchange.stash[first] = 1
    exchange.stash[second] = "two"
    assert (exchange.stash[first], exchange.stash[second]) == (1, "two")
    assert first in exchange.stash
    assert Stash().get(first, None) is None
    assert exchange.stash.get(first, None) == 1
    with pytest.raises(KeyError):
        Stash()[first]
    assert repr(first) == "StashKey('same')"


def test_an_exchange_without_a_deadline_has_all_the_time() -> None:
    exchange = make_request().exchange
    assert exchange.remaining_seconds() == float("inf")
    exchange.expire_in(-1, Reason.ROUTE_TIMEOUT)
    assert exchange.remaining_seconds() == 0


async def test_messages_are_derived_and_not_changed() -> None:
    request = make_request("POST", "http://a.test/p?q=1&r", ((b"x", b"1"), (b"y", b"2"), (b"x", b"3")))
    assert (request.path, request.query, request.header(b"x"), request.header(b"z")) == (b"/p", b"q=1&r", b"1", None)
    assert request.with_header(b"x", b"4").headers == ((b"y", b"2"), (b"x", b"4"))
    assert request.without_header(b"x").headers == ((b"y", b"2"),)
    assert request.with_headers(()).headers == ()
    assert request.with_target(b"/t").target == b"/t"
    assert request.with_authority(b"b").authority == b"b"
    assert await request.with_body(Buffered(b"x")).body.read() == b"x"
    assert request.headers[0] == (b"x", b"1")
    response = Response(200, ((b"x", b"1"),))
    assert response.with_status(201).status == 201
    assert response.with_headers(((b"y", b"2"),)).header(b"y") == b"2"
    assert response.with_header(b"x", b"2").headers == ((b"x", b"2"),)
    assert response.with_body(Buffered(b"x")).body.length == 1
    assert response.body is EMPTY
    with pytest.raises(AttributeError):
        response.status = 500  # type: ignore[misc]


async def test_a_body_in_memory_is_read_once() -> None:
    body = Buffered(b"data")
    assert [await body.read(), await body.read()] == [b"data", b""]
    closed = Buffered(b"data")
    await closed.aclose()
    assert await closed.read() == b""
    assert await EMPTY.read() == b""
    assert (repr(body), repr(EMPTY)) == ("Buffered(4 bytes)", "NoContent(length=0)")


def test_messages_show_no_secret_in_logs() -> None:
    headers = ((b"authorization", b"Bearer secret"), (b"accept", b"*/*"))
    request = make_request("GET", "http://a.test/x?token=secret", headers)
    assert repr(request) == "Request(b'GET', b'/x', b'a.test', b'authorization accept', NoContent(length=0))"
    response = Response(200, ((b"set-cookie", b"secret"),), Buffered(b"secret"))
    assert repr(response) == "Response(200, b'set-cookie', Buffered(6 bytes))"
