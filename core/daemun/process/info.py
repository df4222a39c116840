"""What runs, as data: for start-up output, `daemun_started` and `--json`."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["GatewayInfo", "ListenerInfo"]


class ListenerInfo(Struct, frozen=True):
    """A listener that accepts."""

    name: str
    """That of the settings."""
    url: str
    """Where it listens, with the real port."""
    protocols: tuple[str, ...]
    """Names of the wire protocols that it speaks."""


class GatewayInfo(Struct, frozen=True):
    """A gateway that has started."""

    version: str
    """Of daemun."""
    listeners: tuple[ListenerInfo, ...]
    """In the order of the settings."""
    plugins: tuple[str, ...]
    """Names of those that are loaded, sorted."""
    routes: int
    """How many are in use."""
    refused: int
    """How many objects of sources are not, each with a fault of its own."""
    event_loop: str
    """`uvloop`, `asyncio` or `trio`."""
    start_seconds: float
    """From the start of the process to now."""
    workers: tuple[int, ...] = ()
    """Process ids of the workers, by their index; empty if the one process serves itself."""
