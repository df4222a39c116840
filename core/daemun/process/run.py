"""The gateway as a program: with workers or without, and what its signals do."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Protocol

import anyio
import pluggy

from daemun.extend.culprit import Blame, Thing
from daemun.extend.loading import load_plugins
from daemun.process.gateway import CUT_OFF_SECONDS, open_gateway
from daemun.process.info import GatewayInfo
from daemun.process.last_resort import LastResort
from daemun.process.loop import choose_loop, run_on
from daemun.process.memory import settle_memory
from daemun.process.systemd import inform_systemd, notify_systemd
from daemun.process.watchdog import Watchdog
from daemun.settings import Settings

__all__ = ["run_gateway"]

_STOP = (signal.SIGTERM, signal.SIGINT)
_CLOSING_ROUNDS = 3
"""What closes one after the other, and has `drain.close_seconds` each: sources; what routes and observers hold; what is
of the process."""
_END_SECONDS = 5.0
"""Beyond what that may take."""


def run_gateway(
    settings: Settings,
    base_dir: Path,
    started: Callable[[GatewayInfo, float], None] | None = None,
    reread: Callable[[], Settings] | None = None,
    develop: Mapping[str, ModuleType | None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains; a second one cuts off what still runs. SIGHUP reloads,
    SIGUSR1 opens log files anew.

    `started` gets what runs and the seconds since the process began. `reread` reads the settings file again: with
    several workers SIGHUP puts changed settings into force, and the sources reload either way. `develop` are plugins by
    name whose code is reloaded when it is saved, those that are not installed with their module; that takes one worker.
    Raises `SettingsError` or `PluginError` if the gateway cannot start.
    """
    began = time.time()
    extra = [module for module in (develop or {}).values() if module is not None]
    manager = load_plugins(settings.plugins.block, settings.plugins.only, extra)
    loop = choose_loop(settings.event_loop)
    opened: AbstractAsyncContextManager[_Running] | None = None
    if develop:
        opened = _developed(settings, manager, base_dir, develop, began)
    elif settings.workers != 1:
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
                        last_resort = LastResort(gateway.blame)
                        last_resort.heed(gateway.stop_seconds, *_STOP)
                        closing_seconds = _CLOSING_ROUNDS * settings.drain.close_seconds + _END_SECONDS
                        if not gateway.info.workers:
                            heed.hurry = partial(last_resort.end_within, CUT_OFF_SECONDS)
                        watching.start_soon(Watchdog(settings.plugins.blocking, gateway.blame, gateway.things).run)
                        if not develop:
                            settle_memory()  # code that may be replaced does not stay
                        if started is not None:
                            started(gateway.info, _seconds_since_start())
                        watching.start_soon(inform_systemd)
                        await heed.stop.wait()
                        notify_systemd("STOPPING=1")
                        last_resort.end_within(gateway.stop_seconds)
                        gateway.on_served = partial(last_resort.end_within, closing_seconds)
                    last_resort.cancel()
                watching.cancel_scope.cancel()

    run_on(loop, main)


class _Running(Protocol):
    """A gateway, with or without workers."""

    info: GatewayInfo
    on_served: Callable[[], None] | None
    """Called once no exchange is left."""

    @property
    def stop_seconds(self) -> float:
        """How long it may take from the signal to stop until `on_served`, or until the end where that is not called."""
        ...

    @property
    def blame(self) -> Blame: ...

    def things(self, route: str) -> Sequence[Thing]: ...

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
        self.hurry: Callable[[], None] = lambda: None
        """Called when a drain is cut off."""

    async def run(self, signals: AsyncIterable[signal.Signals]) -> None:
        """Until cancelled."""
        async for number in signals:
            gateway = self.gateway
            if number in _STOP:
                if gateway is None:
                    self.starting.cancel()
                elif self.stop.is_set():
                    gateway.cut_off()
                    self.hurry()
                self.stop.set()
            elif gateway is not None:
                (gateway.reload if number == signal.SIGHUP else gateway.reopen)()


def _developed(
    settings: Settings, manager: pluggy.PluginManager, base_dir: Path, plugins: Iterable[str], began: float
) -> AbstractAsyncContextManager[_Running]:
    from daemun.process.dev.developer import open_developed
    from daemun.process.dev.notice import print_reload, print_watched

    return open_developed(settings, manager, base_dir, tuple(plugins), print_watched, print_reload, since=began)


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
        return time.process_time()  # without /proc: about the same, where nothing was waited for
    return uptime - ticks / os.sysconf("SC_CLK_TCK")
