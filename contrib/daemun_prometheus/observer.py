"""What each exchange pays: one look-up by route, status and reason, and a few additions."""

from __future__ import annotations

from bisect import bisect_left
from time import monotonic

from daemun import Exchange, ExchangeError, Observer, Peer, Reason, Request, Response
from daemun_grpc import Call, Code, call_of
from daemun_prometheus.cells import Cells
from daemun_prometheus.families import cell_counts
from daemun_prometheus.label_sets import LabelSets
from daemun_prometheus.settings import PrometheusSettings

__all__ = ["PrometheusObserver"]

_PLUGIN_FAULT = Reason.PLUGIN_FAULT  # members of an enumeration are slow to reach
_UNKNOWN_PLUGIN = "unknown"
_UNKNOWN_METHOD = ("other", "other")
"""Service and method of a call that no upstream has shown to know."""

_Key = tuple[str, int, str | None]
_Found = tuple[int, int, int, int, int]


class PrometheusObserver(Observer):
    """Counts into `cells`."""

    def __init__(self, settings: PrometheusSettings, cells: Cells) -> None:
        self._cells = cells
        self._sets = LabelSets(cells, cell_counts(settings), settings.max_label_sets)
        self._values = cells.values
        self._durations = settings.duration_buckets_seconds
        self._cold_starts = settings.cold_start_buckets_seconds
        self._known: dict[_Key, _Found] = {}
        self._methods: set[tuple[str, str]] = set()
        self._calls: dict[tuple[str, str, str, str], int] = {}
        self._max_known = settings.max_label_sets

    def finished(self, request: Request, response: Response | None, exchange: Exchange) -> None:
        reason = exchange.reason
        key = (exchange.route, exchange.status, None if reason is None else reason._value_)
        requests, received, sent, duration, buckets = self._known.get(key) or self._find(key)
        values = self._values
        seconds = monotonic() - exchange.started
        values[requests] += 1.0
        values[received] += exchange.received_bytes
        values[sent] += exchange.sent_bytes
        values[duration] += seconds
        values[buckets + bisect_left(self._durations, seconds)] += 1.0
        if exchange.cold_start_seconds >= 0.0:
            self._cold_start(exchange)
        if reason is _PLUGIN_FAULT:
            self._add("plugin_fault", exchange.plugin or _UNKNOWN_PLUGIN)
        if exchange.dialect is not None:
            call = call_of(request, response, exchange)
            if call is not None:
                self._called(exchange, call)

    def refused(self, peer: Peer, error: ExchangeError) -> None:
        self._add("refused", peer.listener, error.reason.value)

    def _find(self, key: _Key) -> _Found:
        route, status, reason = key
        requests = self._sets.find("requests", route, str(status), reason or "")
        first = self._sets.find("route", route)
        self._values = self._cells.values
        found = (requests, first, first + 1, first + 2, first + 3)
        if len(self._known) < self._max_known:
            self._known[key] = found
        return found

    def _cold_start(self, exchange: Exchange) -> None:
        at = self._sets.find("cold_start", exchange.route)
        values = self._values = self._cells.values
        values[at] += 1.0
        values[at + 1] += exchange.cold_start_seconds
        values[at + 2 + bisect_left(self._cold_starts, exchange.cold_start_seconds)] += 1.0

    def _called(self, exchange: Exchange, call: Call) -> None:
        names = (call.service, call.method)
        if names not in self._methods:
            if exchange.reason is None and call.code not in (None, Code.UNIMPLEMENTED):
                if len(self._methods) < self._max_known:
                    self._methods.add(names)
            else:
                names = _UNKNOWN_METHOD
        key = (exchange.route, *names, "" if call.code is None else call.code.name)
        at = self._calls.get(key)
        if at is None:
            at = self._sets.find("grpc_calls", *key)
            self._values = self._cells.values
            if len(self._calls) < self._max_known:
                self._calls[key] = at
        self._values[at] += 1.0
        if call.request_messages >= 0:
            at = self._sets.find("grpc_messages", *key[:3])
            values = self._values = self._cells.values
            values[at] += call.request_messages
            values[at + 1] += call.response_messages

    def _add(self, kind: str, *labels: str) -> None:
        at = self._sets.find(kind, *labels)
        values = self._values = self._cells.values
        values[at] += 1.0
