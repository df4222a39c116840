"""How long to wait after something failed."""

from __future__ import annotations

from random import uniform

__all__ = ["Backoff"]

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 10.0


class Backoff:
    """Up to 0.1 s after the first failure, doubled by each further one up to 10 s; nine tenths are left to chance.

    So those that lost their server together do not come back together.
    """

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""

    def failed(self) -> float:
        """One more failure: how many seconds to wait."""
        longest = min(_FIRST_SECONDS * 2.0 ** min(self.failures, 16), _LONGEST_SECONDS)
        self.failures += 1
        return uniform(longest / 10, longest)

    def recovered(self) -> None:
        """All is well: the next failure is the first one."""
        self.failures = 0
