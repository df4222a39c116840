"""Field blocks: what we read is what the library hpack reads, and what we write it reads back."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder, HPACKError, NeverIndexedHeaderTuple
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemun import ExchangeError, Headers, Reason
from daemun_http2.decoding import BlockReader
from daemun_http2.encoding import encode, encode_pseudo
from daemun_http2.frames import ConnectionFault, ErrorCode

ANY = 1 << 24
NAMES = [b":method", b":path", b"x-a", b"x-b", b"cookie", b"authorization", b"x" * 70, b"accept-encoding"]
names = st.one_of(st.sampled_from(NAMES), st.binary(min_size=1, max_size=10))
values = st.one_of(st.sampled_from([b"", b"GET", b"/", b"gzip, deflate"]), st.binary(max_size=80), st.just(b"v" * 3000))
sections = st.lists(st.tuples(names, values, st.booleans()), max_size=8)
blocks = st.lists(st.tuples(sections, st.booleans(), st.sampled_from([None, None, 0, 50, 500, 4096])), max_size=8)


@settings(max_examples=50)
@given(blocks)
def test_what_a_peer_encodes_is_read_as_it_was_whatever_its_table_does(
    said: list[tuple[list[tuple[bytes, bytes, bool]], bool, int | None]],
) -> None:
    encoder, decoder, reader = Encoder(), Decoder(ANY), BlockReader(ANY, ANY)
    for section, huffman, size in said:
        if size is not None:
            encoder.header_table_size = size
        fields = [NeverIndexedHeaderTuple(name, value) if never else (name, value) for name, value, never in section]
        for _ in range(2):  # an encoder that repeats itself sends other bytes the second time
            data = encoder.encode(fields, huffman=huffman)
            expected = tuple((bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True))
            assert reader.read(data).fields == expected == tuple((name, value) for name, value, _ in section)


@given(st.lists(st.binary(max_size=60), max_size=4))
@example([b"\x82\x20"])
@example([b"\x3f\xe1\x1f\x82", b"\x20\x82"])
@example([b"\x40\x81\xff\x00"])
def test_what_is_no_block_for_us_or_for_hpack_is_read_by_both_or_ends_the_connection(said: list[bytes]) -> None:
    decoder, reader = Decoder(ANY), BlockReader(ANY, ANY)
    for data in said:
        try:
            found = reader.read(data).fields
        except ConnectionFault as fault:
            assert fault.code is ErrorCode.COMPRESSION_ERROR
            return
        try:
            expected = tuple((bytes(name), bytes(value)) for name, value in decoder.decode(data, raw=True))
        except HPACKError as error:
            raise AssertionError(f"hpack refuses what we read as {found}: {error}") from error
        assert found == expected


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.binary(max_size=30)), max_size=12), st.integers(0, 6))
def test_a_section_beyond_the_limits_is_marked_and_the_table_stays_right(section: Headers, most: int) -> None:
    encoder, reader = Encoder(), BlockReader(ANY, most)
    block = reader.read(encoder.encode(list(section)))
    assert block.oversized == (len(section) > most)
    assert block.fields == tuple(section[:most])
    again = encoder.encode(list(section[:most]))
    assert reader.read(again).fields == tuple(section[:most])


@pytest.mark.parametrize(("size", "oversized"), [(1024, False), (1025, True)])
def test_the_size_of_a_section_counts_32_bytes_for_each_field(size: int, oversized: bool) -> None:
    fields = [(b"a", b"b" * (size - 2 * 32 - 3)), (b"c", b"d")]
    assert BlockReader(1024, 100).read(Encoder().encode(fields)).oversized == oversized


TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
OF_CONNECTION = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"transfer-encoding",
    b"upgrade",
    b"host",
    b"http2-settings",
}
tokens = st.one_of(
    st.sampled_from([b"cookie", b"x-token", b"content-type", b"accept", b"via", b"connection", b"host"]),
    st.lists(st.sampled_from(TOKEN), min_size=1, max_size=20).map(bytes),
)
VISIBLE = [*range(0x21, 0x7F), *range(0x80, 0x100)]
texts = st.one_of(
    st.sampled_from([b"", b"gzip, deflate", b"x" * 500]),
    st.lists(st.sampled_from([*VISIBLE, 0x20, 0x09]), max_size=40).map(lambda text: bytes(text).strip(b" \t")),
)
sendable = st.lists(st.tuples(tokens, texts), max_size=10)


@given(sendable)
def test_what_we_write_is_read_back_without_what_belongs_to_a_connection(fields: list[tuple[bytes, bytes]]) -> None:
    for _ in range(2):
        found = Decoder(ANY).decode(encode(fields), raw=True)
        assert [(bytes(name), bytes(value)) for name, value in found] == [
            field for field in fields if field[0] not in OF_CONNECTION
        ]


@given(sendable)
def test_no_block_depends_on_another_and_secrets_are_never_to_be_kept(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = Decoder(ANY)
    decoder.max_allowed_table_size = 4096
    for _ in range(2):
        found = decoder.decode(encode(fields), raw=True)
        assert decoder.header_table.dynamic_entries == type(decoder.header_table.dynamic_entries)()
        for field in found:
            if field[0] in (b"cookie", b"x-token"):
                assert isinstance(field, NeverIndexedHeaderTuple)


@given(st.lists(st.sampled_from(range(0x21, 0x7F)), max_size=40).map(bytes), st.sampled_from([b":path", b":authority"]))
def test_pseudo_fields_are_read_back(value: bytes, name: bytes) -> None:
    assert [tuple(map(bytes, field)) for field in Decoder().decode(encode_pseudo(name, value), raw=True)] == [
        (name, value)
    ]


@given(
    st.binary(max_size=10),
    st.one_of(st.sampled_from([b"\r", b"\n", b"\0", b"\x7f", b"\x1f"]), st.binary(max_size=1)),
    st.binary(max_size=10),
)
def test_a_value_goes_out_as_it_is_or_not_at_all(start: bytes, middle: bytes, end: bytes) -> None:
    value = start + middle + end
    try:
        data = encode(((b"x-a", value),))
    except ExchangeError as error:
        assert error.reason is Reason.PLUGIN_FAULT
        assert any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in value.strip(b" \t"))
        return
    assert [tuple(map(bytes, field)) for field in Decoder().decode(data, raw=True)] == [(b"x-a", value.strip(b" \t"))]


@pytest.mark.parametrize("value", [b"/a b", b"/\r\nx: y", b"/\xc3", b"/\0"])
def test_a_pseudo_field_that_cannot_be_sent_is_refused(value: bytes) -> None:
    with pytest.raises(ExchangeError):
        encode_pseudo(b":path", value)


@pytest.mark.parametrize("field", [("x-a", b"1"), (b"x-a", "1"), (b"x-a", None), (b"x-a",), (b"x-a", b"1", b"2"), 5])
def test_what_is_no_pair_of_bytes_is_refused(field: object) -> None:
    with pytest.raises(ExchangeError):
        encode((field,))  # type: ignore[arg-type]
