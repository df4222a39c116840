"""Applications behind both wire protocols: what they are told, what they may send, and clients that leave."""

from __future__ import annotations

import json

import anyio
import pytest

from daemun.testing import CutOff, StreamReset, eventually

from . import applications
from .applications import gates, seen
from .stage import Stage, errors, serving

pytestmark = pytest.mark.anyio


async def test_an_application_answers_with_the_date_unless_it_says_one() -> None:
    async with serving("hello") as stage:
        answer = await stage.ask()
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.field(b"content-type") == b"text/plain"
        assert answer.values(b"content-length") == [b"5"]
        assert len(answer.values(b"date")) == 1


async def test_the_scope_tells_everything_of_a_request_on_either_protocol() -> None:
    async with serving("mirror", root_path="/shop", lifespan="off") as stage:
        answer = await stage.ask("POST /a%20b/%C3%B6?q=%20 HTTP/1.1", b"xyz", X_A="1", Cookie="a=b")
        scope = json.loads(answer.body)
        async with stage.http2() as wire:
            other = json.loads((await wire.exchange(b"POST", b"/a%20b/%C3%B6?q=%20", ((b"x-a", b"1"),), b"xyz")).body)
    for told, version in ((scope, "1.1"), (other, "2")):
        assert told["type"] == "http"
        assert told["asgi"] == {"version": "3.0", "spec_version": "2.4"}
        assert told["http_version"] == version
        assert (told["method"], told["scheme"]) == ("POST", "http")
        assert (told["path"], told["raw_path"]) == ("/shop/a b/ö", "/shop/a%20b/%C3%B6")
        assert (told["root_path"], told["query_string"]) == ("/shop", "q=%20")
        assert told["client"][0] == "127.0.0.1"
        assert told["server"][0] == "127.0.0.1"
        assert told["state"] == {}
        assert told["headers"][0] == ["host", "a.test"]
        assert ["x-a", "1"] in told["headers"]
        assert ["content-length", "3"] in told["headers"]
        assert set(told["extensions"]) == {"http.response.trailers", "http.response.early_hint"}
    assert ["cookie", "a=b"] in scope["headers"]


async def test_content_is_received_piece_by_piece_while_the_answer_goes_on() -> None:
    async with serving("parrot") as stage:
        async with stage.wire() as wire:
            await wire.send(stage.head("POST / HTTP/1.1", Transfer_Encoding="chunked"))
            await wire.send(b"3\r\none\r\n")
            assert b"one" in await wire.until(b"one\r\n")
            await wire.send(b"3\r\ntwo\r\n0\r\n\r\n")
            assert b"two" in await wire.until(b"0\r\n\r\n")
            await wire.send(stage.head("GET / HTTP/1.1"))
            assert (await wire.answer()).status == 200
        async with stage.http2() as http2:
            stream = await http2.ask(b"POST", ended=False)
            await http2.content(stream, b"one", ended=False)
            await http2.until(lambda: bytes(http2.streams[stream].body) == b"one", "the first piece")
            await http2.content(stream, b"two", ended=True)
            assert (await http2.answer(stream)).body == b"onetwo"


async def test_a_client_is_asked_for_its_content_when_the_application_wants_it() -> None:
    async with serving("parrot") as stage, stage.wire() as wire:
        await wire.send(stage.head("POST / HTTP/1.1", Content_Length="5", Expect="100-continue"))
        assert (await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        await wire.send(b"hello")
        assert (await wire.answer()).body == b"hello"


async def test_an_early_answer_leaves_content_unread() -> None:
    async with serving("hello") as stage, stage.wire() as wire:
        await wire.send(stage.head("POST / HTTP/1.1", Content_Length="100000") + b"x")
        assert (await wire.answer()).body == b"hello"


async def test_a_response_goes_out_as_it_is_sent() -> None:
    async with serving("twice") as stage, stage.wire() as wire, stage.http2() as http2:
        await wire.send(stage.head("GET / HTTP/1.1"))
        await wire.until(b"first ")
        stream = await http2.ask()
        await http2.until(lambda: bytes(http2.streams[stream].body) == b"first ", "the first piece")
        gates["go"].set()
        assert b"second" in await wire.until(b"0\r\n\r\n")
        assert (await http2.answer(stream)).body == b"first second"


@pytest.mark.parametrize(
    ("method", "target", "status", "length", "body"),
    [
        ("GET", "/200/5/hello", 200, b"5", b"hello"),
        ("GET", "/404/-/gone", 404, b"4", b"gone"),
        ("HEAD", "/200/5/hello", 200, b"5", b""),
        ("HEAD", "/200/500/", 200, b"500", b""),
        ("HEAD", "/200/-/hello", 200, b"5", b""),
        ("GET", "/204/-/hello", 204, None, b""),
        ("GET", "/304/500/hello", 304, b"500", b""),
        ("GET", "/304/-/", 304, None, b""),
        ("GET", "/200/-/", 200, b"0", b""),
    ],
)
async def test_statuses_and_methods_without_content_have_none(
    method: str, target: str, status: int, length: bytes | None, body: bytes
) -> None:
    async with serving("status") as stage:
        answer = await stage.ask(f"{method} {target} HTTP/1.1")
        assert (answer.status, answer.field(b"content-length"), answer.body) == (status, length, body)


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_an_application_without_end_learns_that_head_has_no_content(version: str) -> None:
    async with serving("endless", lifespan="off") as stage:
        if version == "http1":
            answer = await stage.ask("HEAD / HTTP/1.1")
        else:
            async with stage.http2() as http2:
                answer = await http2.exchange(b"HEAD")
        assert (answer.status, answer.body) == (200, b"")
        await eventually(lambda: bool(seen) and seen[-1] == "the client left", "the end of the application")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/before", "raised RuntimeError: the shelf is empty"),
        ("/silent", "returned no response"),
        ("/exit", "SystemExit: 3"),
        ("/short", "not as long as content-length says"),
        ("/long", "not as long as content-length says"),
        ("/twice", "http.response.start was sent already"),
        ("/early", "before http.response.start"),
        ("/odd", "there is no message 'http.response.odd' here"),
        ("/header", "holds a line break or NUL"),
        ("/name", "is no name of a field"),
        ("/text", "is not a pair of bytes"),
        ("/interim", "status 103 is none of a response"),
    ],
)
async def test_a_fault_before_the_response_is_a_500_that_names_the_application_in_the_log(
    path: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving("faulty") as stage:
        answer = await stage.ask(f"GET {path} HTTP/1.1")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        assert b"shelf" not in answer.body
        (logged,) = errors(caplog)
        assert "route it: plugin asgi" in logged
        assert f"application {applications.__name__}:faulty" in logged
        assert words in logged


@pytest.mark.parametrize("path", ["/after", "/cut"])
async def test_a_fault_in_the_middle_breaks_the_response_off(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving("faulty") as stage:
        async with stage.wire() as wire:
            await wire.send(stage.head(f"GET {path} HTTP/1.1"))
            await wire.until(b"begun")
            gates["go"].set()
            with pytest.raises(CutOff):
                await wire.until(b"0\r\n\r\n")
        gates["go"] = anyio.Event()
        async with stage.http2() as http2:
            stream = await http2.ask(b"GET", path.encode())
            await http2.until(lambda: bytes(http2.streams[stream].body) == b"begun", "its begin")
            gates["go"].set()
            with pytest.raises(StreamReset):
                await http2.answer(stream)
    assert len(errors(caplog)) == 2
    assert all("applications:faulty" in logged for logged in errors(caplog))


async def test_hints_go_before_the_response_and_trailers_after_it() -> None:
    async with serving("trailing") as stage:
        answer = await stage.ask()
        async with stage.http2() as wire:
            other = await wire.exchange()
    for one in (answer, other):
        assert one.body == b"content"
        assert one.trailers == ((b"x-a", b"1"), (b"x-b", b"2"))
        assert [(status, headers) for status, headers in one.interim] == [(103, ((b"link", b"</a.css>; rel=preload"),))]


async def test_a_client_of_http_1_0_is_not_told_of_trailers() -> None:
    async with serving("trailing") as stage:
        assert (await stage.ask("GET / HTTP/1.0")).body == b"content"
        assert seen[0] == []


async def leave(stage: Stage, version: str) -> None:
    """Asks, and leaves once the application has the request."""
    if version == "http1":
        async with stage.wire() as wire:
            await wire.send(stage.head("GET / HTTP/1.1"))
            await eventually(lambda: bool(seen))
            await wire.reset()
    else:
        async with stage.http2() as http2:
            await http2.ask()
            await eventually(lambda: bool(seen))


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_an_application_hears_that_its_client_left(version: str) -> None:
    async with serving("waiting", lifespan="off", disconnect_grace_seconds=600) as stage:
        await leave(stage, version)
        await eventually(lambda: seen[-1] == "the client left", "the end of the application")
        assert seen == ["begun", "http.disconnect", "the client left"]


@pytest.mark.parametrize("version", ["http1", "http2"])
async def test_an_application_that_does_not_heed_it_is_cancelled(version: str) -> None:
    async with serving("stubborn", lifespan="off", disconnect_grace_seconds=0.01) as stage:
        await leave(stage, version)
        await eventually(lambda: seen == ["begun", "cancelled"], "the end of the application")
        seen.clear()
        await leave(stage, version)  # the task is gone, and another one is there
        await eventually(lambda: seen == ["begun", "cancelled"], "the end of the application")


async def test_a_client_that_leaves_in_the_middle_of_its_content_is_told_to_the_application() -> None:
    async with serving("parrot") as stage:
        async with stage.wire() as wire:
            await wire.send(stage.head("POST / HTTP/1.1", Content_Length="5") + b"he")
            await wire.until(b"he")
        await eventually(lambda: seen == ["http.request", "http.disconnect"], "what it received")


async def test_a_slow_client_holds_the_application_up() -> None:
    async with serving("endless", lifespan="off", disconnect_grace_seconds=600) as stage:
        async with stage.http2() as wire:
            wire.crediting = False
            stream = await wire.ask()
            await wire.until(lambda: len(wire.streams[stream].body) > 30_000, "some of it")
            await anyio.wait_all_tasks_blocked()
            assert seen[-1] < 1_000_000
        await eventually(lambda: seen[-1] == "the client left", "the end of the application")


async def test_work_after_the_response_goes_on_and_is_waited_for_at_the_end() -> None:
    async with serving("worker") as stage:
        answers = [await stage.ask(f"GET /{number} HTTP/1.1") for number in range(3)]
        assert [answer.body for answer in answers] == [b"nothing"] * 3  # no call sees what another one set
        assert seen == ["http.disconnect"] * 3
        gates["go"].set()
    assert seen == ["http.disconnect"] * 3 + ["worked"] * 3


async def test_work_that_does_not_end_is_cancelled_at_the_end() -> None:
    async with serving("worker", shutdown_timeout_seconds=0.01) as stage:
        assert (await stage.ask()).status == 200
    assert seen == ["http.disconnect"]


async def test_no_more_calls_run_than_may() -> None:
    async with serving("twice", max_running=1) as stage, stage.wire() as wire:
        await wire.send(stage.head("GET / HTTP/1.1"))
        await wire.until(b"first ")
        answer = await stage.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (503, b"overloaded")
        gates["go"].set()
        await wire.until(b"0\r\n\r\n")
        assert (await stage.ask()).status == 200
