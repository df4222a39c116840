"""Sockets that the process was started with: by number, or by the name that systemd gave them (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket

__all__ = ["is_inherited", "take_inherited"]

_FIRST = 3
"""Where systemd's descriptors begin."""


def is_inherited(bind: str) -> bool:
    """Whether `bind` names a socket that somebody else bound, whose file is not ours either."""
    return bind.startswith(("fd:", "systemd:"))


def take_inherited(bind: str) -> socket.socket:
    """The socket of `fd:N` or `systemd:NAME`, as a descriptor of its own. Raises `ValueError` or `OSError`."""
    kind, _, word = bind.partition(":")
    descriptor = int(word) if kind == "fd" else _named(word)
    own = os.dup(descriptor)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def _named(name: str) -> int:
    names = _passed()
    found = [_FIRST + index for index, one in enumerate(names) if one == name]
    if not found:
        raise ValueError(f"systemd passed no socket of that name; it passed {', '.join(names) or 'none'}")
    if len(found) > 1:
        raise ValueError(f"systemd passed {len(found)} sockets of that name, give each a FileDescriptorName of its own")
    os.set_inheritable(found[0], False)
    return found[0]


def _passed() -> list[str]:
    """The names of the descriptors that systemd passed to this process, in their order."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    return [*names, *["unknown"] * (int(count) - len(names))][: int(count)] if count.isdigit() else []
