"""The reader: heads and content out of bytes, however they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_http1.chunked import ChunkError
from daemun_http1.reader import CHUNKED, UNTIL_CLOSE, Reader

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def test_a_head_comes_out_whole_and_leaves_what_follows() -> None:
    reader = Reader(10)
    reader.feed(HEAD + b"rest")
    assert reader.head() == HEAD
    assert reader.waiting == b"rest"
    assert reader.take() == b"rest"
    assert reader.waiting == b""


@given(st.lists(st.integers(1, 6), max_size=30))
def test_a_head_is_found_however_its_bytes_come(sizes: list[int]) -> None:
    reader, data = Reader(10), b"\r\n" + HEAD + b"x" * 200
    for size in [*sizes, len(data)]:
        reader.feed(data[:size])
        data = data[size:]
        reader.skip_empty_line()
        found = reader.head()
        if found:
            break
    assert found == HEAD
    assert (reader.waiting + data).strip(b"x") == b""


@given(st.binary(max_size=50), st.integers(0, 50), st.lists(st.integers(1, 20), max_size=10))
def test_content_with_a_length_ends_where_it_says(data: bytes, length: int, sizes: list[int]) -> None:
    reader = Reader(10)
    reader.expect(length)
    content, fed = b"", data
    for size in [*sizes, len(data)]:
        reader.feed(fed[:size])
        fed = fed[size:]
        while piece := reader.content():
            content += piece
    assert content == data[:length]
    assert reader.waiting == data[length:]
    assert reader.left == max(0, length - len(data))


def test_chunked_content_ends_with_its_trailers() -> None:
    reader = Reader(10)
    reader.expect(CHUNKED)
    reader.feed(b"3\r\nabc\r\n0\r\nX: 1\r\n\r\nGET")
    assert reader.content() == b"abc"
    assert (reader.left, reader.trailers, reader.waiting) == (0, ((b"x", b"1"),), b"GET")
    reader.expect(3)
    assert (reader.content(), reader.trailers) == (b"GET", ())


def test_broken_chunks_are_refused() -> None:
    reader = Reader(10)
    reader.expect(CHUNKED)
    reader.feed(b"x\r\n")
    with pytest.raises(ChunkError):
        reader.content()


def test_content_up_to_the_close_never_ends_by_itself() -> None:
    reader = Reader(10)
    reader.expect(UNTIL_CLOSE)
    assert reader.content() == b""
    reader.feed(b"abc")
    assert (reader.content(), reader.left) == (b"abc", UNTIL_CLOSE)
