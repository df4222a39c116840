"""Content types that are the same on every machine."""

from __future__ import annotations

import mimetypes

import pytest

from daemun_static.content_types import ContentTypes


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"index.html", b"text/html; charset=utf-8"),
        (b"INDEX.HTM", b"text/html; charset=utf-8"),
        (b"app.min.js", b"text/javascript; charset=utf-8"),
        (b"app.mjs", b"text/javascript; charset=utf-8"),
        (b"style.css", b"text/css; charset=utf-8"),
        (b"data.json", b"application/json"),
        (b"app.js.map", b"application/json"),
        (b"picture.svg", b"image/svg+xml"),
        (b"picture.webp", b"image/webp"),
        (b"module.wasm", b"application/wasm"),
        (b"font.woff2", b"font/woff2"),
        (b"archive.tar.gz", b"application/gzip"),
        (b"favicon.ico", b"image/x-icon"),
        (b"book.epub", b"application/octet-stream"),
        (b"README", b"application/octet-stream"),
        (b".html", b"application/octet-stream"),
        (b"name.", b"application/octet-stream"),
        (b"\xc3\xa9.txt", b"text/plain; charset=utf-8"),
    ],
)
def test_types(name: bytes, kind: bytes) -> None:
    assert ContentTypes().of(name) == kind


def test_the_host_has_no_say() -> None:
    mimetypes.init()
    mimetypes.add_type("text/x-host", ".epub")
    try:
        assert ContentTypes().of(b"book.epub") == b"application/octet-stream"
    finally:
        mimetypes.init()


def test_settings_come_first() -> None:
    types = ContentTypes({".EPUB": "application/epub+zip", ".html": "text/html"})
    assert types.of(b"book.epub") == b"application/epub+zip"
    assert types.of(b"index.html") == b"text/html"
    assert types.knows(b"book.epub")
    assert not types.knows(b"john.doe")
