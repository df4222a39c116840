"""Which codec a connection uses."""

from __future__ import annotations

from daemun_http1.codec import Codec
from daemun_http1.codec_h11 import H11Codec

__all__ = ["choose"]


def choose(name: str) -> Codec:
    """The codec `name`; `auto` is httptools where it is installed, h11 otherwise.

    Raises `ModuleNotFoundError` if it was asked for and is not installed (`pip install 'daemun[fast]'`).
    """
    if name != "h11":
        try:
            from daemun_http1.codec_httptools import HttptoolsCodec

            return HttptoolsCodec()
        except ModuleNotFoundError:
            if name == "httptools":
                raise
    return H11Codec()
