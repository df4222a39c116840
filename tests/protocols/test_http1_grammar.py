"""What a head may look like, and what a path and a host become."""

from __future__ import annotations

import re
import time
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemun import ExchangeError, Reason, normal_authority, normal_target
from daemun_http1 import grammar

TOKEN = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=10).map(str.encode)
VALUE = st.binary(max_size=20).map(
    lambda raw: bytes(octet for octet in raw if octet == 9 or (octet >= 32 and octet != 127))
)
PATHS = st.lists(
    st.sampled_from(
        [
            b".",
            b"..",
            b"/",
            b"//",
            b"\\",
            b"%2e",
            b"%2E",
            b"%2f",
            b"%2F",
            b"%5c",
            b"%5C",
            b"%252e",
            b"%c0%ae",
            b";",
            b"%3b",
            b"a",
            b"%61",
            b"?",
            b"#",
            b"%00",
            b"%",
            b"%2",
            b"=",
            b"~",
            b"%7e",
            b"%65",
            b"%32",
            b"%25",
            b"%zz",
        ]
    ),
    max_size=12,
).map(lambda parts: b"/" + b"".join(parts))


def dotted(path: bytes) -> bool:
    """Whether a lenient back end could see a dot segment in `path`: decoded once, any slash, parameters cut."""
    decoded = unquote_to_bytes(path).replace(b"\\", b"/")
    return any(segment.partition(b";")[0] in (b".", b"..") for segment in decoded.split(b"/"))


@given(PATHS)
@example(b"/a/%2%65%2%65/b")
@example(b"/a/%%32%65%%32%65/b")
@example(b"/%2%61")
def test_a_path_never_holds_a_dot_segment_in_any_spelling(target: bytes) -> None:
    try:
        result = normal_target(target)
    except ExchangeError as error:
        assert error.reason is Reason.BAD_REQUEST
        return
    path, _, query = result.partition(b"?")
    assert not dotted(path)
    assert b"#" not in result
    assert b"\\" not in path
    assert b"%00" not in path
    assert path.startswith(b"/")
    assert not path.startswith(b"//")
    assert query == target.partition(b"?")[2]
    assert normal_target(result) == result


@given(PATHS)
def test_a_path_without_anything_odd_is_kept(target: bytes) -> None:
    odd = dotted(target.partition(b"?")[0]) or re.search(rb"[\\#]|%00|%(?![0-9A-Fa-f]{2})", target)
    if not odd:
        path, mark, query = normal_target(target).partition(b"?")
        assert unquote_to_bytes(path) == unquote_to_bytes(b"/" + target.partition(b"?")[0].lstrip(b"/"))
        assert mark + query == b"".join(target.partition(b"?")[1:])


@pytest.mark.parametrize(
    ("target", "result"),
    [
        (b"/", b"/"),
        (b"/a/b?x=../..", b"/a/b?x=../.."),
        (b"//a//b", b"/a//b"),
        (b"/a%2Fb", b"/a%2Fb"),
        (b"/%61dmin/%7Euser", b"/admin/~user"),
        (b"/a...b/..c/.d/...", b"/a...b/..c/.d/..."),
        (b"/a?%61\\%00", b"/a?%61\\%00"),
    ],
)
def test_paths_have_one_spelling(target: bytes, result: bytes) -> None:
    assert normal_target(target) == result


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (b"A.Test", b"a.test"),
        (b"a.test:", b"a.test"),
        (b"a.test:080", b"a.test:080"),
        (b"[2001:DB8::1]:81", b"[2001:db8::1]:81"),
        (b"a_b.test", b"a_b.test"),
        (b"xn--4ca.test.", b"xn--4ca.test."),
    ],
)
def test_hosts_have_one_spelling(raw: bytes, normal: bytes) -> None:
    assert normal_authority(raw) == normal


@given(st.binary(max_size=20))
def test_a_host_holds_nothing_that_ends_it_elsewhere(raw: bytes) -> None:
    try:
        normal = normal_authority(raw)
    except ExchangeError:
        return
    assert not set(normal) & set(b'/\\?#@, \t\r\n\x00<>"')
    assert normal_authority(normal) == normal


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=5), st.sampled_from(b"0 1".split()))
def test_a_well_formed_head_is_taken_apart(fields: list[tuple[bytes, bytes]], minor: bytes) -> None:
    assert grammar.FIELD_LINES.fullmatch(b"".join(b"%b:%b\r\n" % field for field in fields))
    match = grammar.REQUEST_LINE.fullmatch(b"GET /a?b HTTP/1.%b" % minor)
    assert match is not None
    assert match.groups() == (b"GET", b"/a?b", minor)
    answer = grammar.STATUS_LINE.fullmatch(b"HTTP/1.%b 200 OK" % minor)
    assert answer is not None
    assert answer.groups() == (minor, b"200")


@given(st.binary(max_size=30), st.sampled_from([b"GET", b"POST", b"get", b"X"]), st.sampled_from([b"1.1", b"1.0"]))
@example(b"a.b/c..d?e=/./f", b"GET", b"1.1")
@example(b".hidden", b"GET", b"1.1")
@example(b"/double", b"GET", b"1.1")
def test_a_plain_request_line_is_one_on_which_nothing_is_to_be_done(rest: bytes, method: bytes, version: bytes) -> None:
    line = b"%b /%b HTTP/%b" % (method, rest, version)
    plain = grammar.PLAIN_REQUEST_LINE.fullmatch(line)
    if plain is not None:
        whole = grammar.REQUEST_LINE.fullmatch(line)
        assert whole is not None
        assert whole.groups() == (*plain.groups(), b"1")
        assert normal_target(plain[2]) == plain[2]


def taken(block: bytes) -> bool:
    """Whether the head at the start of `block` matches the grammar."""
    end = block.find(b"\r\n\r\n")
    line, *fields = block[:end].split(b"\r\n")
    lines = b"".join(field + b"\r\n" for field in fields)
    return bool(end >= 0 and grammar.REQUEST_LINE.fullmatch(line) and grammar.FIELD_LINES.fullmatch(lines))


HEAD = b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-Long: some value\r\n\r\n"


@given(st.integers(0, len(HEAD) - 1), st.sampled_from(sorted(set(range(33)) | {127})))
def test_no_control_byte_is_taken_anywhere(position: int, octet: int) -> None:
    """A blank or a tab may stand inside of a value, and nowhere else where it was not."""
    inserted = HEAD[:position] + bytes([octet]) + HEAD[position:]
    in_value = any(start < position <= end for start, end in ((21, 29), (37, 49)))
    if octet in (9, 32) and in_value:
        assert taken(inserted)
    elif not inserted.startswith(HEAD):
        assert not taken(inserted)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_what_is_refused_early_would_be_refused_as_a_whole(start: bytes, seen: int) -> None:
    for data in (start, HEAD[: len(start)] + start):
        if b"\r\n\r\n" not in data and grammar.early_fault(data, min(seen, len(data))) is not None:
            assert not taken(data + b"\r\n\r\n")
            assert not taken(data + HEAD)


@given(st.binary(max_size=80))
def test_every_malformed_head_has_a_reason(block: bytes) -> None:
    fault = grammar.request_fault(block)
    assert fault.reason in (Reason.BAD_REQUEST, Reason.VERSION_REFUSED)
    assert fault.message.isprintable()


@pytest.mark.parametrize(
    "block",
    [
        b"GET / HTTP/1.1\r\n" + b"a:" * 30_000,
        b"GET / HTTP/1.1\r\n" + b"a" * 60_000,
        b"GET /" + b"%2e" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r",
        b"GET / HTTP/1.1\r\n" + b"a: \t\r\n" * 10_000,
    ],
)
def test_no_head_takes_long_to_refuse(block: bytes) -> None:
    since = time.process_time()
    for line in (grammar.REQUEST_LINE, grammar.PLAIN_REQUEST_LINE, grammar.FIELD_LINES, grammar.STATUS_LINE):
        line.fullmatch(block)
        line.fullmatch(block.partition(b"\r\n")[2])
    grammar.early_fault(block, 0)
    grammar.request_fault(block)
    assert time.process_time() - since < 1


@pytest.mark.parametrize("target", [b"/" + b"%2e" * 20_000, b"/" + b"./" * 20_000, b"/" + b"..%2f" * 10_000])
def test_no_target_takes_long(target: bytes) -> None:
    since = time.process_time()
    try:
        normal_target(target)
    except ExchangeError:
        pass
    assert time.process_time() - since < 1
