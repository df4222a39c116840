"""`daemun build`: one file with Python, daemun and plugins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from daemun.cli.output import writing
from daemun.errors import SettingsError

__all__ = ["build"]

_MIB = 1024 * 1024


@click.command()
@click.option(
    "--with", "with_", multiple=True, metavar="PLUGIN", help="As pip takes it: a name, a ./folder; repeatable."
)
@click.option("--include", multiple=True, metavar="MODULE", help="A module that nothing is seen to import; repeatable.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("dist/daemun"),
    show_default=True,
    help="The file.",
)
def build(with_: tuple[str, ...], include: tuple[str, ...], output: Path) -> None:
    """Make one file that runs where there is no Python.

    It holds Python, daemun and the plugins of this environment. With --with it is made in an environment of its own,
    with this daemun and the given plugins. It needs a C compiler and the extra `binary`. What it was built on must have
    a C library no newer than what it is to run on.
    """
    began = time.monotonic()
    if getattr(sys, "frozen", False):
        raise SettingsError("a binary cannot build another one: it has no pip (accepted: a daemun that pip installed)")
    output = output.absolute()
    with writing(output):  # before anybody waits for it
        output.parent.mkdir(parents=True, exist_ok=True)
        _beside(output).touch()
        _beside(output).unlink()
    with _ending_tidily(), tempfile.TemporaryDirectory(prefix="daemun-build-") as work:
        if with_:
            _build_apart(Path(work), with_, include, output)
            return
        plugins = _build_here(Path(work), include, output)
    size = output.stat().st_size / _MIB
    click.echo(f"{output}: {size:.1f} MiB in {time.monotonic() - began:.0f} s, with {len(plugins)} plugins")
    click.echo(f"  {', '.join(plugins)}")


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """SIGTERM leaves no more behind than the end does."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _build_apart(work: Path, wanted: tuple[str, ...], include: tuple[str, ...], output: Path) -> None:
    from daemun.binary.environment import make_environment
    from daemun.binary.seal import compile_launcher

    compile_launcher(work)  # where that cannot be, nobody waits for an environment
    _say(f"an environment with daemun and {', '.join(wanted)}")
    python = make_environment(work / "environment", wanted)
    command = [str(python), "-m", "daemun.cli", "build", "--output", str(output)]
    for module in include:
        command += ["--include", module]
    done = subprocess.run(command, cwd=work, env={**os.environ, "TMPDIR": str(work)}, check=False)
    if done.returncode != 0:
        raise SystemExit(done.returncode)


def _build_here(work: Path, include: tuple[str, ...], output: Path) -> tuple[str, ...]:
    """Builds, and puts the file where it belongs once it has listed its plugins."""
    from daemun.binary.carried import carried
    from daemun.binary.check import check_binary
    from daemun.binary.freeze import freeze, libraries_of_system
    from daemun.binary.seal import compile_launcher, seal

    what = carried()
    compile_launcher(work)  # where that cannot be, nobody waits for what follows
    _say(f"packing {len(what.plugins)} plugins of {', '.join(what.distributions)} (half a minute)")
    folder = freeze(what, work, include)
    _say("checking that it starts, and that every plugin can be imported in it")
    fresh = work / "daemun"
    seal(folder, compile_launcher(work, libraries_of_system(folder)), fresh)
    check_binary(fresh, what.plugins, work)
    with writing(output):
        shutil.copy(fresh, _beside(output))
        _beside(output).replace(output)
    return what.plugins


def _beside(output: Path) -> Path:
    """Where the file lies until it is whole."""
    return output.with_name(f".{output.name}.new")


def _say(words: str) -> None:
    click.echo(f"{words} …", err=True)
