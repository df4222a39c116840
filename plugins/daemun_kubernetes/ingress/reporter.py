"""What is wrong with Ingresses: said once in the log of every replica, and by the leader as events on the objects,
which are said anew for as long as it lasts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from random import uniform

import anyio

from daemun_kubernetes.client.events import Recorder
from daemun_kubernetes.client.kinds import INGRESS, Ingress
from daemun_kubernetes.ingress.translate import Problem
from daemun_kubernetes.view.references import Key

__all__ = ["SETTLE_SECONDS", "Reporter"]

log = logging.getLogger("daemun.kubernetes")

SETTLE_SECONDS = 5.0
"""What may pass by itself, such as a Service that is created after its Ingress, is said when it has lasted for that."""
_AGAIN_SECONDS = 600.0
"""What comes and goes is said no more often."""
_LASTING_SECONDS = 1800.0
"""What lasts is said again after so long, more or less: an Event is kept for an hour."""
_LATER_SECONDS = 30.0
"""When it is tried again to say what there was no room for."""

_Fact = tuple[Key, Problem]


class Reporter:
    """Says problems of Ingresses while `run` runs."""

    def __init__(self, recorder: Recorder, current: Callable[[Key], Ingress | None]) -> None:
        """`current` is the Ingress as it was seen last."""
        self._recorder = recorder
        self._current = current
        self._leading = False
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        self._waiting: dict[_Fact, float] = {}
        """What is to be said, and when."""
        self._logged: dict[_Fact, float] = {}
        self._recorded: dict[_Fact, float] = {}
        self._lasting: dict[_Fact, float] = {}
        """What was said as an event, and when to say it again."""
        self._news = anyio.Event()

    def lead(self, leading: bool) -> None:
        """Whether events are this replica's to write, from now on."""
        self._leading = leading
        if leading:
            for key, problems in self._problems.items():
                for problem in problems:
                    if (key, problem) not in self._waiting:
                        self._record((key, problem))
            self._news.set()

    def report(self, key: Key, problems: tuple[Problem, ...]) -> None:
        """All that is wrong with an Ingress now; nothing: it is well, or gone."""
        before = self._problems.pop(key, ())
        if problems:
            self._problems[key] = problems
        for problem in before:
            if problem not in problems:
                self._waiting.pop((key, problem), None)
                self._lasting.pop((key, problem), None)
        for problem in problems:
            if problem not in before:
                self._waiting[key, problem] = anyio.current_time() + (SETTLE_SECONDS if problem.passing else 0)
        self._news.set()

    async def run(self) -> None:
        """Says what is due, for ever."""
        while True:
            self._news = anyio.Event()
            now = anyio.current_time()
            for fact in [fact for fact, due in self._waiting.items() if due <= now]:
                del self._waiting[fact]
                self._say(fact)
            for fact in [fact for fact, due in self._lasting.items() if due <= now]:
                del self._lasting[fact]
                if self._leading:
                    self._record(fact, again=True)
            with anyio.CancelScope(deadline=min((*self._waiting.values(), *self._lasting.values()), default=math.inf)):
                await self._news.wait()

    def _say(self, fact: _Fact) -> None:
        (namespace, name), problem = fact
        if _is_due(self._logged, fact):
            log.warning("ingress %s/%s: %s", namespace, name, problem.message)
        if self._leading:
            self._record(fact)

    def _record(self, fact: _Fact, *, again: bool = False) -> None:
        key, problem = fact
        ingress = self._current(key)
        if ingress is None:
            return
        pause = _LASTING_SECONDS * uniform(0.8, 1.2)
        if (_is_due(self._recorded, fact) or again) and not self._recorder.record(
            INGRESS, ingress, problem.reason, problem.message, "Warning"
        ):
            pause = _LATER_SECONDS * uniform(1, 2)
        self._lasting[fact] = anyio.current_time() + pause


def _is_due(said: dict[_Fact, float], fact: _Fact) -> bool:
    """Whether `fact` was not said lately; it is noted as said."""
    now = anyio.current_time()
    while said and now - next(iter(said.values())) >= _AGAIN_SECONDS:
        del said[next(iter(said))]
    if fact in said:
        return False
    said[fact] = now
    return True
