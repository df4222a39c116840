"""What is wrong with Ingresses, said once: in the log of every replica, and by the leader as events on the objects."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from daemun_kubernetes.client.events import Recorder
from daemun_kubernetes.client.kinds import INGRESS, Ingress
from daemun_kubernetes.ingress.translate import Problem
from daemun_kubernetes.view.references import Key

__all__ = ["Reporter"]

log = logging.getLogger("daemun.kubernetes")

_AGAIN_SECONDS = 600.0
"""What comes and goes is said no more often."""


class Reporter:
    """Says problems of Ingresses."""

    def __init__(self, recorder: Recorder, current: Callable[[Key], Ingress | None]) -> None:
        """`current` is the Ingress as it was seen last."""
        self._recorder = recorder
        self._current = current
        self._leading = False
        self._problems: dict[Key, tuple[Problem, ...]] = {}
        self._logged: dict[tuple[Key, Problem], float] = {}
        self._recorded: dict[tuple[Key, Problem], float] = {}

    def lead(self, leading: bool) -> None:
        """Whether events are this replica's to write, from now on."""
        self._leading = leading
        if leading:
            for key in self._problems:
                self._record(key)

    def report(self, key: Key, problems: tuple[Problem, ...]) -> None:
        """All that is wrong with an Ingress now; nothing: it is well, or gone."""
        if not problems:
            self._problems.pop(key, None)
            return
        self._problems[key] = problems
        for problem in problems:
            if _is_due(self._logged, (key, problem)):
                log.warning("ingress %s/%s: %s", *key, problem.message)
        if self._leading:
            self._record(key)

    def _record(self, key: Key) -> None:
        ingress = self._current(key)
        if ingress is None:
            return
        for problem in self._problems[key]:
            if _is_due(self._recorded, (key, problem)):
                self._recorder.record(INGRESS, ingress, problem.reason, problem.message, "Warning")


def _is_due(said: dict[tuple[Key, Problem], float], what: tuple[Key, Problem]) -> bool:
    """Whether `what` was not said lately; it is noted as said."""
    now = monotonic()
    if now - said.get(what, -_AGAIN_SECONDS) < _AGAIN_SECONDS:
        return False
    said.pop(what, None)
    said[what] = now
    while said and now - next(iter(said.values())) >= _AGAIN_SECONDS:
        del said[next(iter(said))]
    return True
