"""Text for people, JSON for programs, and what the exit codes mean.

0 it worked · 1 a fault in settings, plugins or objects · 2 wrong usage
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any

import click
import msgspec

from daemun.errors import DaemunError

__all__ = ["as_json", "bar", "fault_of", "json_option", "muted", "settings_option", "table"]

_STEPS = 200

json_option = click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")
settings_option = click.option(
    "--settings",
    "-s",
    "file",
    type=click.Path(dir_okay=False),
    default="daemun.yaml",
    show_default=True,
    envvar="DAEMUN_SETTINGS",
    help="The settings file, YAML or TOML.",
)


def fault_of(error: BaseException) -> DaemunError | None:
    """The error of ours in `error` or in the groups that it holds."""
    if isinstance(error, DaemunError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(fault_of, error.exceptions)), None)
    return None


def as_json(value: Any) -> None:
    """Prints `value` as JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())


def table(rows: Sequence[Sequence[str]], head: Sequence[str]) -> None:
    """Prints rows in columns."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for number, row in enumerate([head, *rows]):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.secho(line, bold=number == 0)


@contextmanager
def bar(label: str) -> Iterator[Callable[[float], None]]:
    """What is to be called with the share that is done: a bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    with click.progressbar(length=_STEPS, label=label, file=sys.stderr, show_eta=False) as drawn:
        yield lambda share: drawn.update(int(share * _STEPS) - drawn.pos)
        drawn.update(_STEPS - drawn.pos)


@contextmanager
def muted() -> Iterator[None]:
    """What a plugin prints goes nowhere, whether by Python or by descriptor."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        with open(os.devnull, "w") as silence, redirect_stdout(silence):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
