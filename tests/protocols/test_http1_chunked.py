"""The chunked coding: the same for any way the bytes come, and never laxer than h11."""

from __future__ import annotations

import time
from collections.abc import Iterable

import h11
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from daemun_http1.chunked import FORBIDDEN_TRAILERS, ChunkError, Chunks

MAX_FIELDS = 20


class Outcome:
    """What became of a chunked message."""

    def __init__(self) -> None:
        self.content = b""
        self.rest = b""
        self.trailers: tuple[tuple[bytes, bytes], ...] = ()
        self.done = False
        self.refused = False

    def __eq__(self, other: object) -> bool:
        """Content before a refusal has no meaning: how much was seen depends on the pieces."""
        assert isinstance(other, Outcome)
        if self.refused or other.refused:
            return self.refused == other.refused
        return vars(self) == vars(other)

    def __repr__(self) -> str:
        return f"Outcome({vars(self)})"


def decoded(pieces: Iterable[bytes]) -> Outcome:
    """What `Chunks` makes of `pieces`."""
    outcome, chunks = Outcome(), Chunks(MAX_FIELDS)
    for piece in pieces:
        if chunks.done:
            outcome.rest += piece
            continue
        try:
            content, rest = chunks.decode(piece)
        except ChunkError:
            outcome.refused = True
            return outcome
        outcome.content += content
        outcome.rest += rest
    outcome.done, outcome.trailers = chunks.done, chunks.trailers
    return outcome


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at `cuts`."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


SIZES = st.one_of(
    st.integers(0, 40).map(lambda size: b"%x" % size),
    st.sampled_from(
        [b"", b"00", b"0a", b"A", b"-1", b"+1", b"0x1", b" 1", b"1 ", b"1\t", b"f" * 15, b"f" * 16, b"f" * 21, b"g"]
    ),
)
EXTENSIONS = st.sampled_from(
    [
        b"",
        b"",
        b"",
        b";a",
        b";a=b",
        b' ; a = "b c" ',
        b";",
        b";a=",
        b';a="',
        b";a\x00",
        b";a\nb",
        b';a="\\""',
        b" a",
        b";a=b;c",
    ]
)
ENDS = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"", b"\r\r\n", b" \r\n"])
CHUNK = st.tuples(SIZES, EXTENSIONS, ENDS, st.binary(max_size=40), ENDS).map(b"".join)
GOOD_CHUNK = st.binary(min_size=1, max_size=40).map(lambda data: b"%x\r\n%b\r\n" % (len(data), data))
TRAILER = st.sampled_from(
    [
        b"",
        b"",
        b"X-Sum: 1\r\n",
        b"x:\r\n",
        b"X-Sum : 1\r\n",
        b" X: 1\r\n",
        b"X: a\x00b\r\n",
        b"X: 1\n",
        b"X\r\n",
        b": 1\r\n",
        b"Host: a\r\n",
        b"X_Y: 1\r\n",
        b"X: 1\r\n 2\r\n",
        b"X: a\rb\r\n",
        b"X: \xff\r\n",
    ]
)
LAST = st.sampled_from([b"0\r\n", b"000\r\n", b"0;a=b\r\n", b"0\n", b"0 \r\n", b""])
MESSAGE = st.tuples(
    st.lists(st.one_of(GOOD_CHUNK, GOOD_CHUNK, CHUNK), max_size=4).map(b"".join),
    LAST,
    TRAILER,
    ENDS,
    st.binary(max_size=5),
).map(b"".join)
GOOD_MESSAGE = st.tuples(
    st.lists(GOOD_CHUNK, max_size=4).map(b"".join),
    st.sampled_from([b"0\r\n\r\n", b"0\r\nX-Sum: 1\r\n\r\n"]),
    st.binary(max_size=5),
)
CUTS = st.lists(st.integers(0, 400), max_size=10)


@given(st.one_of(MESSAGE, GOOD_MESSAGE.map(b"".join)), CUTS)
@example(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\nrest", list(range(40)))
@example(b"1;" + b"x" * 4094 + b"\r\na\r\n0\r\n\r\n", [4097])
@example(b"1;" + b"x" * 4095 + b"\r\na\r\n0\r\n\r\n", [4098])
@example(b"1\r\na\r\n0\r\nX: " + b"x" * 4093 + b"\r\n\r\n", [9 + 4097])
@example(b"5\rX", [2])
def test_the_pieces_in_which_a_message_comes_change_nothing(data: bytes, cuts: list[int]) -> None:
    whole = decoded([data])
    assert decoded(split(data, cuts)) == whole
    assert decoded(data[position : position + 1] for position in range(len(data))) == whole


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.binary(max_size=10))
def test_content_comes_back_and_what_follows_is_left(pieces: list[bytes], rest: bytes) -> None:
    data = b"".join(b"%X\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n" + rest
    outcome = decoded([data])
    assert (outcome.content, outcome.rest, outcome.done) == (b"".join(pieces), rest, True)


def by_h11(data: bytes) -> Outcome:
    """What h11 makes of a chunked body."""
    outcome = Outcome()
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    parser.next_event()
    parser.receive_data(data)
    try:
        while (event := parser.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                outcome.content += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                outcome.done = True
                outcome.rest = parser.trailing_data[0]
                break
    except h11.RemoteProtocolError:
        outcome.refused = True
    return outcome


@settings(max_examples=400)
@given(MESSAGE)
def test_what_h11_refuses_is_refused_and_what_is_taken_reads_the_same(data: bytes) -> None:
    assume(
        b" ;" not in data and b"\t;" not in data
    )  # RFC 9112 §7.1.1 asks recipients to read blanks before a `;`; h11 does not
    ours, theirs = decoded([data]), by_h11(data)
    if theirs.refused:
        assert ours.refused or not ours.done
    if not ours.refused and ours.done:
        assert theirs.done
        assert (ours.content, ours.rest) == (theirs.content, theirs.rest)


@given(st.binary(max_size=100), CUTS)
def test_any_bytes_are_taken_or_refused(data: bytes, cuts: list[int]) -> None:
    outcome = decoded(split(data, cuts))
    assert outcome.refused or len(outcome.content) + len(outcome.rest) <= len(data)


@pytest.mark.parametrize("name", [*sorted(FORBIDDEN_TRAILERS), b"x-forwarded-for", b"X-Forwarded-Anything", b"a_b"])
def test_trailers_that_could_change_the_head_are_dropped(name: bytes) -> None:
    outcome = decoded([b"0\r\nx-a: 1\r\n%b: 5\r\nX-B:\t2 \r\n\r\n" % name])
    assert outcome.trailers == ((b"x-a", b"1"), (b"x-b", b"2"))


def test_trailers_are_counted_and_measured() -> None:
    fields = b"X: 1\r\n" * MAX_FIELDS
    assert decoded([b"0\r\n" + fields + b"\r\n"]).done
    assert decoded([b"0\r\n" + fields + b"X: 1\r\n\r\n"]).refused
    assert decoded([b"0\r\n" + b"X: %b\r\n" % (b"x" * 4000) * MAX_FIELDS + b"\r\n"]).refused


def test_more_framing_than_content_is_refused() -> None:
    tiny = b"1\r\nx\r\n" * 100_000
    assert decoded([tiny, b"0\r\n\r\n"]).content == b"x" * 100_000
    wasteful = b"1;%b\r\nx\r\n" % (b"e" * 1000)
    assert decoded([wasteful * 100]).refused
    assert decoded([b"1;" + b"e" * 5000]).refused


@pytest.mark.parametrize(
    "line",
    [
        b"1" + b" " * 4000 + b"x",
        b"1" + b";a" * 2000 + b"\x00",
        b"1" + b" ; a = b" * 500 + b" =",
        b'1;a="' + b"\\a" * 2000,
        b"1;a=" + b"b" * 4000 + b"\x00",
        b"1" + b";a = " * 800,
    ],
)
def test_no_line_takes_long(line: bytes) -> None:
    since = time.process_time()
    assert decoded([line + b"\r\n"]).refused
    assert time.process_time() - since < 0.25
