"""The batteries find what breaks a contract: small bad plugins, each beside a rule that it breaks, and good ones."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import click
import pytest
from msgspec import Struct

from daemun import (
    EMPTY,
    Activator,
    ActivatorContext,
    ActivatorType,
    BackendSpec,
    BackendType,
    BalancerType,
    Body,
    Buffered,
    Dialect,
    Endpoint,
    EndpointSpec,
    Exchange,
    ExchangeError,
    FilterContext,
    FilterType,
    Forward,
    Handler,
    HealthCheckType,
    Layer,
    MatcherType,
    NoSettings,
    ObjectStatus,
    Observer,
    ObserverType,
    Peek,
    Peer,
    Publish,
    Reason,
    Request,
    Respond,
    Response,
    RouteSpec,
    Snapshot,
    Sniff,
    SourceType,
    Split,
    StashKey,
    Stream,
    WireProtocol,
)
from daemun.testing import built
from daemun.testing.batteries import BrokenRules, check_filter, check_protocol, check_source, rules, watching
from daemun.testing.batteries.collecting import BATTERIES, subject_of
from daemun.testing.batteries.rules import Breach, Unseen, look
from daemun.testing.batteries.subject import Subject

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left behind here stays, however long one waits."""
    monkeypatch.setattr(watching, "SETTLE_SECONDS", 0.05)
    monkeypatch.setattr(watching, "_SHORT_SECONDS", 0.01)


async def _breach(word: str, thing: Any, rule: str, **options: Any) -> Breach | Unseen | None:
    (check,) = (one for one in BATTERIES[word].checks if getattr(one, "__name__", "") == rule)
    return await look(check, subject_of(word, thing, **options))


async def _breaks(word: str, thing: Any, rule: str, seen: str, **options: Any) -> None:
    found = await _breach(word, thing, rule, **options)
    assert isinstance(found, Breach), found
    assert seen in found.seen, found
    assert found.rule.endswith("."), found
    assert found.check == rule


# --- all kinds ---


class Loose(Struct):
    size: int = 1


class Deep(Struct, frozen=True, forbid_unknown_fields=True):
    inner: tuple[Loose, ...] = ()


class Odd(Struct, frozen=True, forbid_unknown_fields=True):
    what: Callable[[], None] | None = None


class Needy(Struct, frozen=True, forbid_unknown_fields=True):
    word: str


def _passing(handler: Handler) -> Handler:
    return handler


def _filter(layer: Layer, **options: Any) -> FilterType:
    return FilterType("bad", options.pop("settings", NoSettings), options.pop("build", built(layer)), **options)


@asynccontextmanager
async def _leaves_a_thread(*_: Any) -> AsyncIterator[Layer]:
    threading.Thread(target=GATE.wait, name="left-behind", daemon=True).start()
    yield _passing


GATE = threading.Event()
OF_THE_GATEWAY = {"imports_public_names", "is_not_bound_to_a_loop"}
"""Rules of code, which `built` is none of a plugin's."""


@pytest.fixture(autouse=True, scope="module")
def _release() -> Iterator[None]:
    """Threads that are left behind end with these tests."""
    yield
    GATE.set()


@asynccontextmanager
async def _leaves_a_descriptor(*_: Any) -> AsyncIterator[Layer]:
    LEFT.append(open("/dev/zero"))  # noqa: ASYNC230, SIM115
    yield _passing


LEFT: list[Any] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    for one in LEFT:
        one.close()
    LEFT.clear()


@asynccontextmanager
async def _sleeps(*_: Any) -> AsyncIterator[Layer]:
    time.sleep(0)  # noqa: ASYNC251
    yield _passing


@asynccontextmanager
async def _opens_half(*_: Any) -> AsyncIterator[Layer]:
    one = open("/dev/zero")  # noqa: ASYNC230, SIM115
    LEFT.append(one)
    await anyio.lowlevel.checkpoint()
    yield _passing
    one.close()


def _only_once() -> Callable[..., Any]:
    opened: list[int] = []

    @asynccontextmanager
    async def build(*_: Any) -> AsyncIterator[Layer]:
        if opened:
            raise OSError("address in use")
        opened.append(1)
        yield _passing

    return build


def _one_at_a_time() -> Callable[..., Any]:
    opened: list[int] = []

    @asynccontextmanager
    async def build(*_: Any) -> AsyncIterator[Layer]:
        if opened:
            raise OSError("address in use")
        opened.append(1)
        try:
            yield _passing
        finally:
            opened.clear()

    return build


@pytest.mark.parametrize(
    ("kind", "rule", "seen"),
    [
        (FilterType("No Name", NoSettings, built(_passing)), "name_fits", "'No Name'"),
        (_filter(_passing, settings=Loose), "settings_are_strict", "Loose can be changed"),
        (_filter(_passing, settings=Deep), "settings_are_strict", "Loose can be changed"),
        (_filter(_passing, settings=Loose), "unknown_keys_are_refused", "`no_such_key: 1` was taken"),
        (_filter(_passing, settings=Odd), "settings_have_a_schema", ""),
        (_filter(_passing, settings=Needy), "settings_fit", "missing required field `word`"),
        (_filter(_passing, before=("bad",)), "declares_its_place", "before is ('bad',)"),
        (_filter(_passing, buffer_bytes=-1), "declares_its_place", "buffer_bytes is -1"),
        (_filter(_passing, failure="open"), "declares_its_place", "failure is 'open'"),
        (_filter(_passing, build=_leaves_a_thread), "leaves_nothing_behind", "thread left-behind"),
        (_filter(_passing, build=_leaves_a_descriptor), "leaves_nothing_behind", "descriptor of /dev/zero"),
        (_filter(_passing, build=_opens_half), "can_be_cancelled_while_it_opens", "descriptor of /dev/zero"),
        (_filter(_passing, build=_sleeps), "build_blocks_nobody", "sleep() at test_testing_batteries.py"),
        (_filter(_passing, build=_only_once()), "can_be_opened_again", "address in use"),
        (_filter(_passing, build=_one_at_a_time()), "can_be_opened_twice_at_once", "address in use"),
    ],
)
async def test_what_all_kinds_have(kind: FilterType, rule: str, seen: str) -> None:
    await _breaks("filter", kind, rule, seen)


async def test_what_cannot_be_opened_is_told_once() -> None:
    with pytest.raises(BrokenRules, match="settings_fit") as caught:
        await check_filter(_filter(_passing, settings=Needy))
    assert [one.check for one in caught.value.breaches] == ["settings_fit"]
    build = _only_once()
    async with build():
        pass
    with pytest.raises(BrokenRules, match="address in use") as caught:
        await check_filter(_filter(_passing, build=build))
    assert [one.check for one in caught.value.breaches] == ["can_be_opened_again"]


@pytest.mark.parametrize(
    "words", ["from daemun.routing.spec import Snapshot", "import daemun.errors", "import asyncio"]
)
async def test_code_that_reaches_inside(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"reaching{abs(hash(words))}"
    (tmp_path / f"{name}.py").write_text(f"{words}\n\ndef build(*_):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = __import__(name)
    rule = "is_not_bound_to_a_loop" if "asyncio" in words else "imports_public_names"
    await _breaks("filter", _filter(_passing, build=module.build), rule, f"{words} at {name}.py:1")


# --- layers ---


class Wrapped:
    """A body around another one."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.length = body.length
        self.trailers: Any = ()

    async def read(self) -> bytes:
        data = await self.body.read()
        self.trailers = self.body.trailers
        return data

    async def aclose(self) -> None:
        await self.body.aclose()


def _around(change: Callable[[Handler, Request], Awaitable[Response]]) -> Layer:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            return await change(handler, request)

        return handle

    return layer


async def _rewrites_the_answer(handler: Handler, request: Request) -> Response:
    response, data = await handler(request), b""
    while piece := await response.body.read():
        data += piece
    await response.body.aclose()
    return response.with_body(Buffered(data))


async def _reads_ahead(handler: Handler, request: Request) -> Response:
    first = await request.body.read()
    return await handler(request.with_body(Buffered(first)))


async def _reads_the_answer(handler: Handler, request: Request) -> Response:
    response = await handler(request)
    await response.body.read()
    return response


async def _pumps(handler: Handler, request: Request) -> Response:
    response = await handler(request)

    class Greedy(Wrapped):
        async def read(self) -> bytes:
            return b"".join([await self.body.read() for _ in range(10)])

    return response.with_body(Greedy(response.body))


async def _frames(handler: Handler, request: Request) -> Response:
    return (await handler(request)).with_header(b"content-length", b"3")


async def _frames_requests(handler: Handler, request: Request) -> Response:
    return await handler(request.with_header(b"connection", b"close"))


async def _shouts(handler: Handler, request: Request) -> Response:
    return (await handler(request)).with_header(b"X-Shout", b"1")


async def _splits(handler: Handler, request: Request) -> Response:
    return (await handler(request)).with_header(b"x-name", b"a\r\nset-cookie: b")


async def _answers_rubbish(handler: Handler, request: Request) -> Response:
    await handler(request)
    return "200 OK"  # type: ignore[return-value]


async def _says_more(handler: Handler, request: Request) -> Response:
    return (await handler(request)).with_body(Buffered(b"content"))


async def _ends_the_request(handler: Handler, request: Request) -> Response:
    response = await handler(request)
    try:
        return response.with_body(Buffered(await response.body.read()))
    finally:
        await request.body.aclose()


async def _spoils_tunnels(handler: Handler, request: Request) -> Response:
    return (await handler(request)).with_status(200)


async def _leaves_open(handler: Handler, request: Request) -> Response:
    response = await handler(request)

    class Careless(Wrapped):
        async def aclose(self) -> None:
            return None

    return response.with_body(Careless(response.body))


async def _leaves_requests_open(handler: Handler, request: Request) -> Response:
    class Careless(Wrapped):
        async def aclose(self) -> None:
            return None

    return await handler(request.with_body(Careless(request.body)))


async def _swallows(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except BaseException:
        return Response(500)


async def _swallows_reads(handler: Handler, request: Request) -> Response:
    response = await handler(request)

    class Swallowing(Wrapped):
        async def read(self) -> bytes:
            try:
                return await self.body.read()
            except BaseException:
                return b""

    return response.with_body(Swallowing(response.body))


async def _renames_errors(handler: Handler, request: Request) -> Response:
    try:
        return await handler(request)
    except ExchangeError:
        raise ExchangeError(Reason.BAD_REQUEST) from None


async def _forgets_trailers(handler: Handler, request: Request) -> Response:
    response = await handler(request)

    class Forgetful(Wrapped):
        async def read(self) -> bytes:
            return await self.body.read()

    return response.with_body(Forgetful(response.body))


async def _forgets_what_was_asked(handler: Handler, request: Request) -> Response:
    class Forgetful(Wrapped):
        async def read(self) -> bytes:
            return await self.body.read()

    return await handler(request.with_body(Forgetful(request.body)))


async def _blocks(handler: Handler, request: Request) -> Response:
    time.sleep(0)  # noqa: ASYNC251
    return await handler(request)


async def _leaves_threads(handler: Handler, request: Request) -> Response:
    threading.Thread(target=GATE.wait, name="left-behind", daemon=True).start()
    return await handler(request)


def _mixes() -> Layer:
    last: list[Request] = []

    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            last[:] = [request]
            await anyio.lowlevel.checkpoint()
            return await handler(last[0])

        return handle

    return layer


@pytest.mark.parametrize(
    ("change", "rule", "seen"),
    [
        (_reads_ahead, "pulls_requests", "1 pieces were read before the next handler was called"),
        (_reads_the_answer, "pulls_answers", "1 pieces were read before the answer was returned"),
        (_rewrites_the_answer, "pulls_answers", "513 pieces were read before the answer was returned"),
        (_pumps, "pulls_answers", "10 pieces were read when one was asked for"),
        (_frames, "leaves_framing_alone", "in its response to GET: the field b'content-length'"),
        (_frames_requests, "leaves_framing_alone", "in the request that it passed on (GET): the field b'connection'"),
        (_shouts, "messages_are_valid", "b'X-Shout' is not lower-case"),
        (_splits, "messages_are_valid", "b'x-name' holds a line end"),
        (_answers_rubbish, "messages_are_valid", "str in the place of a Response"),
        (_says_more, "adds_no_content", "b'content' in an answer 200 to HEAD"),
        (_ends_the_request, "reads_both_ways", "the content could not be read to its end"),
        (_spoils_tunnels, "passes_tunnels", "the status became 200"),
        (_leaves_open, "closes_what_it_wraps", "before it was read left the inner one open"),
        (_leaves_requests_open, "closes_requests", "the client's stayed open"),
        (_swallows, "lets_cancellation_through", "while the next handler ran it was cancelled, and it returned"),
        (_swallows_reads, "lets_cancellation_through", "while content was awaited it was cancelled, and it returned"),
        (_swallows_reads, "does_not_end_broken_content", "ended with b'one'"),
        (_renames_errors, "lets_errors_through", "upstream_closed became bad_request"),
        (_forgets_trailers, "keeps_trailers", "the answer's trailers became ()"),
        (_forgets_what_was_asked, "keeps_trailers", "the request's trailers became [()]"),
        (_blocks, "blocks_nobody", "sleep()"),
        (_leaves_threads, "exchanges_leave_nothing_behind", "thread left-behind"),
    ],
)
async def test_layers(change: Callable[[Handler, Request], Awaitable[Response]], rule: str, seen: str) -> None:
    await _breaks("filter", _filter(_around(change)), rule, seen)


async def test_layers_that_mix_exchanges() -> None:
    await _breaks("filter", _filter(_mixes()), "keeps_exchanges_apart", "got the request")


async def test_a_filter_that_wants_a_field_is_let_off_without_it() -> None:
    async def knock(handler: Handler, request: Request) -> Response:
        return await handler(request) if request.header(b"x-knock") else Response(403)

    kind = _filter(_around(knock))
    unseen = {one.check for one in await check_filter(kind)}
    assert {"pulls_requests", "keeps_trailers"} <= unseen
    unseen = {one.check for one in await check_filter(kind, headers=((b"x-knock", b"sesame"),))}
    assert unseen == OF_THE_GATEWAY


async def test_content_in_memory_is_given_to_who_says_so() -> None:
    async def takes_memory(handler: Handler, request: Request) -> Response:
        assert isinstance(request.body, Buffered) or request.body is EMPTY or request.protocol
        return await handler(request)

    unseen = await check_filter(_filter(_around(takes_memory), buffer_bytes=1000))
    assert {one.check for one in unseen} == {"pulls_requests", "closes_requests"} | OF_THE_GATEWAY


async def test_scopes_are_there_and_end() -> None:
    key: StashKey[Any] = StashKey("a descriptor")

    @asynccontextmanager
    async def open_one() -> AsyncIterator[Any]:
        with open("/dev/zero") as file:  # noqa: ASYNC230
            yield file

    @asynccontextmanager
    async def build(settings: NoSettings, context: FilterContext) -> AsyncIterator[Layer]:
        await context.process.open(key, open_one)

        async def opens(handler: Handler, request: Request) -> Response:
            await request.exchange.peer.scope.open(key, open_one)
            await request.exchange.scope.open(key, open_one)
            return await handler(request)

        yield _around(opens)

    assert not await check_filter(_filter(_passing, build=build))


async def test_all_that_is_broken_is_told_at_once() -> None:
    with pytest.raises(BrokenRules, match="filter 'bad' breaks 2 rules of its contract") as caught:
        await check_filter(_filter(_around(_shouts), before=("bad",)))
    assert [one.check for one in caught.value.breaches] == ["declares_its_place", "messages_are_valid"]
    words = str(caught.value)
    assert "  seen: in its response to GET: the field b'X-Shout' is not lower-case" in words
    assert "  right: a tuple of names of other filters" in words


# --- back ends ---


def _backend(handler: Handler) -> BackendType:
    return BackendType("bad", NoSettings, built(handler))


def _responding(*arguments: Any) -> BackendType:
    async def answer(request: Request) -> Response:
        return Response(*arguments)

    return _backend(answer)


async def _fails_on_odd_bytes(request: Request) -> Response:
    request.target.decode("ascii")
    return Response(200)


async def _measures_heads(request: Request) -> Response:
    return Response(200, (), Buffered(request.method))


async def _reads_all(request: Request) -> Response:
    while await request.body.read():
        pass
    return Response(200)


async def _is_deaf(request: Request) -> Response:
    try:
        await request.body.read()
    except BaseException:
        return Response(500)
    return Response(200)


async def _has_one_turn(request: Request) -> Response:
    if TURN:
        return Response(500)
    TURN.append(1)
    try:
        await anyio.lowlevel.checkpoint()
        return Response(200)
    finally:
        TURN.clear()


TURN: list[int] = []


class Endless(Wrapped):
    async def read(self) -> bytes:
        return await self.body.read() or b"more"


class Opened(Wrapped):
    def __init__(self) -> None:
        super().__init__(EMPTY)
        self.length = None
        LEFT.append(open("/dev/zero"))  # noqa: SIM115


async def _opens(request: Request) -> Response:
    return Response(200, (), Opened())


async def _faults_on_break(request: Request) -> Response:
    try:
        await request.body.read()
        await request.body.read()
    except ExchangeError:
        raise ValueError("a client may not leave") from None
    return Response(200)


@pytest.mark.parametrize(
    ("kind", "rule", "seen"),
    [
        (_responding(20), "answers_are_valid", "the status is 20"),
        (_responding(200, ((b"transfer-encoding", b"chunked"),)), "answers_are_valid", "b'transfer-encoding'"),
        (_backend(_fails_on_odd_bytes), "answers_any_request", "UnicodeDecodeError"),
        (_backend(_measures_heads), "answers_head_like_get", "HEAD announces 4 bytes, where GET has 3"),
        (_responding(200, (), Endless(Buffered(b"hello"))), "bodies_end_and_stay_ended", "behind the end"),
        (_backend(_opens), "bodies_can_be_closed", "descriptor of /dev/zero"),
        (_backend(_opens), "exchanges_leave_nothing_behind", "descriptor of /dev/zero"),
        (_backend(_reads_all), "reads_no_endless_content", "MiB were read"),
        (_backend(_faults_on_break), "lets_broken_content_through", "a client may not leave"),
        (_backend(_is_deaf), "survives_cancellation", "while content was awaited it was cancelled, and it returned"),
        (_backend(_has_one_turn), "answers_many_at_once", "19 of 20 got"),
    ],
)
async def test_backends(kind: BackendType, rule: str, seen: str) -> None:
    await _breaks("backend", kind, rule, seen)


async def test_a_backend_that_says_a_wrong_length() -> None:
    body = Wrapped(Buffered(b"hello"))
    body.length = 3
    kind = _responding(200, (), body)
    await _breaks("backend", kind, "bodies_keep_their_length", "5 bytes, where 3 were said")


async def test_a_backend_that_blocks() -> None:
    async def answer(request: Request) -> Response:
        time.sleep(0)  # noqa: ASYNC251
        return Response(200)

    await _breaks("backend", _backend(answer), "blocks_nobody", "sleep()")


# --- balancers ---


class Balancing:
    """Picks as told."""

    def __init__(self, pick: Callable[[tuple[Endpoint, ...], Request], Any]) -> None:
        self.pick = pick


def _balancer(pick: Callable[[tuple[Endpoint, ...], Request], Any]) -> BalancerType:
    return BalancerType("bad", NoSettings, lambda settings: Balancing(pick))


def _remembers() -> Callable[[tuple[Endpoint, ...], Request], Any]:
    first: list[Endpoint] = []

    def pick(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
        if not endpoints:
            return None
        first[:] = first or [endpoints[0]]
        return first[0]

    return pick


def _first_free(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    return next((one for one in endpoints if one.available), None)


def _counts(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    found = _first_free(endpoints, request)
    if found is not None:
        found.active += 1
    return found


def _recurses(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    for _ in range(5000):
        _first_free(endpoints[:1], request)
    return _first_free(endpoints, request)


def _waits(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    time.sleep(0)
    return _first_free(endpoints, request)


async def _later(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    return endpoints[0]


def _never(endpoints: tuple[Endpoint, ...], request: Request) -> Any:
    return endpoints[0] if endpoints and endpoints[0].available else None


class Typed(Struct, frozen=True, forbid_unknown_fields=True):
    type: str = ""


@pytest.mark.parametrize(
    ("pick", "rule", "seen"),
    [
        (_later, "picks_from_what_it_is_given", "a coroutine"),
        (lambda endpoints, request: endpoints[0] if endpoints else 0, "picks_from_what_it_is_given", "it gave 0"),
        (lambda endpoints, request: endpoints[0], "picks_what_is_available", "is the only one with room"),
        (lambda endpoints, request: endpoints[0], "gives_none_when_all_are_full", "which is full"),
        (_never, "fills_all", "None, where [3, 0, 0, 0, 0] run"),
        (_remembers(), "follows_the_list", "which is not in the list now"),
        (_remembers(), "shares_no_state", "of the other back end"),
        (
            lambda endpoints, request: endpoints[0] if request.header(b"cookie") or request.target else 1 / 0,
            "picks_for_any_request",
            "ZeroDivisionError",
        ),
        (_counts, "leaves_endpoints_alone", "were changed"),
        (_recurses, "picks_quickly", "calls for 100 endpoints"),
        (_waits, "picks_quickly", "sleep()"),
    ],
)
async def test_balancers(pick: Callable[[tuple[Endpoint, ...], Request], Any], rule: str, seen: str) -> None:
    await _breaks("balancer", _balancer(pick), rule, seen)


@pytest.mark.parametrize(
    ("word", "kind", "rule"),
    [
        ("balancer", BalancerType("bad", Typed, lambda settings: Balancing(_first_free)), "has_a_key_of_its_own"),
        ("observer", ObserverType("bad", Typed, built(Observer())), "has_no_key_named_type"),
        ("source", SourceType("bad", Typed, built(None)), "has_a_key_of_its_own"),  # type: ignore[arg-type]
        ("health-check", HealthCheckType("bad", Typed, lambda settings: _well), "keeps_its_keys_apart"),
    ],
)
async def test_keys_that_are_taken(word: str, kind: Any, rule: str) -> None:
    await _breaks(word, kind, rule, "type")


# --- observers ---


class Faulty(Observer):
    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        request.target.decode("ascii")

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        if not peer.address:
            raise ValueError("who is that")

    def reopen(self) -> None:
        raise OSError("nothing is open")


class Slow(Observer):
    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        for _ in range(1000):
            self.reopen()


class Waiting(Observer):
    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        time.sleep(0)


class Asynchronous(Observer):
    async def finished(self, *_: Any) -> None:  # type: ignore[override]
        """Never runs."""


class Meddling(Observer):
    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        exchange.route = "mine"


@pytest.mark.parametrize(
    ("observer", "rule", "seen"),
    [
        (object(), "is_an_observer", "has no finished()"),
        (Faulty(), "survives_every_end", "UnicodeDecodeError"),
        (Asynchronous(), "survives_every_end", "returned a coroutine"),
        (Faulty(), "survives_every_refusal", "who is that"),
        (Faulty(), "reopens", "nothing is open"),
        (Slow(), "finished_is_quick", "100"),
        (Waiting(), "waits_for_nothing", "sleep()"),
        (Meddling(), "leaves_exchanges_alone", "'mine'"),
    ],
)
async def test_observers(observer: Any, rule: str, seen: str) -> None:
    await _breaks("observer", ObserverType("bad", NoSettings, built(observer)), rule, seen)


# --- matchers ---


def _matcher(matches: Callable[[Request, Peek], Awaitable[Any]], **options: Any) -> MatcherType:
    return MatcherType("bad", NoSettings, built(matches), **options)


async def _says_none(request: Request, peek: Peek) -> Any:
    return None


async def _decodes(request: Request, peek: Peek) -> bool:
    return request.target.decode("ascii") == "/"


async def _first_piece(request: Request, peek: Peek) -> bool:
    return len(await peek.more()) > 3


async def _ignores_seen(request: Request, peek: Peek) -> bool:
    found = b""
    while data := await peek.more():
        found += data
    return b"plain" in found


async def _reads_itself(request: Request, peek: Peek) -> bool:
    return bool(await request.body.read())


async def _gives_up(request: Request, peek: Peek) -> bool:
    try:
        while await peek.more():
            pass
    except ExchangeError:
        raise ExchangeError(Reason.BAD_REQUEST) from None
    return False


async def _deaf(request: Request, peek: Peek) -> bool:
    try:
        await peek.more()
    except BaseException:
        return False
    return False


async def _sleepy(request: Request, peek: Peek) -> bool:
    time.sleep(0)  # noqa: ASYNC251
    return False


@pytest.mark.parametrize(
    ("matches", "rule", "seen"),
    [
        (_says_none, "answers_yes_or_no", "it said None"),
        (_decodes, "answers_any_request", "UnicodeDecodeError"),
        (_first_piece, "matches_by_content_alone", "by the size of pieces"),
        (_ignores_seen, "looks_at_what_others_saw", "were seen before"),
        (_reads_itself, "reads_no_content_itself", "it read or closed"),
        (_gives_up, "peeks_within_bounds", "content_too_large became bad_request"),
        (_gives_up, "lets_errors_through", "client_left became bad_request"),
        (_deaf, "lets_cancellation_through", "it was cancelled, and it returned"),
        (_sleepy, "blocks_nobody", "sleep()"),
    ],
)
async def test_matchers(matches: Callable[[Request, Peek], Awaitable[Any]], rule: str, seen: str) -> None:
    await _breaks("matcher", _matcher(matches), rule, seen)


# --- health checks ---


def _health(check: Callable[[Handler, Endpoint], Awaitable[Any]]) -> HealthCheckType:
    return HealthCheckType("bad", NoSettings, lambda settings: check)


def _asked(endpoint: Endpoint) -> Request:
    return Request(b"GET", b"/", endpoint.authority, (), EMPTY, Exchange(Peer()))


async def _well(send: Handler, endpoint: Endpoint) -> None:
    return None


async def _asserts(send: Handler, endpoint: Endpoint) -> None:
    response = await send(_asked(endpoint))
    await response.body.aclose()
    assert response.status == 200


async def _answers_no(send: Handler, endpoint: Endpoint) -> bool:
    return False


async def _asks_nobody(send: Handler, endpoint: Endpoint) -> None:
    await (await send(_asked(endpoint).with_authority(b""))).body.aclose()


async def _keeps_open(send: Handler, endpoint: Endpoint) -> None:
    await send(_asked(endpoint))


async def _reads_on(send: Handler, endpoint: Endpoint) -> None:
    response = await send(_asked(endpoint))
    while await response.body.read():
        pass


async def _hopes(send: Handler, endpoint: Endpoint) -> None:
    try:
        await (await send(_asked(endpoint))).body.aclose()
    except BaseException:
        return


async def _naps(send: Handler, endpoint: Endpoint) -> None:
    time.sleep(0)  # noqa: ASYNC251


@pytest.mark.parametrize(
    ("check", "rule", "seen"),
    [
        (_asserts, "judges_in_words", "AssertionError"),
        (_answers_no, "judges_in_words", "it returned False"),
        (_asks_nobody, "asks_by_valid_requests", "without an authority"),
        (_keeps_open, "closes_answers", "was left open"),
        (_reads_on, "reads_no_endless_answer", "MiB were read"),
        (_hopes, "lets_errors_through", "connect_failed is well"),
        (_hopes, "lets_cancellation_through", "it was cancelled, and it returned"),
        (_naps, "waits_for_nothing_else", "sleep()"),
    ],
)
async def test_health_checks(check: Callable[[Handler, Endpoint], Awaitable[Any]], rule: str, seen: str) -> None:
    await _breaks("health-check", _health(check), rule, seen)


async def test_a_check_that_asks_nobody_cannot_be_judged_by_what_it_asks() -> None:
    assert isinstance(await _breach("health-check", _health(_well), "asks_by_valid_requests"), Unseen)


# --- activators ---


class Starting:
    """Starts nothing."""

    def __init__(self, context: ActivatorContext) -> None:
        self.context = context

    async def activate(self) -> None:
        return None


class Lying(Starting):
    async def activate(self) -> None:
        self.context.endpoints.update([EndpointSpec("127.0.0.1:1")])


class Raising(Starting):
    async def activate(self) -> None:
        raise ExchangeError(Reason.NO_ENDPOINT)


class Failing(Starting):
    async def activate(self) -> None:
        raise OSError("no such machine")


class Stubborn(Starting):
    async def activate(self) -> None:
        try:
            await anyio.sleep(3600)
        except BaseException:
            raise ExchangeError(Reason.ACTIVATION_FAILED, "it was in a hurry") from None


class Once(Lying):
    async def activate(self) -> None:
        if self.context.endpoints.ready:
            raise RuntimeError("it is awake")
        await super().activate()


class Leaving(Lying):
    async def activate(self) -> None:
        await super().activate()
        LEFT.append(open("/dev/zero"))  # noqa: ASYNC230, SIM115
        await anyio.lowlevel.checkpoint()


class Blocking(Lying):
    async def activate(self) -> None:
        time.sleep(0)  # noqa: ASYNC251
        await super().activate()


def _activator(kind: type[Starting]) -> ActivatorType:
    @asynccontextmanager
    async def build(settings: NoSettings, context: ActivatorContext) -> AsyncIterator[Activator]:
        yield kind(context)

    return ActivatorType("bad", NoSettings, build)


@pytest.mark.parametrize(
    ("kind", "rule", "seen"),
    [
        (Starting, "publishes_what_answers", "there is no endpoint"),
        (Lying, "publishes_what_answers", "127.0.0.1:1 accepts no connection"),
        (Raising, "publishes_what_answers", "it raised no_endpoint"),
        (Failing, "publishes_what_answers", "no such machine"),
        (Once, "returns_where_it_is_awake", "it is awake"),
        (Stubborn, "can_be_cancelled", "it was in a hurry"),
        (Leaving, "closing_ends_what_it_started", "descriptor of /dev/zero"),
        (Leaving, "can_be_closed_while_it_starts", "descriptor of /dev/zero"),
        (Blocking, "waits_for_nothing_blocking", "sleep()"),
    ],
)
async def test_activators(kind: type[Starting], rule: str, seen: str) -> None:
    await _breaks("activator", _activator(kind), rule, seen)


# --- dialects ---


def _claims(request: Request) -> bool:
    return False


def _renders(request: Request, error: ExchangeError) -> Response:
    return Response(error.status, (), Buffered(error.message.encode()))


def _claims_by_text(request: Request) -> bool:
    return request.target.decode("ascii") == "/"


def _turncoat() -> Callable[[Request], bool]:
    said: list[bool] = []

    def claims(request: Request) -> bool:
        said.append(True)
        return len(said) % 2 == 0

    return claims


def _renders_some(request: Request, error: ExchangeError) -> Response:
    return {Reason.NO_ROUTE: Response(404)}[error.reason]


def _renders_lines(request: Request, error: ExchangeError) -> Response:
    return Response(error.status, ((b"x-error", error.message.encode()),))


def _renders_slowly(request: Request, error: ExchangeError) -> Response:
    time.sleep(0)
    return _renders(request, error)


def _anew(request: Request) -> Request:
    return Request(b"GET", b"/", b"a", (), EMPTY, Exchange(Peer()))


@pytest.mark.parametrize(
    ("dialect", "rule", "seen"),
    [
        (Dialect("bad", _claims, _renders, content_types=(b"A/B",)), "declares_what_is_its_own", "A/B"),
        (Dialect("bad", _claims_by_text, _renders), "claims_any_request", "UnicodeDecodeError"),
        (Dialect("bad", lambda request: None, _renders), "claims_any_request", "None"),  # type: ignore[arg-type, return-value]
        (Dialect("bad", _turncoat(), _renders), "claims_without_a_trace", "it said False, then True"),
        (Dialect("bad", _claims, _renders_some), "renders_every_error", "for bad_request: KeyError"),
        (Dialect("bad", _claims, _renders_lines), "renders_every_error", "holds a line end"),
        (
            Dialect("bad", _claims, lambda request, error: Response(500, ((b"connection", b"close"),))),
            "renders_without_framing",
            "b'connection'",
        ),
        (
            Dialect("bad", _claims, _renders, content_types=(b"a/b",), outgoing=_anew),
            "outgoing_stays_a_request",
            "another exchange",
        ),
        (Dialect("bad", _claims, _renders_slowly), "answers_quickly", "sleep()"),
        (
            Dialect("bad", _claims, _renders, content_types=(b"a/b",), layer=_around(_shouts)),
            "messages_are_valid",
            "X-Shout",
        ),
    ],
)
async def test_dialects(dialect: Dialect, rule: str, seen: str) -> None:
    await _breaks("dialect", dialect, rule, seen)


# --- commands ---


@click.command()
@click.option("--mute")
def mumble(mute: str) -> None:
    pass


@click.command(help="Say it.", add_help_option=False)
def helpless() -> None:
    pass


@click.command(help="Say it.", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def lenient() -> None:
    pass


@click.command(help="Say it.")
@click.argument("word", required=False)
def asks(word: str | None) -> None:
    pass


class Shrugging(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return []


@click.command(help="Say it.", cls=Shrugging)
@click.argument("word")
def shrug(word: str) -> None:
    pass


@click.command(help="Say it.")
async def sing() -> None:
    pass


@pytest.mark.parametrize(
    ("command", "rule", "seen"),
    [
        (mumble, "has_help", "no help of mumble"),
        (mumble, "options_have_help", "no help of --mute of mumble"),
        (helpless, "help_works", "ended with 2"),
        (lenient, "refuses_unknown_options", "ended with 0"),
        (shrug, "misses_its_arguments", "TypeError"),
        (sing, "runs_as_a_function", "sing is a coroutine function"),
    ],
)
async def test_commands(command: click.Command, rule: str, seen: str) -> None:
    await _breaks("command", command, rule, seen)


async def test_a_command_without_arguments_misses_none() -> None:
    assert isinstance(await _breach("command", asks, "misses_its_arguments"), Unseen)


# --- sources ---


class Telling:
    """Publishes snapshots at once, one after the other, and stays."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.snapshots = snapshots
        self.again = anyio.Event()

    async def run(self, publish: Publish) -> None:
        for snapshot in self.snapshots:
            await publish(snapshot)
        await anyio.sleep_forever()

    def reload(self) -> None:
        return None


class Silent(Telling):
    async def run(self, publish: Publish) -> None:
        return None


class Hasty(Telling):
    async def run(self, publish: Publish) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(self.tell, publish)
        await anyio.sleep_forever()

    async def tell(self, publish: Publish) -> None:
        await publish(Snapshot())


class Sulking(Telling):
    async def run(self, publish: Publish) -> None:
        if (await publish(self.snapshots[0])).refused:
            raise ValueError("refused")
        await anyio.sleep_forever()


class Breaking(Telling):
    def reload(self) -> None:
        raise OSError("the file is gone")


class Clinging(Telling):
    async def run(self, publish: Publish) -> None:
        try:
            await super().run(publish)
        except BaseException:
            raise ValueError("not now") from None


class Dropping(Telling):
    """Forgets everything as soon as it is told to read again."""

    async def run(self, publish: Publish) -> None:
        await publish(self.snapshots[0])
        await self.again.wait()
        await publish(self.snapshots[1])
        await anyio.sleep_forever()

    def reload(self) -> None:
        self.again.set()


class Littering(Telling):
    async def run(self, publish: Publish) -> None:
        LEFT.append(open("/dev/zero"))  # noqa: ASYNC230, SIM115
        await super().run(publish)


class Dozing(Telling):
    async def run(self, publish: Publish) -> None:
        time.sleep(0)  # noqa: ASYNC251
        await super().run(publish)


ROUTE = RouteSpec("hello", Respond(body=b"hello\n"), origin="here#hello")
UNFIT = RouteSpec("unfit", Forward((Split("unfit"),)), origin="here#unfit")
NO_SUCH = BackendSpec("unfit", type="no_such", origin="here#unfit")
LOST = RouteSpec("lost", Forward((Split("nowhere"),)), origin="here#lost")


def _source(kind: type[Telling], *snapshots: Snapshot) -> SourceType:
    @asynccontextmanager
    async def build(*_: Any) -> AsyncIterator[Any]:
        yield kind(*snapshots)

    return SourceType("bad", NoSettings, build)


@pytest.mark.parametrize(
    ("kind", "rule", "seen"),
    [
        (_source(Silent), "publishes_at_once", "run() ended without a snapshot"),
        (_source(Telling, "snapshot"), "publishes_at_once", "it published 'snapshot'"),  # type: ignore[arg-type]
        (_source(Telling, Snapshot((ROUTE, ROUTE))), "snapshots_are_whole", "['hello'] more than once"),
        (_source(Telling, Snapshot((LOST,))), "snapshots_are_whole", "route lost leads to ['nowhere']"),
        (_source(Telling, Snapshot((RouteSpec("a", Respond()),))), "tells_origins", "'a' has no origin"),
        (
            _source(Telling, Snapshot(refused=(ObjectStatus("line", "x", "here:1"),))),
            "tells_origins",
            "is refused without a word",
        ),
        (_source(Telling, Snapshot((UNFIT,), (NO_SUCH,))), "objects_compile", "no_such"),
        (_source(Hasty), "publishes_in_order", "while another publish ran"),
        (_source(Sulking, Snapshot((ROUTE,))), "goes_on_when_refused", "ValueError: refused"),
        (_source(Breaking, Snapshot()), "reload_never_raises", "the file is gone"),
        (_source(Clinging, Snapshot()), "run_can_be_cancelled", "not now"),
        (_source(Littering, Snapshot()), "leaves_nothing_behind_when_it_ran", "/dev/zero"),
        (_source(Dozing, Snapshot()), "blocks_nobody", "sleep()"),
    ],
)
async def test_sources(kind: SourceType, rule: str, seen: str) -> None:
    await _breaks("source", kind, rule, seen)


async def test_a_source_that_hides_what_it_would_publish() -> None:
    @asynccontextmanager
    async def build(settings: NoSettings, context: Any) -> AsyncIterator[Any]:
        yield Telling(Snapshot((ROUTE,) if context.serving else ()))

    await _breaks("source", SourceType("bad", NoSettings, build), "publishes_when_only_looked_at", "the routes []")


async def test_a_source_that_loses_the_rest() -> None:
    other = RouteSpec("other", Respond(), origin="here#other")
    with pytest.raises(BrokenRules, match=r"nothing is refused") as caught:
        await check_source(_source(Dropping, Snapshot((ROUTE, other)), Snapshot()), spoil=lambda: None)
    assert [one.check for one in caught.value.breaches] == ["keeps_the_rest"]
    bad = ObjectStatus("route", "other", "here#other", "it is spoilt")
    await check_source(
        _source(Dropping, Snapshot((ROUTE, other)), Snapshot((ROUTE,), refused=(bad,))), spoil=lambda: None
    )
    with pytest.raises(BrokenRules, match=r"\['hello', 'other'\] went away"):
        await check_source(_source(Dropping, Snapshot((ROUTE, other)), Snapshot(refused=(bad,))), spoil=lambda: None)


# --- protocols ---


def _protocol(**changes: Any) -> WireProtocol:
    """A protocol of one line each way, `changes` made to it."""
    fields: dict[str, Any] = {"alpn": (), "sniff": lambda start: Sniff.NO, "serve": _serve, "connect": _connect}
    return WireProtocol(name="bad", settings=NoSettings, **{**fields, **changes})


class Lines:
    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.waiting = b""

    async def line(self) -> bytes:
        while b"\n" not in self.waiting:
            if len(self.waiting) > 1000:
                raise anyio.BrokenResourceError
            self.waiting += await self.stream.receive()
        line, _, self.waiting = self.waiting.partition(b"\n")
        return line


async def _serve(
    stream: Stream, connection: Any, settings: Any, *, write: Any = None, drains: bool = True, notices: bool = True
) -> None:
    lines, busy = Lines(stream), False

    async def respond(response: Response) -> None:
        await stream.send(b"%d\n" % response.status)
        while data := await response.body.read():
            await stream.send(b"%b\n" % data.hex().encode())
        await stream.send(b"\n")

    with anyio.CancelScope() as scope:
        if notices:
            stream.on_lost = scope.cancel
        if drains:
            connection.on_drain = lambda: None if busy else scope.cancel()
        try:
            while not connection.draining:
                method, _, target = (await lines.line()).partition(b" ")
                busy = True
                exchange = Exchange(connection.peer)
                await connection.run_exchange(Request(method, target, b"a", (), EMPTY, exchange), write or respond)
                busy = False
        except ExchangeError:
            stream.abort()


class Upstream:
    """Sends a line, and reads the answer at once."""

    whole = True
    fails_as = Reason.UPSTREAM_CLOSED
    times = 1

    def __init__(self, stream: Stream) -> None:
        self.capacity = 1
        self.released: Any
        self.lines = Lines(stream)
        self.stream = stream

    async def send(self, request: Request) -> Response:
        self.capacity = 0
        try:
            await self.stream.send(b"%b %b\n" % (request.method, request.target))
            status, content = int(await self.lines.line()), b""
            try:
                while line := await self.lines.line():
                    content += bytes.fromhex(line.decode())
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                if self.whole:
                    raise
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ValueError):
            self.close()
            self._over()
            raise ExchangeError(self.fails_as) from None
        except BaseException:
            self.close()
            self._over()
            raise
        self.capacity = 1
        self._over()
        return Response(status, (), Buffered(content))

    def _over(self) -> None:
        for _ in range(self.times):
            self.released(self)

    def close(self) -> None:
        self.capacity = 0
        self.stream.abort()


class Credulous(Upstream):
    whole = False


class Blaming(Upstream):
    fails_as = Reason.BAD_REQUEST


class Forgetting(Upstream):
    times = 0


class Clutching(Upstream):
    async def send(self, request: Request) -> Response:
        try:
            return await super().send(request)
        except BaseException:
            return Response(200)


class Immortal(Upstream):
    def close(self) -> None:
        self.stream.abort()


class Fickle(Upstream):
    async def send(self, request: Request) -> Response:
        return (await super().send(request)).with_status(201)


def _connecting(kind: type[Upstream]) -> Callable[..., Awaitable[Any]]:
    async def connect(stream: Stream, endpoint: Endpoint, settings: NoSettings) -> Any:
        return kind(stream)

    return connect


_connect = _connecting(Upstream)


async def _refuses(stream: Stream, connection: Any, settings: NoSettings) -> None:
    raise ValueError("what was that")


async def _ignores_the_end(stream: Stream, connection: Any, settings: NoSettings) -> None:
    try:
        await _serve(stream, connection, settings)
    except anyio.EndOfStream:
        raise ValueError("an end") from None


async def _wants_all_at_once(stream: Stream, connection: Any, settings: NoSettings) -> None:
    start = await stream.receive()
    stream.unread(start)
    if b"\n" in start:
        await _serve(stream, connection, settings)


async def _heaps_up(stream: Stream, connection: Any, settings: NoSettings) -> None:
    async def respond(response: Response) -> None:
        for _ in range(10_000):
            if not await response.body.read():
                break
        await stream.send(b"200\n\n")

    await _serve(stream, connection, settings, write=respond)


async def _drains_never(stream: Stream, connection: Any, settings: NoSettings) -> None:
    await _serve(stream, connection, settings, drains=False)


async def _ends_in_order(stream: Stream, connection: Any, settings: NoSettings) -> None:
    async def respond(response: Response) -> None:
        await stream.send(b"200\n")
        try:
            while data := await response.body.read():
                await stream.send(b"%b\n" % data.hex().encode())
        except ExchangeError:
            pass
        await stream.send(b"\n")

    await _serve(stream, connection, settings, write=respond)


async def _drops_the_last(stream: Stream, connection: Any, settings: NoSettings) -> None:
    with anyio.CancelScope() as scope:
        original = stream.abort

        def drain() -> None:
            original()
            scope.cancel()

        async def respond(response: Response) -> None:
            await stream.send(b"200\n%b\n\n" % (await response.body.read()).hex().encode())

        lines = Lines(stream)
        method, _, target = (await lines.line()).partition(b" ")
        connection.on_drain = drain
        exchange = Exchange(connection.peer)
        await connection.run_exchange(Request(method, target, b"a", (), EMPTY, exchange), respond)


def _sniffs(start: bytes) -> Sniff:
    return Sniff.MORE


def _changes_its_mind(start: bytes) -> Sniff:
    return Sniff.YES if len(start) % 2 else Sniff.NO


def _sniffs_text(start: bytes) -> Sniff:
    start.decode()
    return Sniff.NO


@pytest.mark.parametrize(
    ("changes", "rule", "seen"),
    [
        ({"alpn": ("",)}, "declares_what_it_is", "alpn is ('',)"),
        ({"silence_seconds": lambda settings: 0}, "declares_what_it_is", "silence_seconds gave 0"),
        ({"sniff": _sniffs}, "sniffs_any_bytes", "MORE after 65536 bytes"),
        ({"sniff": _sniffs_text}, "sniffs_any_bytes", "UnicodeDecodeError"),
        ({"sniff": _changes_its_mind}, "sniffs_its_own_beginning", "with one byte more"),
        ({"serve": _ignores_the_end}, "ends_when_the_client_ends", "serve() raised ValueError: an end"),
        ({"serve": _refuses}, "survives_garbage", "what was that"),
        ({"connect": _connecting(Fickle)}, "halves_understand_each_other", "GET answered 200 came as 201"),
        ({"serve": _wants_all_at_once}, "reads_bytes_in_any_pieces", "upstream closed"),
        ({"serve": _heaps_up}, "waits_for_a_slow_client", "MiB were read of the answer"),
        ({"serve": _drops_the_last}, "answers_the_last_exchange", "upstream closed"),
        ({"serve": _ends_in_order}, "writes_no_broken_answer_to_its_end", "as if that were all"),
        ({"connect": _connecting(Credulous)}, "upstream_tells_of_a_cut", "came as if they were all"),
        ({"connect": _connecting(Blaming)}, "upstream_tells_of_a_cut", "bad_request"),
        ({"connect": _connecting(Forgetting)}, "releases_each_exchange_once", "it was called 0 times"),
        ({"connect": _connecting(Clutching)}, "upstream_can_be_cancelled", "it was cancelled, and it returned"),
        ({"connect": _connecting(Immortal)}, "upstream_can_be_closed", "capacity is 1 after close()"),
    ],
)
async def test_protocols(changes: dict[str, Any], rule: str, seen: str) -> None:
    await _breaks("protocol", _protocol(**changes), rule, seen)


async def _hears_nobody_leave(stream: Stream, connection: Any, settings: NoSettings) -> None:
    await _serve(stream, connection, settings, notices=False)


async def _catches_cancellation(stream: Stream, connection: Any, settings: NoSettings) -> None:
    try:
        await _serve(stream, connection, settings)
    except anyio.get_cancelled_exc_class():
        raise ValueError("not now") from None


async def _keeps_a_descriptor(stream: Stream, connection: Any, settings: NoSettings) -> None:
    LEFT.append(open("/dev/zero"))  # noqa: ASYNC230, SIM115
    await _serve(stream, connection, settings)


@pytest.mark.parametrize(
    ("changes", "rule", "seen"),
    [
        ({"serve": _catches_cancellation}, "serve_can_be_cancelled", "not now"),
        ({"serve": _keeps_a_descriptor}, "connections_leave_nothing_behind", "descriptor of /dev/zero"),
    ],
)
async def test_protocols_that_do_not_let_go(changes: dict[str, Any], rule: str, seen: str) -> None:
    await _breaks("protocol", _protocol(**changes), rule, seen)


async def test_protocols_with_one_half() -> None:
    unseen = {one.check for one in await check_protocol(_protocol(connect=None))}
    assert not unseen & {"ends_when_the_client_ends", "survives_garbage", "ends_idle_connections_on_drain"}
    assert {"upstream_tells_of_a_cut", "halves_understand_each_other"} <= unseen
    unseen = {one.check for one in await check_protocol(_protocol(serve=None))}
    assert not unseen & {"declares_what_it_is", "sniffs_any_bytes"}
    assert {"survives_garbage", "upstream_tells_of_a_cut"} <= unseen
    await _breaks("protocol", _protocol(serve=_refuses, connect=None), "survives_garbage", "what was that")


class Mute(Telling):
    async def run(self, publish: Publish) -> None:
        await anyio.sleep_forever()


class Dreaming(Starting):
    async def activate(self) -> None:
        await anyio.sleep_forever()


@pytest.mark.parametrize(
    ("word", "thing", "rule"),
    [
        ("protocol", _protocol(serve=_drains_never), "ends_idle_connections_on_drain"),
        ("protocol", _protocol(serve=_hears_nobody_leave), "notices_a_client_that_leaves"),
        ("source", _source(Mute), "publishes_at_once"),
        ("activator", _activator(Dreaming), "publishes_what_answers"),
    ],
)
async def test_what_never_ends(word: str, thing: Any, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "PATIENCE_SECONDS", 0.3)
    await _breaks(word, thing, rule, "it did not come to an end within 0.3 s")


# --- the option ---


def test_every_rule_is_seen_to_break() -> None:
    names = {getattr(check, "__name__", "") for battery in BATTERIES.values() for check in battery.checks}
    words = Path(__file__).read_text()
    assert not sorted(name for name in names if f'"{name}"' not in words)


PYTEST = ("-p", "no:cacheprovider", "--no-header")
PLUGIN = """
from contextlib import asynccontextmanager

from daemun import FilterType, NoSettings, hookimpl


@asynccontextmanager
async def build(settings, context):
    def layer(handler):
        async def handle(request):
            return (await handler(request)).with_header(b"X-Shout", b"1")

        return handle

    yield layer


@hookimpl
def daemun_filters():
    return [FilterType("shout", NoSettings, build)]
"""


@pytest.fixture
def conformance(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs pytest with the given options in a folder in which the plugin `shouting` is as good as installed."""
    (tmp_path / "shouting.py").write_text(PLUGIN)
    (tmp_path / "test_never_run.py").write_text("def test_never_run():\n    raise AssertionError\n")
    (tmp_path / "shot.yaml").write_text("shot: {}\n")
    information = tmp_path / "shouting-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[daemun]\nshouting = shouting\n")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "pytest", *PYTEST, *options]
        return subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False)

    return run


@pytest.mark.conformance
def test_the_option_runs_the_rules_and_nothing_else(
    conformance: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = conformance("--daemun-conformance=filter:shout", "--daemun-conformance=balancer:round_robin", "-v")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "filter:shout::name_fits PASSED" in done.stdout
    assert "filter:shout::messages_are_valid FAILED" in done.stdout
    assert "balancer:round_robin::picks_quickly PASSED" in done.stdout
    assert "filter 'shout' on asyncio" in done.stdout
    assert "  seen: in its response to GET: the field b'X-Shout' is not lower-case" in done.stdout
    assert "test_never_run" not in done.stdout


@pytest.mark.conformance
def test_one_rule_can_be_run_alone(conformance: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = conformance("--daemun-conformance=filter:shout", "-k", "name_fits")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    listed = conformance("--daemun-conformance=filter:shout", "--collect-only", "-q", "-k", "name_fits or messages")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "filter:shout::name_fits\nfilter:shout::messages_are_valid\n" in listed.stdout


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--daemun-conformance=filter:whisper"], "unknown filter 'whisper' (accepted: "),
        (["--daemun-conformance=sieve:shout"], "'sieve:shout' is not KIND:NAME (KIND is one of filter, backend,"),
        (["--daemun-conformance=filter:"], "'filter:' is not KIND:NAME"),
        (["--daemun-conformance=filter:shout", "--daemun-header=no colon"], "'no colon' is not `name: value`"),
        (["--daemun-conformance=filter:shout", "--daemun-settings=nowhere.yaml"], "nowhere.yaml"),
        (
            ["--daemun-conformance=filter:shout", "--daemun-settings=shot.yaml"],
            "'shot' is not checked (accepted: shout)",
        ),
        (
            ["--daemun-conformance=filter:shout", "--daemun-header=X Y: 1"],
            "'X Y: 1': the field name b'x y' is no token",
        ),
        (["--daemun-header=x: 1"], "--daemun-header does nothing without --daemun-conformance"),
    ],
)
def test_options_that_fit_nothing(
    conformance: Callable[..., subprocess.CompletedProcess[str]], options: list[str], words: str
) -> None:
    done = conformance(*options)
    assert done.returncode == 4, done.stdout + done.stderr
    assert words in done.stdout + done.stderr


def test_every_rule_has_words() -> None:
    for word, battery in BATTERIES.items():
        names = [getattr(check, "__name__", "") for check in battery.checks]
        assert len(set(names)) == len(names), word
        for check in battery.checks:
            assert (check.__doc__ or "").strip().endswith("."), check
            assert "\n" not in (check.__doc__ or ""), check


def test_subjects_name_themselves() -> None:
    assert Subject("filter", _filter(_passing)).words == "filter 'bad'"
