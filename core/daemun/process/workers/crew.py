"""A worker in each slot: started, replaced when it dies, replaced by a better one on reload."""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from time import monotonic

import anyio
from anyio.abc import TaskGroup

from daemun.errors import DaemunError
from daemun.process.workers.activations import Activations
from daemun.process.workers.backoff import Backoff
from daemun.process.workers.balance import Board
from daemun.process.workers.channel import ChannelError
from daemun.process.workers.feed import Feed
from daemun.process.workers.forking import Forking
from daemun.process.workers.frames import Start, encode
from daemun.process.workers.member import Member
from daemun.process.workers.sockets import Sockets
from daemun.settings import Settings

__all__ = ["Crew", "Edition"]

log = logging.getLogger("daemun.workers")


class Edition:
    """Settings, and what the sources in them publish: what a worker is started with."""

    def __init__(self, settings: Settings, count: int, feed: Feed) -> None:
        self.settings = settings
        self.count = count
        self.feed = feed


class _Slot:
    """The place of a worker that serves, and of those that replace it when it ends by itself."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.scope = anyio.CancelScope()
        """Cancelled when nobody is to take the place any more."""


class Crew:
    """The workers of a gateway."""

    def __init__(
        self,
        edition: Edition,
        forking: Forking,
        sockets: Sockets,
        activations: Activations,
        tasks: TaskGroup,
        board: Board,
        base_dir: Path,
        shared_dir: Path,
    ) -> None:
        self.edition = edition
        """What new workers are started with."""
        self.alive: set[Member] = set()
        """All processes, those that drain included."""
        self._slots: dict[int, _Slot] = {}
        self._forking = forking
        self._sockets = sockets
        self._activations = activations
        self._tasks = tasks
        self._board = board
        self._base_dir = base_dir
        self._shared_dir = shared_dir
        self._change = anyio.Event()

    @property
    def members(self) -> list[Member]:
        """The worker of each slot."""
        return [self._slots[index].member for index in sorted(self._slots)]

    async def fork(self, index: int, edition: Edition) -> Member:
        """A new process that is told who it is."""
        sockets = self._sockets.of(edition.settings, index, edition.count)
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno(), self._board.descriptor, *(sock.fileno() for _, _, sock in sockets)]
        try:
            child = await self._forking.fork(descriptors)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        member = Member(index, child, ours, edition.settings.supervisor, self._activations.receive)
        start = Start(
            index,
            edition.count,
            str(self._shared_dir),
            str(self._base_dir),
            edition.settings,
            tuple((name, shared) for name, shared, _ in sockets),
        )
        member.post(encode(start))
        self.alive.add(member)
        self._tasks.start_soon(self._own, member, edition)
        return member

    async def enlist(self, member: Member) -> None:
        """Lets a new worker accept once it has all routes. Raises its error if it cannot; it is killed then."""
        try:
            await member.prepared()
            await self.edition.feed.join(member)
            await member.opened()
        except BaseException:
            member.child.kill()
            raise

    def put(self, member: Member) -> None:
        """Puts a worker into its slot; the one that was there drains. One that ended is replaced."""
        self._give_up(member.index)
        slot = self._slots[member.index] = _Slot(member)
        self._tasks.start_soon(self._keep, slot)

    def close_slots(self, count: int) -> None:
        """Drains the workers of all slots from `count` on, for good."""
        for index in [index for index in self._slots if index >= count]:
            self._give_up(index)

    def _give_up(self, index: int) -> None:
        slot = self._slots.pop(index, None)
        if slot is not None:
            slot.scope.cancel()
            slot.member.drain()
            if slot.member.gone.is_set():
                self._activations.release(slot.member)

    async def _own(self, member: Member, edition: Edition) -> None:
        await member.run()
        self.alive.discard(member)
        edition.feed.leave(member)
        self._activations.forget(member)
        if not member.leaving:
            self._board.leave(member.index)
        if member.leaving:
            self._activations.release(member)
        change, self._change = self._change, anyio.Event()
        change.set()

    async def _keep(self, slot: _Slot) -> None:
        """Replaces the worker of the slot whenever it ends by itself."""
        backoff = Backoff()
        with slot.scope:
            while True:
                member = slot.member
                await member.gone.wait()
                lived = monotonic() - member.began
                words = f"worker {member.index} (process {member.pid}) {member.ended} after {lived:.1f} s"
                slot.member = await self._replacement(member.index, words, lived, backoff)
                self._activations.release(member)

    async def _replacement(self, index: int, words: str, lived: float, backoff: Backoff) -> Member:
        while True:
            pause = backoff.pause_seconds(lived)
            log.error("%s; %s", words, f"another one is started in {pause:g} s" if pause else "another one is started")
            await anyio.sleep(pause)
            began = monotonic()
            try:
                member = await self.fork(index, self.edition)
                await self.enlist(member)
            except (DaemunError, ChannelError, OSError) as error:
                words, lived = f"worker {index} cannot be replaced: {error}", 0.0
                continue
            log.info("worker %d (process %d) serves after %.0f ms", index, member.pid, (monotonic() - began) * 1000)
            return member

    async def stop(self, seconds: float) -> None:
        """Drains all workers, and kills what is left after `seconds`."""
        for slot in self._slots.values():
            slot.scope.cancel()
        for member in self.alive:
            member.drain()
        with anyio.move_on_after(seconds) as waiting:
            await self._empty()
        if waiting.cancelled_caught:
            for member in self.alive:
                log.error("worker %d (process %d) does not end and is killed", member.index, member.pid)
            await self.kill()

    async def kill(self) -> None:
        """Ends what is left at once."""
        for slot in self._slots.values():
            slot.scope.cancel()
        for member in self.alive:
            member.leaving = True
            member.child.kill()
        await self._empty()

    async def _empty(self) -> None:
        while self.alive:
            await self._change.wait()
