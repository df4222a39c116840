"""The opening handshake: what is taken of a client, and of an upstream (RFC 6455 §4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Buffered, ExchangeError, Headers, Reason, Request, Response
from daemun.testing import make_request
from daemun_websocket.opening import Extension, accept_key, check_accepted, read_extensions, read_opening

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
FIELDS: Headers = ((b"sec-websocket-version", b"13"), (b"sec-websocket-key", KEY))


def opening(*fields: tuple[bytes, bytes], without: bytes = b"") -> Request:
    kept = tuple(field for field in FIELDS if field[0] != without)
    return make_request("GET", "http://a.test/", (*kept, *fields), EMPTY)


def answer(*fields: tuple[bytes, bytes], key: bytes = KEY) -> Response:
    return Response(101, ((b"sec-websocket-accept", accept_key(key)), *fields), Buffered(b""))


def test_the_key_is_accepted_as_the_rfc_says() -> None:
    assert accept_key(KEY) == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 §1.3


def test_what_a_client_asks_for() -> None:
    asked = read_opening(
        opening(
            (b"sec-websocket-protocol", b"chat , superchat"),
            (b"sec-websocket-protocol", b"v2.json"),
            (b"sec-websocket-extensions", b'Permessage-Deflate; client_max_window_bits; x="10", foo'),
        )
    )
    assert asked.key == KEY
    assert asked.subprotocols == (b"chat", b"superchat", b"v2.json")
    assert asked.extensions == (
        Extension(b"permessage-deflate", ((b"client_max_window_bits", None), (b"x", b"10"))),
        Extension(b"foo"),
    )


@pytest.mark.parametrize(
    ("without", "fields", "reason"),
    [
        (b"sec-websocket-key", (), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-key", KEY),), Reason.BAD_REQUEST),
        (b"sec-websocket-key", ((b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ="),), Reason.BAD_REQUEST),
        (b"sec-websocket-key", ((b"sec-websocket-key", b"dGhlIHNhbXBsZQ=="),), Reason.BAD_REQUEST),
        (b"sec-websocket-key", ((b"sec-websocket-key", b"!" * 24),), Reason.BAD_REQUEST),
        (b"sec-websocket-version", (), Reason.UPGRADE_REQUIRED),
        (b"sec-websocket-version", ((b"sec-websocket-version", b"8"),), Reason.UPGRADE_REQUIRED),
        (b"sec-websocket-version", ((b"sec-websocket-version", b"13, 8"),), Reason.UPGRADE_REQUIRED),
        (b"", ((b"sec-websocket-version", b"13"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-protocol", b"a, a"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-protocol", b"a,,a"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-protocol", b"," * 100),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-protocol", b"a b"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-protocol", b",".join(b"p%d" % n for n in range(100))),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-extensions", b"a; b=;"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-extensions", b'a; b="c d"'),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-extensions", b"; a"),), Reason.BAD_REQUEST),
        (b"", ((b"sec-websocket-extensions", b", ".join([b"a"] * 100)),), Reason.BAD_REQUEST),
    ],
)
def test_openings_that_are_refused(without: bytes, fields: Headers, reason: Reason) -> None:
    with pytest.raises(ExchangeError) as caught:
        read_opening(opening(*fields, without=without))
    assert caught.value.reason is reason


@pytest.mark.parametrize(("value", "names"), [(b"a,,b", (b"a", b"b")), (b" ,\ta ,", (b"a",)), (b"", ()), (b" , ", ())])
def test_empty_elements_of_a_list_are_passed_by(value: bytes, names: tuple[bytes, ...]) -> None:
    """RFC 9110 §5.6.1.2."""
    fields = (b"sec-websocket-protocol", value), (b"sec-websocket-extensions", b", x,, y")
    asked = read_opening(opening(*fields))
    assert asked.subprotocols == names
    assert asked.extensions == (Extension(b"x"), Extension(b"y"))


def test_an_opening_is_a_get() -> None:
    with pytest.raises(ExchangeError, match="is a GET"):
        read_opening(make_request("POST", "http://a.test/", FIELDS, EMPTY))


def test_answers_that_fit() -> None:
    asked = read_opening(
        opening((b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-extensions", b"permessage-deflate, x"))
    )
    check_accepted(asked, answer())
    check_accepted(asked, answer((b"sec-websocket-protocol", b"b")))
    check_accepted(asked, answer((b"sec-websocket-extensions", b"permessage-deflate; server_no_context_takeover")))


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (Response(101), "does not answer the key"),
        (answer(key=b"another"), "does not answer the key"),
        (answer((b"sec-websocket-accept", accept_key(KEY))), "does not answer the key"),
        (answer((b"sec-websocket-protocol", b"c")), "a subprotocol that nobody offered"),
        (answer((b"sec-websocket-protocol", b"a, b")), "a subprotocol that nobody offered"),
        (answer((b"sec-websocket-extensions", b"zip")), "an extension that nobody offered"),
        (answer((b"sec-websocket-extensions", b"=")), "is no token"),
        (answer((b"sec-websocket-key", KEY)), "a field of the request"),
    ],
)
def test_answers_that_do_not_fit_are_the_upstreams_fault(response: Response, words: str) -> None:
    asked = read_opening(
        opening((b"sec-websocket-protocol", b"a, b"), (b"sec-websocket-extensions", b"permessage-deflate"))
    )
    with pytest.raises(ExchangeError, match=words) as caught:
        check_accepted(asked, response)
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL


TOKENS = st.text("abcXYZ-_.!", min_size=1, max_size=8).map(str.encode)
PARAMETERS = st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=4)


@given(st.lists(st.tuples(TOKENS, PARAMETERS), max_size=6), st.booleans())
def test_extensions_are_read_as_they_are_written(
    offered: list[tuple[bytes, list[tuple[bytes, bytes | None]]]], quoted: bool
) -> None:
    def written(name: bytes, value: bytes | None) -> bytes:
        if value is None:
            return name
        return name + (b'="%b"' if quoted else b"=%b") % value

    line = b" ,\t".join(b" ; ".join([name, *(written(*one) for one in parameters)]) for name, parameters in offered)
    assert read_extensions([line] if offered else []) == tuple(
        Extension(name.lower(), tuple((key.lower(), value) for key, value in parameters))
        for name, parameters in offered
    )


@given(st.lists(st.binary(max_size=60), max_size=3))
def test_no_line_is_too_strange_to_be_refused_in_words(values: list[bytes]) -> None:
    try:
        read_extensions(values)
    except ValueError as error:
        assert str(error)
