"""One process of a back end, from its start to its end: spawned, probed, in use, drained, stopped."""

from __future__ import annotations

import enum
import logging
import math
import os
from collections.abc import Callable, Mapping
from time import monotonic

import anyio
from anyio.to_thread import run_sync

from daemun import ActivatorContext, Endpoint, EndpointSpec
from daemun_process.guard import GUARD
from daemun_process.output import Output, open_output
from daemun_process.place import Place, take_place
from daemun_process.readiness import Probe
from daemun_process.session import Session, how_it_ended
from daemun_process.settings import ProcessSettings

__all__ = ["HARMLESS_VARIABLES", "Instance", "State"]

HARMLESS_VARIABLES = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LOGNAME",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
)
"""Variables of the gateway that a process gets unless `inherit_environment` is false."""

_DRAIN_POLL_SECONDS = 0.05

log = logging.getLogger("daemun.process")


class State(enum.Enum):
    """Where an instance is in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class Instance:
    """One process. `run` is its life; `changed` is called whenever `state` is another."""

    def __init__(self, settings: ProcessSettings, context: ActivatorContext, changed: Callable[[], None]) -> None:
        self.state = State.STARTING
        self.failure = ""
        """Why it ended, in words for a client, if that was not our wish."""
        self.too_slow = False
        """That was: it was not ready in time."""
        self.hopeless = False
        """It could not even be started: the same again would fail the same way."""
        self.spec: EndpointSpec | None = None
        """Its address, from the moment it is ready."""
        self.endpoint: Endpoint | None = None
        """Its place in the live view, set by whoever publishes it."""
        self.ready_at = math.inf
        self.busy_at = 0.0
        """`time.monotonic()` at which it was last seen working."""
        self._settings = settings
        self._context = context
        self._changed = changed
        self._began = monotonic()
        self._place: Place | None = None
        self._output: Output | None = None
        self._probe: Probe | None = None
        self._life = anyio.CancelScope()
        self._retired = anyio.Event()

    @property
    def last_probe(self) -> str:
        """What the last probe said; "" before the first one."""
        return self._probe.last if self._probe is not None else ""

    def retire(self) -> None:
        """Takes it out of use now; it is stopped when what runs on it is over."""
        self._enter(State.LEAVING)
        self._retired.set()

    def abandon(self) -> None:
        """Stops it now, because it is not ready in time."""
        self.too_slow = True
        self.failure = f"was not ready {monotonic() - self._began:.1f} s after its start"
        self._life.cancel()

    async def run(self) -> None:
        """Starts the process and returns when nothing of it is left. Cancellation stops it gracefully."""
        try:
            with anyio.CancelScope(shield=True):
                try:
                    session = await run_sync(self._open)
                except OSError as error:
                    self.hopeless = True
                    self.failure = f"cannot be started: {os.strerror(error.errno or 0).lower()}"
                    log.warning("back end %s: its process cannot be started: %s", self._context.backend, error)
                    return
            try:
                with self._life:
                    await self._live(session)
            finally:
                self._enter(State.LEAVING)
                with anyio.CancelScope(shield=True):
                    await self._end(session)
        finally:
            with anyio.CancelScope(shield=True):
                await run_sync(self._close)

    def _enter(self, state: State) -> None:
        if self.state is not state:
            self.state = state
            self._changed()

    def _open(self) -> Session:
        settings, context = self._settings, self._context
        place = self._place = take_place(port=settings.port, unix=settings.socket)
        log_file = context.base_dir / settings.log_file if settings.log_file else None
        output = self._output = open_output(context.backend, log_file, settings.log_lines_per_second)
        try:
            process, mark = GUARD.start(
                [place.fill_in(word) for word in settings.command],
                environment=_environment(settings, place, os.environ),
                directory=context.base_dir / settings.directory,
                output=output.descriptor,
            )
        finally:
            output.handed_over()
        return Session(process, mark)

    def _close(self) -> None:
        if self._output is not None:
            self._output.close()
        if self._place is not None:
            self._place.give_back()

    async def _live(self, session: Session) -> None:
        """From the start to the moment at which the process has to be stopped, or has ended."""
        assert self._output is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._output.pump)
            tasks.start_soon(self._watch, session, tasks.cancel_scope)
            await self._become_ready(session)
            if self.state is State.READY:
                await self._retired.wait()
                while self.endpoint is not None and self.endpoint.active:  # noqa: ASYNC110 - nothing tells
                    await anyio.sleep(_DRAIN_POLL_SECONDS)
            tasks.cancel_scope.cancel()

    async def _watch(self, session: Session, life: anyio.CancelScope) -> None:
        await session.exited()
        if self.state is not State.LEAVING:
            self.failure = "ended"
        self._enter(State.LEAVING)
        life.cancel()

    async def _become_ready(self, session: Session) -> None:
        settings, place = self._settings, self._place
        assert place is not None
        self._probe = Probe(settings.readiness, place)
        with anyio.move_on_after(settings.start_timeout_seconds - (monotonic() - self._began)):
            await self._probe.succeed()
            self.ready_at = self.busy_at = monotonic()
        if self.failure or self.state is not State.STARTING:
            return  # it ended, or was given up, in the same moment
        if self.ready_at == math.inf:
            self.abandon()
            return
        self.spec = EndpointSpec(place.address, protocol=settings.protocol, capacity=settings.capacity)
        self._enter(State.READY)
        log.info(
            "back end %s: process %d is ready on %s after %.0f ms",
            self._context.backend,
            session.pid,
            place.address,
            (self.ready_at - self._began) * 1000,
        )

    async def _end(self, session: Session) -> None:
        """Stops what is left, and hears its last words meanwhile: a full pipe would keep it from ending."""
        assert self._output is not None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._output.pump)
            status = await session.stop(self._settings.stop_grace_seconds)
            tasks.cancel_scope.cancel()
        seconds = monotonic() - self._began
        if self.failure == "ended":
            self.failure = f"{how_it_ended(status)} {seconds:.1f} s after its start"
        if self.failure:
            log.warning("back end %s: process %d %s", self._context.backend, session.pid, self.failure)
        else:
            log.info(
                "back end %s: process %d was stopped after %.1f s and %s",
                self._context.backend,
                session.pid,
                seconds,
                how_it_ended(status),
            )


def _environment(settings: ProcessSettings, place: Place, own: Mapping[str, str]) -> dict[str, str]:
    inherit = settings.inherit_environment
    if inherit is True:
        variables = dict(own)
    elif inherit is False:
        variables = {}
    else:
        variables = {name: own[name] for name in (*HARMLESS_VARIABLES, *inherit) if name in own}
    variables |= place.variables
    variables |= {name: place.fill_in(value) for name, value in settings.environment.items()}
    return variables
