"""The Common Log Format and its combined form, as log analysers read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.contrib.accesslog.conftest import Desk

pytestmark = pytest.mark.anyio

COMMON = r'(\S+) (\S+) (\S+) \[([^\]]+)\] "([^"]*)" (\d{3}) (\d+|-)'
COMBINED = COMMON + r' "([^"]*)" "([^"]*)"'


def read(pattern: str, line: str) -> tuple[str, ...]:
    match = re.fullmatch(pattern, line)
    assert match is not None, line
    return match.groups()


async def test_common_lines_are_read_by_analysers(desk: Desk) -> None:
    async with desk.open(format="common") as door:
        await door.ask("/a/b?token=secret")
        await door.ask("/status/404", method="HEAD")
    first, second = (read(COMMON, line) for line in desk.lines())
    assert (*first[:3], *first[4:]) == ("127.0.0.1", "-", "-", "GET /a/b HTTP/1.1", "200", "4")
    assert (*second[:3], *second[4:]) == ("127.0.0.1", "-", "-", "HEAD /status/404 HTTP/1.1", "404", "-")
    stamp = datetime.strptime(first[3], "%d/%b/%Y:%H:%M:%S %z")
    assert abs(stamp - datetime.now(UTC)) < timedelta(minutes=1)


async def test_combined_lines_have_referer_and_user_agent(desk: Desk) -> None:
    async with desk.open(format="combined") as door:
        await door.ask("/", ("User-Agent", b'probe "1" \\'), ("Referer", b"http://b.test/x?reset=abc"))
        await door.ask("/")
    with_both, with_none = (read(COMBINED, line) for line in desk.lines())
    assert with_both[7:] == ("http://b.test/x", r"probe \x221\x22 \x5C")
    assert with_none[7:] == ("-", "-")


async def test_the_query_is_written_where_it_is_asked_for(desk: Desk) -> None:
    async with desk.open(format="combined", query=True) as door:
        await door.ask("/a?b=c")
    (line,) = desk.lines()
    assert read(COMBINED, line)[4] == "GET /a?b=c HTTP/1.1"


async def test_a_refused_request_has_a_line(desk: Desk) -> None:
    async with desk.open(format="combined") as door:
        assert (await door.send(b"GET / HTTP/9.9\r\nHost: a.test\r\n\r\n")).status in (400, 505)
    (line,) = desk.lines()
    read_line = read(COMBINED, line)
    assert (read_line[0], read_line[4], read_line[6:]) == ("127.0.0.1", "-", ("-", "-", "-"))
    assert read_line[5] in ("400", "505")
