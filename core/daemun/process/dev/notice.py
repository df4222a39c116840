"""What a reload looks like on a terminal: one line if it worked, the author's line and what is wrong if not."""

from __future__ import annotations

import os
from pathlib import Path

import click

from daemun.process.dev.developer import Reload
from daemun.process.dev.fault import Fault, fault_of
from daemun.process.dev.sources import Sources

__all__ = ["excerpt_of", "print_reload", "print_watched", "reload_words"]


def print_reload(reload: Reload) -> None:
    """Says on standard error what became of a save; in colour on a terminal."""
    _say(reload_words(reload))


def print_watched(sources: Sources) -> None:
    """Says on standard error that a plugin is reloaded from now on."""
    where = sources.file.parent if sources.is_package else sources.file
    _say(f"{click.style(f'{sources.plugin}:', bold=True)} reloaded on save ({_short(str(where))})")


def reload_words(reload: Reload) -> str:
    """The notice, with the escape sequences of its colours."""
    name = click.style(f"{reload.plugin}:", bold=True)
    if reload.fault is None:
        what = "good again, generation" if reload.mended else "generation"
        brings = ", ".join(reload.brings) or "brings nothing"
        number = click.style(f"{what} {reload.generation}", fg="green")
        return f"{name} {number} after {reload.seconds * 1000:.0f} ms: {brings}"
    fault = reload.fault
    head = click.style("not reloaded", fg="red", bold=True)
    lines = [f"{name} {head}, generation {reload.generation} stays in use"]
    if fault.place:
        lines.append(f"  {click.style(_short(fault.place), fg='cyan')}")
    lines += _excerpt(fault)
    lines.append(f"  {click.style(fault.words, fg='red')}")
    return "\n".join(lines)


def excerpt_of(error: Exception, word: str) -> list[str]:
    """The author's line that `error` came from, and its place, for a plugin that cannot be imported at first; `word` is
    what it was asked for by. Nothing if the error came from elsewhere."""
    folder = Path(word).resolve().parent if word.endswith(".py") or "/" in word else Path.cwd()
    fault = fault_of(error, lambda file: Path(file).is_relative_to(folder) and "site-packages" not in file)
    return [f"  {click.style(_short(fault.place), fg='cyan')}", *_excerpt(fault)] if fault.place else []


def _say(words: str) -> None:
    click.echo(words, err=True, color=False if "NO_COLOR" in os.environ else None)


def _excerpt(fault: Fault) -> list[str]:
    text = fault.text.rstrip()
    if not text:
        return []
    margin = f"{fault.line:>6} | "
    lines = [margin + text]
    if 0 < fault.column <= len(text) + 1:
        lines.append(" " * (len(margin) + fault.column - 1) + click.style("^", fg="red"))
    return lines


def _short(place: str) -> str:
    """Relative to the current folder, if it is in it."""
    return place.removeprefix(f"{Path.cwd()}/")
