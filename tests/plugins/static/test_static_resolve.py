"""From paths to names: decoded once, and nothing but plain names."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_static.resolve import RefusedPathError, names_of, redirect_into


@pytest.mark.parametrize(
    ("path", "names", "folder"),
    [
        (b"", (), True),
        (b"/", (), True),
        (b"/a", (b"a",), False),
        (b"a", (b"a",), False),
        (b"/a/", (b"a",), True),
        (b"/a%20b/c%2Bd", (b"a b", b"c+d"), False),
        (b"/%C3%A9", ("é".encode(),), False),
        (b"/a+b", (b"a+b",), False),
        (b"/%2541", (b"%41",), False),
        (b"/.well-known/x", (b".well-known", b"x"), False),
        (b"/a..b", (b"a..b",), False),
        (b"/a.", (b"a.",), False),
    ],
)
def test_names(path: bytes, names: tuple[bytes, ...], folder: bool) -> None:
    assert names_of(path, well_known=True) == (names, folder)


@given(st.one_of(st.binary(max_size=80), st.text("/.%25cfe0a\\", max_size=40).map(str.encode)))
def test_names_are_plain_whatever_the_path(path: bytes) -> None:
    try:
        names, _ = names_of(path, well_known=True)
    except RefusedPathError:
        return
    for place, name in enumerate(names):
        assert name.decode()
        assert not set(name) & set(b"/\\\0")
        assert not name.startswith(b".") or (place, name) == (0, b".well-known")


@given(
    name=st.binary(min_size=1, max_size=30).filter(
        lambda name: not set(name) & set(b"/\0") and not name.startswith(b".")
    ),
    query=st.binary(max_size=30).filter(lambda query: b"#" not in query),
)
def test_a_redirect_stays_on_its_host_and_in_its_header(name: bytes, query: bytes) -> None:
    location = redirect_into(name, query)
    assert not set(location) & {*range(0x21), 0x7F}
    assert location.isascii()
    target = urlsplit(urljoin("http://host.example/base/x", location.decode()))
    assert (target.scheme, target.netloc) == ("http", "host.example")
    assert target.path.startswith("/base/")
    assert target.path.endswith("/")


def test_a_redirect_keeps_the_query_as_it_was() -> None:
    assert redirect_into(b"docs", b"a=%20&b=c/d?e") == b"./docs/?a=%20&b=c/d?e"
