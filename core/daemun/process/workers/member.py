"""One worker, as the supervisor sees it: what it was told, what it says, and whether it is still there."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable
from time import monotonic

import anyio

from daemun.errors import DaemunError, SettingsError
from daemun.process.info import GatewayInfo
from daemun.process.workers.channel import Channel, ChannelError
from daemun.process.workers.forking import Child, how_it_ended
from daemun.process.workers.frames import (
    FROM_WORKER,
    Activate,
    CutOff,
    Drain,
    Failed,
    Hold,
    Let,
    Open,
    Outcome,
    Ping,
    Pong,
    Prepared,
    Ready,
    Usage,
    decode_from_worker,
    encode,
)
from daemun.settings import SupervisorSettings

__all__ = ["Demand", "Member"]

log = logging.getLogger("daemun.workers")

_LAST_WORDS_SECONDS = 1.0
_SILENT_END_SECONDS = 5.0

Demand = Hold | Let | Activate | Usage
"""What a worker says of its back ends that need an activator."""


class Member:
    """A worker process. `run` runs from its fork to its end."""

    def __init__(
        self,
        index: int,
        child: Child,
        control: socket.socket,
        settings: SupervisorSettings,
        on_demand: Callable[[Member, Demand], None],
    ) -> None:
        self.index = index
        self.child = child
        self.began = monotonic()
        self.leaving = False
        """It was told to drain."""
        self.failed: Failed | None = None
        """Why it could not start, in its own words."""
        self.info: GatewayInfo | None = None
        """What it serves, once it accepts."""
        self.ended = ""
        """How it ended, in words, once it did."""
        self.gone = anyio.Event()
        self._channel: Channel[FROM_WORKER] = Channel(control, decode_from_worker)
        self._settings = settings
        self._on_demand = on_demand
        self._change = anyio.Event()
        self._prepared = False
        self._outcomes: dict[int, Outcome] = {}
        self._unanswered = 0

    @property
    def pid(self) -> int:
        """Its process."""
        return self.child.pid

    def post(self, frame: bytes) -> None:
        """Sends it an encoded frame; if it is gone, nobody hears it."""
        self._channel.post(frame)

    def drain(self) -> None:
        """Tells it to accept no more, to finish what runs, and to end."""
        self.leaving = True
        self.post(encode(Drain()))

    def cut_off(self) -> None:
        """Tells it to end now."""
        self.leaving = True
        self.post(encode(CutOff()))

    async def prepared(self) -> None:
        """Waits until it can take routes. Raises its error if it cannot start."""
        await self._until(lambda: self._prepared)

    async def opened(self) -> GatewayInfo:
        """Lets it accept, and returns once it does. Raises its error if it cannot."""
        self.post(encode(Open()))
        await self._until(lambda: self.info is not None)
        assert self.info is not None
        return self.info

    async def outcome(self, serial: int) -> Outcome | None:
        """What it says of a patch, once; None if it ended before it did."""
        while serial not in self._outcomes and not self.gone.is_set():
            await self._change.wait()
        return self._outcomes.pop(serial, None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        timeout_seconds = self._settings.start_timeout_seconds
        with anyio.move_on_after(timeout_seconds):
            while not condition() and not self.gone.is_set():
                await self._change.wait()
        if condition():
            return
        if self.failed is not None:
            raise self.failed.error()
        if self.gone.is_set():
            raise SettingsError(f"worker {self.index} {self.ended} before it could serve")
        self.child.kill()
        raise SettingsError(f"worker {self.index} could not serve after {timeout_seconds:g} s, and was killed")

    async def run(self) -> None:
        """Hears it and looks after it until it has ended. One that answers no ping is killed."""
        try:
            async with anyio.create_task_group() as tasks:
                heard = anyio.Event()
                tasks.start_soon(self._channel.write)
                tasks.start_soon(self._hear, heard)
                tasks.start_soon(self._ping)
                await self.child.exited.wait()
                with anyio.move_on_after(_LAST_WORDS_SECONDS):
                    await heard.wait()
                tasks.cancel_scope.cancel()
        finally:
            self.ended = how_it_ended(self.child.status)
            self.child.close()
            self._channel.close()
            self.gone.set()
            self._note()

    async def _hear(self, heard: anyio.Event) -> None:
        try:
            while (frame := await self._channel.receive()) is not None:
                match frame:
                    case Pong():
                        self._unanswered = 0
                    case Prepared():
                        self._prepared = True
                    case Ready():
                        self.info = frame.info
                    case Failed():
                        self.failed = frame
                    case Outcome():
                        self._outcomes[frame.serial] = frame
                    case _:
                        self._on_demand(self, frame)
                        continue
                self._note()
        except (ChannelError, DaemunError) as error:
            log.error("worker %d (process %d) cannot be understood and is killed: %s", self.index, self.pid, error)
            self.child.kill()
        heard.set()
        with anyio.move_on_after(_SILENT_END_SECONDS) as waiting:
            await self.child.exited.wait()
        if waiting.cancelled_caught:
            self.child.kill()

    async def _ping(self) -> None:
        timeout_seconds = self._settings.ping_timeout_seconds
        interval = min(1.0, timeout_seconds / 4)
        allowed = math.ceil(timeout_seconds / interval)
        while True:
            # Rounds are counted, not seconds: after a pause of the whole machine nobody is late.
            self._unanswered += 1
            self.post(encode(Ping()))
            await anyio.sleep(interval)
            if self._unanswered >= allowed:
                log.error(
                    "worker %d (process %d) answers no ping for %g s and is killed",
                    self.index,
                    self.pid,
                    timeout_seconds,
                )
                self.child.kill()
                return

    def _note(self) -> None:
        change, self._change = self._change, anyio.Event()
        change.set()
