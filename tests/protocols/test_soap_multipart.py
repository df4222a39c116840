"""Messages with attachments: the envelope is found wherever bytes are cut, and everything passes as it came."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import ExchangeError
from daemun_soap.envelopes.media import SoapType
from daemun_soap.envelopes.multipart import RootPart
from daemun_soap.names import Version

HEAD = b"Content-Type: application/xop+xml; charset=UTF-8; type=text/xml\r\nContent-ID: <root>\r\n"
ENVELOPE = b"<s:Envelope>\r\n--b\r-\n-- </s:Envelope>\r\n"
REST = b"Content-ID: <1>\r\n\r\n\x00\r\n--b"


def message(
    head: bytes = HEAD, envelope: bytes = ENVELOPE, *, preamble: bytes = b"", ends: bytes = b"\r\n--bound\r\n" + REST
) -> bytes:
    return preamble + b"--bound\r\n" + head + b"\r\n" + envelope + ends


def part(start: str = "") -> RootPart:
    return RootPart(SoapType(Version.V1_1, boundary=b"bound", start=start))


def found(data: bytes, *cuts: int, start: str = "") -> bytes:
    """The envelope of a message that comes in pieces."""
    root, envelope, at = part(start), b"", 0
    for cut in (*sorted(cuts), len(data)):
        envelope += root.feed(data[at:cut])
        at = max(at, cut)
    root.close()
    return envelope


@pytest.mark.parametrize(
    "data",
    [
        message(),
        message(preamble=b"This is multipart.\r\n"),
        message(preamble=b"\r\n"),
        message(b""),
        message(b"content-transfer-encoding: BINARY\r\n" + HEAD),
        message(HEAD.replace(b"; charset", b";\r\n\tcharset")),
        message(ends=b"\r\n--bound--\r\n"),
        message(ends=b"\r\n--bound--"),
        message(ends=b"\r\n--bound-- \t\r\nepilogue"),
        message(ends=b"\r\n--bound  \r\n" + REST),
    ],
)
def test_the_first_part_is_the_envelope(data: bytes) -> None:
    assert found(data) == ENVELOPE
    assert found(data, *range(len(data))) == ENVELOPE


@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=10))
def test_any_content_is_found_however_it_is_cut(envelope: bytes, cuts: list[int]) -> None:
    if re.search(rb"\n--bound", envelope):
        return
    data = message(envelope=envelope)
    assert found(data, *(min(cut, len(data)) for cut in cuts)) == envelope


def test_an_envelope_may_be_empty() -> None:
    data = message(envelope=b"")
    assert found(data) == found(data, *range(len(data))) == b""


def test_start_names_the_first_part() -> None:
    assert found(message(), start="<root>") == ENVELOPE
    for head in (b"", HEAD.replace(b"root", b"other")):
        with pytest.raises(ExchangeError, match="start"):
            found(message(head), start="<root>")


def test_its_charset_is_that_of_the_part() -> None:
    root = part()
    root.feed(message(HEAD.replace(b"UTF-8", b"utf-16")))
    assert root.media.charset == "utf-16"


@pytest.mark.parametrize(
    ("value", "action"),
    [
        (b'application/xop+xml; type="text/xml"', None),
        (rb'application/xop+xml; type="text/xml; action=\"urn:a\""', "urn:a"),
        (b'application/xop+xml; type="text/xml"; action="urn:a"', "urn:a"),
        (b"text/xml; action=urn:a", "urn:a"),
    ],
)
def test_its_action_is_that_of_the_part_too(value: bytes, action: str | None) -> None:
    root = part()
    root.feed(message(b"Content-Type: " + value + b"\r\n"))
    assert root.media.action == action


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no boundary",
        b"--bound",
        b"--bound--\r\n",
        b"--boundary\r\n" + HEAD + b"\r\n" + ENVELOPE,
        b"x--bound\r\n" + HEAD,
        b"x\n--bound\r\n" + HEAD,
        b"x" * 5000,
        message(b"no field\r\n"),
        message(b" folded: first\r\n"),
        message(b"a: 1\r\nA: 2\r\n"),
        message(b"a: 1\r\n" * 4000),
        message(b"x: " + b"1" * 20_000),
        message(b"Content-Type: image/png\r\n"),
        message(b"Content-Type: multipart/mixed; boundary=c\r\n"),
        message(b"Content-Type: text/xml; charset=a; charset=b\r\n"),
        message(b"Content-Type: application/soap+xml\r\n"),
        message(b"Content-Type: application/xop+xml; type=application/soap+xml\r\n"),
        message(b"Content-Type: application/xop+xml; type=image/png\r\n"),
        message(b"Content-Transfer-Encoding: base64\r\n"),
        message(b"x:" + b" " * 15_000 + b"\0\r\n"),
        message(b"x:" + b" \t" * 7_000 + b"\n\r\n"),
        message(b"Content-Transfer-Encoding: quoted-printable\r\n"),
        message(ends=b""),
        message(ends=b"\r\n--boun"),
        message(ends=b"\r\n--bound"),
        message(ends=b"\r\n--bound-"),
        message(ends=b"\n--bound\r\n"),
        message(ends=b"\r\n--boundary\r\n" + REST),
        message(ends=b"\r\n--bound--x"),
        message(ends=b"\r\n--bound" + b" " * 100),
    ],
)
def test_parts_that_two_readers_could_tell_apart_differently_are_refused(data: bytes) -> None:
    for cuts in ((), range(len(data)) if len(data) < 1000 else range(0, len(data), 97)):
        with pytest.raises(ExchangeError, match="malformed"):
            found(data, *cuts)


def test_it_holds_no_more_than_a_boundary_of_the_envelope() -> None:
    root = part()
    root.feed(message(ends=b""))
    for _ in range(100):
        assert len(root.feed(b"<a/>" * 1000)) == 4000
    assert not root.over
    assert root.feed(b"\r\n--bound\r\n" + REST).endswith(b"<a/>")
    assert root.over


def test_what_follows_the_envelope_is_not_looked_at() -> None:
    root = part()
    root.feed(message())
    assert root.over
    assert root.feed(b"\r\n--bound\r\n\r\n<s:Envelope>\r\n--bound") == b""
    root.close()


@given(
    st.lists(
        st.sampled_from([b"--bound", b"\r\n", b"--", b"\r", b"\n", b" ", HEAD, b"<a/>", b"a: b", b"x"]), max_size=20
    )
)
def test_anything_is_told_apart_or_refused_however_it_is_cut(pieces: list[bytes]) -> None:
    data = b"".join(pieces)

    def verdict(*cuts: int) -> bytes | None:
        try:
            return found(data, *cuts)
        except ExchangeError:
            return None

    assert verdict() == verdict(*range(len(data)))
