"""Routes that are chosen by content: what matchers see, what is read afterwards, and which route is tried next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from daemun import (
    EMPTY,
    Body,
    Buffered,
    ExchangeError,
    Matcher,
    MatcherContext,
    MatcherType,
    Peek,
    Reason,
    Request,
    hookimpl,
)
from daemun.routing.content import first_match
from daemun.testing import Pieces, content, make_request, running

pytestmark = pytest.mark.anyio


class Candidate:
    """A route that takes what begins with a word."""

    def __init__(self, word: bytes, limit: int = 100) -> None:
        self.word = word
        self.asked = 0
        self.matchers: tuple[tuple[Matcher, int], ...] = ((self.matches, limit),)

    async def matches(self, request: Request, peek: Peek) -> bool:
        self.asked += 1
        while len(b"".join(peek.seen)) < len(self.word) and await peek.more():
            pass
        return b"".join(peek.seen).startswith(self.word)


def posting(body: Body) -> Request:
    return make_request("POST", "http://a.test/", (), body)


@pytest.mark.parametrize(
    "body",
    [lambda: Buffered(b"hello world"), lambda: Pieces(b"hel", b"lo ", b"world"), lambda: Pieces(b"hello world")],
    ids=["in memory", "in pieces", "in one piece"],
)
async def test_content_that_was_looked_at_is_read_from_its_beginning(body: object) -> None:
    first, second = Candidate(b"hellx"), Candidate(b"hello")
    found = await first_match(posting(body()), [first, second])  # type: ignore[operator]
    assert found is not None
    route, request = found
    assert route is second
    assert await content(request.body) == b"hello world"


async def test_no_more_is_read_than_a_matcher_asks_for() -> None:
    body = Pieces(b"he", b"llo", b" world")
    found = await first_match(posting(body), [Candidate(b"h")])
    assert found is not None
    assert await body.read() == b"llo"


async def test_content_in_memory_stays_the_same_object_so_that_it_can_be_sent_again() -> None:
    body = Buffered(b"hello")
    found = await first_match(posting(body), [Candidate(b"hello")])
    assert found is not None
    assert found[1].body is body


async def test_content_that_came_to_its_end_can_be_sent_again_and_keeps_its_trailers() -> None:
    body = Pieces(b"he", b"llo", trailers=((b"x-sum", b"1"),))
    found = await first_match(posting(body), [Candidate(b"hello!"), Candidate(b"hello")])
    assert found is not None
    assert isinstance(found[1].body, Buffered)
    assert found[1].body.data == b"hello"
    assert found[1].body.trailers == ((b"x-sum", b"1"),)


async def test_no_content_is_no_fault() -> None:
    assert await first_match(make_request("GET", "http://a.test/", (), EMPTY), [Candidate(b"x")]) is None


async def test_above_its_limit_a_matcher_gets_an_error() -> None:
    with pytest.raises(ExchangeError, match="by the first 4 bytes") as caught:
        await first_match(posting(Pieces(b"1234", b"5678")), [Candidate(b"12345678", 4)])
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE


@given(pieces=st.lists(st.binary(min_size=1, max_size=9), max_size=9), word=st.binary(min_size=1, max_size=12))
async def test_however_content_comes_the_answer_is_the_same_and_all_of_it_is_read(
    pieces: list[bytes], word: bytes
) -> None:
    whole = b"".join(pieces)
    found = await first_match(posting(Pieces(*pieces)), [Candidate(word), Candidate(b"")])
    assert found is not None
    assert (found[0].word == word) is whole.startswith(word)
    assert await content(found[1].body) == whole


class Word(Struct, frozen=True, forbid_unknown_fields=True):
    word: str
    fails: bool = False


@asynccontextmanager
async def _build(settings: Word, context: MatcherContext) -> AsyncIterator[Matcher]:
    async def matches(request: Request, peek: Peek) -> bool:
        if settings.fails:
            raise RuntimeError("broken")
        while await peek.more():
            pass
        return b"".join(peek.seen).decode() == settings.word

    yield matches


@hookimpl
def daemun_matchers() -> Iterable[MatcherType]:
    return [MatcherType("word", Word, _build, peek_bytes=8)]


WORDS = ModuleType("words")
WORDS.daemun_matchers = daemun_matchers  # type: ignore[attr-defined]


def route(name: str, settings: dict[str, object] | None, priority: int = 0) -> dict[str, object]:
    matchers = [] if settings is None else [{"type": "word", "settings": settings}]
    return {"name": name, "priority": priority, "match": {"matchers": matchers}, "respond": {"body": name}}


async def asked(routes: list[dict[str, object]], data: bytes) -> bytes:
    settings = {"sources": [{"type": "inline", "routes": routes}]}
    async with running(settings, only=["http1", "file"], extra=[WORDS]) as gateway:
        head = b"POST / HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(data)
        return await gateway.exchange(head + data)


async def test_a_gateway_tries_routes_in_their_order() -> None:
    routes = [route("one", {"word": "1"}), route("other", {"word": "1"}), route("two", {"word": "2"})]
    assert (await asked(routes, b"1")).endswith(b"\r\none")
    assert (await asked(routes, b"2")).endswith(b"\r\ntwo")
    assert b"404" in (await asked(routes, b"3")).split(b"\r\n")[0]
    assert (await asked([*routes, route("rest", None)], b"3")).endswith(b"\r\nrest")
    assert (await asked([*routes, route("rest", None, 1)], b"1")).endswith(b"\r\nrest")


async def test_a_matcher_that_fails_is_a_500_and_one_that_wants_too_much_a_413() -> None:
    assert b" 500 " in (await asked([route("one", {"word": "1", "fails": True})], b"1")).split(b"\r\n")[0]
    assert b" 413 " in (await asked([route("one", {"word": "1"})], bytes(300_000))).split(b"\r\n")[0]


async def test_an_unknown_matcher_refuses_its_route_and_no_other() -> None:
    broken = {"name": "x", "match": {"matchers": [{"type": "wort"}]}, "respond": {"body": "x"}}
    settings = {"sources": [{"type": "inline", "routes": [broken, route("rest", None)]}]}
    async with running(settings, only=["http1", "file"], extra=[WORDS]) as gateway:
        table = gateway.gateway.table
        refused = [status.error for status in table.statuses if status.error]
    assert refused == ["unknown matcher 'wort'; did you mean 'word'? (accepted: word)"]
