"""Both codecs of HTTP/2 tell the same for the same bytes, cut anywhere, and say the same; where RFC 9113 names an error,
both find it. The library may end the connection where ours ends the stream (§5.4.1): what comes then is not compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import pack
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daemun_http2.budget import Budget
from daemun_http2.choose import new_codec
from daemun_http2.codec import Codec
from daemun_http2.decoding import Block, Field
from daemun_http2.encoding import encode, encode_pseudo
from daemun_http2.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY_FIELDS,
    ConnectionFault,
    ErrorCode,
    Kind,
    Setting,
    StreamFault,
    frame,
    settings_frame,
)
from daemun_http2.settings import Http2Settings

CODECS = ("plain", "h2")
STREAM_WINDOW = 100
WINDOW = 1 << 20
LIMITS: dict[str, Any] = {"max_head_bytes": 1024, "max_fields": 8}

Told = tuple[Any, ...]


class Side:
    """A codec, what it told, and what it said. The windows are kept as `Session` keeps them."""

    def __init__(self, codec: str, *, client: bool, window: int = STREAM_WINDOW) -> None:
        self.client = client
        self.told: list[Told] = []
        self.said = b""
        self.ended = False
        """The connection was broken."""
        self.windows: dict[int, int] = {}
        """What the peer takes on the streams that are not over."""
        self.sending: set[int] = set()
        self.coming: set[int] = set()
        self.window = self.peer_window = 65_535
        self.codec: Codec = new_codec(Http2Settings(codec=codec, **LIMITS), self, Budget(), client=client)  # type: ignore[arg-type]
        self.greeting = self.codec.start({Setting.INITIAL_WINDOW_SIZE: window}, WINDOW)

    # --- what the test does ---

    def receive(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Reads `data` in pieces of these sizes, and what is left."""
        for size in (*cuts, len(data)):
            piece, data = data[:size], data[size:]
            if self.ended:
                return
            try:
                self.codec.receive(piece)
            except ConnectionFault as fault:
                self.ended = True
                self.told.append(("broken", fault.code))
            self.said += self.codec.pending()

    def ask(self, *, ended: bool) -> None:
        stream = self.codec.open()
        self.begin(stream)
        self.head(stream, encode_pseudo(b":method", b"HEAD") + encode([(b"x", b"y")]), ended=ended)

    def head(self, stream: int, block: bytes, *, ended: bool) -> None:
        self.said += self.codec.head(stream, block, ended)
        if ended:
            self.sending.discard(stream)
            self.forget(stream)

    def content(self, stream: int, size: int) -> None:
        size = max(0, min(size, self.window, self.windows[stream]))
        self.window -= size
        self.windows[stream] -= size
        self.said += self.codec.content(stream, b"c" * size, False)

    def reset(self, stream: int, code: ErrorCode) -> None:
        self.said += self.codec.reset(stream, code)
        self.cut_off(stream)

    def begin(self, stream: int) -> None:
        self.windows[stream] = self.peer_window
        self.sending.add(stream)
        self.coming.add(stream)

    def came(self, stream: int, *, ended: bool) -> None:
        if ended:
            self.coming.discard(stream)
            self.forget(stream)

    def cut_off(self, stream: int) -> None:
        self.sending.discard(stream)
        self.coming.discard(stream)
        self.forget(stream)

    def forget(self, stream: int) -> None:
        if stream not in self.sending and stream not in self.coming:
            self.windows.pop(stream, None)

    # --- what the codec tells ---

    def on_head(self, stream: int, block: Block, ended: bool) -> None:
        name, value = block.fields[0] if block.fields else (b"", b"")
        if self.client and (name != b":status" or (ended and value[:1] == b"1")):
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "no response, or an interim one that is the last")
        self.told.append(("head", stream, block.fields, block.oversized, ended))
        if not self.client:
            self.begin(stream)
        self.came(stream, ended=ended)

    def on_trailers(self, stream: int, block: Block) -> None:
        self.told.append(("trailers", stream, block.fields, block.oversized))
        self.came(stream, ended=True)
        if any(name[:1] == b":" for name, _ in block.fields):
            raise StreamFault(stream, ErrorCode.PROTOCOL_ERROR, "a pseudo-header field in trailers")

    def on_content(self, stream: int, data: bytes, size: int, ended: bool) -> None:
        self.told.append(("content", stream, data, size, ended))
        self.came(stream, ended=ended)

    def on_reset(self, stream: int, code: int) -> None:
        self.told.append(("reset", stream, code))
        self.cut_off(stream)

    def on_fault(self, stream: int, code: ErrorCode, why: str) -> None:
        assert why
        self.told.append(("fault", stream, code))
        self.cut_off(stream)

    def on_window(self, stream: int, increment: int) -> None:
        if not stream:
            self.window += increment
            if self.window > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "too much")
        else:
            self.windows[stream] += increment
            if self.windows[stream] > MAX_WINDOW:
                raise StreamFault(stream, ErrorCode.FLOW_CONTROL_ERROR, "too much")
        self.told.append(("window", stream, increment))

    def on_settings(self, settings: dict[int, int]) -> None:
        window = settings.get(Setting.INITIAL_WINDOW_SIZE, self.peer_window)
        for stream in self.windows:
            self.windows[stream] += window - self.peer_window
            if self.windows[stream] > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "too much")
        self.peer_window = window
        self.told.append(("settings", settings))

    def on_goaway(self, last: int, code: int) -> None:
        self.told.append(("goaway", last, code))

    def on_ping_answered(self) -> None:
        self.told.append(("answered",))


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and payload of each frame."""
    found = []
    while data:
        size = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return found


def assert_same(plain: Side, h2: Side) -> None:
    """Both told the same and said the same, up to a fault that only one takes for the connection's."""
    for one, other in zip(plain.told, h2.told, strict=False):
        if one != other:
            assert {one[0], other[0]} == {"broken", "fault"}, (plain.told, h2.told)
            assert one[-1] == other[-1], (plain.told, h2.told)
            return
    assert plain.told == h2.told
    ours, theirs = (
        [one for one in frames(side.said) if one[0] != Kind.WINDOW_UPDATE or one[2]] for side in (plain, h2)
    )
    if plain.ended:  # nobody listens to what else was said with the frame that broke it
        ours = ours[: len(theirs)]
    assert ours == theirs


# --- what a peer may send ---

NAMES = st.sampled_from([b"x", b"content-length", b"x-longer-name"])
VALUES = st.sampled_from([b"", b"1", b"v" * 40, b"v" * 400])
STRING = st.one_of(
    st.builds(lambda value: pack(">B", min(len(value), 126)) + value[:126], VALUES),
    st.sampled_from([b"\x81\xff", b"\x82\x3f\xff", b"\x81\xf3", b"\x7f\x00" + b"l" * 127, b"\x7f\xff\xff\xff\xff\x7f"]),
)
LITERAL = st.builds(
    lambda first, name, value: first + name + value, st.sampled_from([b"\0", b"\x10", b"@"]), STRING, STRING
)
NAMED = st.builds(lambda first, value: first + value, st.sampled_from([b"\x08", b"\x41", b"\x7e", b"\x0f\x01"]), STRING)
STATUS = st.sampled_from([b"\x88", b"\x8d", b"\x08\x03100", b"\x48\x03103", b"\x08\x03204"])
WELL_FORMED = st.lists(
    st.one_of(
        st.sampled_from([b"\x82", b"\x84", b"\x86", b"\x0f\x0d\x012", b"\x90", b"@\x01x\x01y"]),
        st.builds(lambda name, value: encode([(name, value)]), NAMES, VALUES),
    ),
    max_size=4,
).map(b"".join)
BROKEN = st.lists(
    st.one_of(
        LITERAL,
        NAMED,
        st.sampled_from(
            [b"\x80", b"\xbe", b"\xbf", b"\xff\x00", b"\xff\xff\xff\xff\x7f", b"\x20", b"\x3f\xe1\x1f", b"\x3f\xe2\x1f"]
        ),
        st.binary(max_size=4),
    ),
    max_size=4,
).map(b"".join)
BLOCKS = st.one_of(WELL_FORMED, st.builds(bytes.__add__, STATUS, WELL_FORMED), BROKEN)
STREAMS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 7, 9])
FLAGS = st.sampled_from([0, 0, END_STREAM, END_STREAM, PADDED, PADDED | END_STREAM, 0xFF])
CONTENT = st.sampled_from([b"", b"c", b"\x03abcde", b"\x05abcde", b"\x06abcde", b"c" * 60, b"c" * 101])
NUMBERS = st.sampled_from([0, 1, 100, 2**31 - 1, 2**31, 2**32 - 1])
PARAMETERS = st.dictionaries(
    st.one_of(st.sampled_from(sorted(Setting)), st.sampled_from([0, 7, 9, 0xFFFF])),
    st.sampled_from([0, 1, 2, 100, 16_383, 16_384, 70_000, 2**24 - 1, 2**24, 2**31 - 1, 2**31]),
    max_size=3,
)


def heads(stream: int, block: bytes, ended: bool, parts: int, priority: int | None) -> bytes:
    """HEADERS and CONTINUATION."""
    flags = END_STREAM if ended else 0
    payload = block
    if priority is not None:
        flags |= PRIORITY_FIELDS
        payload = pack(">IB", priority, 7) + block
    size = len(payload) // parts + 1
    pieces = [payload[start : start + size] for start in range(0, len(payload), size)] or [b""]
    last = len(pieces) - 1
    return b"".join(
        frame(
            Kind.CONTINUATION if index else Kind.HEADERS,
            (0 if index else flags) | (END_HEADERS if index == last else 0),
            stream,
            piece,
        )
        for index, piece in enumerate(pieces)
    )


HEADS = st.builds(
    heads,
    STREAMS,
    BLOCKS,
    st.booleans(),
    st.sampled_from([1, 1, 1, 2, 3, 40]),
    st.sampled_from([None, None, None, 0, 1, 2**31 + 3]),
)
CONTROLS = st.one_of(
    st.builds(
        frame, st.just(Kind.WINDOW_UPDATE), st.just(0), st.just(0), st.sampled_from([b"\0\0\1\0", b"\x80\0\0\1"])
    ),
    st.builds(
        settings_frame, PARAMETERS.filter(lambda parameters: all(value in (1, 100) for value in parameters.values()))
    ),
    st.sampled_from(
        [settings_frame({key: value}) for key, value in ((1, 0), (3, 0), (4, 0), (4, 2**31 - 1), (5, 70_000), (6, 9))]
    ),
    st.builds(frame, st.just(Kind.PING), st.sampled_from([0, ACK]), st.just(0), st.just(b"12345678")),
    st.sampled_from(
        [frame(Kind.GOAWAY, 0, 0, pack(">II", 3, 0) + b"why"), frame(Kind.SETTINGS, ACK, 0), frame(0xBE, 9, 5, b"?")]
    ),
)
WILD = st.one_of(
    HEADS,
    st.builds(frame, st.just(Kind.DATA), FLAGS, STREAMS, CONTENT),
    st.builds(frame, st.just(Kind.RST_STREAM), st.just(0), STREAMS, NUMBERS.map(lambda code: pack(">I", code))),
    st.builds(frame, st.just(Kind.WINDOW_UPDATE), st.just(0), STREAMS, NUMBERS.map(lambda more: pack(">I", more))),
    st.builds(settings_frame, PARAMETERS),
    st.builds(
        frame,
        st.just(Kind.PRIORITY),
        st.just(0),
        STREAMS,
        st.sampled_from([0, 1, 3]).map(lambda on: pack(">IB", on, 1)),
    ),
    st.builds(frame, st.integers(0, 12), st.sampled_from([0, 1, 4, 5, 8, 0xFF]), STREAMS, st.binary(max_size=12)),
)

# --- what we do meanwhile: on the n-th of the streams on which we may ---

Act = Callable[[Side], None]


def on_stream(act: Callable[[Side, int], None], index: int) -> Act:
    def run(side: Side) -> None:
        streams = sorted(side.sending)
        if streams and not side.ended:
            act(side, streams[index % len(streams)])

    return run


def answer(side: Side, stream: int) -> None:
    """The whole of what is to be sent on a stream."""
    if not side.client:
        side.head(stream, encode_pseudo(b":status", b"103"), ended=False)
        side.head(stream, encode_pseudo(b":status", b"200") + encode([(b"x", b"z" * 20_000)]), ended=False)
    side.content(stream, 40_000)
    side.head(stream, encode([(b"trailer", b"t")]), ended=True)


def refuse(side: Side, stream: int) -> None:
    """What ends a stream without its content having come."""
    if not side.client:
        side.head(stream, encode_pseudo(b":status", b"431"), ended=True)
    side.reset(stream, ErrorCode.NO_ERROR)


def cancel(side: Side, stream: int) -> None:
    side.reset(stream, ErrorCode.CANCEL)


def credit(side: Side, stream: int) -> None:
    if stream in side.coming:
        side.said += side.codec.credit(stream, 10)


def ping(side: Side) -> None:
    side.said += side.codec.ping() + side.codec.goaway(2**31 - 1, ErrorCode.NO_ERROR)


def ask(ended: bool) -> Act:
    return lambda side: side.ask(ended=ended) if side.client and not side.ended else None


ACTS = st.one_of(
    st.builds(on_stream, st.sampled_from([answer, answer, refuse, cancel, credit, credit]), st.integers(0, 3)),
    st.just(ping),
)
CUTS = st.lists(st.integers(0, 30), max_size=6)


@st.composite
def connections(draw: st.DrawFn) -> tuple[bool, list[bytes | Act]]:
    """On which side we are, and what happens: a peer that mostly knows the rules, and what we do meanwhile."""
    client = draw(st.booleans())
    begun, ours = ({1: False, 3: False}, 5) if client else ({}, 0)  # by stream: its head came
    over: set[int] = set()
    steps: list[bytes | Act] = []
    for _ in range(draw(st.integers(0, 16))):
        kind = draw(
            st.sampled_from(
                ("head", "head", "content", "content", "trailers", "window", "reset", "control", "act", "wild")
            )
        )
        headless = [stream for stream, head in begun.items() if not head]
        if kind == "head" and client and not headless:
            steps.append(ask(draw(st.booleans())))
            begun[ours] = False
            ours += 2
        elif kind == "head":
            stream = (
                draw(st.sampled_from(headless)) if client else max(begun, default=-1) + draw(st.sampled_from([2, 2, 4]))
            )
            block = draw(st.sampled_from([b"\x88", b"\x88", b"\x08\x03100"] if client else [b"\x82"]))
            ended = draw(st.sampled_from([False, False, False, True])) and block != b"\x08\x03100"
            steps.append(heads(stream, block + draw(WELL_FORMED), ended, draw(st.sampled_from([1, 1, 2])), None))
            begun[stream] = block != b"\x08\x03100"
            if ended:
                over.add(stream)
        elif kind in ("content", "trailers", "window", "reset") and begun:
            proper = [stream for stream, head in begun.items() if head and stream not in over]
            stream = draw(st.sampled_from(proper * 3 + sorted(begun)))
            last = draw(st.sampled_from([0, 0, 0, END_STREAM]))
            if kind in ("trailers", "reset") or (kind == "content" and last):
                over.add(stream)
            steps.append(
                {
                    "content": frame(Kind.DATA, last, stream, draw(CONTENT)),
                    "trailers": heads(stream, draw(WELL_FORMED), True, 1, None),
                    "window": frame(
                        Kind.WINDOW_UPDATE, 0, stream, pack(">I", draw(st.sampled_from([1, 500, 2**31 - 1])))
                    ),
                    "reset": frame(Kind.RST_STREAM, 0, stream, pack(">I", draw(NUMBERS))),
                }[kind]
            )
        elif kind == "control":
            steps.append(draw(CONTROLS))
        elif kind == "wild":
            steps.append(draw(WILD))
        else:
            steps.append(draw(ACTS))
    return client, steps


def played(codec: str, client: bool, steps: Sequence[bytes | Act], cuts: Sequence[int]) -> Side:
    """A connection on which all this happened, what came between our acts cut so."""
    side = Side(codec, client=client)
    came = settings_frame({Setting.HEADER_TABLE_SIZE: 0})
    if not client:
        came = PREFACE + came
    else:
        side.ask(ended=False)
        side.ask(ended=True)
    for step in steps:
        if isinstance(step, bytes):
            came += step
            continue
        side.receive(came, cuts)
        came = b""
        step(side)
    side.receive(came, cuts)
    return side


INTERIM = heads(1, b"\x08\x03103", False, 1, None)
RESPONSE = heads(1, b"\x88", False, 1, None)
REQUEST = heads(1, b"\x82", False, 1, None)
LAST = heads(1, b"\x82", True, 1, None)
TO_THE_BRIM = frame(Kind.WINDOW_UPDATE, 0, 1, pack(">I", 2**31 - 1 - 65_535))


@given(connections(), CUTS, CUTS)
@example((True, [INTERIM, INTERIM, RESPONSE, frame(Kind.DATA, 0, 1, b"c"), heads(1, b"\x90", True, 1, None)]), [], [])
@example((True, [RESPONSE, INTERIM]), [], [])
@example((True, [heads(2, b"\x88", True, 1, None)]), [], [])
@example((False, [LAST, frame(Kind.DATA, 0, 1, b"late")]), [], [])
@example((False, [LAST, on_stream(answer, 0), frame(Kind.DATA, 0, 1, b"late"), LAST]), [], [])
@example((False, [REQUEST, on_stream(cancel, 0), frame(Kind.DATA, 0, 1, b"late"), LAST, REQUEST]), [], [])
@example((False, [REQUEST, frame(Kind.RST_STREAM, 0, 1, bytes(4)), LAST]), [], [])
@example((False, [heads(5, b"\x82", True, 1, None), frame(Kind.DATA, 0, 3, b"never opened"), REQUEST]), [], [])
@example((False, [REQUEST, frame(Kind.DATA, PADDED, 1, b"")]), [], [])
@example((False, [LAST, TO_THE_BRIM, on_stream(answer, 0), settings_frame({4: 2**31 - 1})]), [], [])
@example((False, [heads(1, b"@\x01x\x01y", True, 1, None), heads(3, b"\xbe", True, 2, None)]), [1, 1, 1, 1], [40, 7])
def test_both_tell_and_say_the_same(
    connection: tuple[bool, list[bytes | Act]], cuts: list[int], other_cuts: list[int]
) -> None:
    assert_same(played("plain", *connection, cuts), played("h2", *connection, other_cuts))


@given(st.lists(st.one_of(BLOCKS, st.binary(max_size=30)), max_size=6))
def test_field_blocks_hold_the_same_for_both(blocks: list[bytes]) -> None:
    steps: list[bytes | Act] = [heads(2 * n + 1, block, True, 1, None) for n, block in enumerate(blocks)]
    assert_same(played("plain", False, steps, ()), played("h2", False, steps, ()))


@given(st.binary(max_size=40), CUTS)
def test_bytes_that_are_no_preface_end_it_in_both(data: bytes, cuts: list[int]) -> None:
    for codec in CODECS:
        side = Side(codec, client=False)
        side.receive(data, cuts)
        if not PREFACE.startswith(data[: len(PREFACE)]):
            assert side.told == [("broken", ErrorCode.PROTOCOL_ERROR)]


FIELDS = st.lists(
    st.tuples(st.sampled_from([b"x", b"cookie", b"x-a"]), st.binary(max_size=9).map(bytes.hex).map(str.encode)),
    max_size=5,
)


@given(FIELDS, st.binary(max_size=90), FIELDS, FIELDS, st.binary(max_size=90), FIELDS, CUTS)
@pytest.mark.parametrize("server", CODECS)
@pytest.mark.parametrize("client", CODECS)
def test_any_codec_understands_any(
    client: str,
    server: str,
    asked: list[Field],
    upload: bytes,
    sums: list[Field],
    fields: list[Field],
    download: bytes,
    trailers: list[Field],
    cuts: list[int],
) -> None:
    asks, serves = Side(client, client=True), Side(server, client=False)
    serves.receive(asks.greeting, cuts)
    asks.receive(serves.greeting + serves.said, cuts)
    codec = asks.codec
    stream = codec.open()
    data = codec.head(stream, encode_pseudo(b":method", b"PUT") + encode(asked), False)
    data += codec.content(stream, upload, False) + codec.head(stream, encode(sums), True)
    serves.receive(asks.said + data, cuts)
    codec = serves.codec
    data = codec.head(stream, encode_pseudo(b":status", b"100"), False)
    data += codec.head(stream, encode_pseudo(b":status", b"200") + encode(fields), False)
    data += codec.content(stream, download, False) + codec.head(stream, encode(trailers), True)
    asks.receive(data, cuts)
    assert serves.told == [
        ("settings", {Setting.INITIAL_WINDOW_SIZE: STREAM_WINDOW}),
        ("window", 0, WINDOW - 65_535),
        ("head", stream, ((b":method", b"PUT"), *asked), False, False),
        ("content", stream, upload, len(upload), False),
        ("trailers", stream, tuple(sums), False),
    ]
    assert asks.told[2:] == [
        ("head", stream, ((b":status", b"100"),), False, False),
        ("head", stream, ((b":status", b"200"), *fields), False, False),
        ("content", stream, download, len(download), False),
        ("trailers", stream, tuple(trailers), False),
    ]
    assert codec.content(stream, b"more", False) == b"" or server == "plain"


FAULTS = {
    "DATA on no stream": (frame(Kind.DATA, 0, 0, b"c"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (frame(Kind.DATA, 0, 3, b"c"), ErrorCode.PROTOCOL_ERROR),
    "DATA beyond the window": (frame(Kind.DATA, 0, 1, b"c" * 101), ErrorCode.FLOW_CONTROL_ERROR),
    "DATA all padding": (frame(Kind.DATA, PADDED, 1, b"\x04cccc"), None),
    "DATA with too much padding": (frame(Kind.DATA, PADDED, 1, b"\x05cccc"), ErrorCode.PROTOCOL_ERROR),
    "DATA without its padding's length": (frame(Kind.DATA, PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
    "HEADERS on no stream": (heads(0, b"\x82", True, 1, None), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on a stream of ours": (heads(2, b"\x82", True, 1, None), ErrorCode.PROTOCOL_ERROR),
    "HEADERS in the middle": (heads(1, b"\x82", False, 1, None), ErrorCode.PROTOCOL_ERROR),
    "HEADERS on themselves": (heads(3, b"\x82", False, 1, 3), ErrorCode.PROTOCOL_ERROR),
    "HEADERS too short for a priority": (
        frame(Kind.HEADERS, PRIORITY_FIELDS | END_HEADERS, 3, b"1234"),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a block that is cut off": (heads(3, b"\x00\x05x", True, 1, None), ErrorCode.COMPRESSION_ERROR),
    "a field that is not in the table": (heads(3, b"\xbe", True, 1, None), ErrorCode.COMPRESSION_ERROR),
    "a table beyond what we allow": (heads(3, b"\x3f\xe2\x1f\x82", True, 1, None), ErrorCode.COMPRESSION_ERROR),
    "a table that changes too late": (heads(3, b"\x82\x20", True, 1, None), ErrorCode.COMPRESSION_ERROR),
    "a field section beyond all measure": (
        heads(3, b"@\x01x\x7f\x81\x05" + b"v" * 768 + b"\xbe" * 6, True, 1, None),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a frame within a block": (
        frame(Kind.HEADERS, 0, 3, b"\x82") + frame(Kind.PING, 0, 0, b"12345678"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of nothing": (frame(Kind.CONTINUATION, END_HEADERS, 1, b"\x82"), ErrorCode.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (
        frame(Kind.HEADERS, 0, 3, b"\x82") + frame(Kind.CONTINUATION, END_HEADERS, 1),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION for ever": (
        frame(Kind.HEADERS, 0, 3, b"\x82") + frame(Kind.CONTINUATION, 0, 3) * 40,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "CONTINUATION longer than a head may be": (
        frame(Kind.HEADERS, 0, 3, b"\x82") + frame(Kind.CONTINUATION, 0, 3, b"\x82" * 1024),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "PRIORITY on no stream": (frame(Kind.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "PRIORITY of four bytes": (frame(Kind.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "PRIORITY on itself": (frame(Kind.PRIORITY, 0, 1, b"\0\0\0\1\0"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on no stream": (frame(Kind.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (frame(Kind.RST_STREAM, 0, 3, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM of five bytes": (frame(Kind.RST_STREAM, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS on a stream": (frame(Kind.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS of five bytes": (frame(Kind.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS acknowledged with something": (frame(Kind.SETTINGS, ACK, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "ENABLE_PUSH 2": (settings_frame({Setting.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
    "ENABLE_CONNECT_PROTOCOL 2": (settings_frame({Setting.ENABLE_CONNECT_PROTOCOL: 2}), ErrorCode.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE 2^31": (settings_frame({Setting.INITIAL_WINDOW_SIZE: 2**31}), ErrorCode.FLOW_CONTROL_ERROR),
    "MAX_FRAME_SIZE 2^14-1": (settings_frame({Setting.MAX_FRAME_SIZE: 2**14 - 1}), ErrorCode.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE 2^24": (settings_frame({Setting.MAX_FRAME_SIZE: 2**24}), ErrorCode.PROTOCOL_ERROR),
    "PUSH_PROMISE": (frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (frame(Kind.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "PING of seven bytes": (frame(Kind.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY on a stream": (frame(Kind.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY of seven bytes": (frame(Kind.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of five bytes": (frame(Kind.WINDOW_UPDATE, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE by nothing": (frame(Kind.WINDOW_UPDATE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE by nothing for all": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (frame(Kind.WINDOW_UPDATE, 0, 3, b"\0\0\0\1"), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE to 2^31": (frame(Kind.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"), ErrorCode.FLOW_CONTROL_ERROR),
    "WINDOW_UPDATE to 2^31 for all": (
        frame(Kind.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a frame that is too long": (frame(Kind.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "a frame that nobody knows": (frame(0xBE, 0xFF, 77, b"?"), None),
}


def serving(codec: str) -> Side:
    """A server whose client has begun a request on stream 1."""
    side = Side(codec, client=False)
    side.receive(PREFACE + settings_frame({}) + REQUEST)
    side.told.clear()
    return side


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_has_the_code_that_the_rfc_names(http2_codec: str, name: str) -> None:
    data, code = FAULTS[name]
    side = serving(http2_codec)
    side.receive(data)
    assert [told[-1] for told in side.told if told[0] in ("broken", "fault")] == ([] if code is None else [code])


FLOODS = {
    "PING": (frame(Kind.PING, 0, 0, bytes(8)), 100),
    "SETTINGS": (settings_frame({}), 100),
    "SETTINGS acknowledged": (frame(Kind.SETTINGS, ACK, 0), 1000),
    "PING answered": (frame(Kind.PING, ACK, 0, bytes(8)), 1000),
    "PRIORITY": (frame(Kind.PRIORITY, 0, 1, bytes(5)), 1000),
    "WINDOW_UPDATE": (frame(Kind.WINDOW_UPDATE, 0, 1, b"\0\0\0\1"), 1000),
    "empty DATA": (frame(Kind.DATA, 0, 1), 1000),
    "GOAWAY": (frame(Kind.GOAWAY, 0, 0, bytes(8)), 1000),
    "unknown": (frame(0x55, 0, 0), 1000),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_cut_off(http2_codec: str, name: str) -> None:
    one, allowed = FLOODS[name]
    side = serving(http2_codec)
    side.receive(one * (allowed // 2))
    assert not side.ended
    side.receive(one * allowed)
    assert side.told[-1] == ("broken", ErrorCode.ENHANCE_YOUR_CALM)


@pytest.mark.parametrize("late", [frame(Kind.DATA, 0, 1, b"late"), LAST, frame(Kind.RST_STREAM, 0, 1, bytes(4))])
def test_what_was_under_way_to_a_stream_that_we_reset_means_nothing(http2_codec: str, late: bytes) -> None:
    side = serving(http2_codec)
    said = side.codec.reset(1, ErrorCode.CANCEL)
    assert frames(said) == [(Kind.RST_STREAM, 0, 1, pack(">I", ErrorCode.CANCEL))]
    assert side.codec.reset(1, ErrorCode.CANCEL) == b""
    said = side.said
    side.receive(late)
    assert side.told == []
    assert [one for one in frames(side.said[len(said) :]) if one[0] != Kind.WINDOW_UPDATE] == []


def test_a_head_that_is_too_long_is_told_without_what_was_too_much(http2_codec: str) -> None:
    side = serving(http2_codec)
    side.receive(heads(3, b"@\x01x\x7f\x81\x05" + b"v" * 768 + b"\xbe" * 2, True, 1, None))
    side.receive(heads(5, b"\x82" * 9, True, 1, None))
    assert side.told == [
        ("head", 3, ((b"x", b"v" * 768),), True, True),
        ("head", 5, ((b":method", b"GET"),) * 8, True, True),
    ]


def test_goaway_ends_no_stream_that_was_begun(http2_codec: str) -> None:
    side = serving(http2_codec)
    side.codec.goaway(2**31 - 1, ErrorCode.NO_ERROR)
    side.receive(
        frame(Kind.GOAWAY, 0, 0, pack(">II", 0, 0)) + heads(3, b"\x82", True, 1, None) + frame(Kind.DATA, 1, 1)
    )
    assert [told[:2] for told in side.told] == [("goaway", 0), ("head", 3), ("content", 1)]
    for stream in (1, 3):
        said = side.codec.head(stream, b"\x88", False) + side.codec.content(stream, b"ok", True)
        assert [one[:3] for one in frames(said)] == [
            (Kind.HEADERS, END_HEADERS, stream),
            (Kind.DATA, END_STREAM, stream),
        ]


def test_content_comes_without_end_if_its_windows_are_given_back(http2_codec: str) -> None:
    side = Side(http2_codec, client=False, window=60_000)
    side.receive(PREFACE + settings_frame({}) + REQUEST)
    given = 0
    for _ in range(4 * WINDOW // 10_000):
        before = len(side.said)
        side.receive(frame(Kind.DATA, 0, 1, bytes(10_000)))
        said = side.codec.credit(1, 10_000)
        assert frames(said) == [(Kind.WINDOW_UPDATE, 0, 1, pack(">I", 10_000))]
        given += sum(int.from_bytes(payload, "big") for *_, payload in frames(side.said[before:]))
    assert not side.ended
    assert 3 * WINDOW < given < 4 * WINDOW


def test_streams_without_end_are_served(http2_codec: str) -> None:
    side = Side(http2_codec, client=False)
    side.receive(PREFACE + settings_frame({}))
    for stream in range(1, 2_000, 2):
        side.receive(heads(stream, b"\x82", True, 1, None))
        assert side.told.pop() == ("head", stream, ((b":method", b"GET"),), False, True)
        assert side.codec.head(stream, b"\x88", True)
        assert side.codec.reset(stream, ErrorCode.CANCEL) == b""


def test_long_content_and_long_heads_go_in_frames_that_the_peer_takes(http2_codec: str) -> None:
    side = serving(http2_codec)
    block = b"\x88" + encode([(b"x", b"v" * 40_000)])
    data = side.codec.head(1, block, False) + side.codec.content(1, b"c" * 40_000, False)
    assert [(one[0], one[1], len(one[3])) for one in frames(data)] == [
        (Kind.HEADERS, 0, 16_384),
        (Kind.CONTINUATION, 0, 16_384),
        (Kind.CONTINUATION, END_HEADERS, len(block) - 32_768),
        (Kind.DATA, 0, 16_384),
        (Kind.DATA, 0, 16_384),
        (Kind.DATA, 0, 7_232),
    ]
    side.receive(settings_frame({Setting.MAX_FRAME_SIZE: 20_000}))
    data = side.codec.content(1, b"c" * 20_001, True)
    assert [(one[1], len(one[3])) for one in frames(data)] == [(0, 20_000), (END_STREAM, 1)]


def test_a_peer_is_told_that_its_table_is_not_used(http2_codec: str) -> None:
    side = serving(http2_codec)
    side.receive(settings_frame({Setting.HEADER_TABLE_SIZE: 0}))
    assert frames(side.codec.head(1, b"\x88", False))[0][3] == b"\x20\x88"
    assert frames(side.codec.head(1, b"\x88", True))[0][3] == b"\x88"


@pytest.mark.parametrize(("asked", "chosen"), [("auto", "PlainCodec"), ("plain", "PlainCodec"), ("h2", "H2Codec")])
def test_the_setting_chooses(asked: str, chosen: str) -> None:
    assert type(Side(asked, client=True).codec).__name__ == chosen
