"""Tells an operator which objects are not in use, and why."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from daemun.routing.spec import ObjectStatus

__all__ = ["log_refused"]

log = logging.getLogger("daemun.routing")


def log_refused(refused: Iterable[ObjectStatus], source: str = "", before: Iterable[ObjectStatus] = ()) -> None:
    """Logs each that was not among `before`, what became of the objects when `source` published last.

    Sources publish for many reasons, and as often as others change something: what stays wrong is told once.
    """
    told = {status for status in before if status.error}
    for status in refused:
        if status not in told:
            log.warning("%s: %s %s refused: %s", status.origin or source, status.kind, status.name, status.error)
