"""The codec with bytes alone: what it tells does not depend on how its frames are cut, and what it sends can be read."""

from __future__ import annotations

from typing import Any

import pytest
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given
from hypothesis import strategies as st

from daemun_http2.budget import Budget
from daemun_http2.codec_plain import PlainCodec
from daemun_http2.decoding import Block
from daemun_http2.frames import PREFACE, ConnectionFault, ErrorCode

HEAD = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test"))


class Told:
    """What a codec told, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_head(self, stream: int, block: Block, ended: bool) -> None:
        self.calls.append(("head", stream, block.fields, block.oversized, ended))

    def on_trailers(self, stream: int, block: Block) -> None:
        self.calls.append(("trailers", stream, block.fields, block.oversized))

    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        self.calls.append(("content", stream, bytes(data), size, ended))

    def on_reset(self, stream: int, code: int) -> None:
        self.calls.append(("reset", stream, code))

    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None:
        self.calls.append(("fault", stream, code, why))

    def on_window(self, stream: int, increment: int) -> None:
        self.calls.append(("window", stream, increment))

    def on_settings(self, settings: dict[int, int]) -> None:
        self.calls.append(("settings", settings))

    def on_goaway(self, last: int, code: int) -> None:
        self.calls.append(("goaway", last, code))

    def on_ping_answered(self) -> None:
        self.calls.append(("ping answered",))


def new_codec(*, client: bool = False, window: int = 65_535) -> tuple[PlainCodec, Told]:
    """A codec that has said hello, and what it tells."""
    told = Told()
    codec = PlainCodec(told, Budget(), client=client, max_head_bytes=4096, max_fields=20)
    codec.start({}, window)
    return codec, told


def read(data: bytes) -> list[Frame]:
    """The frames of what a codec sent."""
    frames = []
    while data:
        frame, size = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + size]))
        frames.append(frame)
        data = data[9 + size :]
    return frames


numbers = st.integers(0, 9)
fields = st.lists(
    st.tuples(st.sampled_from([b"x-a", b"x-b", b"cookie", b"accept"]), st.binary(max_size=20)), max_size=4
).map(tuple)


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """What a client may say, right or wrong."""
    encoder = Encoder()
    said = [PREFACE]
    if draw(st.integers(0, 9)):
        said.append(SettingsFrame(0, draw(st.dictionaries(st.integers(1, 9), st.integers(0, 3)))).serialize())
    stream = 1
    for _ in range(draw(st.integers(0, 12))):
        number = draw(st.sampled_from([stream, stream, stream, max(1, stream - 2), 1, stream + 2]))
        ended = draw(st.booleans())
        kind = draw(st.sampled_from(["head", "head", "continued", "content", "content", "trailers", "other", "junk"]))
        if kind in ("head", "continued"):
            number, stream = stream, stream + 2
        if kind in ("head", "continued", "trailers"):
            block = encoder.encode([*HEAD, *draw(fields)] if kind != "trailers" else list(draw(fields)))
            cut = draw(st.integers(0, len(block))) if kind == "continued" else len(block)
            frame: Frame = HeadersFrame(number, block[:cut])
            if ended or kind == "trailers":
                frame.flags.add("END_STREAM")
            if kind != "continued":
                frame.flags.add("END_HEADERS")
            said.append(frame.serialize())
            if kind == "continued":
                said.append(ContinuationFrame(number, block[cut:], flags=("END_HEADERS",)).serialize())
        elif kind == "content":
            padding = draw(st.integers(0, 5))
            frame = DataFrame(number, draw(st.binary(max_size=30)), pad_length=padding)
            if padding:
                frame.flags.add("PADDED")
            if ended:
                frame.flags.add("END_STREAM")
            said.append(frame.serialize())
        elif kind == "junk":
            said.append(draw(st.binary(min_size=9, max_size=30)))
        else:
            other: list[Frame] = [
                PingFrame(0, b"12345678"),
                PingFrame(0, b"12345678", flags=("ACK",)),
                RstStreamFrame(number, draw(numbers)),
                WindowUpdateFrame(draw(st.sampled_from([0, number])), draw(st.integers(1, 100))),
                PriorityFrame(number, depends_on=draw(st.sampled_from([0, number]))),
                GoAwayFrame(0, 0, draw(numbers)),
                SettingsFrame(0, {4: draw(numbers)}),
                SettingsFrame(0, flags=("ACK",)),
            ]
            said.append(draw(st.sampled_from(other)).serialize())
    return b"".join(said)


def outcome(pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], bytes, str]:
    """What a codec tells, sends and raises for what comes in pieces."""
    codec, told = new_codec()
    sent, raised = b"", ""
    for piece in pieces:
        try:
            codec.receive(piece)
        except ConnectionFault as fault:
            raised = str(fault)
        sent += codec.pending()
        if raised:
            break
    return told.calls, sent, raised


@given(conversations(), st.data())
def test_what_is_told_does_not_depend_on_where_the_bytes_are_cut(said: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(said)), max_size=20)))
    pieces = [said[start:end] for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True)]
    whole = outcome([said])
    assert outcome(pieces) == whole
    assert outcome([said[at : at + 1] for at in range(len(said))]) == whole


@given(st.binary(max_size=200), st.booleans())
def test_anything_is_read_or_refused(junk: bytes, client: bool) -> None:
    codec, _ = new_codec(client=client)
    try:
        codec.receive((b"" if client else PREFACE) + SettingsFrame(0).serialize() + junk)
    except ConnectionFault as fault:
        assert fault.code is not ErrorCode.NO_ERROR
    assert isinstance(codec.pending(), bytes)


@given(
    st.lists(st.tuples(st.binary(max_size=40_000), st.booleans()), min_size=1, max_size=5),
    st.sampled_from([16_384, 20_000, 2**24 - 1]),
)
def test_what_one_codec_sends_another_reads(messages: list[tuple[bytes, bool]], frame_bytes: int) -> None:
    client, _ = new_codec(client=True)
    server, told = new_codec(window=10_000_000)
    server.receive(PREFACE + SettingsFrame(0).serialize())
    client.receive(SettingsFrame(0, {5: frame_bytes}).serialize())
    expected: list[tuple[int, bytes]] = []
    heard: dict[int, bytes] = {}
    block = Encoder().encode(list(HEAD))
    for content, trailers in messages:
        stream = client.open()
        said = client.head(stream, block, False) + client.content(stream, content, not trailers)
        if trailers:
            said += client.head(stream, b"\x00\x01a\x01b", True)
        frames = read(said)
        assert max(frame.body_len for frame in frames) <= frame_bytes
        if frame_bytes > 16_384:  # more than we take ourselves
            heard[stream] = b"".join(frame.data for frame in frames if isinstance(frame, DataFrame))
        else:
            server.receive(said)
        expected.append((stream, content))
    for call in told.calls:
        if call[0] == "content":
            heard[call[1]] = heard.get(call[1], b"") + call[2]
    assert [(stream, heard.get(stream, b"")) for stream, _ in expected] == expected
    assert [call[0] for call in told.calls if call[0] in ("fault", "reset")] == []


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 50_000])
def test_long_blocks_are_continued(size: int) -> None:
    codec, _ = new_codec(client=True)
    frames = read(codec.head(codec.open(), b"x" * size, True))
    assert isinstance(frames[0], HeadersFrame)
    assert "END_STREAM" in frames[0].flags
    assert all(isinstance(frame, ContinuationFrame) for frame in frames[1:])
    assert ["END_HEADERS" in frame.flags for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert b"".join(frame.data for frame in frames) == b"x" * size  # type: ignore[attr-defined]


def opened(codec: PlainCodec, *, ended: bool = False) -> None:
    """Has a client open stream 1."""
    frame = HeadersFrame(1, Encoder().encode(list(HEAD)), flags=("END_HEADERS",))
    if ended:
        frame.flags.add("END_STREAM")
    codec.receive(PREFACE + SettingsFrame(0).serialize() + frame.serialize())


def test_the_window_of_the_connection_comes_back_as_it_is_used() -> None:
    codec, _ = new_codec(window=1_000_000)
    opened(codec)
    codec.pending()
    granted = sent = 0
    for _ in range(200):
        codec.receive(DataFrame(1, b"x" * 10_000).serialize())
        sent += 10_000
        codec.credit(1, 10_000)
        granted += sum(frame.window_increment for frame in read(codec.pending()) if not frame.stream_id)  # type: ignore[attr-defined]
        assert 500_000 <= 1_000_000 + granted - sent <= 1_000_000


def test_what_still_comes_for_a_stream_that_was_reset_means_nothing() -> None:
    codec, told = new_codec()
    opened(codec)
    codec.reset(1, ErrorCode.CANCEL)
    before = list(told.calls)
    trailers = HeadersFrame(1, b"\x00\x01a\x01b", flags=("END_HEADERS", "END_STREAM"))
    for frame in (DataFrame(1, b"x"), WindowUpdateFrame(1, 5), trailers, RstStreamFrame(1, 0)):
        codec.receive(frame.serialize())
    assert told.calls == before
    assert (codec.reset(1, ErrorCode.CANCEL), codec.credit(1, 10)) == (b"", b"")


def test_content_for_a_stream_that_ended_is_told_to_its_sender() -> None:
    codec, told = new_codec()
    opened(codec, ended=True)
    codec.receive(DataFrame(1, b"x").serialize())
    assert told.calls[-1][:3] == ("fault", 1, ErrorCode.STREAM_CLOSED)
    (reset,) = [frame for frame in read(codec.pending()) if isinstance(frame, RstStreamFrame)]
    assert (reset.stream_id, reset.error_code) == (1, 5)


def test_a_block_changes_the_table_even_if_its_stream_is_refused() -> None:
    codec, told = new_codec()
    encoder = Encoder()
    first = encoder.encode([*HEAD, (b"x-a", b"first")])
    second = encoder.encode([*HEAD, (b"x-a", b"first")])
    opened(codec)
    codec.reset(1, ErrorCode.CANCEL)
    codec.receive(HeadersFrame(1, first, flags=("END_HEADERS", "END_STREAM")).serialize())
    codec.receive(HeadersFrame(3, second, flags=("END_HEADERS", "END_STREAM")).serialize())
    assert told.calls[-1][:3] == ("head", 3, (*HEAD, (b"x-a", b"first")))
