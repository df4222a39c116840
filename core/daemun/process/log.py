"""The log: time, level, logger and words on standard error; workers say which of them speaks."""

from __future__ import annotations

import logging
import os
import sys

__all__ = ["mark_log", "set_up_log"]

_COLOURS = {logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "31;1"}


class _Format(logging.Formatter):
    """Time, level, logger, words; the level in colour on a terminal."""

    def __init__(self, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")
        self.mark = ""
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        line = self.mark + super().format(record)
        code = _COLOURS.get(record.levelno)
        return f"\x1b[{code}m{line}\x1b[0m" if self._colour and code else line


def set_up_log(level: str) -> None:
    """Sends the log of daemun and its plugins to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Format(sys.stderr.isatty() and "NO_COLOR" not in os.environ))
    root = logging.getLogger("daemun")
    root.handlers = [handler]
    root.setLevel(level.upper())
    root.propagate = False


def mark_log(mark: str) -> None:
    """Lets every line that this process logs begin with `mark`, if `set_up_log` set the log up."""
    for handler in logging.getLogger("daemun").handlers:
        if isinstance(handler.formatter, _Format):
            handler.formatter.mark = mark
