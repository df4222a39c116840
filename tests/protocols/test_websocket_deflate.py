"""permessage-deflate: what two sides agree on, and its coding against another implementation of it."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import ExchangeError, Reason
from daemun_websocket.agreement import Agreed, agree, make_offer, read_answer
from daemun_websocket.deflate import Deflater, Inflater, TooLong

NAME = b"permessage-deflate"
MUCH = 1 << 24
HELLO = bytes.fromhex("f248cdc9c90700")


# --- what clients offer ---


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("{}", "{}"),
        ("{}; client_max_window_bits", "{}; client_max_window_bits=12"),
        ("{}; client_max_window_bits=10", "{}; client_max_window_bits=10"),
        ("{}; client_max_window_bits=8", "{}; client_max_window_bits=8"),
        ("{}; server_max_window_bits=15", "{}; server_max_window_bits=12"),
        ("{}; server_max_window_bits=8", "{}; server_max_window_bits=8"),
        ('{} ; server_max_window_bits = "10"', "{}; server_max_window_bits=10"),
        ("{}; server_no_context_takeover", "{}; server_no_context_takeover"),
        ("{};client_no_context_takeover", "{}; client_no_context_takeover"),
        ("{}; foo=1, {}; server_max_window_bits=9", "{}; server_max_window_bits=9"),
        ('x-webkit-deflate-frame; a="b", {}', "{}"),
        ("Permessage-Deflate", "{}"),
    ],
)
def test_the_first_offer_that_can_be_met_is_answered(offer: str, answer: str) -> None:
    found = agree([offer.replace("{}", NAME.decode()).encode()], 12)
    assert found is not None
    assert found[1] == answer.replace("{}", NAME.decode()).encode()


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "foo",
        "{}; foo",
        "{}; server_max_window_bits",
        "{}; server_max_window_bits=7",
        "{}; server_max_window_bits=16",
        "{}; server_max_window_bits=09",
        "{}; client_max_window_bits=banana",
        "{}; server_no_context_takeover=1",
        "{}; server_no_context_takeover; server_no_context_takeover",
        "{}; client_max_window_bits; client_max_window_bits=9",
        "{}; =1",
        "{} foo",
        '{}; server_max_window_bits="10',
        "=, {}",
    ],
)
def test_any_other_offer_is_declined(offer: str) -> None:
    assert agree([offer.replace("{}", NAME.decode()).encode()], 15) is None


def test_offers_may_come_in_several_fields() -> None:
    assert agree([], 15) is None
    assert agree([NAME + b"; bad", NAME], 15) == (Agreed(), NAME)


def test_the_gateways_own_window_is_kept_where_nobody_asked() -> None:
    assert agree([NAME], 10) == (Agreed(server_bits=10), NAME)


# --- what upstreams answer ---


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        ("", Agreed(client_bits=12)),
        ("; server_max_window_bits=12; client_max_window_bits=15", Agreed(12, 12)),
        ("; client_max_window_bits=8", Agreed(client_bits=8)),
        (
            "; server_no_context_takeover; client_no_context_takeover",
            Agreed(client_bits=12, server_keeps=False, client_keeps=False),
        ),
    ],
)
def test_what_an_upstream_accepts_is_kept(answer: str, agreed: Agreed) -> None:
    assert read_answer([NAME + answer.encode()], 12, offered=True) == agreed
    assert read_answer([], 12, offered=True) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"foo",
        b"",
        b"\x00",
        NAME + b", " + NAME,
        NAME + b"; foo",
        NAME + b"; client_max_window_bits",
        NAME + b"; server_max_window_bits=16",
        NAME + b"; client_no_context_takeover; client_no_context_takeover",
    ],
)
def test_an_answer_that_fits_no_offer_is_refused(answer: bytes) -> None:
    with pytest.raises(ExchangeError) as caught:
        read_answer([answer], 15, offered=True)
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
    with pytest.raises(ExchangeError):
        read_answer([NAME], 15, offered=False)


def test_our_offer_can_be_met_by_ourselves() -> None:
    assert make_offer(15) == NAME + b"; client_max_window_bits"
    found = agree([make_offer(10)], 15)
    assert found is not None
    assert read_answer([found[1]], 10, offered=True) == Agreed(10, 10)


@given(st.binary(max_size=60) | st.text('permsagdfl-;=," \t9_1', max_size=60).map(str.encode), st.integers(9, 15))
def test_any_field_is_met_or_declined(value: bytes, bits: int) -> None:
    found = agree([value], bits)
    assert found is None or read_answer([found[1]], bits, offered=True) is not None


# --- coding ---


@pytest.mark.parametrize(
    "packed",
    [
        HELLO,
        bytes.fromhex("000500faff48656c6c6f00"),  # a stored block
        bytes.fromhex("f348cdc9c9070000"),  # a final block
        bytes.fromhex("f348cdc9c90700"),  # a final block, and nothing behind it
        bytes.fromhex("f248050000 00ffffcac9c90700".replace(" ", "")),  # two blocks
    ],
)
def test_the_examples_of_the_rfc(packed: bytes) -> None:
    inflater = Inflater(15, True)
    for _ in range(2):
        assert inflater.inflate(packed, MUCH) + inflater.finish(MUCH) == b"Hello"


def test_a_message_may_refer_to_the_one_before() -> None:
    inflater = Inflater(15, True)
    assert inflater.inflate(HELLO, MUCH) + inflater.finish(MUCH) == b"Hello"
    assert inflater.inflate(bytes.fromhex("f200110000"), MUCH) + inflater.finish(MUCH) == b"Hello"
    alone = Inflater(15, False)
    assert alone.inflate(HELLO, MUCH) + alone.finish(MUCH) == b"Hello"
    with pytest.raises(zlib.error):
        alone.inflate(bytes.fromhex("f200110000"), MUCH)


@pytest.mark.parametrize("empty", [b"", b"\x00", b"\x02\x00"])
def test_an_empty_message_hurts_none_behind_it(empty: bytes) -> None:
    inflater = Inflater(15, True)
    assert inflater.inflate(empty, MUCH) + inflater.finish(MUCH) == b""
    assert inflater.inflate(HELLO, MUCH) + inflater.finish(MUCH) == b"Hello"


@given(
    messages=st.lists(
        st.lists(st.binary(max_size=300) | st.binary(max_size=4).map(lambda one: one * 500), max_size=4), max_size=5
    ),
    bits=st.integers(9, 15),
    keeps=st.booleans(),
    step=st.integers(1, 50),
)
def test_what_was_compressed_comes_out_again(messages: list[list[bytes]], bits: int, keeps: bool, step: int) -> None:
    deflater, inflater = Deflater(bits, keeps), Inflater(bits, keeps)
    for pieces in messages:
        packed = b"".join(deflater.deflate(piece, last=False) for piece in pieces) + deflater.deflate(b"", last=True)
        found = b"".join(inflater.inflate(packed[at : at + step], MUCH) for at in range(0, len(packed), step))
        assert found + inflater.finish(MUCH) == b"".join(pieces)
    whole = [b"".join(pieces) for pieces in messages]
    for data in whole:
        packed = deflater.deflate(data, last=True)
        assert inflater.inflate(packed, MUCH) + inflater.finish(MUCH) == data


@given(st.binary(max_size=400), st.integers(0, 5000))
def test_anything_is_decompressed_within_its_limit_or_refused(data: bytes, limit: int) -> None:
    inflater = Inflater(15, True)
    try:
        found = inflater.inflate(data, limit)
        found += inflater.finish(limit - len(found))
    except (TooLong, zlib.error):
        return
    assert len(found) <= limit


def test_a_limit_is_met_and_not_passed() -> None:
    packed = Deflater(15, False).deflate(bytes(1000), last=True)
    exact = Inflater(15, True)
    assert exact.inflate(packed, 1000) + exact.finish(0) == bytes(1000)
    with pytest.raises(TooLong):
        Inflater(15, True).inflate(packed, 999)


def test_final_blocks_without_end_are_refused() -> None:
    with pytest.raises(zlib.error, match="final blocks"):
        Inflater(15, True).inflate(b"\x03\x00" * 100, MUCH)
    inflater = Inflater(15, True)
    for _ in range(100):
        assert inflater.inflate(b"\x03\x00", MUCH) + inflater.finish(MUCH) == b""


def test_a_window_of_8_bits_is_kept_by_sending_as_it_is() -> None:
    agreed = Agreed(server_bits=8, client_bits=8)
    assert agreed.deflater(client=True) is None
    assert agreed.deflater(client=False) is None
    inflater = agreed.inflater(client=True)
    assert inflater.inflate(HELLO, MUCH) == b"Hello"
