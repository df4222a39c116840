"""Requests that break a rule are reset or refused, reach nobody, and leave the connection to the others."""

from __future__ import annotations

from typing import Any

import pytest
from hyperframe.frame import DataFrame, Frame, HeadersFrame, PriorityFrame

from daemun import Headers
from daemun.testing import StreamReset, proxying2

pytestmark = pytest.mark.anyio

PROTOCOL_ERROR = 1
HEAD: Headers = ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a.test"))


def without(name: bytes) -> Headers:
    """The head of a request without a field."""
    return tuple(field for field in HEAD if field[0] != name)


def with_pseudo(name: bytes, value: bytes) -> Headers:
    """The head of a request with another value of a pseudo-header field."""
    return tuple((one, value if one == name else old) for one, old in HEAD)


MALFORMED: dict[str, Headers] = {
    "no method": without(b":method"),
    "no scheme": without(b":scheme"),
    "no path": without(b":path"),
    "empty path": with_pseudo(b":path", b""),
    "relative path": with_pseudo(b":path", b"a"),
    "blank in path": with_pseudo(b":path", b"/a b"),
    "line break in path": with_pseudo(b":path", b"/a\r\nx: y"),
    "control in path": with_pseudo(b":path", b"/\x7f"),
    "high byte in path": with_pseudo(b":path", b"/\xc3\xa4"),
    "method twice": (HEAD[0], *HEAD),
    "path twice": (*HEAD, (b":path", b"/b")),
    "method with blank": with_pseudo(b":method", b"GET /x"),
    "empty method": with_pseudo(b":method", b""),
    "scheme that is none": with_pseudo(b":scheme", b"ftp"),
    "unknown pseudo field": (*HEAD, (b":x", b"1")),
    "status in a request": (*HEAD, (b":status", b"200")),
    "pseudo after field": (*HEAD[:3], (b"x-a", b"1"), HEAD[3]),
    "protocol without CONNECT": (*HEAD, (b":protocol", b"websocket")),
    "upper case": (*HEAD, (b"X-A", b"1")),
    "blank in name": (*HEAD, (b"x a", b"1")),
    "colon in name": (*HEAD, (b"x:a", b"1")),
    "empty name": (*HEAD, (b"", b"1")),
    "line break in name": (*HEAD, (b"x\r\na", b"1")),
    "high byte in name": (*HEAD, (b"x\xe4", b"1")),
    "line break in value": (*HEAD, (b"x-a", b"1\r\nx-b: 2")),
    "line feed in value": (*HEAD, (b"x-a", b"1\n2")),
    "nul in value": (*HEAD, (b"x-a", b"1\x002")),
    "leading blank": (*HEAD, (b"x-a", b" 1")),
    "trailing tab": (*HEAD, (b"x-a", b"1\t")),
    "connection": (*HEAD, (b"connection", b"close")),
    "keep-alive": (*HEAD, (b"keep-alive", b"5")),
    "proxy-connection": (*HEAD, (b"proxy-connection", b"close")),
    "transfer-encoding": (*HEAD, (b"transfer-encoding", b"chunked")),
    "upgrade": (*HEAD, (b"upgrade", b"websocket")),
    "te": (*HEAD, (b"te", b"gzip")),
    "host is another": (*HEAD, (b"host", b"b.test")),
    "length that is none": (*HEAD, (b"content-length", b"1x")),
    "negative length": (*HEAD, (b"content-length", b"-1")),
    "signed length": (*HEAD, (b"content-length", b"+0")),
    "huge length": (*HEAD, (b"content-length", b"9" * 30)),
    "two lengths": (*HEAD, (b"content-length", b"1"), (b"content-length", b"2")),
    "list of lengths": (*HEAD, (b"content-length", b"0, 0")),
    "length and no content": (*HEAD, (b"content-length", b"5")),
    "CONNECT with a path": ((b":method", b"CONNECT"), (b":path", b"/"), (b":authority", b"a.test:1")),
    "CONNECT with a scheme": ((b":method", b"CONNECT"), (b":scheme", b"http"), (b":authority", b"a.test:1")),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_a_malformed_request_is_reset_and_reaches_nobody(what: str) -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        bad = await wire.open(MALFORMED[what])
        good = await wire.ask()
        assert await wire.code_of(bad) == PROTOCOL_ERROR
        assert (await wire.answer(good)).status == 200
        assert (len(proxy.upstream.asked), wire.hear(bad).heads) == (1, [])


REFUSED: dict[str, tuple[Headers, int, bytes, dict[str, Any]]] = {
    "no authority": (without(b":authority"), 400, b"bad_request", {}),
    "authority with a user": (with_pseudo(b":authority", b"u@a.test"), 400, b"bad_request", {}),
    "trace": (with_pseudo(b":method", b"TRACE"), 405, b"method_refused", {}),
    "expectation": ((*HEAD, (b"expect", b"more")), 417, b"expectation_failed", {}),
    "other scheme": (with_pseudo(b":scheme", b"https"), 421, b"misdirected", {}),
    "long field": ((*HEAD, (b"x-a", b"a" * 2000)), 431, b"head_too_large", {"max_head_bytes": 1024}),
    "many fields": ((*HEAD, *(((b"x-a", b"a"),) * 8)), 431, b"head_too_large", {"max_fields": 8}),
    "connect": (((b":method", b"CONNECT"), (b":authority", b"a.test:1")), 501, b"not_implemented", {}),
    "other protocol": (
        (*with_pseudo(b":method", b"CONNECT"), (b":protocol", b"chess")),
        501,
        b"not_implemented",
        {},
    ),
    "no upgrades": (
        (*with_pseudo(b":method", b"CONNECT"), (b":protocol", b"websocket")),
        501,
        b"not_implemented",
        {"upgrades": []},
    ),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("ended", [True, False], ids=["ended", "open"])
async def test_what_is_well_formed_and_not_taken_is_refused_with_a_status(what: str, ended: bool) -> None:
    fields, status, reason, http2 = REFUSED[what]
    async with proxying2(http2=http2) as proxy:
        wire = await proxy.connect2()
        for _ in range(2):
            stream = await wire.open(fields, ended=ended)
            answer = await wire.answer(stream)
            assert (answer.status, answer.field(b"x-daemun-reason")) == (status, reason)
            if not ended:
                assert await wire.code_of(stream) == 0
        assert (await wire.exchange()).status == 200
        assert len(proxy.upstream.asked) == 1


async def test_what_still_comes_for_a_refused_request_means_nothing() -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        stream = await wire.open((*with_pseudo(b":method", b"TRACE"),), ended=False)
        for _ in range(10):
            await wire.send(DataFrame(stream, b"x" * 1000))
        await wire.head(stream, ((b"x-sum", b"1"),), ended=True)
        assert (await wire.answer(stream)).status == 405
        assert (await wire.exchange()).status == 200


async def test_a_host_that_agrees_with_the_authority_is_taken_and_one_alone_is_enough() -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        both = await wire.open((*HEAD, (b"host", b"A.test")))
        alone = await wire.open((*without(b":authority"), (b"host", b"b.test")))
        assert [(await wire.answer(stream)).status for stream in (both, alone)] == [200, 200]
        assert sorted(asked.values(b":authority")[0] for asked in proxy.upstream.asked) == [b"a.test", b"b.test"]
        assert [asked.values(b"host") for asked in proxy.upstream.asked] == [[], []]


TRAILERS: dict[str, Headers] = {
    "pseudo": ((b":method", b"GET"),),
    "upper case": ((b"X-Sum", b"1"),),
    "line break": ((b"x-sum", b"1\r\n2"),),
    "transfer-encoding": ((b"transfer-encoding", b"chunked"),),
}


@pytest.mark.parametrize("what", TRAILERS)
async def test_malformed_trailers_reset_the_stream_and_the_upstream_never_sees_an_end(what: str) -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", content=b"abc", ended=False)
        await wire.round_trip()
        await wire.head(stream, TRAILERS[what], ended=True)
        assert await wire.code_of(stream) == PROTOCOL_ERROR
        assert (await wire.exchange()).status == 200
        assert [asked.target for asked in proxy.upstream.asked] == [b"/"]
        assert proxy.upstream.asked[0].method == b"GET"


async def test_trailers_that_frame_or_route_are_left_out() -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        trailers = ((b"content-length", b"9"), (b"authorization", b"x"), (b"x-sum", b"1"), (b"host", b"b.test"))
        assert (await wire.exchange(b"POST", content=b"abc", trailers=trailers)).status == 200
        assert proxy.upstream.asked[0].trailers == ((b"x-sum", b"1"),)


@pytest.mark.parametrize(
    ("announced", "sent"), [(b"5", b"four"), (b"3", b"four"), (b"0", b"x"), (b"5", b"")], ids=["less", "more", "0", "-"]
)
@pytest.mark.parametrize("end", ["data", "trailers"])
async def test_content_that_is_not_as_long_as_announced_resets_the_stream(
    announced: bytes, sent: bytes, end: str
) -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", headers=((b"content-length", announced),), ended=False)
        with_trailers = end == "trailers"
        await wire.send(DataFrame(stream, sent, flags=() if with_trailers else ("END_STREAM",)))
        if with_trailers:
            await wire.head(stream, ((b"x-sum", b"1"),), ended=True)
        assert await wire.code_of(stream) == PROTOCOL_ERROR
        with pytest.raises(StreamReset):
            await wire.answer(stream)
        assert (await wire.exchange()).status == 200
        assert [asked.method for asked in proxy.upstream.asked] == [b"GET"]


def raw(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame as it stands."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


BROKEN: dict[str, tuple[bytes, int]] = {
    "data on stream 0": (raw(0, 0, 0, b"x"), 1),
    "data on an idle stream": (raw(0, 0, 9, b"x"), 1),
    "headers on stream 0": (raw(1, 4, 0, b"\x82"), 1),
    "headers on an even stream": (raw(1, 5, 2, b"\x82"), 1),
    "headers on an old stream": (raw(1, 5, 1, b"\x82"), 5),
    "padding beyond the frame": (raw(1, 0x0D, 3, b"\x05\x82"), 1),
    "headers too short for a priority": (raw(1, 0x25, 3, b"\x82"), 6),
    "push": (raw(5, 4, 1, b"\0\0\0\2\x82"), 1),
    "continuation of nothing": (raw(9, 4, 3, b"\x82"), 1),
    "a frame within a head": (raw(1, 0, 3, b"\x82") + raw(6, 0, 0, b"x" * 8), 1),
    "continuation of another stream": (raw(1, 0, 3, b"\x82") + raw(9, 4, 5, b"\x82"), 1),
    "reset of an idle stream": (raw(3, 0, 9, b"\0\0\0\1"), 1),
    "short reset": (raw(3, 0, 1, b"\0\0"), 6),
    "settings of a stream": (raw(4, 0, 1, b""), 1),
    "half a setting": (raw(4, 0, 0, b"\0"), 6),
    "acknowledgement with content": (raw(4, 1, 0, b"\0" * 6), 6),
    "push of 2": (raw(4, 0, 0, b"\0\2\0\0\0\2"), 1),
    "window of 2^31": (raw(4, 0, 0, b"\0\4\x80\0\0\0"), 3),
    "small frames": (raw(4, 0, 0, b"\0\5\0\0\0\1"), 1),
    "ping of a stream": (raw(6, 0, 1, b"x" * 8), 1),
    "short ping": (raw(6, 0, 0, b"x"), 6),
    "goaway of a stream": (raw(7, 0, 1, b"\0" * 8), 1),
    "short goaway": (raw(7, 0, 0, b"\0"), 6),
    "short window update": (raw(8, 0, 0, b"\0"), 6),
    "window update of nothing": (raw(8, 0, 0, b"\0" * 4), 1),
    "window update of an idle stream": (raw(8, 0, 9, b"\0\0\0\1"), 1),
    "window beyond 2^31-1": (raw(8, 0, 0, b"\x7f\xff\xff\xff"), 3),
    "long frame": (raw(0, 0, 1, b"x" * 16_385), 6),
    "index 0": (raw(1, 5, 3, b"\x80"), 9),
    "index beyond the table": (raw(1, 5, 3, b"\xff\x7f"), 9),
    "string beyond its block": (raw(1, 5, 3, b"\x00\x05ab"), 9),
    "table larger than allowed": (raw(1, 5, 3, b"\x3f\xff\xff\x03\x82"), 9),
    "integer without end": (raw(1, 5, 3, b"\xff" * 20), 9),
    "huffman of nothing": (raw(1, 5, 3, b"\x00\x84\xff\xff\xff\xff\x00"), 9),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_connection_that_breaks_its_rules_is_told_why_and_nobody_else_is_hurt(what: str) -> None:
    said, code = BROKEN[what]
    async with proxying2() as proxy:
        neighbour, wire = await proxy.connect2(), await proxy.connect2()
        assert (await wire.exchange()).status == 200
        await wire.send(said)
        assert await wire.leaving() == code
        assert wire.goaways[-1][0] == 1
        assert not wire.was_reset
        assert (await neighbour.exchange()).status == 200


STREAM_FAULTS: dict[str, tuple[list[Frame | bytes], int]] = {
    "a stream that depends on itself": ([PriorityFrame(3, depends_on=3)], 1),
    "a window that grows by nothing": ([raw(8, 0, 3, b"\0\0\0\0")], 1),
    "a window beyond 2^31-1": ([raw(8, 0, 3, b"\x7f\xff\xff\xff")], 3),
    "a second head": ([HeadersFrame(3, b"\x82", flags=("END_HEADERS",))], 1),
    "content after the end": ([DataFrame(3, b"x", flags=("END_STREAM",)), DataFrame(3, b"x")], 5),
}


@pytest.mark.parametrize("what", STREAM_FAULTS)
async def test_a_stream_that_breaks_its_rules_is_reset_alone(what: str) -> None:
    frames, code = STREAM_FAULTS[what]
    async with proxying2(None, lambda scene: scene.gone()) as proxy:
        wire = await proxy.connect2()
        neighbour = await wire.ask(ended=False)
        stream = await wire.ask(ended=False)
        await wire.send(*frames)
        assert await wire.code_of(stream) == code
        await wire.round_trip()
        assert (wire.hear(neighbour).code, wire.over) == (None, False)


@pytest.mark.parametrize("said", [b"GET / HTTP/2.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"])
async def test_what_is_no_http2_is_answered_as_http1_or_ended(said: bytes) -> None:
    async with proxying2() as proxy:
        wire = await proxy.connect()
        await wire.send(said)
        assert (await wire.answer()).status in (400, 505)


async def test_a_client_that_says_no_settings_first_is_told_so() -> None:
    async with proxying2() as proxy:
        wire = await proxy.dial2()
        await wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + raw(6, 0, 0, b"x" * 8))
        assert await wire.leaving() == 1
