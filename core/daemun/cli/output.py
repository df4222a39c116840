"""Text for people, JSON for programs, and what the exit codes mean.

0 it worked · 1 a fault in settings, plugins or objects · 2 wrong usage
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from click.core import ParameterSource

from daemun.errors import DaemunError, SettingsError

__all__ = [
    "as_json",
    "bar",
    "fault_of",
    "json_option",
    "muted",
    "settings_file",
    "settings_option",
    "table",
    "writing",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_STEPS = 200

json_option = click.option("--json", "json_", is_flag=True, help="Print JSON for programs.")


def _settings(name: str) -> Callable[[F], F]:
    """The option `--settings`, as the parameter `name`."""
    return click.option(
        "--settings",
        "-s",
        name,
        type=click.Path(dir_okay=False),
        default="daemun.yaml",
        show_default=True,
        envvar="DAEMUN_SETTINGS",
        help="The settings file, YAML or TOML.",
    )


settings_option = _settings("file")


def settings_file(command: Callable[..., T]) -> Callable[..., T]:
    """Gives `command` the settings file as `file`: the argument FILE, or what `settings_option` says."""

    @click.argument("file", metavar="[FILE]", required=False, type=click.Path(dir_okay=False))
    @_settings("named")
    @wraps(command)
    def with_file(file: str | None, named: str, **rest: Any) -> T:
        source = click.get_current_context().get_parameter_source("named")
        if file is not None and source is ParameterSource.COMMANDLINE:
            raise click.UsageError("the settings file is given twice: as FILE, and with --settings")
        return command(file=file or named, **rest)

    return with_file


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises `SettingsError` that names `path` if nothing can be written there."""
    try:
        yield
    except OSError as error:
        words = f"cannot be written: {(error.strerror or str(error)).lower()}"
        raise SettingsError(words, file=str(path)) from error


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
    kept, nowhere = os.dup(1), _nowhere()
    os.dup2(nowhere, 1)
    try:
        with redirect_stdout(_Silence()):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _nowhere() -> int:
    try:
        return os.open(os.devnull, os.O_WRONLY)
    except OSError:  # a root without devices
        return os.memfd_create("muted")


class _Silence(io.TextIOBase):
    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
