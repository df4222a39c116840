"""The names that SOAP is made of: namespaces, versions, and qualified names as people write them."""

from __future__ import annotations

import enum
from collections.abc import Iterable

__all__ = [
    "SOAP11",
    "SOAP12",
    "WSA",
    "WSDL",
    "XOP",
    "XSD",
    "XSI",
    "Version",
    "listed",
    "local_name",
    "qualified",
    "quoted",
]

SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
WSDL = "http://schemas.xmlsoap.org/wsdl/"
XOP = "http://www.w3.org/2004/08/xop/include"
XSD = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"

_MAX_SAID = 200
_MAX_LISTED = 10


class Version(enum.Enum):
    """A version of SOAP, by the namespace of its envelope."""

    V1_1 = "1.1"
    V1_2 = "1.2"

    @property
    def namespace(self) -> str:
        """The namespace of its envelope."""
        return SOAP11 if self is Version.V1_1 else SOAP12

    @property
    def content_type(self) -> bytes:
        """The media type of its messages, without parameters."""
        return b"text/xml" if self is Version.V1_1 else b"application/soap+xml"


def qualified(namespace: str, name: str) -> str:
    """`{namespace}name`, or `name` without a namespace: qualified names are written so everywhere here."""
    return f"{{{namespace}}}{name}" if namespace else name


def local_name(name: str) -> str:
    """A qualified name without its namespace."""
    return name.rpartition("}")[2]


def quoted(said: str) -> str:
    """What a stranger said, for a message: in quotes, and cut if it is long."""
    return f"'{said}'" if len(said) <= _MAX_SAID else f"'{said[: _MAX_SAID - 1]}…'"


def listed(names: Iterable[str]) -> str:
    """What is accepted, for a message: the first names of many."""
    known = sorted(set(names))
    more = len(known) - _MAX_LISTED
    return ", ".join(known[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "") or "none"
