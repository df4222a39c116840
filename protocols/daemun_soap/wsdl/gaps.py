"""What a WSDL names and does not have: imports that cannot be read, types that are nowhere, patterns that are none.

Messages cannot be checked by documents that nobody has seen, so who checks messages refuses a WSDL without them: they
may be there later. Of what is named and in no document nothing is valid: messages that have it are refused, all others
are checked.
"""

from __future__ import annotations

import enum
import logging
from functools import lru_cache

from daemun import SettingsError

__all__ = ["Gaps", "Validates"]

log = logging.getLogger("daemun.soap")

_MAX_TOLD = 5
_MAX_WORDS = 400


class Validates(enum.Enum):
    """Who checks messages by the schemas of a WSDL."""

    NOBODY = "nobody"
    COMPILED = "compiled"
    """libxml2, which takes no schema that it does not understand."""
    TYPED = "typed"
    """xmlschema, which goes on without what it does not understand."""


class Gaps:
    """Those of one WSDL, in words that say where. They are found while it is read."""

    def __init__(self, location: str) -> None:
        self.location = location
        """Of the WSDL, for people."""
        self._unread: dict[str, None] = {}
        self._misread: dict[str, None] = {}
        self._told: dict[str, None] = {}

    def unread(self, words: str) -> None:
        """A document that cannot be read."""
        self._unread[words[:_MAX_WORDS]] = None

    def misread(self, words: str) -> None:
        """Something that xmlschema does not understand, so that it cannot check by it."""
        self._misread[words[:_MAX_WORDS]] = None

    def nowhere(self, words: str) -> None:
        """Something that is named and in no schema: nothing is valid as such."""
        self._told[f"{words[:_MAX_WORDS]}: who checks messages refuses those that have it"] = None

    def left_out(self, words: str) -> None:
        """Something that is done without: nobody can ask for it, or it makes no difference."""
        self._told[words[:_MAX_WORDS]] = None

    def settle(self, by: Validates) -> None:
        """Tells of all, once in a process. Raises `SettingsError` if messages could not be checked as they should."""
        left = [] if by is Validates.NOBODY else [*self._unread, *(self._misread if by is Validates.TYPED else ())]
        if left:
            raise SettingsError(
                f"wsdl {self.location}: messages cannot be checked by it: {_in_words(left)} "
                "(accepted: a WSDL whose imports can be read, with schemas that are valid)"
            )
        for words in (self._unread, self._misread, self._told):
            if words:
                _tell(f"wsdl {self.location}: {_in_words(list(words))}")


def _in_words(words: list[str]) -> str:
    more = len(words) - _MAX_TOLD
    return "; ".join(words[:_MAX_TOLD]) + (f"; {more} more of the kind" if more > 0 else "")


@lru_cache(maxsize=256)
def _tell(line: str) -> None:
    """Several routes, or filters of one, may have the same WSDL."""
    log.warning("%s", line)
