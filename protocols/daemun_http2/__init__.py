"""HTTP/2, both halves, on TLS (ALPN) and on plaintext (prior knowledge).

settings.py              limits
frames.py                types of frames and of errors
decoding.py, encoding.py  field blocks: what comes, and what is sent
fields.py, secrets.py    which fields may stand in a message, what they mean, and which may hold a secret
codec.py                 the seam between frames and exchanges; choose.py
framing.py               what codecs share: codec_plain.py, streams.py are ours; codec_h2.py, decoding_hpack.py not
budget.py                what a peer may make us do for nothing
inflow.py, outflow.py    content of one stream, either way, and its windows
session.py               what both halves share
translate.py             field sections to messages and back
downstream.py            serving: served.py one exchange, responder.py its answer, runners.py, patience.py
upstream.py              using a connection: asked.py its exchanges
"""

from __future__ import annotations

import anyio
from anyio.streams.tls import TLSAttribute

from daemun import (
    Connection,
    Endpoint,
    ExchangeError,
    Reason,
    Retry,
    Sniff,
    Stream,
    UpstreamConnection,
    WireProtocol,
    hookimpl,
)
from daemun_http2.downstream import Downstream
from daemun_http2.frames import PREFACE
from daemun_http2.settings import Http2Settings
from daemun_http2.upstream import Upstream

__all__ = ["HTTP2", "Http2Settings", "daemun_protocols"]


def _sniff(start: bytes) -> Sniff:
    if not PREFACE.startswith(start[: len(PREFACE)]):
        return Sniff.NO
    return Sniff.YES if len(start) >= len(PREFACE) else Sniff.MORE


async def _serve(stream: Stream, connection: Connection, settings: Http2Settings) -> None:
    async with anyio.create_task_group() as tasks:
        await Downstream(stream, connection, settings, tasks).serve()
        tasks.cancel_scope.cancel()


async def _connect(stream: Stream, endpoint: Endpoint, settings: Http2Settings) -> UpstreamConnection:
    if endpoint.spec.tls and stream.extra(TLSAttribute.alpn_protocol, None) != "h2":
        raise ExchangeError(
            Reason.CONNECT_FAILED, "the upstream did not choose HTTP/2 in its TLS handshake", retry=Retry.UNSENT
        )
    upstream = Upstream(stream, endpoint, settings)
    await upstream.open()
    return upstream


HTTP2 = WireProtocol("http2", Http2Settings, ("h2",), _sniff, _serve, _connect, preference=20, multiplexed=True)


@hookimpl
def daemun_protocols() -> list[WireProtocol]:
    return [HTTP2]
