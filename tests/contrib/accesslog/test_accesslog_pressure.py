"""A disk that takes nothing: requests go on, memory stays bounded, the end comes in time, lost lines are counted."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

from daemun import EMPTY, Exchange, Headers, Peer, Request, Response
from daemun_accesslog import AccessLogSettings
from daemun_accesslog.formats import make_format
from daemun_accesslog.observer import AccessLog
from daemun_accesslog.sink import Outcome, Sink
from daemun_accesslog.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contrib.accesslog.conftest import Desk

AGENT = ("User-Agent", b"a" * 1000)


def lost(line: str) -> int:
    match = re.search(r"lines lost: (\d+)$", line)
    assert match is not None, line
    return int(match[1])


def read_all(descriptor: int) -> bytes:
    data = b""
    try:
        while chunk := os.read(descriptor, 1 << 16):
            data += chunk
    except BlockingIOError:
        pass
    return data


@pytest.fixture
def pipe(desk: Desk) -> int:
    """The end for reading of a named pipe in the place of the file."""
    os.mkfifo(desk.file)
    return os.open(desk.file, os.O_RDONLY | os.O_NONBLOCK)


@pytest.mark.anyio
async def test_a_pipe_that_nobody_reads_stops_no_request_and_holds_the_end_up_in_bounds(desk: Desk, pipe: int) -> None:
    async with desk.open(max_pending_lines=20, close_timeout_seconds=0.2) as door:
        with anyio.fail_after(20):
            await door.ask_many(100, "/", AGENT)  # more than a pipe holds
            await desk.until(lambda: desk.told)
            await door.ask_many(100, "/", AGENT)
        leaving = anyio.current_time()
    assert anyio.current_time() - leaving < 5
    assert desk.told[0] == "access.log: more than 20 lines wait to be written; lines are lost until it works again"
    assert desk.told[1].startswith("access.log: closed; ")
    lines = read_all(pipe).split(b"\n")
    assert lines.pop() == b""
    assert {json.loads(line)["status"] for line in lines} == {200}
    assert len(lines) + lost(desk.told[1]) == 200
    os.close(pipe)


@pytest.mark.anyio
async def test_when_the_pipe_is_read_again_lines_come_again(desk: Desk, pipe: int) -> None:
    async with desk.open(max_pending_lines=20) as door:
        await door.ask_many(150, "/", AGENT)
        await desk.until(lambda: desk.told)
        data = b""
        with anyio.fail_after(20):
            while len(desk.told) < 2:
                data += read_all(pipe)
                await door.ask("/again")
                await anyio.sleep(0.05)  # the interval at which it asks
        noted = data.count(b"\n")
    data += read_all(pipe)
    assert noted < data.count(b"\n")
    assert lost(desk.told[1]) > 0
    assert len(desk.told) == 2
    objects = [json.loads(line) for line in data.splitlines()]
    assert sum(1 for line in objects if line["path"] == "/") < 150
    assert objects[-1]["path"] == "/again"
    os.close(pipe)


@pytest.mark.anyio
async def test_a_pipe_without_a_reader_is_no_reason_not_to_start(desk: Desk) -> None:
    os.mkfifo(desk.file)
    async with desk.open(fields=["path"]) as door:
        await door.ask("/1")
        reader = os.open(desk.file, os.O_RDONLY | os.O_NONBLOCK)
        found: list[bytes] = []

        def came() -> bool:
            found.append(read_all(reader))
            return b"".join(found) == b'{"path":"/1"}\n'

        await desk.until(came)
        os.close(reader)


class Content:
    """A body that can be watched."""

    length: int | None = None
    trailers: Headers = ()

    async def read(self) -> bytes:
        return b""

    async def aclose(self) -> None:
        return None


def observed(observer: AccessLog, route: str) -> None:
    exchange = Exchange(Peer(), route=route, status=200)
    fields = tuple((b"x-%d" % number, b"value") for number in range(10))
    observer.finished(Request(b"GET", b"/", b"", fields, EMPTY, exchange), Response(200), exchange)


@pytest.mark.anyio
async def test_a_line_that_cannot_be_made_costs_no_other(desk: Desk) -> None:
    settings = msgspec.convert({"file": "access.log", "fields": ["route"]}, AccessLogSettings)
    sink = Sink("access.log", desk.folder)
    writer = Writer(sink, make_format(settings, 0), 100)
    observer = AccessLog(settings, writer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        for route in ("one", "no text: \ud800", "two"):
            observed(observer, route)
        assert await writer.finish(5)
    sink.close()
    assert [line["route"] for line in desk.objects()] == ["one", "two"]
    assert [lost(line) for line in desk.told[1:]] == [1]
    assert desk.told[0].startswith("access.log: a line cannot be made (UnicodeEncodeError)")


class Threadless(Sink):
    """A sink in a process that is out of threads, once."""

    failures = 1

    def write(self, lines: bytes, *, reopen: bool) -> Outcome:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("can't start new thread")
        return super().write(lines, reopen=reopen)


@pytest.mark.anyio
async def test_a_process_out_of_threads_loses_lines_and_goes_on(desk: Desk) -> None:
    settings = msgspec.convert({"file": "access.log", "fields": ["route"]}, AccessLogSettings)
    sink = Threadless("access.log", desk.folder)
    writer = Writer(sink, make_format(settings, 0), 100)
    observer = AccessLog(settings, writer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.run)
        observed(observer, "one")
        await desk.until(lambda: desk.told)
        observed(observer, "two")
        assert await writer.finish(5)
    sink.close()
    assert [line["route"] for line in desk.objects()] == ["two"]
    assert [lost(line) for line in desk.told[1:]] == [1]


@pytest.mark.anyio
async def test_what_is_pending_is_written_when_the_gateway_is_cancelled(desk: Desk) -> None:
    with anyio.CancelScope() as scope:
        async with desk.open(fields=["path"]) as door:
            await door.ask("/1")
            scope.cancel()
            await anyio.sleep_forever()
    assert desk.objects() == [{"path": "/1"}]


@pytest.mark.parametrize(
    ("settings", "most"),
    [({}, 2), ({"format": "common"}, 1), ({"format": "combined"}, 2), ({"fields": ["path"]}, 1), ({"sample": 0}, 2)],
)
def test_an_exchange_costs_few_calls(tmp_path: Path, settings: dict[str, Any], most: int) -> None:
    decoded = msgspec.convert({"file": "log", **settings}, AccessLogSettings)
    sink = Sink("log", tmp_path)
    observer = AccessLog(decoded, Writer(sink, make_format(decoded, 0), 100))
    observed(observer, "first")  # wakes the writer
    exchange = Exchange(Peer(), status=200)
    request, response = Request(b"GET", b"/", b"", (), EMPTY, exchange), Response(200)
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    gc.disable()  # whoever watches it is called too
    sys.setprofile(count)
    try:
        observer.finished(request, response, exchange)
    finally:
        sys.setprofile(None)
        gc.enable()
    sink.close()
    assert 1 <= calls <= most


def test_neither_content_nor_other_fields_are_kept_for_a_line(tmp_path: Path) -> None:
    settings = msgspec.convert({"file": "log", "max_pending_lines": 1}, AccessLogSettings)
    sink = Sink("log", tmp_path)
    writer = Writer(sink, make_format(settings, 0), 1)
    observer = AccessLog(settings, writer)
    content, answer = Content(), Content()
    exchange = Exchange(Peer())
    request = Request(b"GET", b"/", b"", ((b"x-large", b"secret"), (b"user-agent", b"probe")), content, exchange)
    observer.finished(request, Response(200, (), answer), exchange)
    kept = weakref.ref(content), weakref.ref(answer)
    del content, answer, request
    gc.collect()
    assert [one() for one in kept] == [None, None]
    assert "secret" not in repr(writer.pending)
    assert "probe" in repr(writer.pending)
    sink.close()
