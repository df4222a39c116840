"""HTTP/1.0 and HTTP/1.1, both halves.

settings.py     limits
grammar.py      what a head may look like
codec*.py       the seam for field lines: our own, h11, httptools; choose.py
lines.py        field lines that were read before, roles.py what they mean, written.py those that were written
incoming.py     a request as its connection needs it
chunked.py      the chunked coding
reader.py       bytes in, heads and content out
translate.py    heads to messages and back
downstream.py   serving a connection: heads.py its requests, bodies.py their content, responder.py the answers,
                watch.py its timers
upstream.py     using a connection, pump.py sends the content of requests on it
"""

from __future__ import annotations

from collections.abc import Awaitable

from daemun import Connection, Endpoint, Sniff, Stream, UpstreamConnection, WireProtocol, hookimpl
from daemun_http1.choose import request_lines, response_lines
from daemun_http1.downstream import Downstream
from daemun_http1.settings import Http1Settings
from daemun_http1.upstream import Upstream

__all__ = ["HTTP1", "Http1Settings", "daemun_protocols"]

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def _sniff(start: bytes) -> Sniff:
    if _HTTP2_PREFACE.startswith(start[: len(_HTTP2_PREFACE)]):
        return Sniff.NO if len(start) >= len(_HTTP2_PREFACE) else Sniff.MORE
    return Sniff.YES


def _serve(stream: Stream, connection: Connection, settings: Http1Settings) -> Awaitable[None]:
    return Downstream(stream, connection, settings, request_lines(settings.codec, settings.underscores)).serve()


def _silence_seconds(settings: Http1Settings) -> float:
    return settings.keep_alive_seconds


async def _connect(stream: Stream, endpoint: Endpoint, settings: Http1Settings) -> UpstreamConnection:
    return Upstream(stream, endpoint, settings, response_lines(settings.codec))


HTTP1 = WireProtocol(
    "http1", Http1Settings, ("http/1.1",), _sniff, _serve, _connect, preference=10, silence_seconds=_silence_seconds
)


@hookimpl
def daemun_protocols() -> list[WireProtocol]:
    return [HTTP1]
