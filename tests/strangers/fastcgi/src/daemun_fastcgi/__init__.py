"""FastCGI towards upstreams: an endpoint with `protocol: fastcgi` is a PHP-FPM, or whatever speaks FastCGI 1.0.

records.py   records and parameters as bytes
params.py    a request as the parameters of CGI (RFC 3875)
upstream.py  one connection
"""

from __future__ import annotations

from collections.abc import Iterable

from daemun import Endpoint, Sniff, Stream, UpstreamConnection, WireProtocol, hookimpl
from daemun_fastcgi.params import FastCgiSettings
from daemun_fastcgi.upstream import FastCgi


def sniff(start: bytes) -> Sniff:
    """There is no downstream half, so it never says yes."""
    return Sniff.NO


async def connect(stream: Stream, endpoint: Endpoint, settings: FastCgiSettings) -> UpstreamConnection:
    return FastCgi(stream, endpoint, settings)


@hookimpl
def daemun_protocols() -> Iterable[WireProtocol]:
    return [WireProtocol("fastcgi", FastCgiSettings, (), sniff, None, connect)]
