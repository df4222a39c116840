"""A worker: a process that accepts and serves, with routes that the supervisor hands to it."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic

import anyio
import pluggy
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from daemun.downstream.listener import raise_descriptor_limit
from daemun.errors import DaemunError
from daemun.extend.observe import Worker
from daemun.extend.registry import Registry
from daemun.process.gateway import Gateway, open_listeners, serving
from daemun.process.last_resort import LastResort
from daemun.process.log import mark_log
from daemun.process.loop import choose_loop, run_on
from daemun.process.memory import settle_memory
from daemun.process.parts import Parts, open_parts
from daemun.process.watchdog import Watchdog
from daemun.process.workers.balance import Board, Turn
from daemun.process.workers.channel import Channel, ChannelError, receive_blocking
from daemun.process.workers.frames import (
    FROM_SUPERVISOR,
    Activated,
    CutOff,
    Drain,
    Failed,
    Holding,
    Open,
    Outcome,
    Patch,
    Ping,
    Pong,
    Prepared,
    Ready,
    Reopen,
    Start,
    Use,
    decode_from_supervisor,
    encode,
)
from daemun.process.workers.patch import patched
from daemun.process.workers.remote import RemoteActivators
from daemun.routing.spec import Snapshot

__all__ = ["run_worker"]

log = logging.getLogger("daemun.workers")

_MAX_WAITING_PATCHES = 10_000
_GOODBYE_SECONDS = 1.0
_NOTE_SECONDS = 1.0
"""How long the board may be wrong after a worker that drains took its place on it away from its successor."""
_END_SECONDS = 3.0
"""Beyond what plugins have to clean up: less than the supervisor gives it."""
_LINGER_SECONDS = 0.25
"""Who is about to send a request when a reload begins has it answered; then idle connections are closed."""


def run_worker(descriptors: Sequence[int], manager: pluggy.PluginManager) -> None:
    """Serves until the supervisor says to drain, or is gone. Exits with 1 if it cannot start.

    The first of `descriptors` is the channel to the supervisor, the second the memory of the board, and the others
    are listening sockets.
    """
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=descriptors[0])
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors[2:]]
    try:
        start = receive_blocking(control, decode_from_supervisor)
    except (OSError, ValueError, ChannelError) as error:
        log.error("a worker cannot start: %s", error)
        raise SystemExit(1) from error
    if not isinstance(start, Start):
        return  # the supervisor is gone, or changed its mind
    mark_log(f"[w{start.index}] ")
    _tell_refusals_once()
    life = _Life(control, Board(descriptors[1]), sockets, start, manager)
    run_on(choose_loop(start.settings.event_loop), life.run)
    raise SystemExit(life.status)


def _tell_refusals_once() -> None:
    """The supervisor logs objects that are refused, for all workers at once."""
    logging.getLogger("daemun.routing").addFilter(lambda record: record.module != "refused")


class _Life:
    """One worker, from its start to its end."""

    def __init__(
        self,
        control: socket.socket,
        board: Board,
        sockets: Sequence[socket.socket],
        start: Start,
        manager: pluggy.PluginManager,
    ) -> None:
        self.status = 0
        self._since = monotonic()
        self._control = control
        self._board = board
        self._start = start
        self._manager = manager
        self._sockets = sockets
        self._snapshots: dict[str, Snapshot] = {}
        self._gateway: Gateway | None = None
        self._cut_off = False

    async def run(self) -> None:
        """Everything, within one event loop."""
        self._channel: Channel[FROM_SUPERVISOR] = Channel(self._control, decode_from_supervisor)
        self._remote = RemoteActivators(self._channel.post)
        self._opened = anyio.Event()
        self._stop = anyio.Event()
        work, works = anyio.create_memory_object_stream[Patch | Open](_MAX_WAITING_PATCHES)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals, work, works:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._channel.write)
                tasks.start_soon(self._read, work)
                tasks.start_soon(self._remote.report)
                tasks.start_soon(self._heed, signals)
                try:
                    await self._serve(works, tasks)
                except DaemunError as error:
                    self.status = 1
                    self._channel.post(encode(Failed.of(error)))
                    with anyio.move_on_after(_GOODBYE_SECONDS):
                        await self._channel.written()
                tasks.cancel_scope.cancel()
        self._channel.close()

    async def _serve(self, works: MemoryObjectReceiveStream[Patch | Open], watching: TaskGroup) -> None:
        start = self._start
        base_dir = Path(start.base_dir)
        raise_descriptor_limit()
        registry = Registry(self._manager)
        last_resort = LastResort(registry.blame)
        self._remote.stand_in(registry)
        worker = Worker(start.index, start.count, Path(start.shared_dir))
        async with open_parts(start.settings, registry, base_dir, worker=worker) as parts:
            turn = Turn(self._board, start.index, start.count, parts.connections)
            lent: dict[str, list[tuple[socket.socket, Turn | None]]] = {}
            for (name, shared), sock in zip(start.sockets, self._sockets, strict=True):
                lent.setdefault(name, []).append((sock, turn if shared else None))
            listeners = open_listeners(start.settings, parts, base_dir, lent)
            self._channel.post(encode(Prepared()))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._work, works, parts)
                with anyio.CancelScope() as starting:
                    tasks.start_soon(self._give_up, starting)
                    await self._opened.wait()
                if self._stop.is_set():
                    for listener in listeners:
                        listener.close()
                else:
                    accepting = serving(
                        start.settings,
                        self._manager,
                        parts,
                        listeners,
                        self._since,
                        linger_seconds=_LINGER_SECONDS,
                    )
                    async with accepting as gateway:
                        self._gateway = gateway
                        tasks.start_soon(self._note, turn)
                        watching.start_soon(
                            Watchdog(start.settings.plugins.blocking, gateway.blame, gateway.things).run
                        )
                        settle_memory()
                        self._channel.post(encode(Ready(gateway.info)))
                        await self._stop.wait()
                        last_resort.end_within(gateway.stop_seconds)
                        gateway.on_served = partial(
                            last_resort.end_within, 2 * start.settings.drain.close_seconds + _END_SECONDS
                        )
                        if self._cut_off:
                            gateway.cut_off()
                tasks.cancel_scope.cancel()
        last_resort.cancel()

    async def _note(self, turn: Turn) -> None:
        while not self._stop.is_set():
            turn.note()
            with anyio.move_on_after(_NOTE_SECONDS):
                await self._stop.wait()
        turn.leave()

    async def _give_up(self, starting: anyio.CancelScope) -> None:
        await self._stop.wait()
        starting.cancel()

    async def _heed(self, signals: object) -> None:
        async for _ in signals:  # type: ignore[attr-defined]
            self._stop.set()

    async def _read(self, work: MemoryObjectSendStream[Patch | Open]) -> None:
        try:
            while (frame := await self._channel.receive()) is not None:
                match frame:
                    case Ping():
                        self._channel.post(encode(Pong()))
                    case Patch() | Open():
                        work.send_nowait(frame)
                    case Holding() | Use() | Activated():
                        self._remote.receive(frame)
                    case Reopen():
                        if self._gateway is not None:
                            self._gateway.reopen()
                    case Drain():
                        self._stop.set()
                    case CutOff():
                        self._cut_off = True
                        if self._gateway is not None:
                            self._gateway.cut_off()
                        self._stop.set()
                    case Start():
                        raise ChannelError("a second start")
            if not self._stop.is_set():
                log.warning("the supervisor is gone; draining")
        except (ChannelError, anyio.WouldBlock) as error:
            log.error("the supervisor cannot be understood: %s; draining", error or "too much at once")
        self._stop.set()

    async def _work(self, works: MemoryObjectReceiveStream[Patch | Open], parts: Parts) -> None:
        """Applies what sources publish, in its order."""
        async for work in works:
            if isinstance(work, Open):
                self._opened.set()
                continue
            snapshot = patched(self._snapshots.get(work.source, Snapshot()), work)
            self._snapshots[work.source] = snapshot
            applied = await parts.table.apply(work.source, snapshot)
            refused = tuple(applied.refused)
            routes = len(parts.table.current.routes)
            self._channel.post(encode(Outcome(work.serial, applied.generation, routes, refused)))
