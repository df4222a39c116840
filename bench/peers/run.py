"""A run: the origin, then one group of workloads after the other, and the result so far after each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from bench.peers import machine, websocket
from bench.peers.group import Group, rounds_of
from bench.peers.measure import Desk
from bench.peers.origin import origin
from bench.peers.peers import Found
from bench.peers.results import Measured, Options, PeerInfo, Result, Skipped
from bench.peers.workloads import Workload
from msgspec import Struct

__all__ = ["Plan", "run"]


class Plan(Struct, frozen=True):
    """What a run does."""

    found: list[Found]
    missing: list[Skipped]
    workloads: list[Workload]
    rounds: int
    seconds: float
    """Of one load."""
    full: bool
    wrk: str | None
    """Where wrk is; None: the generator of ours asks."""
    h2load: str | None
    """Where h2load is; None: what clients ask in HTTP/2 is left out."""
    generator: str
    nginx: str | None
    """Where the nginx of the origin is; None: the small server of ours answers."""
    compiler: str | None = None
    """The one for C; None: what talks WebSocket is left out."""

    @property
    def steps(self) -> int:
        """Measurements at most, for a progress bar."""
        return sum(rounds_of(workload, self.rounds) for workload in self.workloads) * len(self.found)


def run(plan: Plan, say: Callable[[str], None], step: Callable[[str, int], None]) -> Generator[Result, None, None]:
    """Measures all that is planned. Yields the result as it is after every group; the last is complete. An interrupt
    yields what there is, and is raised again.

    `say` gets what a person should read at once, `step` what is measured and how many steps that was. Raises
    `StartError` if the origin does not start. Closing the generator ends every process and removes every file.
    """
    date, load_before = datetime.now(UTC).isoformat(timespec="seconds"), machine.load_average()
    skipped, measured, arrived = list(plan.missing), list[Measured](), dict[str, str]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="daemun-peers-")))
        folder.chmod(0o755)  # workers of an nginx that root starts are somebody else
        programs = websocket.build(plan.compiler, folder) if plan.compiler else websocket.Programs("", "")
        behind = stack.enter_context(origin(plan.nginx, folder, programs.origin))
        desk = Desk(
            seconds=plan.seconds,
            wrk=plan.wrk,
            h2load=plan.h2load,
            websocket=programs.load,
            folder=folder,
            descriptors=machine.raise_descriptors(),
        )
        groups = [list(workloads) for _, workloads in groupby(plan.workloads, key=lambda workload: workload.group)]
        for number, workloads in enumerate(groups):
            group = Group(workloads, plan.found, desk, origin=behind, say=say, step=step)
            broken_off = False
            try:
                group.run(plan.rounds)
            except KeyboardInterrupt:
                broken_off = True
            skipped += group.skipped
            measured += group.measured()
            arrived |= group.arrived
            yield Result(
                date=date,
                machine=machine.describe(),
                options=Options(plan.rounds, plan.seconds, plan.full, plan.generator, behind.what),
                load_before=load_before,
                load_after=machine.load_average(),
                commit=machine.commit(),
                peers=[_told(one, arrived) for one in plan.found],
                skipped=list(skipped),
                measured=list(measured),
                complete=number + 1 == len(groups) and not broken_off,
            )
            if broken_off:
                raise KeyboardInterrupt


def _told(one: Found, arrived: dict[str, str]) -> PeerInfo:
    return PeerInfo(one.peer.name, one.peer.kind, one.version, one.features, arrived.get(one.peer.name, ""))
