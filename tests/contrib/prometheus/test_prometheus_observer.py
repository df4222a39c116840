"""Counting itself: which cells, how many label sets, and how many Python calls."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from daemun import ExchangeError, Peer, Reason, Request
from daemun.testing import make_request
from daemun_prometheus.cells import MemoryCells, Record
from daemun_prometheus.exposition import Exposition
from daemun_prometheus.observer import PrometheusObserver
from daemun_prometheus.settings import PrometheusSettings

TEXT, OPENMETRICS = "text/plain", "application/openmetrics-text; version=1.0.0"
Values = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def shown(settings: PrometheusSettings, cells: MemoryCells, accept: str = TEXT) -> Values:
    page = Exposition(settings).page(cells.reading()(), [], accept, gzip=False)
    parse = parse_openmetrics if accept == OPENMETRICS else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(b"".join(page.pieces).decode())
        for sample in family.samples
    }


def routes_of(values: Values, name: str) -> dict[str, float]:
    return {dict(labels)["route"]: value for (sample, labels), value in values.items() if sample == name}


def over(route: str, status: int = 200, reason: Reason | None = None) -> Request:
    """A request that is over."""
    request = make_request()
    exchange = request.exchange
    exchange.route, exchange.status, exchange.reason, exchange.sent_bytes = route, status, reason, 3
    return request


def finish(observer: PrometheusObserver, *requests: Request) -> None:
    for request in requests:
        observer.finished(request, None, request.exchange)


def test_a_request_costs_one_python_call() -> None:
    observer = PrometheusObserver(PrometheusSettings(), MemoryCells())
    request = over("all")
    finish(observer, request)
    calls: list[str] = []

    def count(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_qualname)

    gc.disable()  # whoever watches it is called too
    sys.setprofile(count)
    try:
        observer.finished(request, None, request.exchange)
    finally:
        sys.setprofile(None)
        gc.enable()
    assert calls == ["PrometheusObserver.finished"]


def test_label_sets_are_bounded_and_so_is_what_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    settings, cells = PrometheusSettings(max_label_sets=3), MemoryCells()
    observer = PrometheusObserver(settings, cells)
    finish(observer, *(over(f"r{number}") for number in range(100)), over("r1"), over("r99"))
    size = len(list(cells.places()))
    finish(observer, *(over(f"again{number}") for number in range(100)))
    assert len(list(cells.places())) == size
    assert routes_of(shown(settings, cells), "daemun_requests_total") == {"r0": 1, "r1": 2, "r2": 1, "overflow": 198}
    assert routes_of(shown(settings, cells), "daemun_sent_bytes_total") == {"r0": 3, "r1": 6, "r2": 3, "overflow": 594}
    assert len([one for one in caplog.records if "label sets" in one.getMessage()]) == 2


def test_refusals_and_faults_are_bounded_too() -> None:
    settings, cells = PrometheusSettings(max_label_sets=1), MemoryCells()
    observer = PrometheusObserver(settings, cells)
    for name in ("a", "b", "b"):
        observer.refused(Peer(listener=name), ExchangeError(Reason.BAD_REQUEST))
    values = shown(settings, cells)
    assert values["daemun_refused_requests_total", (("listener", "a"), ("reason", "bad_request"))] == 1
    assert values["daemun_refused_requests_total", (("listener", "overflow"), ("reason", "overflow"))] == 2


def test_nothing_is_said_of_an_overflow_that_did_not_happen() -> None:
    settings, cells = PrometheusSettings(), MemoryCells()
    PrometheusObserver(settings, cells)
    assert not shown(settings, cells)


class FullCells(MemoryCells):
    """Cells on a disk that becomes full."""

    full = False

    def append(self, kind: str, labels: tuple[str, ...], count: int) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().append(kind, labels, count)


def test_a_full_disk_costs_labels_and_no_counts(caplog: pytest.LogCaptureFixture) -> None:
    settings, cells = PrometheusSettings(), FullCells()
    observer = PrometheusObserver(settings, cells)
    finish(observer, over("early"))
    cells.full = True
    finish(observer, over("early"), over("late"), over("late"))
    assert routes_of(shown(settings, cells), "daemun_requests_total") == {"early": 2, "overflow": 2}
    assert len([one for one in caplog.records if "no space left" in one.getMessage().lower()]) == 2


@given(st.lists(st.text(max_size=300), max_size=5))
def test_a_route_may_have_any_name(names: list[str]) -> None:
    settings, cells = PrometheusSettings(), MemoryCells()
    observer = PrometheusObserver(settings, cells)
    finish(observer, *map(over, names))
    for accept in (TEXT, OPENMETRICS):
        page = Exposition(settings).page(cells.reading()(), [], accept, gzip=False)
        text = b"".join(page.pieces).decode()
        assert text.count("\ndaemun_requests_total{") == len({name[:256] for name in names})


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "line\nbreak", "한국어", "{}=,", "a\\nb", "\ud800"])
@pytest.mark.parametrize("accept", [TEXT, OPENMETRICS])
def test_an_odd_name_is_read_back(name: str, accept: str) -> None:
    settings, cells = PrometheusSettings(), MemoryCells()
    finish(PrometheusObserver(settings, cells), over(name))
    assert routes_of(shown(settings, cells, accept), "daemun_requests_total") == {name.replace("\ud800", "?"): 1}


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=50))
def test_every_duration_is_in_the_bucket_of_its_bound(waits: list[float]) -> None:
    bounds = (0.5, 1.0, 2.0, 50.0)
    settings, cells = PrometheusSettings(cold_start_buckets_seconds=bounds), MemoryCells()
    observer = PrometheusObserver(settings, cells)
    for wait in waits:
        request = over("all")
        request.exchange.cold_start_seconds = wait
        finish(observer, request)
    values = shown(settings, cells)
    for bound in (*bounds, float("inf")):
        le = "+Inf" if bound == float("inf") else str(bound)
        found = values["daemun_cold_start_seconds_bucket", (("le", le), ("route", "all"))]
        assert found == sum(wait <= bound for wait in waits)
    assert values["daemun_cold_start_seconds_sum", (("route", "all"),)] == pytest.approx(sum(waits))


def test_records_of_another_shape_are_not_shown() -> None:
    settings = PrometheusSettings()
    odd: Iterable[Record] = [
        Record("requests", ("all", "200", ""), (1.0, 2.0)),
        Record("requests", ("all",), (1.0,)),
        Record("strange", ("all",), (1.0,)),
    ]
    page = Exposition(settings).page(odd, [], TEXT, gzip=False)
    assert not [sample for family in parse_text(b"".join(page.pieces).decode()) for sample in family.samples]


def test_what_was_counted_before_goes_on() -> None:
    settings, cells = PrometheusSettings(), MemoryCells()
    finish(PrometheusObserver(settings, cells), over("all"))
    finish(PrometheusObserver(settings, cells), over("all"), over("new"))
    assert routes_of(shown(settings, cells), "daemun_requests_total") == {"all": 2, "new": 1}


def test_a_reading_is_of_the_moment_it_was_asked_for() -> None:
    settings, cells = PrometheusSettings(), MemoryCells()
    observer = PrometheusObserver(settings, cells)
    finish(observer, over("all"))
    reading = cells.reading()
    finish(observer, over("all"), over("late"))
    counted = {labels: values for kind, labels, values in reading() if kind == "requests" and any(values)}
    assert counted == {("all", "200", ""): (1.0,)}


def test_a_page_is_made_in_pieces_with_pauses_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that never waits holds the event loop up: what is done at once must stay small."""
    pauses: list[float] = []
    monkeypatch.setattr("daemun_prometheus.exposition.sleep", pauses.append)
    settings, cells = PrometheusSettings(), MemoryCells()
    finish(PrometheusObserver(settings, cells), *(over(f"route-{number}") for number in range(3000)))
    page = Exposition(settings).page(cells.reading()(), [], TEXT, gzip=False)
    assert sum(map(len, page.pieces)) > 3_000_000
    assert max(map(len, page.pieces)) < 40_000
    assert len(pauses) >= sum(len(piece) > 1_000 for piece in page.pieces)
    assert all(pause > 0 for pause in pauses)
