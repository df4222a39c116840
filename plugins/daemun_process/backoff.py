"""How long to wait before the next start, after starts that failed."""

from __future__ import annotations

from random import uniform
from time import monotonic

__all__ = ["Backoff"]

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 30.0


class Backoff:
    """0.1 s after the first failure, doubled by each further one up to 30 s, and up to half of it less.

    The part that is left to chance keeps back ends that failed together from starting together.
    """

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self._until = 0.0

    @property
    def remaining_seconds(self) -> float:
        """Time before the next start is due; 0: it may be now."""
        return max(0.0, self._until - monotonic())

    def failed(self) -> None:
        """One more start came to nothing."""
        longest = min(_FIRST_SECONDS * 2.0 ** min(self.failures, 16), _LONGEST_SECONDS)
        self.failures += 1
        self._until = monotonic() + uniform(longest / 2, longest)

    def recovered(self) -> None:
        """All is well: the next failure is the first one."""
        self.failures = 0
        self._until = 0.0
