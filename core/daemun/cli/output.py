"""Text for people, JSON for programs, and what the exit codes mean.

0 it worked · 1 a fault in settings, plugins or objects · 2 wrong usage
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
import msgspec

from daemun.errors import DaemunError

__all__ = ["as_json", "faults_exit", "json_option", "settings_option", "table"]

F = TypeVar("F", bound=Callable[..., Any])

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


def faults_exit(command: F) -> F:
    """A command whose `DaemunError` is printed, and exits with 1."""

    @functools.wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except DaemunError as error:
            click.secho(f"daemun: {error}", fg="red", err=True)
            sys.exit(1)
        except BaseExceptionGroup as group:
            first = _first(group)
            if first is None:
                raise
            click.secho(f"daemun: {first}", fg="red", err=True)
            sys.exit(1)

    return wrapped  # type: ignore[return-value]


def _first(group: BaseExceptionGroup[BaseException]) -> DaemunError | None:
    for error in group.exceptions:
        if isinstance(error, DaemunError):
            return error
        if isinstance(error, BaseExceptionGroup):
            return _first(error)
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
