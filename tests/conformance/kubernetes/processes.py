"""Programs that run in the background and are ended by whoever comes next, even if this process does not live to do it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["Processes"]

_GRACE_SECONDS = 10.0


class Processes:
    """Programs by name. What is known of them is in a folder: `NAME.pid`, and `NAME.log` with what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Starts a program that no signal of the terminal reaches."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._log(name).open("wb") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._children[name] = child
        self._note(name).write_text(f"{child.pid} {_began(child.pid)}")

    def runs(self, name: str) -> bool:
        """Whether a program of that name was started, by this process or an earlier one, and goes on."""
        return self._pid(name) is not None

    def log(self, name: str) -> str:
        """What a program said so far."""
        try:
            return self._log(name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends a program, by force if it takes its time."""
        pid = self._pid(name)
        if pid is not None:
            os.kill(pid, number)
            deadline = time.monotonic() + _GRACE_SECONDS
            while self._pid(name) is not None and time.monotonic() < deadline:
                time.sleep(0.02)
            if self._pid(name) is not None:
                os.kill(pid, signal.SIGKILL)
        if child := self._children.pop(name, None):
            child.wait()
        self._note(name).unlink(missing_ok=True)

    def end_all(self, first: Sequence[str] = ()) -> None:
        """Ends all programs; those named first in that order."""
        names = sorted(note.stem for note in self.folder.glob("*.pid"))
        for name in sorted(names, key=lambda one: first.index(one) if one in first else len(first)):
            self.end(name)

    def _pid(self, name: str) -> int | None:
        if (child := self._children.get(name)) is not None and child.poll() is not None:
            return None
        try:
            pid, began = self._note(name).read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid) if began and _began(int(pid)) == began else None

    def _note(self, name: str) -> Path:
        return self.folder / f"{name}.pid"

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"


def _began(pid: int) -> str:
    """When a process began, which tells it from a later one of the same number; "" if it is over."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]
