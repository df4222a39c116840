"""One exchange at the edge: faults of plugins, deadlines, dialects, and who sees what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from daemun import (
    BackendType,
    Buffered,
    Dialect,
    Exchange,
    ExchangeError,
    FilterType,
    Handler,
    Headers,
    NoSettings,
    Observer,
    ObserverType,
    Peer,
    Reason,
    Request,
    Response,
    render,
)
from daemun.testing import (
    Answer,
    CutOff,
    RunningGateway,
    Wire,
    built,
    eventually,
    make_plugin,
    make_request,
    running,
)

pytestmark = pytest.mark.anyio

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class Seen(Observer):
    """An observer that keeps what it saw."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.responses: list[Response | None] = []
        self.refusals: list[tuple[Peer, Reason]] = []

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        self.refusals.append((peer, error.reason))

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        assert request.exchange is exchange
        self.exchanges.append(exchange)
        self.responses.append(response)

    @property
    def ends(self) -> list[tuple[int, Reason | None]]:
        return [(exchange.status, exchange.reason) for exchange in self.exchanges]


class Edge:
    """A gateway with one back end made of a function."""

    def __init__(self, gateway: RunningGateway, seen: Seen) -> None:
        self.gateway = gateway
        self.seen = seen

    async def connect(self) -> Wire:
        return Wire(await self.gateway.connect())

    async def ask(self, request: bytes = GET) -> Answer:
        wire = await self.connect()
        await wire.send(request)
        answer = await wire.answer()
        await wire.aclose()
        return answer


@asynccontextmanager
async def edge(
    handler: Handler,
    *,
    filters: tuple[FilterType, ...] = (),
    dialects: tuple[Dialect, ...] = (),
    observers: tuple[Any, ...] = (),
    route: dict[str, Any] | None = None,
) -> AsyncIterator[Edge]:
    seen = Seen()
    all_observers = {f"observer{number}": one for number, one in enumerate((*observers, seen))}
    plugin = make_plugin(
        "faulty",
        daemun_backends=lambda: [BackendType("function", NoSettings, built(handler))],
        daemun_filters=lambda: filters,
        daemun_dialects=lambda: dialects,
        daemun_observers=lambda: [ObserverType(name, NoSettings, built(one)) for name, one in all_observers.items()],
    )
    settings = {
        "sources": [
            {
                "type": "inline",
                "backends": {"up": {"type": "function"}},
                "routes": [{"name": "all", "to": "up", "match": {"prefix": "/"}, **(route or {})}],
            }
        ],
        "observers": [{"type": name} for name in all_observers],
        "drain": {"grace_seconds": 1},
    }
    async with running(settings, only=["http1", "file"], extra=[plugin]) as gateway:
        yield Edge(gateway, seen)


async def fine(request: Request) -> Response:
    return Response(200, (), Buffered(b"fine"))


async def broken(request: Request) -> Response:
    raise LookupError("secret inside")


def faults(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "daemun.exchange"]


# --- faults of plugins ---


async def test_an_exception_of_a_plugin_is_a_500_that_names_it_in_the_log_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with edge(broken) as service:
        answer = await service.ask()
    assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
    assert b"secret" not in answer.body
    line = f"{__file__}:{broken.__code__.co_firstlineno + 1}"
    words = f"route all: plugin faulty (back end type function) at {line} raised LookupError('secret inside')"
    assert faults(caplog) == [words]
    assert service.seen.ends == [(500, Reason.PLUGIN_FAULT)]


async def test_an_exception_of_a_library_is_the_fault_of_the_plugin_that_called_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def parse(request: Request) -> Response:
        return Response(200, (), Buffered(json.dumps(json.loads("{")).encode()))

    async with edge(parse) as service:
        assert (await service.ask()).status == 500
    assert faults(caplog)[0].startswith(f"route all: plugin faulty (back end type function) at {__file__}:")
    assert " raised JSONDecodeError" in faults(caplog)[0]


async def test_an_exception_of_a_plugin_does_not_end_the_connection() -> None:
    async def now_and_then(request: Request) -> Response:
        return await (broken if request.path == b"/bad" else fine)(request)

    async with edge(now_and_then) as service:
        wire = await service.connect()
        for _ in range(2):
            await wire.send(GET.replace(b"/ ", b"/bad "))
            assert (await wire.answer()).status == 500
            await wire.send(GET)
            assert (await wire.answer()).body == b"fine"
        await wire.aclose()


async def test_a_handler_that_forgets_its_response_is_a_500() -> None:
    async def forgetful(request: Request) -> Any:
        return None

    async with edge(forgetful) as service:
        wire = await service.connect()
        for _ in range(2):
            await wire.send(GET)
            answer = await wire.answer()
            assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        await wire.aclose()
    assert service.seen.ends == [(500, Reason.PLUGIN_FAULT)] * 2


async def test_an_error_of_ours_may_come_through_the_task_group_of_a_filter() -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            async with anyio.create_task_group():
                response = await handler(request)
            return response.with_header(b"x-grouped", b"yes")

        return handle

    async def refuse(request: Request) -> Response:
        raise ExchangeError(Reason.OVERLOADED, "come back later", retry_after_seconds=3)

    filters = (FilterType("grouping", NoSettings, built(layer)),)
    async with edge(refuse, filters=filters, route={"filters": [{"type": "grouping"}]}) as service:
        answer = await service.ask()
    assert (answer.status, answer.field(b"retry-after")) == (503, b"3")
    assert service.seen.ends == [(503, Reason.OVERLOADED)]


async def test_an_error_of_ours_may_choose_its_status() -> None:
    async def refuse(request: Request) -> Response:
        raise ExchangeError(Reason.BAD_REQUEST, "an apple is no pear", status=422)

    async with edge(refuse) as service:
        answer = await service.ask()
    assert (answer.status, answer.body) == (422, b"422 Unprocessable Entity\ndownstream: an apple is no pear\n")


class Pieces:
    """A body in pieces; an exception among them is raised."""

    def __init__(self, *pieces: bytes | Exception, length: int | None = None) -> None:
        self.length = length
        self.trailers: Headers = ()
        self.closed = 0
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("error", [LookupError("late"), ExchangeError(Reason.UPSTREAM_CLOSED)])
async def test_a_body_that_fails_cuts_the_response_off_so_that_the_client_can_tell(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    body = Pieces(b"begun", error)

    async def half(request: Request) -> Response:
        return Response(200, (), body)

    async with edge(half) as service:
        wire = await service.connect()
        await wire.send(GET)
        with pytest.raises(CutOff):
            await wire.answer()
        await wire.aclose()
    reason = Reason.PLUGIN_FAULT if isinstance(error, LookupError) else Reason.UPSTREAM_CLOSED
    assert service.seen.ends == [(200, reason)]
    assert body.closed >= 1
    assert len(faults(caplog)) == (1 if isinstance(error, LookupError) else 0)


async def test_the_body_of_a_response_is_closed_whatever_happens() -> None:
    bodies: list[Pieces] = []

    async def stream(request: Request) -> Response:
        bodies.append(Pieces(b"a", b"b"))
        return Response(200, (), bodies[-1])

    async with edge(stream) as service:
        assert (await service.ask()).body == b"ab"
        wire = await service.connect()
        await wire.send(GET.replace(b"GET", b"HEAD"))
        assert (await wire.answer("HEAD")).body == b""
        await wire.aclose()
    assert [body.closed >= 1 for body in bodies] == [True, True]


async def test_a_body_that_fails_to_close_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Sticky(Pieces):
        async def aclose(self) -> None:
            raise OSError("stuck")

    async def stream(request: Request) -> Response:
        return Response(200, (), Sticky(b"a", LookupError("late")))

    async with edge(stream) as service:
        wire = await service.connect()
        await wire.send(GET)
        with pytest.raises(CutOff):
            await wire.answer()
        await wire.aclose()
    assert len(service.seen.ends) == 1


async def test_a_field_that_would_break_the_head_is_a_fault_of_the_plugin() -> None:
    async def split(request: Request) -> Response:
        return Response(200, ((b"x", b"a\r\nset-cookie: b"),))

    async with edge(split) as service:
        answer = await service.ask()
        assert (answer.status, answer.field(b"set-cookie")) == (500, None)
    assert [reason for _, reason in service.seen.ends] == [Reason.PLUGIN_FAULT]


# --- deadlines, and clients that leave ---


async def stuck(request: Request) -> Response:
    await anyio.sleep_forever()
    raise AssertionError


async def test_the_timeout_of_a_route_is_a_504() -> None:
    async with edge(stuck, route={"timeout_seconds": 0.05}) as service:
        answer = await service.ask()
    assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
    assert [reason for _, reason in service.seen.ends] == [Reason.ROUTE_TIMEOUT]


async def test_who_forgets_to_return_is_told_so_and_floods_no_log(caplog: pytest.LogCaptureFixture) -> None:
    async def forgetful(request: Request) -> Response:
        if request.path == b"/raises":
            raise LookupError("again")
        return None  # type: ignore[return-value]

    async with edge(forgetful) as service:
        wire = await service.connect()
        for path in (b"/ ", b"/raises ", b"/raises ", b"/raises "):
            await wire.send(GET.replace(b"/ ", path, 1))
            assert (await wire.answer()).status == 500
        await wire.aclose()
    first, *others = [record for record in caplog.records if record.levelname == "ERROR"]
    assert first.getMessage().endswith("is at fault: it returned a NoneType; accepted: a Response")
    assert [record.exc_info is not None for record in others] == [True, False, False]
    assert len({record.getMessage() for record in others}) == 1


async def test_a_filter_may_shorten_the_deadline_and_not_lengthen_it() -> None:
    def layer(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            request.exchange.expire_in(60, Reason.UPSTREAM_TIMEOUT)
            assert request.exchange.remaining_seconds() <= 30
            request.exchange.expire_in(0.03, Reason.OVERLOADED)
            return await handler(request)

        return handle

    filters = (FilterType("hurry", NoSettings, built(layer)),)
    route = {"timeout_seconds": 30, "filters": [{"type": "hurry"}]}
    async with edge(stuck, filters=filters, route=route) as service:
        assert (await service.ask()).field(b"x-daemun-reason") == b"overloaded"


async def test_a_deadline_of_one_exchange_is_none_of_the_next() -> None:
    async def slow_at_first(request: Request) -> Response:
        if request.path == b"/slow":
            request.exchange.expire_in(30, Reason.ROUTE_TIMEOUT)
        else:
            assert request.exchange.timeout_reason is None
        return await fine(request)

    async with edge(slow_at_first) as service:
        wire = await service.connect()
        for path in (b"/slow ", b"/ "):
            await wire.send(GET.replace(b"/ ", path, 1))
            assert (await wire.answer()).status == 200
        await wire.aclose()


async def test_a_client_that_leaves_cancels_its_exchange() -> None:
    cancelled = anyio.Event()
    begun = anyio.Event()

    async def waits(request: Request) -> Response:
        begun.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    async with edge(waits) as service:
        wire = await service.connect()
        await wire.send(GET)
        await begun.wait()
        await wire.reset()
        with anyio.fail_after(5):
            await cancelled.wait()
        await eventually(lambda: len(service.seen.ends) == 1)
    assert service.seen.ends == [(499, Reason.CLIENT_LEFT)]
    assert service.seen.responses == [None]


# --- errors as responses ---


async def test_no_route_is_a_404_of_ours() -> None:
    async with edge(fine, route={"match": {"path": "/only"}}) as service:
        answer = await service.ask()
    assert (answer.status, answer.field(b"x-daemun-reason")) == (404, b"no_route")
    assert answer.body == b"404 Not Found\ngateway: no route matches\n"
    assert service.seen.ends == [(404, Reason.NO_ROUTE)]


async def test_a_client_that_takes_json_gets_a_problem_document() -> None:
    async with edge(broken) as service:
        answer = await service.ask(GET[:-2] + b"Accept: text/html, application/json\r\n\r\n")
    assert answer.field(b"content-type") == b"application/problem+json"
    assert json.loads(answer.body) == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "detail": "a plugin of the gateway failed",
        "reason": "plugin_fault",
        "side": "gateway",
    }


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_renders(reason: Reason) -> None:
    response = render(ExchangeError(reason), make_request())
    assert response.status == reason.status
    assert response.header(b"x-daemun-reason") == reason.value.encode()
    assert response.header(b"cache-control") == b"no-store"
    assert response.header(b"retry-after") is None
    assert isinstance(response.body, Buffered)
    assert response.body.data.startswith(b"%d " % reason.status)


def test_an_error_without_a_request_renders() -> None:
    assert render(ExchangeError(Reason.HEAD_TOO_LARGE, retry_after_seconds=2)).header(b"retry-after") == b"2"


def upper_dialect(claims: Any) -> Dialect:
    def render_upper(request: Request, error: ExchangeError) -> Response:
        return Response(200, ((b"x-status", b"%d" % error.status),), Buffered(error.message.upper().encode()))

    return Dialect("upper", claims, render_upper)


async def test_the_dialect_that_claims_a_request_renders_its_errors() -> None:
    dialect = upper_dialect(lambda request: request.header(b"x-dialect") == b"upper")
    async with edge(broken, dialects=(dialect,)) as service:
        answer = await service.ask(GET[:-2] + b"X-Dialect: upper\r\n\r\n")
        assert (answer.status, answer.field(b"x-status")) == (200, b"500")
        assert answer.body == b"A PLUGIN OF THE GATEWAY FAILED"
        assert (await service.ask()).status == 500
    assert service.seen.ends == [(200, Reason.PLUGIN_FAULT), (500, Reason.PLUGIN_FAULT)]


async def test_a_dialect_is_asked_only_for_errors() -> None:
    asked: list[bytes] = []

    def claims(request: Request) -> bool:
        asked.append(request.path)
        return False

    async with edge(fine, dialects=(upper_dialect(claims),)) as service:
        assert (await service.ask()).status == 200
    assert asked == []


async def test_a_dialect_that_fails_is_passed_by(caplog: pytest.LogCaptureFixture) -> None:
    def claims(request: Request) -> bool:
        raise LookupError("which")

    working = Dialect("working", lambda request: True, lambda request, error: Response(299))
    async with edge(broken, dialects=(upper_dialect(claims), working)) as service:
        assert (await service.ask()).status == 299
    assert any(one.startswith(f"dialect upper failed: plugin faulty at {__file__}:") for one in faults(caplog))


# --- observers ---


async def test_observers_see_every_exchange_once() -> None:
    async with edge(fine) as service:
        wire = await service.connect()
        for number in range(3):
            await wire.send(GET)
            await wire.answer()
            await eventually(lambda number=number: len(service.seen.exchanges) == number + 1)  # type: ignore[misc]
        await wire.aclose()
        assert service.seen.ends == [(200, None)] * 3
        assert {exchange.route for exchange in service.seen.exchanges} == {"all"}
        assert {exchange.peer.address for exchange in service.seen.exchanges} == {"127.0.0.1"}
        assert {exchange.peer.listener for exchange in service.seen.exchanges} == {"http"}


async def test_observers_are_told_of_requests_that_never_became_an_exchange() -> None:
    async with edge(fine) as service:
        for malformed in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n"):
            wire = await service.connect()
            await wire.send(malformed)
            await wire.answer()
            await wire.aclose()
        assert [reason for _, reason in service.seen.refusals] == [Reason.BAD_REQUEST, Reason.VERSION_REFUSED]
        assert {peer.listener for peer, _ in service.seen.refusals} == {"http"}
        assert service.seen.exchanges == []


async def test_observers_that_fail_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Observer):
        def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
            raise LookupError("blind")

    async with edge(fine, observers=(Failing(),)) as service:
        wire = await service.connect()
        for _ in range(2):
            await wire.send(GET)
            assert (await wire.answer()).status == 200
        await wire.aclose()
    assert service.seen.ends == [(200, None)] * 2
    line = f"{__file__}:{Failing.finished.__code__.co_firstlineno + 1}"
    assert faults(caplog) == [f"an observer failed: plugin faulty at {line} raised LookupError('blind')"] * 2


async def test_a_stop_that_cuts_off_is_seen_too() -> None:
    begun = anyio.Event()

    async def waits(request: Request) -> Response:
        begun.set()
        return await stuck(request)

    async with edge(waits) as service:
        wire = await service.connect()
        await wire.send(GET)
        await begun.wait()
        service.gateway.gateway.cut_off()
    await wire.aclose()
    assert service.seen.responses == [None]
