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

    def wait(self, name: str, seconds: float) -> None:
        """Waits until a program is over, or for so long."""
        deadline = time.monotonic() + seconds
        while self.runs(name) and time.monotonic() < deadline:
            time.sleep(0.02)

    def log(self, name: str) -> str:
        """What a program said so far."""
        try:
            return self._log(name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """Ends a program, by force if it takes its time, and then by force what it started and left."""
        pid = self._pid(name)
        if pid is not None:
            os.kill(pid, number)
            self.wait(name, _GRACE_SECONDS)
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if child := self._children.pop(name, None):
            child.wait()
        self._note(name).unlink(missing_ok=True)

    def leave(self, name: str) -> None:
        """A program that this process started goes on when this one is over."""
        if child := self._children.pop(name, None):
            child.returncode = 0  # nobody waits for it

    def end_all(self, last: Sequence[str] = ()) -> None:
        """Ends all programs; those named last in that order."""
        names = sorted(note.stem for note in self.folder.glob("*.pid"))
        for name in sorted(names, key=lambda one: last.index(one) if one in last else -1):
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
