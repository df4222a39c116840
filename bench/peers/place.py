"""What a peer gets to know to be started, and what it says in return: the contract of every peer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

__all__ = ["HOST_SUFFIX", "Command", "Peer", "Place", "Setup", "host_of"]

HOST_SUFFIX = "bench.test"


class Setup(Struct, frozen=True):
    """The way in which all peers are configured for a workload."""

    routes: int = 0
    """Routes, one a host (`r0.bench.test` …); 0: one that takes everything."""
    tls: bool = False
    workers: int = 1
    clients: Literal["http1", "http2"] = "http1"
    """What clients speak; `http2`: in plaintext, with prior knowledge."""
    upstream: Literal["http1", "http2", "grpc", "websocket"] = "http1"
    """What the origin speaks; `http2` as clients do, `grpc`: calls over it, `websocket`: HTTP/1 until it switches."""
    brings: Literal["", "filter ws_log", "matcher soap", "filter soap"] = ""
    """A plugin of ours that looks at what passes; nothing like it is there in other peers."""

    @property
    def label(self) -> str:
        """Short and unique: a folder name."""
        scheme = "https" if self.tls else "http"
        brings = self.brings.replace(" ", "-") or "bare"
        return f"{scheme}-{self.routes}-{self.workers}-{self.clients}-{self.upstream}-{brings}"

    @property
    def http2_upstream(self) -> bool:
        """Whether the origin is asked in HTTP/2."""
        return self.upstream in ("http2", "grpc")


class Place(Struct, frozen=True):
    """Where one peer runs, and in front of what."""

    binary: str
    folder: Path
    """Its own, empty."""
    port: int
    origin: int
    """Port of the origin on the loopback interface: where it speaks what `setup.upstream` says."""
    setup: Setup
    certificate: Path
    key: Path
    """PEM files, there if `setup.tls`."""

    def write(self, name: str, text: str) -> str:
        """Writes a file into the folder. The path of it."""
        file = self.folder / name
        file.write_text(text)
        return str(file)

    @property
    def hosts(self) -> list[str]:
        """The host of each route; none: one route takes everything."""
        return [host_of(number) for number in range(self.setup.routes)]


class Command(Struct, frozen=True):
    """What to start."""

    argv: list[str]
    env: dict[str, str] = {}
    """Added to our own environment."""


class Peer(Struct, frozen=True):
    """A proxy to compare with."""

    name: str
    kind: Literal["ours", "compiled", "python"]
    features: str
    """What is on that a person would have on, for the report."""
    get: str
    """How to install it."""
    program: str
    version: tuple[str, ...]
    """Arguments that make the program print its version."""
    command: Callable[[Place], Command]
    lacks: Callable[[Setup], str] = lambda setup: ""
    """Why it cannot be set up so; "": it can."""


def host_of(number: int) -> str:
    """The host of route `number`."""
    return f"r{number}.{HOST_SUFFIX}"
