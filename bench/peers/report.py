"""The report of a result file: Markdown, and a plain table for the terminal."""

from __future__ import annotations

from pathlib import Path

from bench.peers.chart import svg
from bench.peers.figures import METRICS, Figure, Metric, figures, ratio, reference, short
from bench.peers.page import page
from bench.peers.results import Measured, Result
from bench.peers.targets import judge

__all__ = ["facts", "markdown", "method", "table", "write_report"]

_ELSEWHERE = "What a plugin, a start and a change of routes cost is measured by bench/overhead, and judged there."


def write_report(result: Result, file: Path) -> list[Path]:
    """Writes Markdown, SVG and HTML beside the result file. What was written."""
    paths = [file.with_suffix(suffix) for suffix in (".md", ".svg", ".html")]
    drawn = svg(result)
    paths[0].write_text(markdown(result, paths[1].name))
    paths[1].write_text(drawn)
    paths[2].write_text(page(result, drawn, facts(result), [*method(result), _ELSEWHERE]))
    return paths


def facts(result: Result) -> list[tuple[str, str]]:
    """What a reader must know of the run: when, where, how."""
    machine, options = result.machine, result.options
    busy = max(result.load_before, result.load_after) > machine.cores * 1.5
    load = f"{result.load_before} before, {result.load_after} after, on {machine.cores} cores"
    return [
        ("Date", result.date),
        (
            "Machine",
            f"{machine.cpu}, {machine.cores} cores, {machine.memory_bytes / 1024**3:.0f} GiB, {machine.kernel}",
        ),
        ("Python", machine.python),
        ("Commit", result.commit),
        ("Load average", load + ("; others were at work: read ratios only" if busy else "")),
        ("Rounds", f"{options.rounds} of {options.seconds:g} s, peers in turn within each"),
        ("Load generator", options.generator),
        ("Origin", options.origin),
        ("Complete", "yes" if result.complete else "no: it was broken off"),
    ]


def method(result: Result) -> list[str]:
    """How to read the numbers, a paragraph each."""
    return [
        "CPU a request is user and system time of the whole process tree of the proxy, from /proc, over a counted "
        "number of requests. Peers take turns within each round, so that noise of the machine meets all of them; a "
        "ratio is one of medians. Absolute numbers say little outside of this run.",
        "Every peer has one worker or thread unless a workload says otherwise, no access log, and keeps its upstream "
        "connections. Before it is measured each must answer as the origin does, byte for byte.",
        "HTTP/2 is spoken in plaintext, by h2load with windows of 1 MiB, on connections × streams; gRPC calls are "
        "answered by a small origin of ours, and its messages, of 100 bytes, come back one by one.",
        "WebSocket messages, of 1 KiB, are sent by clients in C and come back from an origin in C: a figure is of a "
        "message and back, and most of it is the kernel's.",
        "Latency is measured by an open loop: requests are due at equal distances at half of a capacity that the same "
        "run found, and each is timed from when it was due; how late the generator itself was (p99, its worst round) "
        "stands beside it, and says how far the machine was fit for it. Idle connections have had one answer each, and "
        "memory is resident memory with them open less that before, in a fresh process.",
    ]


def markdown(result: Result, chart: str) -> str:
    """The report; `chart` is the file of the chart, "" for none."""
    parts = ["# daemun beside other proxies\n"]
    parts.append("".join(f"- **{name}**: {_cell(value)}\n" for name, value in facts(result)))
    parts.append(_targets(result))
    if chart:
        parts.append(f"## At a glance\n\n![cost beside {reference(result)}, by workload]({chart})\n")
    parts.append(_matrix(result))
    parts.append("## Each workload\n")
    for measured in result.measured:
        parts += [_workload(measured, metric) for metric in METRICS[measured.workload.kind] if measured.rounds]
    rows = [[peer.name, peer.version, peer.features, peer.arrived or "not looked at"] for peer in result.peers]
    parts.append("## Peers\n\n" + _table(["peer", "version", "what is on", "seen at the origin"], rows))
    parts.append("## Left out\n")
    if result.skipped:
        skipped = [[one.peer, one.workload or "everything", one.reason] for one in result.skipped]
        parts.append(_table(["peer", "workload", "why"], skipped))
    else:
        parts.append("Nothing.\n")
    parts.append("## How it was measured\n\n" + "\n\n".join(method(result)) + "\n")
    return "\n".join(parts)


def _targets(result: Result) -> str:
    rows = []
    for verdict in judge(result):
        target = verdict.target
        state = f"**{verdict.state}**" if verdict.state == "not met" else verdict.state
        rows.append([target.title, target.words, short(verdict.value), state])
    return f"## Targets\n\n{_ELSEWHERE}\n\n" + _table(["what", "target", "here", "state"], rows, numbers=(2,))


def _matrix(result: Result) -> str:
    to = reference(result)
    names = [peer.name for peer in result.peers]
    rows = []
    for measured in result.measured:
        metric = METRICS[measured.workload.kind][0]
        found = figures(measured, metric)
        rows.append([f"{measured.workload.title}, {metric.title}", *(short(ratio(found, name, to)) for name in names)])
    head = [f"× {to}", *names]
    return f"## Beside {to}\n\nRatios of medians, less is better.\n\n" + _table(head, rows, numbers=range(1, len(head)))


def _workload(measured: Measured, metric: Metric) -> str:
    found = figures(measured, metric)
    rows = []
    for name, figure in found.items():
        row = [
            name,
            short(figure.median),
            f"{short(figure.low)}–{short(figure.high)}",
            short(figure.quartile_range),
            short(ratio(found, name, "Envoy")),
            short(ratio(found, name, "nginx")),
        ]
        if metric.name == "cpu":
            user, system = halves(measured, name, metric)
            row[4:4] = [short(user.median), short(system.median)]
        if measured.workload.kind == "latency":
            row.append(short(measured.rounds[name][-1].rate_per_second))
            row.append(short(max(one.lag_seconds for one in measured.rounds[name]) * 1e3))
        if measured.workload.kind == "idle":
            row.append(f"{measured.rounds[name][-1].connections:,}")
        rows.append(row)
    head = ["peer", f"{metric.title}, {metric.unit}", "least–greatest", "IQR"]
    head += ["user", "system"] if metric.name == "cpu" else []
    head += ["× Envoy", "× nginx"]
    head += {"latency": ["requests/s", "generator late, ms"], "idle": ["connections"]}.get(measured.workload.kind, [])
    title = f"### {measured.workload.title}: {metric.title}\n\n"
    return title + _table(head, rows, numbers=range(1, len(head)))


def halves(measured: Measured, name: str, metric: Metric) -> tuple[Figure, Figure]:
    """User and system time apart, in the metric's unit."""
    times = 1e6 if metric.unit == "µs" else 1e3
    user = Metric("user", "user", metric.unit, lambda one: one.user_seconds / max(one.requests, 1) * times)
    system = Metric("system", "system", metric.unit, lambda one: one.system_seconds / max(one.requests, 1) * times)
    return figures(measured, user)[name], figures(measured, system)[name]


def _table(head: list[str], rows: list[list[str]], numbers: range | tuple[int, ...] = ()) -> str:
    rule = ["---:" if number in numbers else "---" for number in range(len(head))]
    lines = [head, rule, *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())


def table(result: Result) -> str:
    """All figures as plain text."""
    lines = []
    for measured in result.measured:
        for metric in METRICS[measured.workload.kind] if measured.rounds else ():
            found = figures(measured, metric)
            lines.append(f"{measured.workload.title}: {metric.title}, {metric.unit}")
            lines.append(f"  {'':<10}{'median':>9}{'least':>9}{'greatest':>10}{'× Envoy':>9}{'× nginx':>9}")
            for name, figure in found.items():
                row = f"  {name:<10}{short(figure.median):>9}{short(figure.low):>9}{short(figure.high):>10}"
                row += f"{short(ratio(found, name, 'Envoy')):>9}{short(ratio(found, name, 'nginx')):>9}"
                lines.append(row)
            lines.append("")
    known = [verdict for verdict in judge(result) if verdict.value is not None]
    if known:
        lines.append("Targets")
    for verdict in known:
        target = verdict.target
        lines.append(f"  {target.title:<44}{target.words:<30}{short(verdict.value):>7}  {verdict.state}")
    skipped = [f"  {one.peer}, {one.workload or 'everything'}: {one.reason.splitlines()[0]}" for one in result.skipped]
    if skipped:
        lines += ["", "Left out", *skipped]
    load = f"load average {result.load_before} before, {result.load_after} after, on {result.machine.cores} cores"
    return "\n".join([*lines, "", load])
