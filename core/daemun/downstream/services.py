"""What all downstream connections of a worker share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from time import monotonic

from daemun.downstream.drain import Connections
from daemun.extend.culprit import Blame
from daemun.extend.observe import Observer
from daemun.extend.types import Dialect
from daemun.routing.table import Table
from daemun.scopes import Lender
from daemun.transport.timers import Timers

__all__ = ["Services"]

_MAX_CONTENT_TYPES = 1024
_MAX_CONTENT_TYPE_BYTES = 128
_NEWS_SECONDS = 60.0
_MAX_TOLD = 256


class Services:
    """What all connections of a worker share."""

    __slots__ = (
        "_by_content_type",
        "_told",
        "blame",
        "connections",
        "dialects",
        "lender",
        "observers",
        "table",
        "timers",
    )

    def __init__(
        self,
        table: Table,
        connections: Connections,
        timers: Timers,
        dialects: Sequence[Dialect] = (),
        observers: Sequence[Observer] = (),
        blame: Blame | None = None,
        lender: Lender | None = None,
    ) -> None:
        self.table = table
        self.connections = connections
        self.timers = timers
        self.lender = lender
        """Opens what plugins hold for a connection, or an exchange."""
        self._told: dict[str, float] = {}
        self.use(dialects, observers, blame or Blame())

    def use(self, dialects: Sequence[Dialect], observers: Sequence[Observer], blame: Blame) -> None:
        """From now on these are asked and told, also of what runs."""
        self.dialects = tuple(dialects)
        self.observers = tuple(observers)
        self.blame = blame
        """Who a fault is named after."""
        self._by_content_type: dict[bytes, Dialect | None] = {}

    def is_news(self, culprit: str) -> bool:
        """Whether no fault of the same place was logged within a minute: then it is worth a traceback."""
        now, told = monotonic(), self._told
        if now - told.get(culprit, -math.inf) < _NEWS_SECONDS:
            return False
        if len(told) >= _MAX_TOLD:
            told.clear()
        told[culprit] = now
        return True

    def dialect(self, content_type: bytes) -> Dialect | None:
        """The dialect whose requests have such a `content-type`."""
        known = self._by_content_type
        if content_type in known:
            return known[content_type]
        lower = content_type.lower()
        found = next((one for one in self.dialects if one.content_types and lower.startswith(one.content_types)), None)
        if len(content_type) <= _MAX_CONTENT_TYPE_BYTES:
            if len(known) >= _MAX_CONTENT_TYPES:
                known.clear()
            known[content_type] = found
        return found
