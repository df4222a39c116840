"""The reference of the public names, in the order in which an author meets them; and the help of every command.

A new public name is put into one of `GROUPS`; without that `names()` says which one is missing.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

import click

from daemun.cli.main import main as daemun

from .public_names import PublicName, fixtures, public_names

__all__ = ["GROUPS", "Group", "anchor", "contents", "helps", "listed", "names"]

_WIDTH = 120
_HELP_WIDTH = 80
_STAYS = "\0"
"""A blank at which no line ends."""


class Group(NamedTuple):
    """Names that are read together."""

    title: str
    package: str
    """What they are imported from; "": fixtures of pytest, which nobody imports."""
    words: str
    names: tuple[str, ...]
    """Empty: all of the package."""


def _group(title: str, words: str, names: str, package: str = "daemun") -> Group:
    return Group(title, package, words, tuple(names.split()))


_KIT, _BATTERIES = "daemun.testing", "daemun.testing.batteries"

GROUPS = (
    _group(
        "Messages",
        "What flows through every handler.",
        "Request Response Headers header header_values Body Buffered NoContent EMPTY IDENTITY_FIELDS http_date"
        " normal_authority normal_origin normal_target render",
    ),
    _group("Exchanges", "One request with its response, and the connection that it came by.", "Exchange Peer"),
    _group("Handlers and layers", "The one contract that all others end in.", "Handler Layer compose"),
    _group(
        "Registering",
        "What marks the hooks of a plugin, the settings of what has none, and what notices tell.",
        "hookimpl NoSettings GatewayInfo ListenerInfo",
    ),
    _group("Filters", "What `daemun_filters` returns.", "FilterType FilterContext Phase FailurePolicy DisableAfter"),
    _group("Back ends", "What `daemun_backends` returns.", "BackendType BackendContext"),
    _group(
        "Sources",
        "What `daemun_sources` returns; what a source publishes is under Routes.",
        "SourceType SourceContext Source Publish Applied",
    ),
    _group("Matchers", "What `daemun_matchers` returns.", "MatcherType MatcherContext Matcher Peek"),
    _group("Balancers", "What `daemun_balancers` returns.", "BalancerType Balancer"),
    _group("Health checks", "What `daemun_health_checks` returns.", "HealthCheckType HealthCheck"),
    _group(
        "Activators",
        "What `daemun_activators` returns, and the endpoints that activators and balancers see.",
        "ActivatorType ActivatorContext Activator Endpoints Endpoint",
    ),
    _group("Observers", "What `daemun_observers` returns.", "ObserverType ObserverContext Observer GatewayView Worker"),
    _group("Checks", "What `daemun_checks` returns.", "CheckType Finding Severity"),
    _group("Dialects", "What `daemun_dialects` returns.", "Dialect"),
    _group("Wire protocols", "What `daemun_protocols` returns.", "WireProtocol Sniff Connection UpstreamConnection"),
    _group(
        "Routes",
        "What sources publish, and what `daemun_route_filters` is shown.",
        "Snapshot RouteSpec HostMatch HostKind PathMatch PathKind ValueMatch ValueKind MatcherSpec FilterSpec HeaderEdit"
        " Forward Split Retries Redirect Respond BackendSpec EndpointSpec CertificateSpec ObjectStatus",
    ),
    _group(
        "Errors",
        "What plugins raise, and what they meet.",
        "DaemunError SettingsError PluginError ExchangeError Reason Side Retry",
    ),
    _group("State and scopes", "Values of a plugin's own, and things that are opened once.", "Stash StashKey Scope"),
    _group("Files", "What tells a plugin that something on the disk changed.", "watch_folders"),
    _group("Streams and time", "What wire protocols work with.", "Stream Timers Timer Waker new_waker waker_factory"),
    _group("A gateway", "From a program of your own.", "load_settings Settings serve"),
    _group("Gateways in tests", "In memory, or on a port.", "in_memory MemoryGateway running RunningGateway", _KIT),
    _group("Fixtures", "Of pytest, there as soon as daemun is installed.", "", ""),
    _group(
        "Scripted upstreams",
        "Upstreams that behave as upstreams do on a bad day.",
        "Script Scene answer_ok answering slow trickling resetting half_closing over_http2 scripted ScriptedUpstream"
        " scripted2 ScriptedHttp2Upstream Http2Scene",
        _KIT,
    ),
    _group(
        "Wires",
        "The client's end of a connection, and what comes back.",
        "Wire Answer Asked read_asked CutOff Http2Wire Http2End Heard StreamReset transcript",
        _KIT,
    ),
    _group("Both ends", "A gateway between a client and an upstream.", "proxying Proxy proxying2 Http2Proxy", _KIT),
    _group(
        "Time and leaks",
        "Tests that do not depend on the machine.",
        "VirtualClock virtual_backends eventually seeded check_leaks",
        _KIT,
    ),
    _group("Calls of hooks", "Which were called with what.", "HookRecorder HookCall", _KIT),
    _group(
        "Made on the spot",
        "Plugins, routes and messages of one test.",
        "make_plugin built make_request content Pieces HandSource routed RoutedTable Starter",
        _KIT,
    ),
    _group("Batteries", "Whether a plugin keeps its contract, rule by rule.", "", _BATTERIES),
)
"""Every public name, each in one group."""


def listed(group: Group) -> list[PublicName]:
    """The names of a group, as the code has them. Raises `LookupError` for one that is not there."""
    known = public_names(group.package) if group.package else fixtures()
    return [known[name] for name in group.names or known]


def anchor(heading: str) -> str:
    """What a link to a heading ends with."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def contents() -> str:
    """The groups with their names, one line each."""
    _all_are_listed()
    lines = []
    for group in GROUPS:
        found = ", ".join(f"[`{one.name}`](#{anchor(one.name)})" for one in listed(group))
        lines.append(f"- [{group.title}](#{anchor(group.title)}): {found}\n")
    return "".join(lines)


def names() -> str:
    """Every public name: its signature, what it is, and its members."""
    _all_are_listed()
    parts = []
    for group in GROUPS:
        where = f" From `{group.package}`." if group.package else ""
        parts.append(f"## {group.title}\n\n{group.words}{where}\n")
        parts += [_entry(one) for one in listed(group)]
    return "\n".join(parts)


def _all_are_listed() -> None:
    for package in ("daemun", _KIT, _BATTERIES):
        found = [one.name for group in GROUPS if group.package == package for one in listed(group)]
        for name in public_names(package):
            if found.count(name) != 1:
                raise LookupError(
                    f"{package}.{name} is in {found.count(name)} groups of tests/contract/reference.py, not in one"
                )


def _entry(one: PublicName) -> str:
    lines = [f"### `{one.name}`", "", f"`{one.code}`", "", *_wrapped(one.words)]
    if one.members:
        lines.append("")
    for member in one.members:
        code = f"`{member.code}`".replace(" ", _STAYS)
        first, *rest = _wrapped(f"{code}: {member.words}" if member.words else code, "  ")
        lines += [f"- {first.strip()}", *rest]
    return "\n".join(lines).replace(_STAYS, " ") + "\n"


def _wrapped(words: str, indent: str = "") -> Iterator[str]:
    """Paragraphs in lines; those that are a list, or that are set in, stay as they are."""
    for position, paragraph in enumerate(words.split("\n\n")):
        if position:
            yield ""
        lines = paragraph.splitlines()
        if any(line.startswith((" ", "- ")) for line in lines):
            yield from (f"{indent}{line}".rstrip() for line in lines)
            continue
        yield from textwrap.wrap(
            " ".join(lines),
            _WIDTH,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )


# --- commands ---


def helps() -> str:
    """What `--help` prints, of every command and of those inside of groups."""
    return "\n".join(f"## `{path}`\n\n```text\n{text}\n```\n" for path, text in _helps("daemun", daemun, None))


def _helps(name: str, command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    context = click.Context(
        command,
        parent,
        name,
        terminal_width=_HELP_WIDTH,
        max_content_width=_HELP_WIDTH,
        **command.context_settings,
    )
    with context:
        yield context.command_path, command.get_help(context)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                found = command.get_command(context, inner)
                if found is not None and not found.hidden:
                    yield from _helps(inner, found, context)
