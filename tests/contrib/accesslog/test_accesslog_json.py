"""A line of JSON for each exchange, with the fields that were chosen."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from daemun.testing import Wire
from daemun_accesslog.names import DEFAULT_FIELDS, FIELDS

if TYPE_CHECKING:
    from tests.contrib.accesslog.conftest import Desk

pytestmark = pytest.mark.anyio


async def test_a_line_holds_what_is_worth_knowing(desk: Desk) -> None:
    async with desk.open() as door:
        await door.ask("/a/b?token=secret", ("User-Agent", b"probe/1"))
    (line,) = desk.objects()
    assert list(line) == list(DEFAULT_FIELDS)
    del line["time"], line["duration_seconds"]
    assert line == {
        "client_address": "127.0.0.1",
        "version": "HTTP/1.1",
        "method": "GET",
        "authority": "a.test",
        "path": "/a/b",
        "status": 200,
        "reason": None,
        "route": "all",
        "endpoint": None,
        "received_bytes": 0,
        "sent_bytes": 4,
        "cold_start_seconds": None,
        "request.user-agent": "probe/1",
    }
    assert "secret" not in desk.file.read_text()


async def test_a_line_holds_the_chosen_fields_in_their_order(desk: Desk) -> None:
    chosen = [*reversed(FIELDS), "response.content-type"]
    async with desk.open(fields=chosen) as door:
        await door.ask("/a?b=c", method="HEAD")
    (line,) = desk.objects()
    assert list(line) == chosen
    assert isinstance(line["client_port"], int)
    expected = {
        "query": "b=c",
        "path": "/a",
        "method": "HEAD",
        "listener": "http",
        "scheme": "http",
        "worker": 0,
        "plugin": None,
        "server_name": None,
        "client_name": None,
        "response.content-type": "text/plain",
    }
    assert {name: line[name] for name in expected} == expected


async def test_the_time_is_when_the_request_began(desk: Desk) -> None:
    before = datetime.now(UTC)
    async with desk.open() as door:
        await door.ask("/slow")
        after = datetime.now(UTC)
    (line,) = desk.objects()
    began = datetime.fromisoformat(line["time"])
    ended = began + timedelta(seconds=line["duration_seconds"])
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2026-01-02T03:04:05.678Z")
    slack = timedelta(milliseconds=2)  # the stamp is cut to milliseconds, and clocks are slewed
    assert before - slack <= began
    assert ended <= after + slack
    assert line["duration_seconds"] >= 0.05


async def test_header_fields_are_shown_by_name(desk: Desk) -> None:
    fields = ["request.X-Request-Id", "request.traceparent", "response.content-type", "response.x-none"]
    async with desk.open(fields=fields) as door:
        await door.ask("/", ("x-request-id", b"one"), ("X-Request-ID", b"two"), ("Accept", b"*/*"))
    assert desk.objects() == [
        {
            "request.x-request-id": "one",
            "request.traceparent": None,
            "response.content-type": "text/plain",
            "response.x-none": None,
        }
    ]


async def test_urls_in_header_fields_are_shown_without_user_query_and_fragment(desk: Desk) -> None:
    async with desk.open(fields=["request.referer", "response.location"]) as door:
        await door.ask("/", ("Referer", b"https://u:pw@b.test/page?reset=abc"))
    assert desk.objects() == [{"request.referer": "https://b.test/page", "response.location": "https://b.test/next"}]


async def test_failures_say_why(desk: Desk) -> None:
    async with desk.open(fields=["path", "status", "reason", "plugin", "route"]) as door:
        await door.ask("/fault")
        await door.ask("/late")
        await door.ask("/status/503")
    assert [list(line.values()) for line in desk.objects()] == [
        ["/fault", 500, "plugin_fault", "answering", "all"],
        ["/late", 504, "upstream_timeout", None, "all"],
        ["/status/503", 503, None, None, "all"],
    ]


async def test_a_request_that_was_refused_has_a_line(desk: Desk) -> None:
    async with desk.open(fields=[*DEFAULT_FIELDS, "listener", "response.content-type"]) as door:
        answer = await door.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nContent-Length: x\r\n\r\n")
        assert answer.status == 400
    (line,) = desk.objects()
    assert datetime.fromisoformat(line.pop("time")) > datetime.now(UTC) - timedelta(minutes=1)
    said = {name: value for name, value in line.items() if value is not None}
    assert said == {
        "client_address": "127.0.0.1",
        "status": 400,
        "reason": "bad_request",
        "received_bytes": 0,
        "sent_bytes": 0,
        "listener": "http",
    }


async def test_content_is_counted(desk: Desk) -> None:
    async with desk.open(fields=["method", "received_bytes", "sent_bytes"]) as door:
        wire = Wire(await door.gateway.connect())
        await wire.send(b"POST /status/404 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello")
        assert (await wire.answer("POST")).status == 404
        await wire.aclose()
    assert desk.objects() == [{"method": "POST", "received_bytes": 5, "sent_bytes": 9}]


async def test_lines_can_go_to_stdout_and_to_stderr(desk: Desk, capfd: pytest.CaptureFixture[str]) -> None:
    for file in ("-", "stdout", "stderr"):
        async with desk.open(file=file, fields=["path"]) as door:
            await door.ask(f"/{file}")
    written = capfd.readouterr()
    assert written.out == '{"path":"/-"}\n{"path":"/stdout"}\n'
    assert written.err == '{"path":"/stderr"}\n'
    assert os.listdir(desk.folder) == []
    os.fstat(1)
