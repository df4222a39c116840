"""The gateway as a program: signals, log, start-up output."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import anyio

from daemun.extend.loading import load_plugins
from daemun.process.gateway import Gateway, open_gateway
from daemun.process.info import GatewayInfo
from daemun.process.loop import choose_loop, run_on
from daemun.settings import Settings

__all__ = ["run_gateway", "set_up_log"]

_COLLECT_EVERY = 20_000
"""New objects between two collections of the youngest generation."""
_STOP = (signal.SIGTERM, signal.SIGINT)


def run_gateway(
    settings: Settings, base_dir: Path, started: Callable[[GatewayInfo, float], None] | None = None
) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second one cuts off what still runs. SIGHUP reloads,
    SIGUSR1 opens log files anew.

    `started` gets what runs and the seconds since the process began. Raises `SettingsError` or `PluginError` if the
    gateway cannot start.
    """
    manager = load_plugins(settings.plugins.block, settings.plugins.only)

    async def main() -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
            async with anyio.create_task_group() as watching:
                async with open_gateway(settings, manager, base_dir) as gateway:
                    _settle_collector()
                    if started is not None:
                        started(gateway.info, _seconds_since_start())
                    async for number in signals:
                        if number in _STOP:
                            break
                        (gateway.reload if number == signal.SIGHUP else gateway.reopen)()
                    watching.start_soon(_second_signal, signals, gateway)
                watching.cancel_scope.cancel()

    run_on(choose_loop(settings.event_loop), main)


def _settle_collector() -> None:
    """What start-up made stays: the garbage collector need not look at it for every few requests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 50)


async def _second_signal(signals: object, gateway: Gateway) -> None:
    async for number in signals:  # type: ignore[attr-defined]
        if number in _STOP:
            gateway.cut_off()


def _seconds_since_start() -> float:
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return uptime - ticks / os.sysconf("SC_CLK_TCK")


_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31;1"}


class _Format(logging.Formatter):
    """Time, level, logger, words; the level in colour on a terminal."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        code = _COLOURS.get(record.levelno)
        return f"\x1b[{code}m{line}\x1b[0m" if self._colour and code else line


def set_up_log(level: str) -> None:
    """Sends the log of daemun and its plugins to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Format(sys.stderr.isatty() and "NO_COLOR" not in os.environ))
    root = logging.getLogger("daemun")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False
