"""The battery for commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from click.testing import CliRunner, Result

from daemun.testing.batteries.common import CODE, NAMED
from daemun.testing.batteries.rules import Check, Unseen, cannot_tell, expect, run_battery, words_of
from daemun.testing.batteries.subject import Subject

__all__ = [
    "COMMAND",
    "check_command",
    "command_subject",
    "has_help",
    "help_works",
    "misses_its_arguments",
    "options_have_help",
    "refuses_unknown_options",
    "runs_as_a_function",
]


def _all(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """The command and its subcommands, each with what is typed for it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _all(inner, (*path, name))


def _run(subject: Subject, *words: str) -> Result:
    result = CliRunner().invoke(subject.thing, list(words), prog_name=f"daemun {subject.thing.name}")
    error = result.exception
    expect(
        error is None or isinstance(error, SystemExit),
        f"`{' '.join(words)}` raised {words_of(error) if error else ''}",
        "an exit code: 0, 1 or 2",
    )
    return result


async def has_help(subject: Subject) -> None:
    """It says what it does, and so does each of its subcommands: the docstring of the function."""
    for path, command in _all(subject.thing):
        expect((command.help or "").strip(), f"no help of {' '.join((subject.thing.name, *path))}", "a docstring")


async def options_have_help(subject: Subject) -> None:
    """Each option says what it is for."""
    for path, command in _all(subject.thing):
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                words = " ".join((subject.thing.name, *path))
                expect((parameter.help or "").strip(), f"no help of {parameter.opts[-1]} of {words}", "help=…")


async def help_works(subject: Subject) -> None:
    """`--help` prints its usage and ends with 0, whatever else is missing, for each subcommand too."""
    for path, _ in _all(subject.thing):
        result = _run(subject, *path, "--help")
        expect(result.exit_code == 0, f"`{' '.join((*path, '--help'))}` ended with {result.exit_code}", "0")
        expect("Usage:" in result.output, f"it printed {result.output[:80]!r}", "its usage")


async def refuses_unknown_options(subject: Subject) -> None:
    """An option that it does not know is an error of usage: 2, with words on what was wrong."""
    for path, _ in _all(subject.thing):
        result = _run(subject, *path, "--no-such-option-here")
        expect(result.exit_code == 2, f"`--no-such-option-here` ended with {result.exit_code}", "2")
        expect("no-such-option-here" in result.output, f"it printed {result.output[:80]!r}", "what was wrong")


async def misses_its_arguments(subject: Subject) -> None:
    """Without an argument that it needs it ends with 2, and says which."""
    found = False
    for path, command in _all(subject.thing):
        if any(parameter.required for parameter in command.params):
            found = True
            result = _run(subject, *path)
            expect(result.exit_code == 2, f"without what it needs it ended with {result.exit_code}", "2")
            expect("Missing" in result.output, f"it printed {result.output[:80]!r}", "what is missing")
    if not found:
        cannot_tell("it needs no arguments")


async def runs_as_a_function(subject: Subject) -> None:
    """Its function is a plain one: whoever needs an event loop runs one, as `serve` does."""
    for path, command in _all(subject.thing):
        words = " ".join((subject.thing.name, *path))
        expect(
            not inspect.iscoroutinefunction(command.callback), f"{words} is a coroutine function", "anyio.run(…) in it"
        )


COMMAND: tuple[Check, ...] = (
    *NAMED,
    *CODE,
    has_help,
    options_have_help,
    help_works,
    refuses_unknown_options,
    misses_its_arguments,
    runs_as_a_function,
)
"""What `check_command` looks at."""


def command_subject(command: click.Command) -> Subject:
    """What its checks look at."""
    return Subject("command", command)


async def check_command(command: click.Command) -> tuple[Unseen, ...]:
    """Checks a command or a group, without running what it is for.

    Gives the rules that could not be looked at. Raises `BrokenRules`, an `AssertionError` with all that are broken.
    """
    subject = command_subject(command)
    return await run_battery(subject.words, COMMAND, subject)
