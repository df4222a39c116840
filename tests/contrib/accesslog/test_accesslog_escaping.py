"""Whatever a client sends, a line is one line, can be read, and says what was sent."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Exchange, Peer, Reason, Request, Response
from daemun_accesslog import AccessLogSettings
from daemun_accesslog.formats import make_format
from daemun_accesslog.names import FIELDS
from daemun_accesslog.observer import AccessLog
from daemun_accesslog.record import batch_of
from daemun_accesslog.sink import Sink
from daemun_accesslog.writer import Writer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contrib.accesslog.conftest import Desk

LIMIT = 64
COMBINED = re.compile(r'(\S+) - (\S+) \[([^\]]+)\] "((?:\S+ \S* \S*)|-)" (\d+) (\d+|-) "([^"]*)" "([^"]*)"')

NASTY = st.sampled_from(
    [
        b'"',
        b"\\",
        b"\n",
        b"\r\n",
        b"\x00",
        b"\x1b[2J",
        b"\x7f",
        b"\x85",
        "\u2028\u202e".encode(),
        b"\xff",
        "😀".encode(),
        b"?",
        b"#",
        b"@",
        b"//",
        b'","status":200}\n{"',
        b"x" * 70,
    ]
)
DATA = st.lists(NASTY | st.binary(max_size=8), max_size=8).map(b"".join)
EXCHANGES = st.lists(
    st.fixed_dictionaries(
        {
            "method": DATA.filter(bool),
            "target": DATA.filter(bool),
            "authority": DATA,
            "agent": st.none() | DATA,
            "kind": st.none() | DATA,
            "name": st.text(alphabet=st.characters(codec="utf-8"), max_size=8),
            "status": st.integers(100, 999),
            "reason": st.none() | st.sampled_from(Reason),
        }
    ),
    min_size=1,
    max_size=5,
)


def written(folder: Path, exchanges: list[dict[str, Any]], **chosen: Any) -> str:
    """The lines of some exchanges, as text."""
    decoded = msgspec.convert({"file": "/dev/null", "max_value_bytes": LIMIT, **chosen}, AccessLogSettings)
    writer = Writer(Sink(decoded.file, folder), make_format(decoded, 0), 1000)
    observer = AccessLog(decoded, writer)
    for one in exchanges:
        peer = Peer(listener="http", address="192.0.2.7", port=1, client_name=one["name"])
        exchange = Exchange(peer, route=one["name"], status=one["status"], reason=one["reason"])
        fields = () if one["agent"] is None else ((b"user-agent", one["agent"]), (b"referer", one["agent"]))
        request = Request(one["method"], one["target"], one["authority"], fields, EMPTY, exchange)
        response = None if one["kind"] is None else Response(one["status"], ((b"content-type", one["kind"]),))
        observer.finished(request, response, exchange)
    lines = make_format(decoded, 0)(batch_of(writer.pending, 1.7e9))
    return lines.decode("ascii")


def shown(value: bytes | None) -> str | None:
    """What a line of JSON says about a value."""
    if value is None:
        return None
    cut = value if len(value) <= LIMIT else value[:LIMIT] + b"..."
    return cut.decode("utf-8", "backslashreplace")


@given(exchanges=EXCHANGES)
def test_json_says_what_was_sent(tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, Any]]) -> None:
    fields = [
        "method",
        "authority",
        "path",
        "query",
        "request.user-agent",
        "response.content-type",
        "client_name",
        "route",
        "status",
        "reason",
    ]
    text = written(tmp_path_factory.getbasetemp(), exchanges, fields=fields)
    assert text.replace("\n", "").isprintable()
    assert text.endswith("\n")
    lines = text.split("\n")[:-1]
    assert len(lines) == len(exchanges)
    for line, one in zip(map(json.loads, lines), exchanges, strict=True):
        path, mark, query = (shown(one["target"]) or "").partition("?")
        assert line == {
            "method": shown(one["method"]),
            "authority": shown(one["authority"]) or None,
            "path": path or None,
            "query": query or None if mark else None,
            "request.user-agent": shown(one["agent"]),
            "response.content-type": shown(one["kind"]),
            "client_name": one["name"] or None,
            "route": one["name"] or None,
            "status": one["status"],
            "reason": one["reason"] and one["reason"].value,
        }


@given(exchanges=EXCHANGES)
def test_a_common_line_is_never_broken_or_forged(
    tmp_path_factory: pytest.TempPathFactory, exchanges: list[dict[str, Any]]
) -> None:
    text = written(tmp_path_factory.getbasetemp(), exchanges, format="combined", query=True)
    assert text.replace("\n", "").isprintable()
    lines = text.split("\n")[:-1]
    assert len(lines) == len(exchanges)
    for line, one in zip(lines, exchanges, strict=True):
        match = COMBINED.fullmatch(line)
        assert match is not None, line
        assert match[5] == str(one["status"])
        method, target, _ = match[4].split(" ")
        assert unescaped(method) == cut(one["method"])
        assert unescaped(target) == cut(one["target"])
        assert unescaped(match[8]) == cut(one["agent"] or b"-")
        assert unescaped(match[2]) == one["name"].encode() or (match[2] == "-" and not one["name"])


def cut(value: bytes) -> bytes:
    return value if len(value) <= LIMIT else value[:LIMIT] + b"..."


def unescaped(value: str) -> bytes:
    return re.sub(rb"\\x([0-9A-F]{2})", lambda match: bytes.fromhex(match[1].decode()), value.encode())


@given(user=st.binary(max_size=100), rest=st.binary(max_size=100))
def test_a_url_never_shows_its_user_or_its_query(
    tmp_path_factory: pytest.TempPathFactory, user: bytes, rest: bytes
) -> None:
    user = user.translate(None, b"/?#") + b"\x01secret\x01"
    referer = b"https://" + user + b"@b.test/page?" + rest + b"\x01secret\x01"
    one = {
        "method": b"GET",
        "target": b"/",
        "authority": b"",
        "agent": referer,
        "kind": None,
        "name": "",
        "status": 200,
        "reason": None,
    }
    (line,) = written(tmp_path_factory.getbasetemp(), [one], fields=["request.referer"]).splitlines()
    seen = json.loads(line)["request.referer"]
    assert seen in ("https://b.test/page", "https://b.test/page...", "https://...") or (
        seen.startswith("https://b.test") and "secret" not in seen
    )


@pytest.mark.parametrize("field", [*FIELDS, "request.user-agent", "response.content-type"])
def test_a_field_can_be_alone(tmp_path: Path, field: str) -> None:
    one = {
        "method": b"GET",
        "target": b"/",
        "authority": b"",
        "agent": None,
        "kind": None,
        "name": "",
        "status": 200,
        "reason": None,
    }
    lines = written(tmp_path, [one, one], fields=[field]).splitlines()
    assert [list(json.loads(line)) for line in lines] == [[field]] * 2


HOSTILE = [
    ("/%0a%22", b"a\x80b"),
    ('/a"b\\c', b'"} \x85 {"'),
    ("/\x7f", "żółw 😀 \u2028".encode()),
    ("/" + "x" * 5000, b"y" * 5000),
]


@pytest.mark.anyio
async def test_hostile_requests_have_one_line_each(desk: Desk) -> None:
    async with desk.open(fields=["path", "status", "request.user-agent"]) as door:
        answers = [await door.ask(target.encode(), ("User-Agent", agent)) for target, agent in HOSTILE]
    assert [line["status"] for line in desk.objects()] == [answer.status for answer in answers]
    last = desk.objects()[-1]
    assert (last["path"], last["request.user-agent"]) == ("/" + "x" * 1023 + "...", "y" * 1024 + "...")
