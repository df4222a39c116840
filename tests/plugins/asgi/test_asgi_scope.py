"""What becomes of a request on its way to an application, and of fields on their way back."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Body, Buffered, Headers, Peer, Request
from daemun.testing import Pieces, make_request
from daemun_asgi.environ import environ_of
from daemun_asgi.fields import request_fields, response_fields
from daemun_asgi.scope import http_scope, websocket_scope

OURS = {b"host", b"content-length", b"transfer-encoding", b"connection", b"te", b"upgrade", b"trailer", b"date"}
NAMES = st.from_regex(rb"[a-z][a-z0-9-]{0,12}", fullmatch=True).filter(lambda name: name not in OURS)
VALUES = st.from_regex(rb"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
PEER = Peer(listener="http", address="192.0.2.7", port=50_000, local="127.0.0.1:8080", scheme="http")


def asked(headers: Headers = (), url: str = "http://a.test/", body: Body = EMPTY, method: str = "GET") -> Request:
    return make_request(method, url, headers, body, peer=PEER)


async def never() -> Any:
    raise AssertionError("nothing is received here")


@given(FIELDS)
def test_fields_of_a_request_are_the_same_on_either_side(fields: list[tuple[bytes, bytes]]) -> None:
    scope = http_scope(asked(tuple(fields)), "", {})
    assert scope["headers"] == [(b"host", b"a.test"), *fields]
    assert request_fields(scope["headers"]) == (b"a.test", tuple(fields))


@given(FIELDS)
def test_fields_of_a_response_are_sent_as_they_are_but_for_framing(fields: list[tuple[bytes, bytes]]) -> None:
    framing = [(b"Connection", b"close"), (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"7")]
    for _ in range(2):  # what was seen before is not looked at again
        found = response_fields([*fields, *framing])
        assert (found.headers, found.length, found.dated) == (tuple(fields), 7, False)
    shouted = [[name.upper(), value] for name, value in fields]
    assert response_fields(shouted).headers == tuple(fields)


@given(st.binary(min_size=1, max_size=12), st.binary(max_size=12))
def test_no_field_can_break_a_head(name: bytes, value: bytes) -> None:
    try:
        found = response_fields([(name, value)])
    except ValueError:
        return
    for kept, text in found.headers:
        assert not set(kept) & set(b'\r\n\0 :"ABCXYZ')
        assert not set(text) & set(b"\r\n\0")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_path_is_decoded_once(path: str) -> None:
    raw = "/" + quote(path)
    scope = http_scope(asked(url=f"http://a.test{raw}"), "", {})
    assert (scope["path"], scope["raw_path"]) == ("/" + path, raw.encode())
    environ = environ_of(scope, never)
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/" + path


@pytest.mark.parametrize(
    ("root_path", "path", "seen", "below"),
    [
        ("/shop", "/", "/shop/", "/"),
        ("/shop", "/shop", "/shop", ""),
        ("/shop", "/shop/a", "/shop/a", "/a"),
        ("/shop", "/shopping", "/shop/shopping", "/shopping"),
    ],
)
def test_a_mounted_application_sees_the_whole_path(root_path: str, path: str, seen: str, below: str) -> None:
    scope = http_scope(asked(url=f"http://a.test{path}"), root_path, {})
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (seen, seen.encode(), root_path)
    environ = environ_of(scope, never)
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"]) == (root_path, below)


def test_who_asks_is_whom_the_gateway_believes() -> None:
    scope = http_scope(asked(), "", {})
    assert (scope["client"], scope["server"], scope["scheme"]) == (("192.0.2.7", 50_000), ("127.0.0.1", 8080), "http")
    behind = ((b"x-forwarded-for", b"198.51.100.1, 192.0.2.7"), (b"x-forwarded-proto", b"https"))
    scope = http_scope(asked(behind), "", {})
    assert (scope["client"], scope["scheme"]) == (("198.51.100.1", 0), "https")
    assert websocket_scope(asked(behind), "", {})["scheme"] == "wss"
    local = http_scope(make_request(peer=Peer(local="unix:/run/a.sock")), "", {})
    assert (local["client"], local["server"]) == (None, ("/run/a.sock", None))


@pytest.mark.parametrize(
    ("body", "method", "framing"),
    [
        (EMPTY, "GET", []),
        (EMPTY, "POST", [(b"content-length", b"0")]),
        (Buffered(b"abc"), "POST", [(b"content-length", b"3")]),
        (Pieces(b"abc", length=3), "POST", [(b"content-length", b"3")]),
        (Pieces(b"abc"), "POST", [(b"transfer-encoding", b"chunked")]),
    ],
)
def test_an_application_is_told_how_long_the_content_is(
    body: Body, method: str, framing: list[tuple[bytes, bytes]]
) -> None:
    assert http_scope(asked(body=body, method=method), "", {})["headers"][1:] == framing


def test_what_a_call_does_to_its_scope_is_not_seen_by_the_next() -> None:
    state = {"kept": "from the start"}
    first = http_scope(asked(), "", state)
    first["state"]["kept"] = "changed"
    first["asgi"]["version"] = "4"
    first["headers"].clear()
    second = http_scope(asked(), "", state)
    assert (second["state"], second["asgi"]["version"], len(second["headers"])) == (state, "3.0", 1)


def test_repeated_fields_of_wsgi_are_joined() -> None:
    environ = environ_of(http_scope(asked(((b"x-a", b"1"), (b"x-a", b"2"))), "", {}), never)
    assert environ["HTTP_X_A"] == "1,2"


def test_a_field_with_an_underscore_is_not_taken_for_another_one() -> None:
    fields = ((b"remote_user", b"root"), (b"content_length", b"5"), (b"x-a", b"1"))
    environ = environ_of(http_scope(asked(fields), "", {}), never)
    assert environ["HTTP_X_A"] == "1"
    assert not {"HTTP_REMOTE_USER", "CONTENT_LENGTH", "HTTP_CONTENT_LENGTH"} & environ.keys()
