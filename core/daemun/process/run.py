"""The gateway as a program: with workers or without, and what its signals do."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import anyio
import pluggy

from daemun.extend.loading import load_plugins
from daemun.process.gateway import open_gateway
from daemun.process.info import GatewayInfo
from daemun.process.loop import choose_loop, run_on
from daemun.process.memory import settle_memory
from daemun.settings import Settings

__all__ = ["run_gateway"]

_STOP = (signal.SIGTERM, signal.SIGINT)


def run_gateway(
    settings: Settings,
    base_dir: Path,
    started: Callable[[GatewayInfo, float], None] | None = None,
    reread: Callable[[], Settings] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second one cuts off what still runs. SIGHUP reloads,
    SIGUSR1 opens log files anew.

    `started` gets what runs and the seconds since the process began. `reread` reads the settings file again: with
    several workers SIGHUP puts changed settings into force, and the sources reload either way. Raises
    `SettingsError` or `PluginError` if the gateway cannot start.
    """
    manager = load_plugins(settings.plugins.block, settings.plugins.only)
    loop = choose_loop(settings.event_loop)
    opened: AbstractAsyncContextManager[_Running] | None = None
    if settings.workers != 1:
        opened = _with_workers(settings, manager, base_dir, reread)
    if opened is None:
        opened = open_gateway(settings, manager, base_dir)

    async def main() -> None:
        heed = _Heed()
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
            async with anyio.create_task_group() as watching:
                watching.start_soon(heed.run, signals)
                with heed.starting:
                    async with opened as gateway:
                        heed.gateway = gateway
                        settle_memory()
                        if started is not None:
                            started(gateway.info, _seconds_since_start())
                        await heed.stop.wait()
                watching.cancel_scope.cancel()

    run_on(loop, main)


class _Running(Protocol):
    """A gateway, with or without workers."""

    info: GatewayInfo

    def reload(self) -> None: ...

    def reopen(self) -> None: ...

    def cut_off(self) -> None: ...


class _Heed:
    """Does what signals ask for: before the gateway runs, while it does, and while it drains."""

    def __init__(self) -> None:
        self.starting = anyio.CancelScope()
        """A start that takes long, such as one that waits for a source, ends with the first signal to stop."""
        self.stop = anyio.Event()
        self.gateway: _Running | None = None

    async def run(self, signals: AsyncIterable[signal.Signals]) -> None:
        """Until cancelled."""
        async for number in signals:
            gateway = self.gateway
            if number in _STOP:
                if gateway is None:
                    self.starting.cancel()
                elif self.stop.is_set():
                    gateway.cut_off()
                self.stop.set()
            elif gateway is not None:
                (gateway.reload if number == signal.SIGHUP else gateway.reopen)()


def _with_workers(
    settings: Settings, manager: pluggy.PluginManager, base_dir: Path, reread: Callable[[], Settings] | None
) -> AbstractAsyncContextManager[_Running] | None:
    """A supervisor with its workers; None if there is to be one worker only. A single one pays no import for it."""
    from daemun.process.workers.supervisor import count_workers, open_supervisor
    from daemun.process.workers.zygote import fork_zygote

    if count_workers(settings) == 1:
        return None
    # Before there is an event loop or a thread: both do not survive a fork.
    shared_dir = Path(tempfile.mkdtemp(prefix="daemun-"))
    return open_supervisor(settings, manager, base_dir, fork_zygote(manager, shared_dir), shared_dir, reread)


def _seconds_since_start() -> float:
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
