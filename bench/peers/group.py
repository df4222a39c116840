"""One group of workloads: every peer started as they want it, asked once, warmed up, then measured in turn."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from bench.peers import load
from bench.peers.answers import AnswerError, arrived, check
from bench.peers.load import LoadError
from bench.peers.measure import MEASURES, Desk
from bench.peers.origin import Origin, certificate
from bench.peers.peers import Found
from bench.peers.place import Place, Setup
from bench.peers.process import Running, StartError, free_port, last_lines, started
from bench.peers.results import Measured, Round, Skipped
from bench.peers.workloads import Workload

__all__ = ["Group", "rounds_of"]

_FEW = 3
"""Rounds of what takes long and varies little, and of what a capacity is the median of."""
_WARM_SECONDS = 1.0
_FAULTS = (LoadError, AnswerError, StartError, OSError)
_numbers = count(1)


def rounds_of(workload: Workload, rounds: int) -> int:
    """In how many rounds the workload is measured if `rounds` are asked for."""
    return rounds if workload.kind in ("cpu", "latency", "sockets") else min(rounds, _FEW)


class Group:
    """A group while it is measured."""

    def __init__(
        self,
        workloads: list[Workload],
        found: list[Found],
        desk: Desk,
        *,
        origin: Origin,
        say: Callable[[str], None],
        step: Callable[[str, int], None],
    ) -> None:
        self.skipped: list[Skipped] = []
        self.arrived: dict[str, str] = {}
        """Which fields about the client reached the origin, by peer."""
        self._workloads, self._found, self._desk, self._origin = workloads, found, desk, origin
        self._say, self._step = say, step
        self._rounds: dict[tuple[str, str], list[Round]] = {}
        self._running: dict[tuple[str, Setup], Running] = {}

    def measured(self) -> list[Measured]:
        """The figures of those that took part in every round."""
        return [
            Measured(
                workload,
                {
                    one.peer.name: self._rounds[one.peer.name, workload.name]
                    for one in self._found
                    if (one.peer.name, workload.name) in self._rounds
                },
            )
            for workload in self._workloads
        ]

    def run(self, rounds: int) -> None:
        """Measures; what cannot take part is in `skipped`. Every process has ended when it returns or raises."""
        pairs = [(workload, one) for workload in self._workloads for one in self._found if self._can(workload, one)]
        with ExitStack() as stack:
            if self._workloads[0].kind != "idle":  # memory is measured in a process of its own each time
                pairs = [pair for pair in pairs if self._ready(stack, *pair)]
            if self._workloads[0].kind == "latency":
                pairs = self._with_capacity(pairs)
            for number in range(max(rounds_of(workload, rounds) for workload in self._workloads)):
                for pair in [pair for pair in pairs if number < rounds_of(pair[0], rounds)]:
                    workload, one = pair
                    self._step(f"{workload.name}, round {number + 1}: {one.peer.name}", 1)
                    try:
                        figures = self._measure(workload, one)
                    except _FAULTS as error:
                        self._skip(workload, one, self._with_log(workload, one, error))
                        pairs = [other for other in pairs if other is not pair]
                    else:
                        self._rounds.setdefault((one.peer.name, workload.name), []).append(figures)

    def _skip(self, workload: Workload, one: Found, reason: str) -> None:
        self.skipped.append(Skipped(one.peer.name, workload.name, reason))
        self._rounds.pop((one.peer.name, workload.name), None)
        self._say(f"{one.peer.name} is left out of “{workload.title}”: {reason}")

    def _with_log(self, workload: Workload, one: Found, error: Exception) -> str:
        running = self._running.get((one.peer.name, workload.setup))
        lines = last_lines(running.log) if running is not None else ""
        return f"{error}; its log ends: {lines}" if lines else str(error)

    def _can(self, workload: Workload, one: Found) -> bool:
        brings = workload.setup.brings
        reason = f"it has no {brings}" if brings and one.peer.kind != "ours" else ""
        reason = reason or one.peer.lacks(workload.setup) or load.cannot(workload, self._desk.wrk, self._desk.h2load)
        reason = reason or self._origin.cannot(workload.setup)
        if reason:
            self._skip(workload, one, reason)
        return not reason

    def _ready(self, stack: ExitStack, workload: Workload, one: Found) -> bool:
        """Starts the peer if it does not run yet, looks at an answer of it, and warms it up."""
        name = one.peer.name
        self._step(f"{workload.name}, warming up: {name}", 0)
        try:
            running = self._running.get((name, workload.setup))
            if running is None:
                running = stack.enter_context(self._started(one, workload.setup))
                self._running[name, workload.setup] = running
            check(workload, running.port, self._origin)
            if name not in self.arrived and workload.setup == Setup():
                self.arrived[name] = arrived(running.port)
            if workload.kind in ("cpu", "latency", "sockets"):
                self._desk.run(workload, running.port, _WARM_SECONDS)
        except _FAULTS as error:
            self._skip(workload, one, self._with_log(workload, one, error))
            return False
        return True

    def _with_capacity(self, pairs: list[tuple[Workload, Found]]) -> list[tuple[Workload, Found]]:
        """Finds the capacity of each peer, in turn and several times as all else; those without are left out."""
        first = self._workloads[0]
        counted: dict[str, list[float]] = {}
        faulty: dict[str, str] = {}
        limits: list[float] = []
        peers = {one.peer.name: one for _, one in pairs}
        for number in range(_FEW):
            for name, one in peers.items():
                if name in faulty:
                    continue
                self._step(f"capacity, round {number + 1}: {name}", 0)
                try:
                    done = self._desk.run(first, self._running[name, first.setup].port)
                except _FAULTS as error:
                    faulty[name] = self._with_log(first, one, error)
                else:
                    counted.setdefault(name, []).append(done.requests / done.seconds)
            alone = load.paced(first, self._origin.port, seconds=self._desk.seconds, rate=0.0)
            limits.append(alone.requests / alone.seconds)
        self._desk.generator_per_second = statistics.median(limits)
        for name, found in counted.items():
            self._desk.capacities[name] = statistics.median(found)
        for workload, one in pairs:
            if one.peer.name in faulty:
                self._skip(workload, one, faulty[one.peer.name])
        return [pair for pair in pairs if pair[1].peer.name not in faulty]

    def _measure(self, workload: Workload, one: Found) -> Round:
        name = one.peer.name
        if workload.kind != "idle":
            return MEASURES[workload.kind](self._desk, workload, name, self._running[name, workload.setup])
        with self._started(one, workload.setup) as running:
            check(workload, running.port, self._origin)
            return MEASURES[workload.kind](self._desk, workload, name, running)

    @contextmanager
    def _started(self, one: Found, setup: Setup) -> Iterator[Running]:
        folder = self._desk.folder / f"{next(_numbers)}-{one.peer.name}-{setup.label}"
        folder.mkdir()
        chain, key = _pair(self._desk.folder) if setup.tls else (Path(), Path())
        place = Place(one.binary, folder, free_port(), self._origin.port_for(setup), setup, chain, key)
        command = one.peer.command(place)
        with started(command.argv, port=place.port, log=folder / "log", env=command.env) as running:
            yield running


def _pair(folder: Path) -> tuple[Path, Path]:
    """The certificate of this run and its key, made when they are first wanted."""
    chain, key = folder / "certificate.pem", folder / "key.pem"
    if not chain.exists():
        fault = certificate(chain, key)
        if fault:
            raise StartError(fault)
    return chain, key
