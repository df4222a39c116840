"""A request as the parameters of CGI/1.1 (RFC 3875), the way PHP expects them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from daemun import ExchangeError, Reason, Request

__all__ = ["FastCgiSettings", "params_of"]

_APART = frozenset((b"content-type", b"content-length", b"proxy"))
"""Fields with names of their own, and one that would be taken for a setting (`HTTP_PROXY`)."""


class FastCgiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`protocols: {fastcgi: …}`."""

    root: str = "/var/www/html"
    """The folder of the scripts, where the upstream sees it."""
    index: str = "index.php"
    """The script of a path that ends with /, and of one that names no script."""
    suffix: str = ".php"
    """What the name of a script ends with."""


def params_of(request: Request, settings: FastCgiSettings) -> Iterator[tuple[bytes, bytes]]:
    """Names and values. Raises `ExchangeError` for a path that leaves the root, or cannot be a file's."""
    script, rest = _script(request.path, settings)
    peer = request.exchange.peer
    host, _, port = request.authority.partition(b":")
    yield b"GATEWAY_INTERFACE", b"CGI/1.1"
    yield b"SERVER_SOFTWARE", b"daemun"
    yield b"SERVER_PROTOCOL", request.exchange.version.encode()
    yield b"SERVER_NAME", host
    yield b"SERVER_PORT", port or (b"443" if peer.scheme == "https" else b"80")
    yield b"REQUEST_METHOD", request.method
    yield b"REQUEST_SCHEME", peer.scheme.encode()
    yield b"REQUEST_URI", request.target
    yield b"QUERY_STRING", request.query
    yield b"DOCUMENT_ROOT", settings.root.encode()
    yield b"SCRIPT_NAME", script
    yield b"SCRIPT_FILENAME", settings.root.rstrip("/").encode() + script
    yield b"REMOTE_ADDR", peer.address.encode()
    yield b"REMOTE_PORT", b"%d" % peer.port
    if rest:
        yield b"PATH_INFO", rest
    if peer.scheme == "https":
        yield b"HTTPS", b"on"
    if request.body.length:
        yield b"CONTENT_LENGTH", b"%d" % request.body.length
    yield b"CONTENT_TYPE", request.header(b"content-type") or b""
    yield b"HTTP_HOST", request.authority
    fields: dict[bytes, bytes] = {}
    for name, value in request.headers:
        if name not in _APART:
            fields[name] = fields[name] + (b"; " if name == b"cookie" else b", ") + value if name in fields else value
    for name, value in fields.items():
        yield b"HTTP_" + name.upper().replace(b"-", b"_"), value


def _script(path: bytes, settings: FastCgiSettings) -> tuple[bytes, bytes]:
    """The script that a path names, and what follows it."""
    plain = unquote_to_bytes(path)
    if b"\0" in plain or not plain.startswith(b"/") or posixpath.normpath(plain) != (plain.rstrip(b"/") or b"/"):
        raise ExchangeError(Reason.BAD_REQUEST, "the path cannot be that of a script")
    suffix = settings.suffix.encode()
    parts = plain.split(b"/")
    for at, part in enumerate(parts):
        if part.endswith(suffix) and part != suffix:
            rest = b"/".join(parts[at + 1 :])
            return b"/".join(parts[: at + 1]), b"/" + rest if at + 1 < len(parts) else b""
    return b"/" + settings.index.encode(), plain
