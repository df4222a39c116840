"""Applications of WSGI, in threads: each also behind the validator of the standard library."""

from __future__ import annotations

import anyio
import pytest

from daemun.testing import CutOff, eventually

from .applications import gates, seen
from .stage import errors, serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["plain", "valid_plain"])
async def test_an_application_is_told_of_the_request_and_answers(name: str) -> None:
    async with serving(name, kind="wsgi", root_path="/shop") as stage:
        answer = await stage.ask("POST /shop/a%20b?q=1 HTTP/1.1", b"content", X_A="1", Content_Type="text/plain")
        assert answer.status == 200
        lines = answer.body.decode().splitlines()
        assert lines == [
            "REQUEST_METHOD=POST",
            "SCRIPT_NAME=/shop",
            "PATH_INFO=/a b",
            "QUERY_STRING=q=1",
            "HTTP_X_A=1",
            "content",
        ]


@pytest.mark.parametrize("name", ["lines", "valid_lines"])
async def test_content_is_read_in_lines_pieces_and_as_it_comes(name: str) -> None:
    async with serving(name, kind="wsgi") as stage, stage.wire() as wire:
        await wire.send(stage.head("POST / HTTP/1.1", Transfer_Encoding="chunked"))
        for piece in (b"on", b"e\ntw", b"o\nthr", b"ee\n"):
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")
        assert (await wire.answer()).body == repr([b"one\n", b"two", [b"\n", b"three\n"]]).encode()


async def test_pieces_go_out_as_they_are_made_and_the_iterable_is_closed() -> None:
    async with serving("streamed", kind="wsgi") as stage, stage.wire() as wire:
        await wire.send(stage.head("GET / HTTP/1.1"))
        await wire.until(b"first ")
        assert seen == []
        gates["go"].set()
        await wire.until(b"second")
        await eventually(lambda: seen == ["closed"], "the close")


async def test_a_slow_client_holds_the_thread_up_and_one_that_leaves_ends_it() -> None:
    async with serving("forever", kind="wsgi") as stage:
        async with stage.http2() as http2:
            http2.crediting = False
            stream = await http2.ask()
            await http2.until(lambda: len(http2.streams[stream].body) > 30_000, "some of it")
            await anyio.wait_all_tasks_blocked()
            assert len(seen) < 20
        await eventually(lambda: seen[-1] == "closed", "the end of the thread")


async def test_write_and_a_response_that_is_corrected() -> None:
    async with serving("written", kind="wsgi") as stage:
        answer = await stage.ask()
        assert (answer.status, answer.body) == (201, b"written and returned")
    async with serving("corrected", kind="wsgi") as stage:
        answer = await stage.ask()
        assert (answer.status, answer.body) == (503, b"sorry")


async def test_head_has_no_content() -> None:
    async with serving("valid_plain", kind="wsgi") as stage:
        answer = await stage.ask("HEAD / HTTP/1.1")
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "words"), [("/", "RuntimeError: the shelf is empty"), ("/unstarted", "before start_response was called")]
)
async def test_a_fault_is_a_500_that_names_the_application(
    path: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving("wsgi_fault", kind="wsgi") as stage:
        answer = await stage.ask(f"GET {path} HTTP/1.1")
        assert (answer.status, answer.field(b"x-daemun-reason")) == (500, b"plugin_fault")
        (logged,) = errors(caplog)
        assert "applications:wsgi_fault" in logged
        assert words in logged


async def test_content_that_ends_too_early_ends_the_application() -> None:
    async with serving("plain", kind="wsgi") as stage:
        async with stage.wire() as wire:
            await wire.send(stage.head("POST / HTTP/1.1", Content_Length="5") + b"he")
            await wire.reset()
            with pytest.raises(CutOff):
                await wire.answer()
        assert (await stage.ask()).status == 200
