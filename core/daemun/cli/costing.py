"""`daemun bench`: what a plugin costs, for its author."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from daemun.cli.finding import find_plugin
from daemun.cli.output import as_json, bar, json_option, muted
from daemun.errors import SettingsError
from daemun.process.loop import choose_loop, run_on
from daemun.settings import read_document

if TYPE_CHECKING:
    from daemun.testing.costs import Part, Report

__all__ = ["bench", "folder_of", "read_things", "things_option"]

_BAR = 24
_LEAK_BLOCKS = 0.5

things_option = click.option(
    "--settings",
    "-s",
    "file",
    type=click.Path(dir_okay=False),
    help="YAML file with the settings of what is measured: `name: {key: value}`.",
)


@click.command()
@click.argument("plugin")
@things_option
@click.option("--header", "-H", "headers", multiple=True, help="A field of the request, `name: value`; repeatable.")
@click.option("--target", default="/hello", show_default=True, help="Path and query of the request.")
@click.option("--content", type=click.IntRange(0, 1 << 20), default=0, help="Bytes of content that it has (POST).")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0.05),
    default=5.0,
    show_default=True,
    help="How long the rounds may take; they end before if the figures are sharp.",
)
@json_option
def bench(
    plugin: str,
    file: str | None,
    headers: tuple[str, ...],
    target: str,
    content: int,
    seconds: float,
    json_: bool,
) -> None:
    """Measure what PLUGIN adds to one request.

    PLUGIN is the name of an installed plugin, a module of the current folder, or a .py file. Requests come from memory
    and run through the real protocol and the compiled route, with the plugin and without it in turn. What small filters
    add stands beside it. Exit code 1 if something that it brings cannot be measured.
    """
    from daemun.testing.costs import cost_of
    from daemun.testing.measuring import Message

    settings = read_things(file)
    if target[:1] != "/" or any(not "!" <= character <= "~" for character in target):
        raise click.UsageError(f"--target {target!r} is not / and what follows, without blanks")
    method = "POST" if content else "GET"
    message = Message(method, target, (*Message().headers, *map(_field, headers)), content)
    base_dir = folder_of(file)
    with bar("measuring") as progress, muted():
        found = find_plugin(plugin)

        async def main() -> Report:
            return await cost_of(
                found.name,
                found.module,
                where=found.where,
                settings=settings,
                seconds=seconds,
                message=message,
                base_dir=base_dir,
                progress=progress,
            )

        report = run_on(choose_loop("auto"), main)
    if json_:
        as_json({"runs_for_requests": report.runs_for_requests, **_as_data(report)})
    else:
        _print(report)
    sys.exit(1 if any(one.fault for one in report.not_measured) else 0)


def read_things(file: str | None) -> dict[str, dict[str, Any]]:
    """The settings in `file` of things that plugins bring, by their names. Raises `SettingsError`."""
    if file is None:
        return {}
    document = read_document(Path(file))
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise SettingsError("accepted: `name: {key: value}` for each thing that is measured", file=file)
    return document


def folder_of(file: str | None) -> Path:
    """What paths in those settings are relative to."""
    return Path(file).resolve().parent if file else Path.cwd()


def _field(header: str) -> tuple[bytes, bytes]:
    name, colon, value = header.partition(":")
    if not colon or not name.strip() or "\n" in header or "\r" in header:
        raise click.UsageError(f"-H {header!r} is not `name: value`")
    return name.strip().lower().encode(), value.strip().encode()


def _as_data(report: Report) -> dict[str, Any]:
    import msgspec

    data: dict[str, Any] = msgspec.to_builtins(report)
    return data


def _print(report: Report) -> None:
    click.secho(f"{report.plugin}", bold=True, nl=False)
    click.echo(f"  ({report.where})")
    if not report.runs_for_requests:
        click.echo("adds 0 ns: nothing of it runs for a request; the compiled chain is the same with it and without it")
    if report.parts:
        click.echo(
            f"one request without it: {_time(report.request.ns)} of CPU, {report.calls:g} Python calls "
            f"({report.event_loop}, Python {report.python}, from memory, {report.rounds} rounds)\n"
        )
        _print_costs(report)
    for part in report.parts:
        for note in _notes(part):
            click.secho(f"{part.what}: {note}", fg="yellow")
    for one in report.not_measured:
        click.secho(f"{one.what}: not measured: {one.why}", fg="red" if one.fault else None)


def _print_costs(report: Report) -> None:
    parts = [*report.parts, *report.yardsticks]
    rows = [("ADDED BY", "CPU", "±", "CALLS", "MEMORY")]
    for part in parts:
        cost = part.cost
        spread = f"{cost.cpu.error_ns / 1000:.2f}"
        rows.append((_words(part), _time(cost.cpu.ns, "+"), spread, f"{cost.calls:+.3g}", f"{cost.bytes:+d} B"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    most = max(1.0, *(part.cost.cpu.ns for part in parts))
    draw = sys.stdout.isatty()
    for number, row in enumerate(rows):
        if number == len(report.parts) + 1:
            click.echo(f"{'for comparison ':-<{sum(widths) + 2 * len(widths) - 2}}")
        first, *others = (
            cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in _cells(row, widths)
        )
        line = "  ".join((first, *others))
        bar = _bar(parts[number - 1].cost.cpu.ns / most) if draw and number else ""
        click.secho(f"{line}  {bar}".rstrip(), bold=number == 0, fg="cyan" if 0 < number <= len(report.parts) else None)
    click.echo()


def _words(part: Part) -> str:
    return f"{part.what} (against {part.against})" if part.against else part.what


def _cells(row: tuple[str, ...], widths: list[int]) -> Iterator[tuple[int, tuple[str, int]]]:
    return enumerate(zip(row, widths, strict=True))


def _bar(share: float) -> str:
    eighths = round(max(0.0, share) * _BAR * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _time(ns: float, sign: str = "") -> str:
    return f"{ns / 1000:{sign}.2f} µs" if abs(ns) < 1e6 else f"{ns / 1e6:{sign}.2f} ms"


def _notes(part: Part) -> Iterator[str]:
    if part.status != part.expected:
        said = part.status or "a closed connection"
        yield f"its answer is {said}, without it {part.expected}: that is what was measured (see --header, --target)"
    if part.fault:
        yield f"a fault was logged: {part.fault}"
    if part.wait_seconds:
        yield f"it waits in the middle of a request, {_time(part.wait_seconds * 1e9)} by the clock"
    if part.later_ns:
        yield f"it leaves work for later: about {_time(part.later_ns)} of CPU a request more, in tasks or threads"
    if part.cost.kept_blocks > _LEAK_BLOCKS:
        yield f"it keeps {part.cost.kept_blocks:g} blocks of memory for each request: a leak?"
