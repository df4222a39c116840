"""Frames to messages and back: however bytes are cut, and whoever made them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from itertools import chain, cycle, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.extensions import Extension, PerMessageDeflate
from wsproto.frame_protocol import FrameProtocol

from daemun_websocket.agreement import Agreed
from daemun_websocket.framing import BadFrames, Bounds, Framing
from daemun_websocket.messages import Binary, Close, Message, Ping, Pong, Text

BOUNDS = Bounds(1 << 20, 1 << 20, 100)

TEXTS = st.text(max_size=200) | st.sampled_from(["ü" * 200, "x" * 70_000])
BINARIES = st.binary(max_size=200) | st.sampled_from([bytes(70_000), b"ab" * 300])
CONTROLS = st.builds(Ping, st.binary(max_size=125)) | st.builds(Pong, st.binary(max_size=125))
CLOSES = st.builds(Close, st.sampled_from([1000, 1001, 1013, 3000, 4999]), st.text(max_size=30)) | st.just(Close())
BETWEEN = Ping(b"between")


def texts(pieces: list[str]) -> list[Message]:
    return [Text(piece, number == len(pieces)) for number, piece in enumerate(pieces, 1)]


def blocks(pieces: list[bytes]) -> list[Message]:
    return [Binary(piece, number == len(pieces)) for number, piece in enumerate(pieces, 1)]


IN_PIECES = st.lists(TEXTS, min_size=1, max_size=4).map(texts) | st.lists(BINARIES, min_size=1, max_size=4).map(blocks)
SAID = st.tuples(
    st.lists(IN_PIECES | CONTROLS.map(lambda one: [one]), max_size=6), CLOSES.map(lambda one: [[one]]) | st.just([])
).map(lambda parts: [*parts[0], *parts[1]])
"""Messages, each in its pieces; a Close last, or none."""
CUTS = st.lists(st.integers(1, 3000), min_size=1, max_size=6)
AGREED = st.none() | st.builds(
    Agreed, st.integers(9, 15), st.integers(9, 15), server_keeps=st.booleans(), client_keeps=st.booleans()
)


def by_wsproto(said: list[list[Message]], agreed: Agreed | None, *, client: bool) -> bytes:
    """The same in frames of wsproto, a ping between two fragments of each message."""
    extensions: list[Extension] = []
    if agreed is not None:
        extension = PerMessageDeflate(
            not agreed.client_keeps, agreed.client_bits, not agreed.server_keeps, agreed.server_bits
        )
        extension.finalize("permessage-deflate")
        extensions.append(extension)
    protocol, data = FrameProtocol(client, extensions), b""
    for pieces in said:
        for piece in pieces:
            match piece:
                case Text(payload, last) | Binary(payload, last):
                    data += protocol.send_data(payload, last) + (b"" if last else protocol.ping(b"between"))
                case Ping(payload):
                    data += protocol.ping(payload)
                case Pong(payload):
                    data += protocol.pong(payload)
                case Close(code, reason):
                    data += protocol.close(code, reason or None)
    return data


def framing(agreed: Agreed | None, *, client: bool, joined: bool = True, bounds: Bounds = BOUNDS) -> Framing:
    inflater = agreed.inflater(client=client) if agreed else None
    deflater = agreed.deflater(client=client) if agreed else None
    return Framing(client=client, bounds=bounds, inflater=inflater, deflater=deflater, joined=joined)


def read_all(side: Framing, data: bytes, cuts: list[int]) -> list[Message]:
    found, place = [], 0
    for size in cycle(cuts):
        if place >= len(data):
            break
        side.feed(data[place : place + size])
        place += size
        while (message := side.read()) is not None:
            found.append(message)
    return found


def joined(messages: Iterable[Message]) -> list[Message]:
    """Pieces put together; pings between them are left out."""
    found: list[Message] = []
    text, data = "", b""
    for message in messages:
        match message:
            case Text(piece, last):
                text += piece
                if last:
                    found.append(Text(text))
                    text = ""
            case Binary(block, last):
                data += block
                if last:
                    found.append(Binary(data))
                    data = b""
            case _ if message != BETWEEN:
                found.append(message)
    assert not text
    assert not data
    return found


@settings(max_examples=25)
@given(said=SAID, agreed=AGREED, client=st.booleans(), whole=st.booleans(), cuts=CUTS)
def test_any_cut_of_any_frames_gives_the_same_messages(
    said: list[list[Message]], agreed: Agreed | None, client: bool, whole: bool, cuts: list[int]
) -> None:
    data = by_wsproto(said, agreed, client=not client)
    found = read_all(framing(agreed, client=client, joined=whole), data, cuts)
    expected = joined(chain(*said))
    assert joined(found) == expected
    if whole:
        assert [message for message in found if message != BETWEEN] == expected


@settings(max_examples=25)
@given(said=SAID, agreed=AGREED, client=st.booleans(), cuts=CUTS)
def test_what_is_written_is_read_again(
    said: list[list[Message]], agreed: Agreed | None, client: bool, cuts: list[int]
) -> None:
    writer = framing(agreed, client=client)
    data = b"".join(map(writer.write, chain(*said)))
    assert read_all(framing(agreed, client=not client), data, cuts) == joined(chain(*said))


@given(data=st.binary(max_size=300), agreed=AGREED, client=st.booleans(), cuts=CUTS)
def test_any_bytes_are_read_or_refused_and_cuts_do_not_matter(
    data: bytes, agreed: Agreed | None, client: bool, cuts: list[int]
) -> None:
    def outcome(steps: list[int]) -> tuple[list[Message], int]:
        side, found = framing(agreed, client=client, bounds=Bounds(100, 50, 3)), []
        place = 0
        try:
            for size in islice(cycle(steps), len(data)):
                side.feed(data[place : place + size])
                place += size
                while (message := side.read()) is not None:
                    found.append(message)
        except BadFrames as error:
            return found, error.close.code or 0
        return found, 0

    assert outcome(cuts) == outcome([len(data) or 1]) == outcome([1])


def test_a_message_in_many_small_pieces_takes_no_more_memory_than_a_few_of_it() -> None:
    side = framing(None, client=True, bounds=Bounds(1 << 20, 1 << 20, 1))
    data = bytes(FrameProtocol(False, []).send_data("ab" * (1 << 14)))
    tracemalloc.start()
    try:
        for place in range(0, len(data) - 2, 2):
            side.feed(data[place : place + 2])
            assert side.read() is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 << 15
    side.feed(data[-2:])
    assert side.read() == Text("ab" * (1 << 14))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Close(1005),
        lambda: Close(1015),
        lambda: Close(2999),
        lambda: Close(5000),
        lambda: Close(None, "why"),
        lambda: Ping(bytes(126)),
        lambda: Pong(bytes(126)),
    ],
)
def test_what_cannot_be_said_cannot_be_made(build: Callable[[], Message]) -> None:
    with pytest.raises(ValueError, match=r"accepted|needs a code"):
        build()


def test_pieces_of_two_kinds_are_no_message() -> None:
    side = framing(None, client=True)
    side.write(Text("a", last=False))
    with pytest.raises(TypeError):
        side.write(Binary(b"b"))
    with pytest.raises(TypeError):
        side.write("c")  # type: ignore[arg-type]
