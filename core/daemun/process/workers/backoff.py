"""How long to wait before a worker is started again."""

from __future__ import annotations

__all__ = ["Backoff"]

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 30.0
_HEALTHY_SECONDS = 30.0


class Backoff:
    """At once the first time, then 0.1 s, doubled up to 30 s; from the start again once one lived for 30 s."""

    def __init__(self) -> None:
        self._next = 0.0

    def pause_seconds(self, lived_seconds: float) -> float:
        """The pause after one that lived for so long."""
        if lived_seconds >= _HEALTHY_SECONDS:
            self._next = 0.0
        pause, self._next = self._next, min(max(_FIRST_SECONDS, 2 * self._next), _LONGEST_SECONDS)
        return pause
