"""Middlewares as filters, as they are installed: Starlette's, and two of other authors."""

from __future__ import annotations

import gzip
import importlib
import json
from types import ModuleType
from typing import Any

import anyio
import pytest

from daemun import BackendType, Buffered, ExchangeError, Handler, NoSettings, Reason, Request, Response, Retry
from daemun.testing import Answer, Pieces, StreamReset, built, eventually, make_plugin

from .applications import seen
from .stage import Stage, errors, middleware, serving

pytestmark = pytest.mark.anyio

STARLETTE = "starlette.middleware."


def answering(handler: Handler) -> ModuleType:
    """A plugin whose back end `hand` is `handler`."""
    kind = BackendType("hand", NoSettings, built(handler))
    return make_plugin("hand", daemun_backends=lambda: [kind])


def behind(handler: Handler, *names: str) -> dict[str, Any]:
    """What has `serving` run `handler` behind middlewares."""
    filters = [middleware(name) for name in names]
    return {"backend": {"type": "hand"}, "extra": [answering(handler)], "filters": filters}


async def test_gzip_compresses_what_is_whole_and_what_streams() -> None:
    compress = middleware(STARLETTE + "gzip:GZipMiddleware", minimum_size=1)
    async with serving("hello", filters=[compress]) as stage:
        answer = await stage.ask(Accept_Encoding="gzip")
        assert answer.field(b"content-encoding") == b"gzip"
        assert gzip.decompress(answer.body) == b"hello"
        assert answer.field(b"content-length") == b"%d" % len(answer.body)
        assert (await stage.ask()).body == b"hello"
    async with serving("parrot", filters=[compress]) as stage, stage.http2() as http2:
        answer = await http2.exchange(b"POST", headers=((b"accept-encoding", b"gzip"),), content=b"words " * 5_000)
        assert gzip.decompress(answer.body) == b"words " * 5_000


async def test_small_pieces_that_a_middleware_holds_back_do_not_stop_it() -> None:
    async def hand(request: Request) -> Response:
        return Response(200, (), Pieces(*[b"x"] * 50))

    options = behind(hand) | {"filters": [middleware(STARLETTE + "gzip:GZipMiddleware", minimum_size=1)]}
    async with serving("hello", **options) as stage:
        assert gzip.decompress((await stage.ask(Accept_Encoding="gzip")).body) == b"x" * 50


async def test_brotli_of_another_author() -> None:
    compress = middleware("brotli_asgi:BrotliMiddleware", minimum_size=1)
    async with serving("mirror", filters=[compress], lifespan="off") as stage:
        answer = await stage.ask(Accept_Encoding="br")
        assert answer.field(b"content-encoding") == b"br"
        assert json.loads(importlib.import_module("brotli").decompress(answer.body))["path"] == "/"


async def test_correlation_ids_of_another_author() -> None:
    correlate = middleware("asgi_correlation_id:CorrelationIdMiddleware", header_name="X-Request-ID", validator=None)
    async with serving("correlated", filters=[correlate]) as stage:
        answer = await stage.ask(X_Request_ID="seven")
        assert (answer.field(b"x-request-id"), answer.body) == (b"seven", b"seven")
        others = [await stage.ask() for _ in range(2)]
        assert others[0].body == others[0].field(b"x-request-id") != others[1].field(b"x-request-id")


async def test_cors_answers_by_itself_and_marks_what_passes() -> None:
    cors = middleware(STARLETTE + "cors:CORSMiddleware", allow_origins=["https://b.test"], allow_methods=["PUT"])
    async with serving("hello", filters=[cors]) as stage:
        fields = {"Origin": "https://b.test", "Access_Control_Request_Method": "PUT"}
        answer = await stage.ask("OPTIONS / HTTP/1.1", b"", **fields)
        assert (answer.status, answer.field(b"access-control-allow-origin")) == (200, b"https://b.test")
        answer = await stage.ask(Origin="https://b.test")
        assert (answer.body, answer.field(b"access-control-allow-origin")) == (b"hello", b"https://b.test")


async def test_hosts_that_are_not_trusted_are_refused() -> None:
    trusted = middleware(STARLETTE + "trustedhost:TrustedHostMiddleware", allowed_hosts=["a.test"])
    async with serving("hello", filters=[trusted]) as stage:
        assert (await stage.ask()).body == b"hello"
        assert (await stage.ask(Host="b.test")).status == 400


async def test_what_comes_in_plain_is_redirected() -> None:
    redirect = middleware(STARLETTE + "httpsredirect:HTTPSRedirectMiddleware")
    async with serving("hello", filters=[redirect]) as stage:
        answer = await stage.ask("GET /a?b=c HTTP/1.1")
        assert (answer.status, answer.field(b"location")) == (307, b"https://a.test/a?b=c")


async def test_an_application_behind_a_filter_has_its_session() -> None:
    sessions = middleware(STARLETTE + "sessions:SessionMiddleware", secret_key="not told")
    async with serving("counted", filters=[sessions]) as stage:
        answer = await stage.ask()
        cookie = (answer.field(b"set-cookie") or b"").partition(b";")[0].decode()
        assert answer.body == b"1"
        assert (await stage.ask(Cookie=cookie)).body == b"2"


async def test_a_starlette_middleware_by_its_base_class() -> None:
    async with serving("parrot", filters=[middleware("Timing")]) as stage:
        answer = await stage.ask("POST / HTTP/1.1", b"content")
        assert (answer.body, answer.field(b"x-path")) == (b"content", b"/")
        async with stage.http2() as http2:
            stream = await http2.ask(b"POST", ended=False)
            await http2.content(stream, b"one", ended=False)
            await http2.until(lambda: bytes(http2.streams[stream].body) == b"one", "the first piece")
            await http2.content(stream, b"two", ended=True)
            assert (await http2.answer(stream)).body == b"onetwo"


async def test_a_starlette_application_with_middlewares_of_its_own() -> None:
    async with serving("starlette_shop", filters=[middleware("Passing")]) as stage:
        answer = await stage.ask("GET /items/7 HTTP/1.1", Accept_Encoding="gzip")
        assert gzip.decompress(answer.body) == b'{"item":"7","kept":"in starlette"}'
        answer = await stage.ask("GET /stream HTTP/1.1")
        assert answer.body == b"0123456789"
        assert (await stage.ask("GET /nowhere HTTP/1.1")).status == 404
        await eventually(lambda: seen == ["after /items/7"], "the work after the response")


async def test_what_a_middleware_changes_is_what_the_rest_of_the_chain_gets() -> None:
    got: list[object] = []

    async def hand(request: Request) -> Response:
        content = b""
        while piece := await request.body.read():
            content += piece
        got.extend([request.target, request.header(b"x-word"), request.authority, content, request.body.length])
        return Response(200, ((b"x-a", b"1"),), Pieces(b"one ", b"two", trailers=((b"x-end", b"1"),)))

    async with serving("hello", **behind(hand, "Changing")) as stage:
        for ask in (asked_whole, asked_in_pieces):
            got.clear()
            answer = await ask(stage)
            assert got[:4] == [b"/new%20r%C3%B6ad?by=middleware", b"changed", b"a.test", b"CONTENT"]
            assert (answer.body, answer.trailers) == (b"one two", ((b"x-end", b"1"),))
            assert (answer.field(b"x-a"), answer.field(b"x-word")) == (b"1", b"changed")


async def asked_whole(stage: Stage) -> Answer:
    return await stage.ask("POST /old?a=b HTTP/1.1", b"content")


async def asked_in_pieces(stage: Stage) -> Answer:
    async with stage.wire() as wire:
        await wire.send(stage.head("POST /old HTTP/1.1", Transfer_Encoding="chunked") + b"3\r\ncon\r\n")
        await wire.send(b"4\r\ntent\r\n0\r\n\r\n")
        return await wire.answer()


async def test_what_is_handed_on_untouched_is_the_same_request_and_the_same_response() -> None:
    body = Pieces(b"one")
    requests: list[Request] = []

    async def hand(request: Request) -> Response:
        requests.append(request)
        return Response(200, (), body)

    async with serving("hello", **behind(hand, "Passing", "Passing")) as stage:
        assert (await stage.ask("POST / HTTP/1.1", b"content")).body == b"one"
    (request,) = requests
    assert isinstance(request.body, Buffered)
    assert request.exchange.route == "it"


@pytest.mark.parametrize("name", ["Passing", "Changing", "Timing"])
async def test_errors_of_the_rest_of_the_chain_pass(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def busy(request: Request) -> Response:
        raise ExchangeError(Reason.OVERLOADED, "later", retry=Retry.NEVER, retry_after_seconds=7)

    async def broken(request: Request) -> Response:
        raise KeyError("of the back end")

    async with serving("hello", **behind(busy, name)) as stage:
        answer = await stage.ask()
        assert (answer.status, answer.field(b"retry-after")) == (503, b"7")
        assert answer.field(b"x-daemun-reason") == b"overloaded"
    assert not errors(caplog)
    async with serving("hello", **behind(broken, name)) as stage:
        assert (await stage.ask()).status == 500
    assert "KeyError('of the back end')" in errors(caplog)[-1]


@pytest.mark.parametrize("name", ["Passing", "Changing", "Timing"])
@pytest.mark.parametrize("pieces", [(), (b"one",)])
async def test_content_that_breaks_off_is_not_ended_by_a_middleware(name: str, pieces: tuple[bytes, ...]) -> None:
    async def hand(request: Request) -> Response:
        return Response(200, (), Pieces(*pieces, ExchangeError(Reason.UPSTREAM_CLOSED, "broken off")))

    async with serving("hello", **behind(hand, name)) as stage, stage.http2() as http2:
        try:
            answer = await http2.exchange()
        except StreamReset:
            return  # it had begun
        assert (answer.status, answer.field(b"x-daemun-reason")) == (502, b"upstream_closed")


async def test_a_middleware_may_answer_for_an_error() -> None:
    async def busy(request: Request) -> Response:
        raise ExchangeError(Reason.OVERLOADED)

    async with serving("hello", **behind(busy, "Catching")) as stage:
        answer = await stage.ask()
        assert (answer.status, answer.body) == (418, b"caught ExchangeError")


async def test_a_fault_of_a_middleware_is_a_500_that_names_it(caplog: pytest.LogCaptureFixture) -> None:
    async with serving("hello", filters=[middleware("Raising")]) as stage:
        answer = await stage.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
    assert "LookupError" in errors(caplog)[0]


async def test_a_middleware_may_stop_the_rest_of_the_chain() -> None:
    ended = anyio.Event()

    async def slow(request: Request) -> Response:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return Response(200)

    async with serving("hello", **behind(slow, "Impatient")) as stage:
        answer = await stage.ask()
        assert (answer.status, answer.body) == (504, b"too slow")
        assert ended.is_set()


@pytest.mark.parametrize("name", ["Passing", "Changing", "Timing"])
@pytest.mark.parametrize("begun", [False, True])
async def test_the_rest_of_the_chain_ends_when_the_client_leaves(name: str, begun: bool) -> None:
    started, ended = anyio.Event(), anyio.Event()

    class Body:
        length = None
        trailers = ()

        def __init__(self) -> None:
            self._pieces = [b"first"]

        async def read(self) -> bytes:
            if self._pieces:
                return self._pieces.pop()
            started.set()
            await anyio.sleep_forever()
            return b""

        async def aclose(self) -> None:
            ended.set()

    async def hand(request: Request) -> Response:
        if begun:
            return Response(200, (), Body())
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()
        return Response(200)

    async with serving("hello", **behind(hand, name)) as stage:
        async with stage.wire() as wire:
            await wire.send(stage.head("GET / HTTP/1.1"))
            with anyio.fail_after(20):
                await started.wait()
            await wire.reset()
        with anyio.fail_after(20):
            await ended.wait()


async def test_clients_that_leave_in_the_middle_of_anything_hurt_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    filters = [middleware("Passing"), middleware("Timing")]
    async with serving("parrot", filters=filters, lifespan="off", max_running=5) as stage:
        for _ in range(8):
            async with stage.wire() as wire:
                await wire.send(stage.head("POST / HTTP/1.1", Transfer_Encoding="chunked") + b"3\r\none\r\n")
                await wire.until(b"one")
                await wire.reset()
        await eventually(lambda: seen.count("http.disconnect") == 8, "the ends of the application")
        assert (await stage.ask("POST / HTTP/1.1", b"content")).body == b"content"
    assert not errors(caplog)


async def test_a_middleware_is_started_once_and_what_it_says_is_passed_on() -> None:
    async with serving("user", filters=[middleware("Started")], lifespan="off") as stage:
        assert [(await stage.ask()).body for _ in range(2)] == [b"somebody", b"somebody"]
        assert seen == ["lifespan.startup", {"kept": "from the start"}, {"kept": "from the start"}]
    assert seen[-1] == "lifespan.shutdown"
