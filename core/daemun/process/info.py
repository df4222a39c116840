"""What runs, as data: for start-up output, `daemun_started` and `--json`."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["GatewayInfo", "ListenerInfo"]


class ListenerInfo(Struct, frozen=True):
    """A listener that accepts."""

    name: str
    url: str
    protocols: tuple[str, ...]


class GatewayInfo(Struct, frozen=True):
    """A gateway that has started."""

    version: str
    listeners: tuple[ListenerInfo, ...]
    plugins: tuple[str, ...]
    routes: int
    refused: int
    event_loop: str
    start_seconds: float
    """From the start of the process to now."""
    workers: tuple[int, ...] = ()
    """Process ids of the workers, by their index; empty if the one process serves itself."""
