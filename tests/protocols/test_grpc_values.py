"""gRPC's small values: codes, words, timeouts, what an error carries. Both ways, and total."""

from __future__ import annotations

import base64
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import daemun_grpc
from daemun import ExchangeError, Reason
from daemun.testing import make_request
from daemun_grpc.details import details_of
from daemun_grpc.status import BY_REASON, HTTP_STATUS, Code, code_of, decode_words, encode_words, from_http, read_code
from daemun_grpc.timeout import format_timeout, parse_connect_timeout, parse_timeout, with_remaining

# --- codes ---


def test_every_reason_has_a_code_and_none_is_a_success() -> None:
    assert set(BY_REASON) == set(Reason)
    assert Code.OK not in BY_REASON.values()


def test_every_code_has_an_http_status_and_only_ok_is_a_success() -> None:
    assert set(HTTP_STATUS) == set(Code)
    assert [code for code, status in HTTP_STATUS.items() if status < 400] == [Code.OK]


def test_the_document_says_which_status_each_reason_is() -> None:
    readme = (Path(daemun_grpc.__file__).parent / "README.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| (`.*) \|$", readme, re.MULTILINE)
    said = {name: Code[code] for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert said == {reason.value: code for reason, code in BY_REASON.items()}


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.NO_ROUTE, Code.UNIMPLEMENTED),
        (Reason.WAITING_ROOM_FULL, Code.UNAVAILABLE),
        (Reason.NO_ENDPOINT, Code.UNAVAILABLE),
        (Reason.CONNECT_FAILED, Code.UNAVAILABLE),
        (Reason.UPSTREAM_CLOSED, Code.UNAVAILABLE),
        (Reason.ROUTE_TIMEOUT, Code.DEADLINE_EXCEEDED),
        (Reason.CLIENT_TIMEOUT, Code.DEADLINE_EXCEEDED),
        (Reason.UPSTREAM_TIMEOUT, Code.DEADLINE_EXCEEDED),
        (Reason.ACTIVATION_FAILED, Code.DEADLINE_EXCEEDED),
        (Reason.CLIENT_LEFT, Code.CANCELLED),
        (Reason.CONTENT_TOO_LARGE, Code.RESOURCE_EXHAUSTED),
        (Reason.BAD_REQUEST, Code.INTERNAL),
        (Reason.PLUGIN_FAULT, Code.INTERNAL),
    ],
)
def test_an_error_of_ours_has_the_code_of_its_reason(reason: Reason, code: Code) -> None:
    assert code_of(ExchangeError(reason)) is code


def test_a_status_that_a_plugin_chose_decides() -> None:
    assert code_of(ExchangeError(Reason.BAD_REQUEST, status=401)) is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ((400, 431), Code.INTERNAL),
        ((401,), Code.UNAUTHENTICATED),
        ((403,), Code.PERMISSION_DENIED),
        ((404,), Code.UNIMPLEMENTED),
        ((429, 502, 503, 504), Code.UNAVAILABLE),
        ((200, 204, 302, 408, 418, 500, 501, 505), Code.UNKNOWN),
    ],
)
def test_http_becomes_a_code_by_the_table_of_the_protocol(statuses: tuple[int, ...], code: Code) -> None:
    assert {from_http(status) for status in statuses} == {code}


@pytest.mark.parametrize(
    ("value", "code"),
    [(b"0", Code.OK), (b"16", Code.UNAUTHENTICATED), (b"17", Code.UNKNOWN), (b"", Code.UNKNOWN), (b"-1", Code.UNKNOWN)],
)
def test_what_is_no_code_is_unknown(value: bytes, code: Code) -> None:
    assert read_code(value) is code


# --- words ---


@given(st.text())
def test_words_come_back_as_they_were(words: str) -> None:
    encodable = words.encode("utf-8", "replace").decode()
    assert decode_words(encode_words(words)) == encodable


@given(st.text())
def test_encoded_words_can_stand_in_any_head(words: str) -> None:
    value = encode_words(words)
    assert all(0x20 <= byte <= 0x7E for byte in value)
    assert value == value.strip()


def test_words_are_encoded_as_the_protocol_says() -> None:
    assert encode_words("näh: ☃ 100%\r\n ") == b"n%C3%A4h: %E2%98%83 100%25%0D%0A%20"


@given(st.binary())
def test_any_bytes_are_words(value: bytes) -> None:
    assert isinstance(decode_words(value), str)


# --- timeouts ---


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"250m", 0.25), (b"5u", 5e-6), (b"7n", 7e-9), (b"0S", 0)],
)
def test_a_timeout_is_read(value: bytes, seconds: float) -> None:
    assert parse_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"1.5S", b" 1S", b"1S\n", b"1SS"])
def test_a_malformed_timeout_is_refused(value: bytes) -> None:
    with pytest.raises(ExchangeError, match="grpc-timeout") as caught:
        parse_timeout(value)
    assert caught.value.reason is Reason.BAD_REQUEST


@given(st.floats(min_value=0, max_value=99_999_999 * 3600))
def test_what_is_written_is_never_more_never_nothing_and_close(seconds: float) -> None:
    value = format_timeout(seconds)
    again = parse_timeout(value)
    assert again > 0
    assert again <= max(seconds * (1 + 1e-12), 1e-9)
    assert again >= seconds * (1 - 1e-6) - 1e-9 or value.endswith(b"H")


@given(st.from_regex(rb"\A[0-9]{1,8}[HMSmun]\Z"))
def test_a_timeout_survives_being_written_again(value: bytes) -> None:
    seconds = parse_timeout(value)
    assert parse_timeout(format_timeout(seconds)) == pytest.approx(max(seconds, 1e-9), rel=1e-6, abs=2e-9)


@pytest.mark.parametrize("seconds", [math.inf, 1e300, 99_999_999 * 3600])
def test_a_timeout_without_an_end_is_the_longest_there_is(seconds: float) -> None:
    assert format_timeout(seconds) == b"99999999H"


@pytest.mark.parametrize(("value", "seconds"), [(b"0", 0), (b"1500", 1.5), (b"9999999999", 9999999.999)])
def test_a_timeout_of_connect_is_read(value: bytes, seconds: float) -> None:
    assert parse_connect_timeout(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", [b"", b"12345678901", b"1s", b"-1", b"1.0"])
def test_a_malformed_timeout_of_connect_is_refused(value: bytes) -> None:
    with pytest.raises(ExchangeError, match="connect-timeout-ms"):
        parse_connect_timeout(value)


def test_what_is_left_goes_on_in_the_place_of_what_was_given() -> None:
    request = make_request("POST", headers=((b"a", b"1"), (b"grpc-timeout", b"10S"), (b"b", b"2")))
    request.exchange.expire_in(10, Reason.CLIENT_TIMEOUT)
    names = [name for name, _ in with_remaining(request).headers]
    assert names == [b"a", b"grpc-timeout", b"b"]
    left = parse_timeout(with_remaining(request).header(b"grpc-timeout") or b"")
    assert 9 < left <= 10


def test_a_route_that_gives_less_says_so_upstream() -> None:
    request = make_request("POST", headers=((b"grpc-timeout", b"10S"),))
    request.exchange.expire_in(10, Reason.CLIENT_TIMEOUT)
    request.exchange.expire_in(2, Reason.ROUTE_TIMEOUT)
    assert parse_timeout(with_remaining(request).header(b"grpc-timeout") or b"") <= 2


def test_no_timeout_is_made_up() -> None:
    request = make_request("POST", headers=((b"a", b"1"),))
    request.exchange.expire_in(2, Reason.ROUTE_TIMEOUT)
    assert with_remaining(request) is request


# --- details ---


def _status() -> Any:
    pytest.importorskip("google.protobuf")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.any_pb2 import DESCRIPTOR as ANY

    pool = descriptor_pool.DescriptorPool()
    any_ = descriptor_pb2.FileDescriptorProto()
    ANY.CopyToProto(any_)
    pool.Add(any_)
    file = descriptor_pb2.FileDescriptorProto(name="status.proto", package="google.rpc", syntax="proto3")
    file.dependency.append(ANY.name)
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=5, label=1)
    status.field.add(name="message", number=2, type=9, label=1)
    status.field.add(name="details", number=3, type=11, label=3, type_name=".google.protobuf.Any")
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


@given(st.lists(st.tuples(st.from_regex(r"\A[a-z]{1,9}(\.[A-Za-z]{1,9}){0,3}\Z"), st.binary(max_size=300))))
def test_details_are_read_as_the_library_writes_them(details: list[tuple[str, bytes]]) -> None:
    status = _status()(code=5, message="näh")
    for name, value in details:
        status.details.add(type_url=f"type.googleapis.com/{name}", value=value)
    encoded = base64.b64encode(status.SerializeToString())
    assert [(one.type, one.value) for one in details_of(encoded)] == details
    assert details_of(encoded.rstrip(b"=")) == details_of(encoded)


@given(st.binary(max_size=200))
def test_details_that_cannot_be_read_are_none_at_all(data: bytes) -> None:
    for value in (data, base64.b64encode(data)):
        assert all(isinstance(one.type, str) for one in details_of(value))


def test_a_cut_detail_is_none() -> None:
    whole = b"\x08\x05\x1a\x06\x0a\x01a\x12\x01b"
    assert [tuple(one) for one in details_of(base64.b64encode(whole))] == [("a", b"b")]
    assert details_of(base64.b64encode(whole[:-1])) == []
