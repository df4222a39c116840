"""Which codec reads and writes the frames of a connection."""

from __future__ import annotations

from daemun_http2.budget import Budget
from daemun_http2.codec import Codec, Sink
from daemun_http2.codec_plain import PlainCodec
from daemun_http2.settings import Http2Settings

__all__ = ["new_codec"]


def new_codec(settings: Http2Settings, sink: Sink, budget: Budget, *, client: bool) -> Codec:
    """The codec that `settings` ask for; `auto` is `plain`."""
    if settings.codec == "h2":
        from daemun_http2.codec_h2 import H2Codec  # for which others need not wait

        return H2Codec(
            sink, budget, client=client, max_head_bytes=settings.max_head_bytes, max_fields=settings.max_fields
        )
    return PlainCodec(
        sink, budget, client=client, max_head_bytes=settings.max_head_bytes, max_fields=settings.max_fields
    )
