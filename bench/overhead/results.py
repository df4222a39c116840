"""What was measured: rows of requests and single facts, for people (a table), for documents and for programs."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
from msgspec import Struct

from daemun.testing.alternating import Figure

__all__ = ["Fact", "Results", "Row", "write"]


class Row(Struct, frozen=True, kw_only=True):
    """One scenario. CPU nanoseconds of one request; differences are taken within each round."""

    protocol: str
    transport: str
    dispatch: str
    kind: str
    plugins: int
    request: Figure
    over_bare: Figure | None = None
    """Over the bare loop of the codec; None on loopback, where sockets would be counted too."""
    over_none: Figure
    """Over the same without plugins; of the row without plugins: of a second lane that is the same, so its noise."""
    calls: float | None = None
    """Python calls."""
    held_bytes: int | None = None
    """Memory in use while the back end has the request."""
    held_blocks: int | None = None
    peak_bytes: int | None = None
    kept_blocks: float | None = None
    rounds: int


class Fact(Struct, frozen=True):
    """One figure that is no request's."""

    name: str
    value: float
    unit: str
    spread: float = 0.0
    """Half of what lies between the quartiles, in the same unit."""


class Results(Struct):
    """All of one run."""

    rows: list[Row] = []
    facts: list[Fact] = []

    def markdown(self) -> str:
        """Both as tables."""
        parts = [f"# What a plugin costs\n\n{_machine_words()}\n"]
        if self.rows:
            parts.append(_HEAD + _table(_COLUMNS, map(_cells, self.rows)))
        if self.facts:
            cells = ((fact.name, f"{fact.value:,.4g}", f"{fact.spread:,.2g}", fact.unit) for fact in self.facts)
            parts.append("## Start, assembly, memory\n\n" + _table(("what", "", "±", "unit"), cells))
        return "\n".join(parts)


_HEAD = """## One request

CPU of one request in microseconds; *over bare* is what is added to the bare loop of the codec, *plugins add* what is
added to the same chain without plugins, ± what another run would be away. Calls and memory are exact.

"""
_COLUMNS = (
    "protocol",
    "transport",
    "dispatch",
    "plugins",
    "µs",
    "over bare",
    "plugins add",
    "±",
    "µs a plugin",
    "calls",
    "held B",
    "held blocks",
    "peak B",
)


def _cells(row: Row) -> tuple[str, ...]:
    none = row.over_none
    return (
        row.protocol,
        row.transport,
        row.dispatch if row.plugins else "",
        f"{row.plugins} {row.kind}" if row.plugins else "none",
        _us(row.request.ns),
        _us(row.over_bare.ns) if row.over_bare is not None else "",
        _us(none.ns),
        _us(none.error_ns),
        _us(none.ns / row.plugins) if row.plugins else "",
        *("" if value is None else f"{value:g}" for value in (row.calls, row.held_bytes, row.held_blocks)),
        "" if row.peak_bytes is None else f"{row.peak_bytes}",
    )


def _us(ns: float) -> str:
    return f"{ns / 1000:.2f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "| "
        + " | ".join(_pad(cell, width, at) for at, (cell, width) in enumerate(zip(line, widths, strict=True)))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]]) + "\n"


def _pad(cell: str, width: int, at: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() or cell[:1] == "-" else cell.ljust(width)


def _machine() -> dict[str, str | int | float]:
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "daemun": version("daemun"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count() or 0,
        "load_1_minute": round(os.getloadavg()[0], 2),
        **{name: version(name) for name in ("h11", "httptools", "uvloop", "anyio", "pluggy") if _installed(name)},
    }


def _installed(name: str) -> bool:
    return name in sys.modules


def _machine_words() -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in _machine().items())


def write(results: Results, folder: Path) -> tuple[Path, Path]:
    """Writes `overhead.md` and `overhead.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "overhead.md", folder / "overhead.json"
    text.write_text(results.markdown())
    document = {"machine": _machine(), "rows": results.rows, "facts": results.facts}
    data.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
    return text, data
