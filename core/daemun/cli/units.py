"""`daemun systemd-unit`: the units of a gateway for systemd, from its settings file."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

import click

from daemun.cli.output import writing
from daemun.cli.unit_words import hindrances, is_unit_name, stream_address
from daemun.errors import SettingsError
from daemun.settings import ListenerSettings, Settings, load_settings
from daemun.upstream.endpoints import parse_address

__all__ = ["systemd_unit", "units_of"]

_SPARE_SECONDS = 15
_PRIVILEGED_PORTS = 1024
_RUN_DEPTH = len(PurePosixPath("/run/file").parts)
_is_plain = re.compile(r"[A-Za-z0-9_./+:@,=-]+").fullmatch

_SERVICE = """\
[Unit]
Description=daemun, a gateway made of plugins
Wants=network-online.target
After={after}

[Service]
Type=notify
ExecStart={program} run {settings}
ExecReload=/bin/kill -HUP $MAINPID
{own_sockets}# Only the gateway itself is told to stop: it drains, and stops what it started.
KillMode=mixed
TimeoutStopSec={stop_seconds}
Restart=on-failure
WatchdogSec=30
LimitNOFILE=1048576
# Where the binary unpacks itself, once for each version.
CacheDirectory={name}
{folders}
# What it may not do. A user of its own means that the settings, and keys of certificates, must be readable to others
# or be given with LoadCredential=.
DynamicUser=yes
{capabilities}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=multi-user.target
{also}"""

_SOCKET = """\
[Unit]
Description=daemun listens: {listener}

[Socket]
ListenStream={address}
FileDescriptorName={descriptor}
Service={name}.service
Backlog={backlog}

[Install]
WantedBy=sockets.target
"""


@click.command("systemd-unit")
@click.argument("file", type=click.Path(dir_okay=False), default="daemun.yaml", envvar="DAEMUN_SETTINGS")
@click.option(
    "--listen", multiple=True, metavar="NAME=ADDRESS", help="Where the socket systemd:NAME listens; repeatable."
)
@click.option("--name", default="daemun", show_default=True, help="Name of the units.")
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), help="Write the files into this folder.")
def systemd_unit(file: str, listen: tuple[str, ...], name: str, into: Path | None) -> None:
    """Print the systemd units of a gateway.

    FILE has its settings. They are a service, and a socket for each listener whose `bind` is `systemd:NAME`.

    systemd holds those sockets: connections wait while the gateway is restarted, none is refused, and it needs no
    right to bind a port.
    """
    if not is_unit_name(name):
        raise click.UsageError(f"--name {name!r} is no name of a unit; accepted: letters, digits and any of : - _ .")
    addresses = {}
    for word in listen:
        key, equals, address = word.partition("=")
        if not equals or not address:
            raise click.UsageError(f"--listen {word!r} is not NAME=ADDRESS")
        try:
            addresses[key] = stream_address(address)
        except ValueError as error:
            raise click.UsageError(f"--listen {word!r}: {error}") from None
    settings, path, program = load_settings(Path(file)), Path(file).resolve(), _program()
    units = units_of(settings, path, addresses, name, program)
    for words in hindrances(settings, [path, program], name):
        click.secho(f"! {words}", fg="yellow", err=True)
    for unit, text in units.items():
        if into is None:
            click.echo(f"# {unit}\n{text}")
        else:
            with writing(into / unit):
                into.mkdir(parents=True, exist_ok=True)
                (into / unit).write_text(text)
            click.echo(into / unit)


def units_of(settings: Settings, file: Path, addresses: Mapping[str, str], name: str, program: Path) -> dict[str, str]:
    """The text of each unit by its file name. `addresses` are where named sockets listen.

    Raises `SettingsError` if one has no address, or an address belongs to none.
    """
    sockets = {}
    for one in settings.listeners:
        kind, _, descriptor = one.bind.partition(":")
        if kind != "systemd":
            continue
        if not is_unit_name(descriptor) or ":" in descriptor:
            accepted = "letters, digits and any of - _ ."
            raise SettingsError(
                f"listener {one.name}: {descriptor!r} is no name of a socket's unit; accepted: {accepted}"
            )
        if descriptor not in addresses:
            raise SettingsError(f"listener {one.name} has no address: say --listen {descriptor}=0.0.0.0:80")
        sockets[f"{name}-{descriptor}.socket"] = _SOCKET.format(
            listener=one.name, address=addresses[descriptor], descriptor=descriptor, name=name, backlog=one.backlog
        )
    named = {one.bind.partition(":")[2] for one in settings.listeners if one.bind.startswith("systemd:")}
    if unknown := sorted(set(addresses) - named):
        raise SettingsError(
            f"no listener is bound to systemd:{unknown[0]} (accepted: {', '.join(sorted(named)) or 'none'})"
        )
    binds = any(map(_is_privileged, (one.bind for one in settings.listeners)))
    drain = settings.drain
    service = _SERVICE.format(
        name=name,
        program=_quoted(str(program)),
        settings=_quoted(str(file)),
        after=" ".join(["network-online.target", *sockets]),
        folders=_line("RuntimeDirectory", sorted(set(filter(None, map(_runtime_folder, settings.listeners))))),
        own_sockets=_line("Sockets", sockets),
        also=_line("Also", sockets),
        stop_seconds=int(drain.delay_seconds + drain.grace_seconds + _SPARE_SECONDS),
        capabilities="\n".join(f"{key}={'CAP_NET_BIND_SERVICE' if binds else ''}" for key in _CAPABILITIES),
    )
    return {f"{name}.service": service, **sockets}


_CAPABILITIES = ("CapabilityBoundingSet", "AmbientCapabilities")


def _line(key: str, units: Iterable[str]) -> str:
    words = " ".join(units)
    return f"{key}={words}\n" if words else ""


def _runtime_folder(listener: ListenerSettings) -> str:
    """The folder below /run that its socket's file lies in, which systemd is to make; "": none."""
    path = PurePosixPath(listener.bind.removeprefix("unix:"))
    is_below = listener.bind.startswith("unix:/") and len(path.parts) > _RUN_DEPTH and path.parts[1] == "run"
    return str(path.parent.relative_to("/run")) if is_below else ""


def _program() -> Path:
    """The file that is to run: the binary, or the command beside the interpreter."""
    beside = Path(sys.executable).with_name("daemun")
    called = os.environ.get("DAEMUN_BINARY") or (str(beside) if beside.exists() else shutil.which("daemun"))
    if called is None:
        raise SettingsError("the program daemun is not found (accepted: one in PATH)")
    return Path(called).absolute()


def _quoted(word: str) -> str:
    """A word of `ExecStart`."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    return escaped if _is_plain(word) else f'"{escaped}"'


def _is_privileged(bind: str) -> bool:
    if bind.startswith(("unix:", "fd:", "systemd:")):
        return False
    try:
        return 0 < parse_address(bind)[1] < _PRIVILEGED_PORTS
    except ValueError:
        return False
