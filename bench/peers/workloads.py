"""What is asked of every peer. A group is measured in one alternation, so its figures may be compared."""

from __future__ import annotations

from typing import Literal

from bench.peers.place import HOST_SUFFIX, Setup
from msgspec import Struct

__all__ = ["CALL", "EMPTY_MESSAGE", "SHORT", "WORKLOADS", "Kind", "Workload", "grpc_fields", "lua"]

Kind = Literal["cpu", "latency", "idle", "huge", "stream"]
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
    """Requests at once on each connection, where clients speak HTTP/2."""
    upload_bytes: int = 0
    """Length of the body that each request brings; 0: a GET."""
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


_H2 = Setup(clients="http2")
_H2_BOTH = Setup(clients="http2", upstream="http2")
_GRPC = Setup(clients="http2", upstream="grpc")

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
)
SHORT = ("get-32", "down-64k", "down-1m", "h2-4x8", "grpc-unary")


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
