"""What systemd takes as names and addresses, and what the unit of a gateway would not let it do."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from daemun.settings import Settings

__all__ = ["hindrances", "is_unit_name", "stream_address"]

_is_name = re.compile(r"[A-Za-z0-9:_-][A-Za-z0-9:_.-]{0,127}").fullmatch
_HIDDEN = {
    "/home": "ProtectHome=yes",
    "/root": "ProtectHome=yes",
    "/run/user": "ProtectHome=yes",
    "/tmp": "PrivateTmp=yes",
    "/var/tmp": "PrivateTmp=yes",
}
"""Folders that a service of ours does not see as others do, and why."""


def is_unit_name(name: str) -> bool:
    """Whether a unit may be called `name`."""
    return _is_name(name) is not None


def stream_address(address: str) -> str:
    """`address` as `ListenStream` takes it. Raises `ValueError` that says what would be taken.

    That is a port, `IPv4:port`, `[IPv6]:port`, a path, or `@name` of the abstract namespace; `unix:/path`, which a
    `bind` would be, is the path.
    """
    path = address.removeprefix("unix:")
    if path[:1] == "/" or (path[:1] == "@" and len(path) > 1):
        if path.isprintable() and not any(map(str.isspace, path)):
            return path.replace("%", "%%")
        raise ValueError("a path holds a blank or a control")
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= 65535):
        raise _unknown("has no port from 1 to 65535" if host else "is no address")
    if not host:
        if address == port:
            return address
        raise _unknown("names no host before the port")
    try:
        if host[:1] == "[" and host[-1:] == "]":
            ipaddress.IPv6Address(host[1:-1])
        else:
            ipaddress.IPv4Address(host)
    except ValueError:
        raise _unknown("has no address of IP before the port") from None
    return address.replace("%", "%%")


def hindrances(settings: Settings, files: Iterable[Path], name: str) -> Iterator[str]:
    """Why the service could not start as it is, in words: files that it would not see, sockets that it cannot make."""
    python = () if getattr(sys, "frozen", False) else (Path(sys.prefix), Path(sys.base_prefix))
    for file in dict.fromkeys((*files, *(path.resolve() for path in files), *python)):
        hidden = next((folder for folder in _HIDDEN if file.is_relative_to(folder)), None)
        if hidden is not None:
            yield f"the service does not see {file}: {_HIDDEN[hidden]} hides {hidden} (accepted: a place elsewhere)"
    for listener in settings.listeners:
        path = PurePosixPath(listener.bind.removeprefix("unix:"))
        if listener.bind.startswith("unix:") and (len(path.parts) < 4 or path.parts[1] != "run"):
            words = f"the service may make no socket {path} (accepted: unix:/run/{name}/{path.name})"
            yield f"listener {listener.name}: {words}"


def _unknown(why: str) -> ValueError:
    return ValueError(f"it {why}; accepted: a port, IPv4:port, [IPv6]:port, /path, @name")
