"""What is asked of every peer. A group is measured in one alternation, so its figures may be compared."""

from __future__ import annotations

import json
from typing import Literal

from bench.peers.place import HOST_SUFFIX, Setup
from bench.peers.soap import ENVELOPE, Posted, mtom
from msgspec import Struct

__all__ = ["CALL", "EMPTY_MESSAGE", "SHORT", "WORKLOADS", "Kind", "Workload", "grpc_fields", "lua"]

Kind = Literal["cpu", "latency", "idle", "huge", "stream", "sockets"]
CALL = "/bench.Echo/Say"
"""The path of a gRPC call."""
EMPTY_MESSAGE = bytes(5)
"""What a unary call brings, and what it is answered with: not compressed, of no length."""
_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3


class Workload(Struct, frozen=True):
    """One thing that is asked, again and again."""

    name: str
    title: str
    group: str
    kind: Kind = "cpu"
    path: str = "/"
    connections: int = 32
    streams: int = 1
    """Requests at once on each connection, where clients speak HTTP/2; messages under way on a WebSocket."""
    upload_bytes: int = 0
    """Length of the body that each request brings; 0: a GET."""
    soap: Literal["", "envelope", "mtom"] = ""
    """What that body is; "": only x."""
    closing: bool = False
    """A new connection for each request."""
    varied: bool = False
    """Every request has another path, query, user agent and cookie."""
    same_rate: bool = False
    """Latency at half of Envoy's capacity instead of half of the peer's own."""
    messages: int = 0
    """On one gRPC stream, each of which comes back."""
    in_turns: bool = False
    """A message is sent when the one before has come back."""
    setup: Setup = Setup()

    @property
    def posted(self) -> Posted:
        """What each request brings, in a POST."""
        if self.soap == "envelope":
            return ENVELOPE
        return mtom(self.upload_bytes) if self.soap == "mtom" else Posted({}, b"", b"", self.upload_bytes)


_H2 = Setup(clients="http2")
_H2_BOTH = Setup(clients="http2", upstream="http2")
_GRPC = Setup(clients="http2", upstream="grpc")
_SOCKETS = Setup(upstream="websocket")
_LENS = Setup(upstream="websocket", brings="filter ws_log")
_MATCHED, _CHECKED = Setup(brings="matcher soap"), Setup(brings="filter soap")


def _envelope(name: str, how: str, setup: Setup) -> Workload:
    title = f"POST of a SOAP envelope of 10 KiB, {how}"
    return Workload(name, title, "soap", path="/upload", upload_bytes=10 * _KIB, soap="envelope", setup=setup)


def _attached(name: str, how: str, setup: Setup) -> Workload:
    title = f"SOAP with 100 MiB attached (MTOM), {how}"
    return Workload(name, title, "soap-mtom", "huge", "/sink", 1, upload_bytes=100 * _MIB, soap="mtom", setup=setup)


WORKLOADS = (
    Workload("get-32", "small GET, keep-alive, 32 connections", "plain"),
    Workload("get-1", "small GET, keep-alive, 1 connection", "plain", connections=1),
    Workload("get-256", "small GET, keep-alive, 256 connections", "plain", connections=256),
    Workload("get-varied", "small GET, every request different, 32 connections", "plain", path="/v/", varied=True),
    Workload("get-closing", "small GET, a new connection each, 32 at once", "plain", closing=True),
    Workload("down-64k", "64 KiB down, 32 connections", "bodies", path="/64k"),
    Workload("down-1m", "1 MiB down, 32 connections", "bodies", path="/1m"),
    Workload("up-64k", "64 KiB up, 32 connections", "bodies", path="/upload", upload_bytes=64 * _KIB),
    Workload("up-1m", "1 MiB up, 32 connections", "bodies", path="/upload", upload_bytes=_MIB),
    Workload("stream-64k", "64 KiB down without a length (chunked), 32 connections", "bodies", path="/stream/64k"),
    Workload("tls-32", "TLS, small GET, keep-alive, 32 connections", "tls", setup=Setup(tls=True)),
    Workload("routes-1", "1 route (a host each), small GET", "routes", setup=Setup(routes=1)),
    Workload("routes-10", "10 routes, small GET", "routes", setup=Setup(routes=10)),
    Workload("routes-100", "100 routes, small GET", "routes", setup=Setup(routes=100)),
    Workload("routes-10000", "10,000 routes, small GET", "routes", setup=Setup(routes=10_000)),
    Workload("workers-1", "one worker, small GET, 64 connections", "workers", connections=64),
    Workload("workers-2", "two workers, small GET, 64 connections", "workers", connections=64, setup=Setup(workers=2)),
    Workload("latency-own", "latency at half of the peer's own capacity", "latency", kind="latency"),
    Workload("latency-same", "latency at half of Envoy's capacity", "latency", kind="latency", same_rate=True),
    Workload("idle", "10,000 idle connections", "idle", kind="idle", connections=10_000),
    Workload("huge-down", "a body of 1 GiB down", "huge", kind="huge", path="/1g", connections=1),
    Workload("huge-up", "a body of 1 GiB up", "huge", kind="huge", path="/sink", connections=1, upload_bytes=_GIB),
    Workload("h2-32", "HTTP/2 to HTTP/1, small GET, 32 connections × 1 stream", "h2", setup=_H2),
    Workload("h2-4x8", "HTTP/2 to HTTP/1, small GET, 4 × 8", "h2", connections=4, streams=8, setup=_H2),
    Workload("h2-1x100", "HTTP/2 to HTTP/1, small GET, 1 × 100", "h2", connections=1, streams=100, setup=_H2),
    Workload("h2-64k", "HTTP/2 to HTTP/1, 64 KiB down, 4 × 8", "h2", "cpu", "/64k", 4, 8, setup=_H2),
    Workload("h2-1m", "HTTP/2 to HTTP/1, 1 MiB down, 4 × 8", "h2", "cpu", "/1m", 4, 8, setup=_H2),
    Workload("h2-h2", "HTTP/2 to HTTP/2, small GET, 4 × 8", "h2", connections=4, streams=8, setup=_H2_BOTH),
    Workload("grpc-unary", "gRPC, unary calls, 4 × 8", "grpc", "cpu", CALL, 4, 8, setup=_GRPC),
    Workload(
        "grpc-stream",
        "gRPC, messages on one stream, both ways",
        "grpc",
        "stream",
        CALL,
        1,
        messages=100_000,
        setup=_GRPC,
    ),
    Workload(
        "grpc-turns",
        "gRPC, messages on one stream, in turns",
        "grpc",
        "stream",
        CALL,
        1,
        messages=20_000,
        in_turns=True,
        setup=_GRPC,
    ),
    Workload("h2-huge", "HTTP/2 to HTTP/1, a body of 1 GiB down", "h2-huge", "huge", "/1g", 1, setup=_H2),
    Workload("h2-h2-huge", "HTTP/2 to HTTP/2, a body of 1 GiB down", "h2-huge", "huge", "/1g", 1, setup=_H2_BOTH),
    Workload("ws-32", "WebSocket, 1 KiB echo, 32 sockets in turns", "websocket", "sockets", setup=_SOCKETS),
    Workload("ws-1", "WebSocket, 1 KiB echo, 1 socket in turns", "websocket", "sockets", "/", 1, setup=_SOCKETS),
    Workload("ws-32x8", "WebSocket, 1 KiB echo, 32 × 8 under way", "websocket", "sockets", "/", 32, 8, setup=_SOCKETS),
    Workload("ws-lens", "WebSocket, 1 KiB echo, 32 in turns, seen as messages", "websocket", "sockets", setup=_LENS),
    Workload("ws-idle", "10,000 idle WebSockets", "ws-idle", "idle", connections=10_000, setup=_SOCKETS),
    _envelope("soap-plain", "as any POST", Setup()),
    _envelope("soap-matched", "routed by its operation", _MATCHED),
    _envelope("soap-checked", "operation and action checked", _CHECKED),
    _attached("mtom-plain", "as any POST", Setup()),
    _attached("mtom-matched", "routed by its operation", _MATCHED),
    _attached("mtom-checked", "operation and action checked", _CHECKED),
)
SHORT = ("get-32", "down-64k", "down-1m", "h2-4x8", "grpc-unary", "ws-32")


def grpc_fields() -> list[tuple[str, str]]:
    """What a client's call says besides its path."""
    return [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "10S"),
        ("user-agent", "grpc-go/1.70"),
    ]


def lua(workload: Workload) -> str:
    """The script for wrk that makes the requests; "": wrk's own GET does."""
    if workload.soap:
        fields = "".join(
            f"wrk.headers[{_quoted(name)}] = {_quoted(value)}\n" for name, value in workload.posted.fields.items()
        )
        return f'wrk.method = "POST"\n{fields}wrk.body = {_quoted(workload.posted.content.decode())}\n'
    if workload.upload_bytes:
        return f'wrk.method = "POST"\nwrk.body = string.rep("x", {workload.upload_bytes})\n'
    if workload.setup.routes:
        return f"""local requests, at = {{}}, 0
init = function(args)
  for number = 0, {workload.setup.routes - 1} do
    requests[number] = wrk.format("GET", "{workload.path}", {{["Host"] = "r" .. number .. ".{HOST_SUFFIX}"}})
  end
end
request = function()
  at = (at + 7919) % {workload.setup.routes}
  return requests[at]
end
"""
    if workload.varied:
        return f"""local number = 0
request = function()
  number = number + 1
  local key = (number * 1103515245 + 12345) % 2147483648
  return wrk.format("GET", "{workload.path}" .. key .. "/item?page=" .. number .. "&q=" .. key % 977, {{
    ["Host"] = "bench.test",
    ["User-Agent"] = "bench/" .. number % 9973 .. " (" .. key .. ")",
    ["Cookie"] = "session=" .. key .. "; seen=" .. number,
  }})
end
"""
    return ""


def _quoted(text: str) -> str:
    """A literal of Lua, as JSON writes it."""
    return json.dumps(text)
