"""What an application is told of a request: the `scope` of ASGI 3."""

from __future__ import annotations

from contextvars import ContextVar
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

from daemun import Buffered, NoContent, Request, header_values

__all__ = ["OWN_KEYS", "PASSED", "Scope", "http_scope", "path_of", "websocket_scope"]

Scope = dict[str, Any]

OWN_KEYS = frozenset(
    (
        "asgi",
        "client",
        "extensions",
        "headers",
        "http_version",
        "method",
        "path",
        "query_string",
        "raw_path",
        "root_path",
        "scheme",
        "server",
        "state",
        "subprotocols",
        "type",
    )
)
"""What the gateway puts in; the rest comes from middlewares."""

PASSED: ContextVar[Scope] = ContextVar("daemun_asgi_passed", default={})  # noqa: B039  (nobody changes it)
"""What middlewares before put into the scope of this exchange: a session, a user."""
_ASGI = {"version": "3.0", "spec_version": "2.4"}
_VERSIONS = {"HTTP/1.1": "1.1", "HTTP/2": "2", "HTTP/1.0": "1.0"}
_WITH_CONTENT = frozenset((b"POST", b"PUT", b"PATCH"))


def http_scope(request: Request, root_path: str, state: Scope) -> Scope:
    """The scope of a request that is no WebSocket; `state` is what the application's start left, and is copied."""
    scope = _scope(request, root_path, state, "http")
    exchange = request.exchange
    scope["method"] = request.method.decode("latin-1")
    extensions: Scope = {}
    if exchange.version != "HTTP/1.0":
        extensions["http.response.trailers"] = {}
    if exchange.interim is not None:
        extensions["http.response.early_hint"] = {}
    scope["extensions"] = extensions
    return scope


def websocket_scope(request: Request, root_path: str, state: Scope) -> Scope:
    """The scope of an opening handshake."""
    scope = _scope(request, root_path, state, "websocket")
    scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
    offered = b",".join(header_values(request.headers, b"sec-websocket-protocol")).decode("latin-1").split(",")
    scope["subprotocols"] = [name.strip() for name in offered if name.strip()]
    scope["extensions"] = {"websocket.http.response": {}}
    return scope


def path_of(raw: bytes) -> str:
    """A path as applications see it: decoded, and what is no UTF-8 replaced."""
    return (unquote_to_bytes(raw) if b"%" in raw else raw).decode("utf-8", "replace")


def _scope(request: Request, root_path: str, state: Scope, kind: str) -> Scope:
    exchange = request.exchange
    peer = exchange.peer
    raw, _, query = request.target.partition(b"?")
    path = path_of(raw)
    if root_path and raw != b"*" and not f"{path}/".startswith(f"{root_path}/"):
        raw, path = root_path.encode() + raw, root_path + path
    scheme, client = peer.scheme, (peer.address, peer.port) if peer.address else None
    for name, value in request.headers:
        # what the gateway says of the client, whatever that said itself
        if name == b"x-forwarded-proto" and value in (b"http", b"https"):
            scheme = value.decode()
        elif name == b"x-forwarded-for":
            first = value.partition(b",")[0].strip().decode("latin-1")
            if first != peer.address and first != "unix":
                client = (first, 0)
    return {
        "type": kind,
        "asgi": _ASGI.copy(),
        "http_version": _VERSIONS.get(exchange.version, exchange.version.removeprefix("HTTP/")),
        "scheme": scheme,
        "path": path,
        "raw_path": raw,
        "query_string": query,
        "root_path": root_path,
        "headers": _headers(request),
        "client": client,
        "server": _server(peer.local),
        "state": state.copy(),
    }


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    headers = [(b"host", request.authority), *request.headers] if request.authority else list(request.headers)
    body = request.body
    if type(body) is NoContent:
        if request.method in _WITH_CONTENT:
            headers.append((b"content-length", b"0"))
    elif not request.protocol:
        length = len(body.data) if type(body) is Buffered else body.length
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        elif request.exchange.version == "HTTP/1.1":
            headers.append((b"transfer-encoding", b"chunked"))
    return headers


@lru_cache(64)
def _server(local: str) -> tuple[str, int | None] | None:
    if local.startswith("unix:"):
        return local.removeprefix("unix:"), None
    host, _, port = local.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else None
