"""The seam: who takes the field lines of a head apart. The grammar was checked before, the framing is ours."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Codec", "Fields", "HeadError"]

Fields = list[tuple[bytes, bytes]]
"""Names lower-case, values without the blanks around them."""


class HeadError(Exception):
    """The codec refuses a head that our grammar took: the stricter reading wins."""

    def __init__(self, message: str, *, coding: bool = False) -> None:
        self.coding = coding
        """It is refused for its transfer coding."""
        super().__init__(message)


class Codec(Protocol):
    """Takes heads apart."""

    name: str

    def request_fields(self, lines: bytes) -> Fields:
        """The fields of a request, from its field lines without the empty one. Raises `HeadError`."""
        ...

    def response_fields(self, lines: bytes) -> Fields:
        """The fields of a response, from its field lines without the empty one. Raises `HeadError`."""
        ...
