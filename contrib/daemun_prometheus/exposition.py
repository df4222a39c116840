"""From numbers to the text of a scrape: summed over workers, in the format that was asked for, compressed if that was.

It runs in a thread, which shares the interpreter with the event loop. So it works in small pieces and sleeps between
them: a thread that never waits would hold the event loop up for milliseconds, again and again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice
from operator import add
from time import sleep
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from daemun_prometheus.cells import Record
from daemun_prometheus.families import FAMILIES, LABELS, Family, buckets_of, cell_counts
from daemun_prometheus.label_sets import overflow
from daemun_prometheus.settings import PrometheusSettings
from daemun_prometheus.workers import Gauge

__all__ = ["Exposition", "Page"]

_PIECE = 100
"""Samples, or records, that are worked on at once: less than a millisecond."""
_PIECE_OF_HISTOGRAMS = 20
_PAUSE_SECONDS = 0.00005
_COMBINE: dict[str, Callable[[float, float], float]] = {"sum": add, "max": max, "min": min}
_END = b"# EOF\n"
_GZIP_WINDOW = 31

_Labels = tuple[str, ...]
_Counted = dict[str, dict[_Labels, tuple[float, ...]]]
_Encoder = Callable[[Collector], bytes]


class Page(NamedTuple):
    """The answer to a scrape."""

    content_type: str
    encoding: str
    """`gzip`, or ""."""
    pieces: list[bytes]


class _One(Collector):
    """What a registry with one metric collects."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]


class Exposition:
    """How the numbers that `settings` ask for are shown."""

    def __init__(self, settings: PrometheusSettings) -> None:
        self._settings = settings
        self._cell_counts = cell_counts(settings)

    def page(self, records: Iterable[Record], gauges: Iterable[Gauge], accept: str, *, gzip: bool) -> Page:
        """All families. `accept` is the request's field of this name."""
        try:
            encoder, content_type = choose_encoder(accept)
        except (ValueError, TypeError):  # a version that is no version
            encoder, content_type = choose_encoder("")
        counted, current = self._summed(records), _combined(gauges)
        pieces = self._pieces(encoder, counted, current)
        if gzip:
            return Page(content_type, "gzip", list(_compressed(pieces)))
        return Page(content_type, "", list(pieces))

    def _summed(self, records: Iterable[Record]) -> _Counted:
        counted: _Counted = {kind: {} for kind in LABELS}
        for number, (kind, labels, values) in enumerate(records):
            if number % _PIECE == 0:
                sleep(_PAUSE_SECONDS)
            if len(values) != self._cell_counts.get(kind) or len(labels) != len(LABELS[kind]):
                continue
            before = counted[kind].get(labels)
            counted[kind][labels] = values if before is None else tuple(map(add, before, values))
        for kind, sets in counted.items():
            if not any(sets.get(overflow(kind), ())):
                sets.pop(overflow(kind), None)
        return counted

    def _pieces(
        self, encoder: _Encoder, counted: _Counted, current: dict[str, dict[_Labels, float]]
    ) -> Iterator[bytes]:
        for family in FAMILIES:
            head = _encoded(encoder, family, [])
            yield head
            if family.type == "histogram":
                bounds = buckets_of(family.record, self._settings)
                pieces = _histograms(encoder, family, head, bounds, counted[family.record])
            elif family.record:
                values = {labels: cells[family.at] for labels, cells in counted[family.record].items()}
                pieces = _samples(encoder, family, head, values)
            else:
                pieces = _samples(encoder, family, head, dict(sorted(current[family.name].items())))
            for piece in pieces:
                yield piece
                sleep(_PAUSE_SECONDS)
        if end := encoder(CollectorRegistry()):
            yield end


def _samples(encoder: _Encoder, family: Family, head: bytes, values: dict[_Labels, float]) -> Iterator[bytes]:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    sets = iter(values.items())
    while piece := list(islice(sets, _PIECE)):
        samples = [Sample(name, dict(zip(family.labels, labels, strict=True)), value) for labels, value in piece]
        yield _encoded(encoder, family, samples).removeprefix(head)


def _histograms(
    encoder: _Encoder, family: Family, head: bytes, bounds: tuple[float, ...], counted: dict[_Labels, tuple[float, ...]]
) -> Iterator[bytes]:
    """The lines of `_count` are the library's, which escapes labels there. All others are made from them: what they
    add, bounds and numbers, needs no escaping, and the library takes ten times as long for each."""
    words = [*map(_number, bounds), "+Inf"]
    first, end = family.at + 1, family.at + 1 + len(words)
    before = f"{family.name}_count{{"
    sets = iter(counted.items())
    while piece := list(islice(sets, _PIECE_OF_HISTOGRAMS)):
        samples = [
            Sample(f"{family.name}_count", dict(zip(family.labels, labels, strict=True)), sum(values[first:end]))
            for labels, values in piece
        ]
        lines = _encoded(encoder, family, samples).removeprefix(head).decode().split("\n")
        text = []
        for line, (_, values) in zip(lines, piece, strict=False):
            labels = line.removeprefix(before).rpartition("} ")[0]
            for word, total in zip(words, accumulate(values[first:end]), strict=True):
                text.append(f'{family.name}_bucket{{{labels},le="{word}"}} {_number(total)}\n')
            text.append(f"{line}\n{family.name}_sum{{{labels}}} {_number(values[family.at])}\n")
        yield "".join(text).encode()


def _number(value: float) -> str:
    text: str = floatToGoString(value)  # type: ignore[no-untyped-call]
    return text


def _combined(gauges: Iterable[Gauge]) -> dict[str, dict[_Labels, float]]:
    families = {family.name: family for family in FAMILIES if not family.record}
    current: dict[str, dict[_Labels, float]] = {name: {} for name in families}
    for number, (name, labels, value) in enumerate(gauges):
        if number % _PIECE == 0:
            sleep(_PAUSE_SECONDS)
        family = families.get(name)
        if family is None or len(labels) != len(family.labels):
            continue
        values = current[name]
        if labels in values:
            value = _COMBINE[family.combine](value, values[labels])
        values[labels] = value
    return current


def _encoded(encoder: _Encoder, family: Family, samples: list[Sample]) -> bytes:
    metric = Metric(family.name, family.words, family.type)
    metric.samples = samples
    return encoder(_One(metric)).removesuffix(_END)


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(wbits=_GZIP_WINDOW)
    for piece in pieces:
        if compressed := compressor.compress(piece):
            yield compressed
    yield compressor.flush()
