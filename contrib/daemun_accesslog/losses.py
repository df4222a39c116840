"""What the gateway's own log says about lines that were lost: once when it begins, once when it is over."""

from __future__ import annotations

import logging
from time import monotonic

__all__ = ["Losses"]

log = logging.getLogger("daemun.accesslog")

_QUIET_SECONDS = 1.0
"""Nothing may be lost for it before a trouble counts as over, so that one that comes and goes is one."""


class Losses:
    """Counts lost lines, and tells of them by episode."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._open = False
        self._lost = 0
        self._last = 0.0

    def add(self, lines: int, why: str) -> None:
        """`lines` were lost; with 0, something is wrong that costs no line."""
        self._lost += lines
        self._last = monotonic()
        if not self._open:
            self._open = True
            what = "lines are lost until it works again" if lines else "lines go on to the file that was open"
            log.warning("%s: %s; %s", self._name, why, what)

    def written(self) -> None:
        """Lines were written, as they should."""
        if self._open and monotonic() - self._last >= _QUIET_SECONDS:
            self._open = False
            lost, self._lost = self._lost, 0
            log.warning("%s: works again; lines lost: %d", self._name, lost)

    def close(self) -> None:
        """Nothing more comes."""
        if self._lost:
            log.warning("%s: closed; lines lost: %d", self._name, self._lost)
