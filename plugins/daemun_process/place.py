"""Where a process listens: a free port of the loopback interface, or a Unix socket in a private folder."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import tempfile
import threading
from pathlib import Path

from msgspec import Struct

__all__ = ["Place", "take_place"]

_VARIABLE = re.compile(r"\$(?:\{(PORT|SOCKET)\}|(PORT|SOCKET)\b)")
_LOOPBACK = "127.0.0.1"
_TRIES = 100

_lock = threading.Lock()
_taken: set[int] = set()


class Place(Struct, frozen=True):
    """One address for one process, until `give_back`."""

    port: int = 0
    path: str = ""

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
        if self.port:
            with _lock:
                _taken.discard(self.port)
        else:
            shutil.rmtree(Path(self.path).parent, ignore_errors=True)


def take_place(*, port: int = 0, unix: bool = False) -> Place:
    """A place that nobody uses: the port asked for, a free port (0), or a path in a new folder of mode 0700.

    Between here and the process's own `bind` a stranger may take the port: then the process ends, and the
    next start gets another. Blocks for a moment. Raises `OSError`, also if somebody has the port asked for.
    """
    if unix:
        path = Path(tempfile.mkdtemp(prefix="daemun-")) / "s"
        return Place(path=str(path))
    with _lock:
        for _ in range(_TRIES):
            with socket.socket() as holder:
                if port:
                    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                holder.bind((_LOOPBACK, port))
                number: int = holder.getsockname()[1]
            if number not in _taken:
                _taken.add(number)
                return Place(port=number)
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
