"""Heads by httptools (llhttp), for those who trust it more, and to compare ours with."""

from __future__ import annotations

from typing import Any

import httptools

from daemun_http1.codec import Fields, HeadError, checked

__all__ = ["HttptoolsCodec"]


class _Collector:
    """What httptools calls back. The call-backs that we do not use are None, so that it skips them."""

    __slots__ = ("fields",)

    on_message_begin = on_url = on_status = on_body = on_headers_complete = on_message_complete = None
    on_chunk_header = on_chunk_complete = None

    def __init__(self) -> None:
        self.fields: Fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))


class HttptoolsCodec:
    """Takes heads apart with llhttp, a parser for each head. The first line was read by the grammar; llhttp gets one
    of its own, because it knows some methods only."""

    name = "httptools"

    def request_fields(self, lines: list[bytes]) -> Fields:
        collector = _Collector()
        return _feed(httptools.HttpRequestParser(collector), b"GET / HTTP/1.1", lines, collector)

    def response_fields(self, lines: list[bytes]) -> Fields:
        collector = _Collector()
        return _feed(httptools.HttpResponseParser(collector), b"HTTP/1.1 200 OK", lines, collector)


def _feed(parser: Any, first: bytes, lines: list[bytes], collector: _Collector) -> Fields:
    try:
        parser.feed_data(b"\r\n".join((first, *checked(lines), b"", b"")))
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise HeadError(str(error)) from None
    return collector.fields
