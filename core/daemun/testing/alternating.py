"""Lanes measured alternately: in each round each lane runs a batch, so that a noisy machine meets all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles
from time import monotonic, perf_counter_ns

import anyio.lowlevel
from msgspec import Struct

from daemun.testing.measuring import Lane, settled_collector

__all__ = ["Figure", "Rounds", "alternate", "figure"]

_BATCH_NS = 4_000_000
_MIN_BATCH, _MAX_BATCH = 5, 1000
_MIN_ROUNDS = 15
_GOOD_NS, _GOOD_SHARE = 10.0, 0.01

Rounds = Sequence[Sequence[float]]
"""For each lane, CPU nanoseconds of one request in each round."""


class Figure(Struct, frozen=True):
    """CPU nanoseconds of one request, over several rounds."""

    ns: float
    """The median."""
    spread_ns: float
    """Half of what lies between the quartiles of the rounds."""
    error_ns: float
    """About how far the median of as many other rounds would be away."""


def figure(values: Sequence[float], without: Sequence[float] | None = None) -> Figure:
    """The figure of one lane; with `without`, of the difference to that one in the same rounds."""
    if without is not None:
        values = [value - other for value, other in zip(values, without, strict=True)]
    low, _, high = quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    spread = (high - low) / 2
    return Figure(median(values), spread, spread * 1.9 / len(values) ** 0.5)


async def alternate(
    lanes: Sequence[Lane],
    seconds: float,
    pairs: Sequence[tuple[int, int]] = (),
    progress: Callable[[float], None] = lambda _: None,
) -> list[list[float]]:
    """Rounds until the differences of `pairs` (positions of lanes: with, without) are sharp, or `seconds` are over.

    `progress` is called after each round with the share of the time that is over. Two rounds are run at least.
    """
    results: list[list[float]] = [[] for _ in lanes]
    batches: list[int] = []
    begun = monotonic()
    with settled_collector():
        for lane in lanes:
            await lane.run(_MIN_BATCH)
            since = perf_counter_ns()
            await lane.run(_MIN_BATCH)
            spent_ns = (perf_counter_ns() - since) / _MIN_BATCH  # by the clock: a plugin may wait
            batches.append(max(_MIN_BATCH, min(_MAX_BATCH, int(_BATCH_NS / spent_ns))))
        positions = list(range(len(lanes)))
        while True:
            for position in positions:
                results[position].append(await lanes[position].run(batches[position]))
                await anyio.lowlevel.checkpoint()
            positions.reverse()
            rounds, spent = len(results[0]), monotonic() - begun
            progress(min(1.0, spent / seconds))
            if rounds >= 2 and (spent >= seconds or (rounds >= _MIN_ROUNDS and _sharp(results, pairs))):
                return results


def _sharp(results: Rounds, pairs: Sequence[tuple[int, int]]) -> bool:
    figures = [figure(results[with_], results[without]) for with_, without in pairs]
    return bool(figures) and all(one.error_ns <= max(_GOOD_NS, _GOOD_SHARE * abs(one.ns)) for one in figures)
