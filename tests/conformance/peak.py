"""How much memory a process of ours held at most: the kernel knows, and forgets when it is told to."""

from __future__ import annotations

from pathlib import Path

__all__ = ["Peak"]


class Peak:
    """The most memory that a process held since the last look."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        self.begin()

    def begin(self) -> None:
        (self._process / "clear_refs").write_text("5")
        self._from = self._kilobytes()

    def grown_mb(self) -> float:
        return round((self._kilobytes() - self._from) / 1024, 1)

    @property
    def now_mb(self) -> float:
        self.begin()
        return self._from / 1024

    def _kilobytes(self) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
