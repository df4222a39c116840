"""`python -m bench.peers`: runs the suite, renders its report, installs the peers that are wheels."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
import msgspec
from bench.peers import load, results
from bench.peers.peers import PEERS, PEERS_DIR, Found, find, install
from bench.peers.process import StartError
from bench.peers.report import markdown, table, write_report
from bench.peers.results import Result, Skipped
from bench.peers.run import Plan, run
from bench.peers.websocket import COMPILER_MISSING
from bench.peers.workloads import SHORT, WORKLOADS

_RESULTS = Path(__file__).parent.parent / "results"
_SHORT_PEERS = ("daemun", "nginx", "Envoy")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """daemun side by side with other proxies: CPU time a request, alternating, as ratios of medians.

    Without a command: `run`, in its short form.
    """
    if context.invoked_subcommand is None:
        context.invoke(run_command)


@main.command("run")
@click.option(
    "--full",
    is_flag=True,
    help="All workloads and peers (over an hour), not only the short form (three minutes).",
)
@click.option("--peer", "names", multiple=True, help="Only this peer; may be given again.")
@click.option(
    "--workload", "wanted", multiple=True, help="Only this workload or group of workloads; may be given again."
)
@click.option("--rounds", type=click.IntRange(1, 100), help="Rounds of each workload (short 3, full 5).")
@click.option("--seconds", type=click.FloatRange(1, 60), default=2.0, show_default=True, help="Seconds of one load.")
@click.option(
    "--peers-dir", type=click.Path(path_type=Path), default=PEERS_DIR, help="Virtual environment of the peers."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Result file (bench/results/…).")
@click.option("--json", "as_json", is_flag=True, help="Print the result file instead of tables.")
def run_command(
    full: bool,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    rounds: int | None,
    seconds: float,
    peers_dir: Path,
    output: Path | None,
    as_json: bool,
) -> None:
    """Measure, write the result file and its report, print the tables."""
    plan = _plan(full, names, wanted, rounds or (5 if full else 3), seconds, peers_dir)
    if plan.wrk is None:
        click.echo(load.WRK_MISSING, err=True)
    if plan.h2load is None:
        click.echo(load.H2LOAD_MISSING, err=True)
    if plan.compiler is None:
        click.echo(COMPILER_MISSING, err=True)
    for one in plan.missing:
        click.echo(f"{one.peer} is left out: {one.reason}", err=True)
    result: Result | None = None
    with _progress(plan.steps) as (say, step), _until_told():
        rounds_of = run(plan, say, step)
        try:
            for so_far in rounds_of:
                result = so_far
        except StartError as error:
            raise click.ClickException(f"the origin does not start: {error}") from error
        except KeyboardInterrupt:
            say("broken off; what was measured until then follows")
        finally:
            rounds_of.close()
    if result is None:
        raise click.exceptions.Exit(130)
    date = re.sub(r"[^0-9T]", "", result.date[:19])
    file = output or _RESULTS / f"peers-{date}{'' if full else '-short'}.json"
    results.write(result, file)
    click.echo(msgspec.json.format(msgspec.json.encode(result)).decode() if as_json else table(result))
    click.echo(f"{file}, and beside it {', '.join(path.name for path in write_report(result, file))}", err=True)
    if not result.complete:
        raise click.exceptions.Exit(130)


def _plan(
    full: bool, names: tuple[str, ...], wanted: tuple[str, ...], rounds: int, seconds: float, peers_dir: Path
) -> Plan:
    known = {peer.name.lower(): peer for peer in PEERS}
    for name in names:
        if name.lower() not in known:
            raise click.UsageError(f"no peer {name!r} (there are: {', '.join(peer.name for peer in PEERS)})")
    groups = {workload.name for workload in WORKLOADS} | {workload.group for workload in WORKLOADS}
    for name in wanted:
        if name not in groups:
            raise click.UsageError(f"no workload or group {name!r} (there are: {', '.join(sorted(groups))})")
    chosen = wanted or (() if full else SHORT)
    workloads = [one for one in WORKLOADS if not chosen or one.name in chosen or one.group in chosen]
    peers = [peer for peer in PEERS if full or names or peer.name in _SHORT_PEERS]
    if names:
        peers = [peer for peer in peers if peer.name.lower() in {name.lower() for name in names}]
    found: list[Found] = []
    missing: list[Skipped] = []
    for peer in peers:
        there = find(peer, peers_dir)
        if isinstance(there, str):
            missing.append(Skipped(peer.name, "", there))
        else:
            found.append(there)
    wrk = shutil.which("wrk")
    generator = "bench/peers/paced.py (wrk is not installed)" if wrk is None else _told(wrk, "-v")
    h2load = shutil.which("h2load")
    if h2load is not None:
        generator += f"; {_told(h2load, '--version')}"
    nginx, compiler = shutil.which("nginx"), shutil.which("cc")
    return Plan(found, missing, workloads, rounds, seconds, full, wrk, h2load, generator, nginx, compiler)


def _told(binary: str, argument: str) -> str:
    """Name and version of a load generator."""
    printed = subprocess.run([binary, argument], capture_output=True, text=True, check=False)
    version = re.search(r"\d+\.\d+\S*", printed.stdout + printed.stderr)
    return f"{Path(binary).name} {version[0] if version else 'of unknown version'}, one thread"


@contextmanager
def _progress(steps: int) -> Iterator[tuple[Callable[[str], None], Callable[[str, int], None]]]:
    """What tells a person how far it is: a bar on a terminal, else a line for each round."""
    if not sys.stderr.isatty():
        last: list[str] = [""]

        def line(what: str, count: int) -> None:
            title = what.rpartition(":")[0]
            if count and title != last[0]:
                last[0] = title
                click.echo(title, err=True)

        yield (lambda text: click.echo(text, err=True)), line
        return
    with click.progressbar(
        length=steps, file=sys.stderr, width=24, item_show_func=lambda item: item, show_eta=True
    ) as bar:

        def say(text: str) -> None:
            click.echo("\r\x1b[K" + text, err=True)
            bar.render_progress()

        def step(what: str, count: int) -> None:
            bar.update(count, what)
            bar.render_progress()

        yield say, step


@contextmanager
def _until_told() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does: processes stopped, files removed."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@main.command("report")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--stdout", is_flag=True, help="Print the Markdown and write nothing.")
def report_command(file: Path, stdout: bool) -> None:
    """Render FILE, a result of `run`, as Markdown, SVG and one HTML page beside it."""
    try:
        result = results.read(file)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"{file} is no result file: {error}") from error
    if stdout:
        click.echo(markdown(result, ""))
        return
    for path in write_report(result, file):
        click.echo(path)


@main.command("peers")
@click.option(
    "--peers-dir", type=click.Path(path_type=Path), default=PEERS_DIR, help="Virtual environment of the peers."
)
def peers_command(peers_dir: Path) -> None:
    """List the peers with their version, and how to get those that are not installed."""
    for peer in PEERS:
        there = find(peer, peers_dir)
        click.echo(f"{peer.name:<10} {there if isinstance(there, str) else f'{there.version:<12} {there.binary}'}")


@main.command("workloads")
def workloads_command() -> None:
    """List the workloads by group."""
    for workload in WORKLOADS:
        click.echo(f"{workload.group:<10} {workload.name:<14} {workload.title}")


@main.command("schema")
def schema_command() -> None:
    """Print the JSON schema of a result file."""
    click.echo(msgspec.json.format(msgspec.json.encode(msgspec.json.schema(Result))).decode())


@main.command("install")
@click.option("--peers-dir", type=click.Path(path_type=Path), default=PEERS_DIR, help="Where the environment is made.")
def install_command(peers_dir: Path) -> None:
    """Install the peers that are wheels into a virtual environment of their own."""
    try:
        install(peers_dir)
    except (OSError, subprocess.CalledProcessError) as error:
        raise click.ClickException(f"no virtual environment in {peers_dir}: {error}") from error


if __name__ == "__main__":
    main(prog_name="python -m bench.peers")
