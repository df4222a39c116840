"""Framing and base64 in any chunks: the same messages come out, and what is too long is refused as it begins."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import ExchangeError, Reason
from daemun_grpc.base64_stream import Decoder, encode
from daemun_grpc.messages import Counter, Message, Reader, frame

MESSAGES = st.lists(st.builds(Message, st.integers(0, 255), st.binary(max_size=40)), max_size=12)


@st.composite
def chunked(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """`whole`, cut anywhere, with empty chunks among the rest."""
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    return [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]


@given(MESSAGES, st.data())
def test_any_chunks_of_any_messages_give_the_same_messages(messages: list[Message], data: st.DataObject) -> None:
    whole = b"".join(frame(message.data, message.flags) for message in messages)
    reader = Reader("request", 40)
    found = [message for chunk in data.draw(chunked(whole)) for message in reader.feed(chunk)]
    assert found == messages
    assert not reader.inside


@given(MESSAGES, st.data())
def test_any_chunks_of_any_messages_are_counted_alike(messages: list[Message], data: st.DataObject) -> None:
    whole = b"".join(frame(message.data, message.flags) for message in messages)
    counter = Counter("request")
    for chunk in data.draw(chunked(whole)):
        counter.feed(chunk)
    assert counter.begun == len(messages)
    assert not counter.inside


@given(MESSAGES, st.integers(1, 39), st.data())
def test_who_counts_and_who_reads_refuse_the_same(messages: list[Message], most: int, data: st.DataObject) -> None:
    whole = b"".join(frame(message.data, message.flags) for message in messages)
    chunks = data.draw(chunked(whole))
    fits = all(len(message.data) <= most for message in messages)
    for one in (Counter("response", most), Reader("response", most)):
        try:
            for chunk in chunks:
                one.feed(chunk)
        except ExchangeError as error:
            assert not fits
            assert error.reason is Reason.CONTENT_TOO_LARGE
            assert f"accepted: {most}" in error.message
        else:
            assert fits


@given(st.binary(min_size=1, max_size=40), st.data())
def test_a_message_that_is_cut_is_told_from_one_that_ended(content: bytes, data: st.DataObject) -> None:
    cut = frame(content)[: data.draw(st.integers(1, 4 + len(content)))]
    counter, reader = Counter("request"), Reader("request", 40)
    for chunk in data.draw(chunked(cut)):
        counter.feed(chunk)
        assert reader.feed(chunk) == []
    assert counter.inside
    assert reader.inside


def test_a_message_that_is_too_long_is_refused_by_its_prefix() -> None:
    for one in (Counter("request", 10), Reader("request", 10)):
        with pytest.raises(ExchangeError, match="a message of the request has 11 bytes; accepted: 10"):
            one.feed(b"\0\0\0\0\x0b")


# --- base64 ---


@given(st.lists(st.binary(max_size=20), max_size=10), st.data())
def test_base64_is_read_wherever_it_is_padded_and_cut(flushes: list[bytes], data: st.DataObject) -> None:
    decoder = Decoder()
    found = [decoder.feed(chunk) for chunk in data.draw(chunked(b"".join(map(encode, flushes))))]
    assert b"".join([*found, decoder.end()]) == b"".join(flushes)


@given(st.binary(max_size=50), st.data())
def test_the_last_padding_may_be_missing(content: bytes, data: st.DataObject) -> None:
    decoder = Decoder()
    found = [decoder.feed(chunk) for chunk in data.draw(chunked(base64.b64encode(content).rstrip(b"=")))]
    assert b"".join([*found, decoder.end()]) == content


@pytest.mark.parametrize("text", [b"a", b"abcde", b"ab!d", b"====", b"a===", b"ab=c", b"YQ==b", b"ab\n=="])
def test_what_is_no_base64_is_refused(text: bytes) -> None:
    decoder = Decoder()
    with pytest.raises(ExchangeError, match="no base64") as caught:
        decoder.feed(text)
        decoder.end()
    assert caught.value.reason is Reason.BAD_REQUEST


def test_many_short_flushes_are_read_in_time_that_grows_with_their_number() -> None:
    decoder = Decoder()
    assert decoder.feed(b"AA==" * 100_000) == bytes(100_000)
