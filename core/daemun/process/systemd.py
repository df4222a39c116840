"""What systemd is told of a service of `Type=notify` (sd_notify(3)): that it is ready, alive, and about to stop.

Nothing of it happens where `NOTIFY_SOCKET` is not set.
"""

from __future__ import annotations

import logging
import os
import socket

import anyio

__all__ = ["inform_systemd", "notify_systemd"]

log = logging.getLogger("daemun")

_MICROSECONDS = 1_000_000


async def inform_systemd() -> None:
    """Says that the gateway is ready; then, if the unit has a watchdog, that its event loop runs, until cancelled."""
    notify_systemd("READY=1")
    pause_seconds = _watchdog_seconds() / 2
    while pause_seconds:
        notify_systemd("WATCHDOG=1")
        await anyio.sleep(pause_seconds)


def notify_systemd(state: str) -> None:
    """Sends `state`, lines of `NAME=VALUE`. Never waits; what cannot be sent is logged, and not sent."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in ("/", "@"):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.sendto(state.encode(), where.replace("@", "\0", 1) if where[0] == "@" else where)
        except OSError as error:
            log.warning("systemd cannot be told %s: %s", state, error)


def _watchdog_seconds() -> float:
    """How often a sign of life is wanted; 0: never, or from another process."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    word = os.environ.get("WATCHDOG_USEC", "")
    return int(word) / _MICROSECONDS if word.isdigit() else 0.0
