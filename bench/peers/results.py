"""The result file: JSON, decoded strictly. The docstrings are its schema; `python -m bench.peers schema` prints it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from bench.peers.workloads import Workload
from msgspec import Struct, field

__all__ = ["Machine", "Measured", "Options", "PeerInfo", "Result", "Round", "Skipped", "read", "write"]

SCHEMA = 1


class Machine(Struct, frozen=True, forbid_unknown_fields=True):
    """Where it ran."""

    cpu: str
    cores: int
    memory_bytes: int
    kernel: str
    python: str


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    """How it was asked to run."""

    rounds: int
    seconds: float
    full: bool
    generator: str
    """`wrk` with its version, or that ours took its place."""
    origin: str


class PeerInfo(Struct, frozen=True, forbid_unknown_fields=True):
    """A peer that took part."""

    name: str
    kind: str
    """`ours`, `compiled` or `python`."""
    version: str
    features: str
    arrived: str = ""
    """Which of X-Forwarded-For, X-Forwarded-Proto and Via reached the origin."""


class Skipped(Struct, frozen=True, forbid_unknown_fields=True):
    """What did not take part, and why."""

    peer: str
    workload: str
    """Its name; "": all of them."""
    reason: str


class Round(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One peer, one workload, once. Times in seconds, sizes in bytes."""

    load_average: float
    """Of the machine in the last minute, when the round ended."""
    requests: int = 0
    seconds: float = 0.0
    user_seconds: float = 0.0
    """CPU time of the whole process tree of the peer while the requests ran."""
    system_seconds: float = 0.0
    failed: int = 0
    capacity_per_second: float = 0.0
    """Requests a second of the peer as fast as it answers, which the rate was set by."""
    rate_per_second: float = 0.0
    p50_seconds: float = 0.0
    p99_seconds: float = 0.0
    lag_seconds: float = 0.0
    """How late the load generator itself was (99th percentile): what the machine adds to every latency."""
    connections: int = 0
    rss_bytes: int = 0
    """Resident memory with the idle connections open."""
    rss_before_bytes: int = 0
    peak_rss_bytes: int = 0


class Measured(Struct, frozen=True, forbid_unknown_fields=True):
    """A workload and what each peer did with it, a figure a round."""

    workload: Workload
    rounds: dict[str, list[Round]]


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """One run of the suite."""

    date: str
    """RFC 3339, when it began."""
    machine: Machine
    options: Options
    load_before: float
    load_after: float
    commit: str
    """Of the checkout; `+` at its end: with changes."""
    peers: list[PeerInfo]
    skipped: list[Skipped]
    measured: list[Measured]
    complete: bool = True
    """false: it was broken off, and this is what there was."""
    suite: str = "bench/peers"
    schema: int = field(default=SCHEMA)


def read(file: Path) -> Result:
    """The result in a file. Raises `OSError`, and `msgspec.DecodeError` with the place of the first fault."""
    result = msgspec.json.decode(file.read_bytes(), type=Result)
    if result.schema != SCHEMA:
        raise msgspec.ValidationError(f"schema {result.schema} of {file} is not known: {SCHEMA} is")
    return result


def write(result: Result, file: Path) -> None:
    """Writes it, indented, so that two files can be compared by eye."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
