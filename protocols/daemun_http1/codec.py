"""The seam: who takes the field lines of a head apart. The grammar was checked before, the framing is ours."""

from __future__ import annotations

from typing import Protocol

from daemun_http1 import grammar

__all__ = ["Codec", "Fields", "HeadError", "checked"]

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

    def request_fields(self, lines: list[bytes]) -> Fields:
        """The fields of a request, from field lines without their ends. Raises `HeadError`."""
        ...

    def response_fields(self, lines: list[bytes]) -> Fields:
        """The fields of a response, from field lines without their ends. Raises `HeadError`."""
        ...


def checked(lines: list[bytes]) -> list[bytes]:
    """`lines`, if the grammar takes each of them. Raises `HeadError`."""
    if not grammar.FIELD_LINES.fullmatch(b"".join([line + b"\r\n" for line in lines])):
        raise HeadError("malformed field line")
    return lines
