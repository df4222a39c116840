"""Why a reload failed, and where in the author's code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from msgspec import Struct

from daemun.errors import PluginError, SettingsError, lone
from daemun.extend.places import definition

__all__ = ["Fault", "fault_of"]


class Fault(Struct, frozen=True):
    """Why code cannot be used."""

    words: str
    file: str = ""
    """In the code of the plugin; "": it is not known."""
    line: int = 0
    """0: the file as a whole."""
    column: int = 0
    """Of a syntax error, from 1; 0: it is not known."""

    @property
    def place(self) -> str:
        """`file:line`, or ""."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def text(self) -> str:
        """The line itself, or ""."""
        try:
            lines = Path(self.file).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return lines[self.line - 1] if 0 < self.line <= len(lines) else ""


def fault_of(error: BaseException, holds: Callable[[str], bool]) -> Fault:
    """What `error` says, and the place in a file that `holds` says is the plugin's: of the syntax error, of the
    innermost call, of the function that was named wrong, or of the settings struct that does not fit."""
    error = lone(error)
    words = str(error) or type(error).__name__
    chain = list(_chain(error))
    for one in reversed(chain):
        if isinstance(one, SyntaxError) and one.filename and holds(one.filename):
            return Fault(words, one.filename, one.lineno or 0, one.offset or 0)
        for frame, line in reversed(list(_frames(one))):
            if holds(frame.f_code.co_filename):
                return Fault(words, frame.f_code.co_filename, line)
    for one in reversed(chain):
        found = _definition(one)
        if found is not None and holds(found[0]):
            return Fault(words, *found)
    return Fault(words)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what it came from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        error = lone(error)
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _definition(error: BaseException) -> tuple[str, int] | None:
    """File and line of what an error of ours names."""
    if isinstance(error, SettingsError) and isinstance(error.wanted, type):
        return _of_class(error.wanted)
    if isinstance(error, PluginError):
        if isinstance(error.code, Path):
            return str(error.code), 0
        return definition(error.code)
    return None


def _of_class(wanted: type) -> tuple[str, int] | None:
    """By the text of the file that a function of its module is in: the module itself may be replaced already."""
    file = getattr(sys.modules.get(wanted.__module__), "__file__", None)
    if file is None:
        return None
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None
    lines = (node.lineno for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == wanted.__name__)
    return file, next(lines, 0)
