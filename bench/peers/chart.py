"""The chart: a bar a peer, a block a workload, each bar the ratio to one peer on a logarithmic axis that starts at 1.

A bar to the left is cheaper than that peer, one to the right dearer. Colours are three of a palette that colour-blind
people tell apart, and every bar has its name and number beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.sax.saxutils import escape

from bench.peers.figures import METRICS, Figure, figures, ratio, reference, short
from bench.peers.results import Result
from msgspec import Struct

__all__ = ["svg"]

_WIDTH, _COLUMN, _GAP = 1040, 500, 40
_NAMES, _BAR, _HEAD, _BETWEEN = 84, 17, 26, 16
_LABEL = 46
"""Room for a number beside the longest bar, on both sides."""
_NUMBER = 36
"""Room for a number at the axis."""
_TOP, _AXIS = 92, 40
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
_COLOURS = {"ours": "#d55e00", "compiled": "#0072b2", "python": "#8c8c8c"}
_LEGEND = (("ours", "daemun"), ("compiled", "compiled proxies"), ("python", "Python proxies"))
_STYLE = """
.pc{font:13px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
.pc text{fill:#222}.pc .pc-back{fill:#fff}.pc .pc-soft{fill:#5a5a5a}.pc .pc-head{font-weight:600}
.pc .pc-title{font-size:18px;font-weight:600}.pc .pc-grid{stroke:#ddd}.pc .pc-one{stroke:#444;stroke-width:1.5}
.pc .pc-whisker{stroke:#222;stroke-width:1.3}.pc .pc-small{font-size:12px}
@media (prefers-color-scheme:dark){.pc text{fill:#e8e8e8}.pc .pc-back{fill:#16181c}.pc .pc-soft{fill:#a8a8a8}
.pc .pc-grid{stroke:#33373d}.pc .pc-one{stroke:#bbb}.pc .pc-whisker{stroke:#f0f0f0}
.pc .pc-compiled{fill:#4aa3df}.pc .pc-ours{fill:#f0803c}.pc .pc-python{fill:#8f959d}}
"""


_Bar = tuple[str, float, float, float]
"""Peer, and the ratios of its median, least and greatest."""


class _Block(Struct, frozen=True):
    title: str
    bars: list[_Bar]

    @property
    def height(self) -> int:
        return _HEAD + _BAR * len(self.bars) + _BETWEEN


def svg(result: Result) -> str:
    """The chart as an SVG document; a page may hold it as it is."""
    to = reference(result)
    kinds = {peer.name: peer.kind for peer in result.peers}
    blocks = _blocks(result, to)
    columns = _columns(blocks)
    scale = _Scale([value for block in blocks for bar in block.bars for value in bar[1:]])
    width = _WIDTH if len(columns) > 1 else _COLUMN + 2 * _GAP // 2 + 180
    tallest = max((sum(block.height for block in column) for column in columns), default=0)
    height = _TOP + tallest + _AXIS + 20
    title = f"Cost beside {to}: ratio of medians, less is better"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="pc" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-labelledby="pc-title">',
        f'<title id="pc-title">{escape(title)}</title><style>{_STYLE}</style>',
        f'<rect class="pc-back" width="{width}" height="{height}"/>',
        f'<text class="pc-title" x="20" y="30">{escape(title)}</text>',
        *_legend(),
    ]
    for number, column in enumerate(columns):
        left = 20 + number * (_COLUMN + _GAP // 2)
        parts += _column(column, left, scale, kinds, to)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """Ratios to places from 0 to 1, logarithmically, with a tick at both ends."""

    def __init__(self, values: list[float]) -> None:
        low, high = min([0.5, *values]), max([2.0, *values])
        self.ticks = [
            tick
            for number, tick in enumerate(_TICKS)
            if _TICKS[min(number + 1, len(_TICKS) - 1)] > low and _TICKS[max(number - 1, 0)] < high
        ]
        self._low, self._high = math.log(self.ticks[0]), math.log(self.ticks[-1])

    def place(self, value: float) -> float:
        share = (math.log(max(value, 1e-9)) - self._low) / (self._high - self._low)
        return min(max(share, 0.0), 1.0)


def _blocks(result: Result, to: str) -> list[_Block]:
    blocks = []
    for measured in result.measured:
        metric = METRICS[measured.workload.kind][0]
        found = figures(measured, metric)
        if ratio(found, to, to) is None:
            continue
        bars = [_bar(name, figure, found[to].median) for name, figure in found.items() if ratio(found, to, name)]
        bars.sort(key=lambda bar: bar[1])
        title = measured.workload.title + ("" if metric.name == "cpu" else f" ({metric.title})")
        blocks.append(_Block(title, bars))
    return blocks


def _bar(name: str, figure: Figure, base: float) -> _Bar:
    return name, figure.median / base, max(figure.low, figure.median / 100) / base, figure.high / base


def _columns(blocks: list[_Block]) -> list[list[_Block]]:
    if len(blocks) <= 3:
        return [blocks] if blocks else []
    half = sum(block.height for block in blocks) / 2
    left: list[_Block] = []
    right: list[_Block] = []
    height = 0
    for block in blocks:
        (left if height + block.height / 2 <= half else right).append(block)
        height += block.height
    return [left, right]


def _legend() -> list[str]:
    parts, x = [], 20
    for kind, words in _LEGEND:
        parts.append(f'<rect class="pc-{kind}" x="{x}" y="44" width="14" height="12" fill="{_COLOURS[kind]}"/>')
        parts.append(f'<text class="pc-small" x="{x + 20}" y="55">{words}</text>')
        x += 40 + 8 * len(words)
    parts.append(f'<line class="pc-whisker" x1="{x}" x2="{x + 22}" y1="50" y2="50"/>')
    parts.append(f'<text class="pc-small" x="{x + 28}" y="55">least to greatest of the rounds</text>')
    return parts


def _column(blocks: list[_Block], left: int, scale: _Scale, kinds: dict[str, str], to: str) -> list[str]:
    start, width = left + _NAMES + _LABEL, _COLUMN - _NAMES - 2 * _LABEL
    bottom = _TOP + sum(block.height for block in blocks)

    def x(value: float) -> float:
        return round(start + scale.place(value) * width, 1)

    parts = []
    numbered = _spaced(
        [x(tick) for tick in sorted(scale.ticks, key=lambda tick: (math.log10(tick) % 1 > 0, abs(math.log(tick))))]
    )
    for tick in scale.ticks:
        kind = "pc-one" if tick == 1 else "pc-grid"
        parts.append(f'<line class="{kind}" x1="{x(tick)}" x2="{x(tick)}" y1="{_TOP - 4}" y2="{bottom}"/>')
        if x(tick) in numbered:
            for y in (_TOP - 10, bottom + 14):
                words = f'<text class="pc-soft pc-small" text-anchor="middle" x="{x(tick)}" y="{y}">{tick:g}×</text>'
                parts.append(words)
    axis = f"← cheaper than {to} · dearer →  (logarithmic)"
    middle = start + width / 2
    parts.append(
        f'<text class="pc-soft pc-small" text-anchor="middle" x="{middle}" y="{bottom + 32}">{escape(axis)}</text>'
    )
    y = _TOP
    for block in blocks:
        # a ground of its own, so that no line runs through the words
        parts.append(f'<rect class="pc-back" x="{left}" y="{y + 1}" width="{_COLUMN}" height="{_HEAD - 4}"/>')
        parts.append(f'<text class="pc-head" x="{left}" y="{y + 17}">{escape(block.title)}</text>')
        y += _HEAD
        for bar in block.bars:
            parts += _drawn(bar, left, y, x, kinds.get(bar[0], "compiled"))
            y += _BAR
        y += _BETWEEN
    return parts


def _spaced(places: list[float]) -> list[float]:
    """Those that leave room for a number, the first of them first."""
    kept: list[float] = []
    for place in places:
        if all(abs(place - other) >= _NUMBER for other in kept):
            kept.append(place)
    return kept


def _drawn(bar: _Bar, left: int, y: int, x: Callable[[float], float], kind: str) -> list[str]:
    name, median, low, high = bar
    begin, end = sorted((x(1.0), x(median)))
    middle = y + (_BAR - 3) / 2
    weight = ' font-weight="700"' if kind == "ours" else ""
    leftwards = median < 1
    edge = min(begin, x(low)) - 5 if leftwards else max(end, x(high)) + 5
    anchor = "end" if leftwards else "start"
    return [
        f'<text class="pc-small" x="{left}" y="{y + 11}"{weight}>{escape(name)}</text>',
        f'<rect class="pc-{kind}" x="{begin}" y="{y}" width="{max(end - begin, 1.5):.1f}" height="{_BAR - 4}" '
        f'fill="{_COLOURS.get(kind, _COLOURS["compiled"])}"><title>{escape(name)}: {short(median)}×, from {short(low)} '
        f"to {short(high)}</title></rect>",
        f'<line class="pc-whisker" x1="{x(low)}" x2="{x(high)}" y1="{middle}" y2="{middle}"/>',
        f'<text class="pc-small" text-anchor="{anchor}" x="{edge:.1f}" y="{y + 11}"{weight}>{short(median)}×</text>',
    ]
