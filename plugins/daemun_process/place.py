"""Where a process listens: a free port of the loopback interface, or a Unix socket in a private folder."""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import socket
import tempfile
from pathlib import Path

from msgspec import Struct

__all__ = ["Place", "take_place"]

_VARIABLE = re.compile(r"\$(?:\{(PORT|SOCKET)\}|(PORT|SOCKET)\b)")
_LOOPBACK = "127.0.0.1"
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_RANGE = (32768, 60999)
_PORTS = (*range(20000, 30000), *range(60000, 65536))
_FEWEST_PORTS = 1000
_TRIES = 100


class Place(Struct, frozen=True):
    """One address for one process, until `give_back`."""

    port: int = 0
    path: str = ""
    lock: socket.socket | None = None
    """Keeps other gateways off the port."""

    @property
    def address(self) -> str:
        """As in `EndpointSpec`."""
        return f"{_LOOPBACK}:{self.port}" if self.port else f"unix:{self.path}"

    @property
    def variables(self) -> dict[str, str]:
        """What the process is told."""
        return {"PORT": str(self.port)} if self.port else {"SOCKET": self.path}

    def fill_in(self, text: str) -> str:
        """`text` with `$PORT`, `${PORT}`, `$SOCKET`, `${SOCKET}` replaced where this place has one."""
        variables = self.variables
        return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], found[0]), text)

    def give_back(self) -> None:
        """Makes the port free for another process, or removes the folder. Blocks for a moment."""
        if self.lock is not None:
            self.lock.close()
        if self.path:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def take_place(*, port: int = 0, unix: bool = False) -> Place:
    """A place that nobody uses: the port asked for, a free port (0), or a path in a new folder of mode 0700.

    A free port is one that the kernel gives to nobody by itself and no other gateway has: until the process
    binds it, only a stranger who insists on it can take it. Blocks for a moment. Raises `OSError`, also if
    somebody has the port asked for.
    """
    if unix:
        return Place(path=str(Path(tempfile.mkdtemp(prefix="daemun-")) / "s"))
    if port:
        _try(port, reuse=True)
        return Place(port=port)
    ports = _ports()
    for _ in range(_TRIES):
        port = random.choice(ports)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            lock.bind(f"\0daemun-port-{port}")
            _try(port, reuse=False)
        except OSError:
            lock.close()
        else:
            return Place(port=port, lock=lock)
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _try(port: int, *, reuse: bool) -> None:
    with socket.socket() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        stream.bind((_LOOPBACK, port))


def _ports() -> list[int]:
    """Ports outside the range of the kernel's own choice; inside it only if hardly any are left."""
    try:
        low, high = map(int, _RANGE_FILE.read_text().split())
    except (OSError, ValueError):
        low, high = _USUAL_RANGE
    outside = [port for port in _PORTS if not low <= port <= high]
    return outside if len(outside) >= _FEWEST_PORTS else list(_PORTS)
