"""Whether a certificate is of use: with its key, and until when. Its DER (RFC 5280 §4.1) is walked only as far as its
end."""

from __future__ import annotations

import binascii
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

from daemun_kubernetes.client.tls import as_file, no_password

__all__ = ["end_of", "misfit_of"]

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18
_VALIDITY = 3
"""After serial number, algorithm and issuer."""


def end_of(pem: str) -> datetime | None:
    """When the first certificate in `pem` ends; None if there is none that can be read."""
    found = _BLOCK.search(pem)
    if found is None:
        return None
    try:
        der = binascii.a2b_base64("".join(found[1].split()), strict_mode=True)
        signed = _items(_first(_first(der)))
        fields = [field for field in signed if field[0] != _VERSION]
        _, (tag, text) = _items(fields[_VALIDITY][1])
        return _time(tag, text.decode("ascii"))
    except (binascii.Error, ValueError, IndexError, StopIteration):
        return None


def misfit_of(certificate: str, key: str) -> str:
    """Why TLS cannot be spoken with the two, both PEM; "": it can."""
    try:
        with as_file(certificate.encode()) as chain, as_file(key.encode()) as secret:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, secret, password=no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
    return ""


def _first(data: bytes) -> bytes:
    return next(_items(data))[1]


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each value in `data`. Raises `ValueError` or `IndexError` if it is cut short."""
    start = 0
    while start < len(data):
        tag, length, begin = data[start], data[start + 1], start + 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[begin : begin + count], "big")
            begin += count
        if begin + length > len(data):
            raise ValueError("a value is longer than what holds it")
        yield tag, data[begin : begin + length]
        start = begin + length


def _time(tag: int, text: str) -> datetime:
    if tag == _UTC_TIME:  # RFC 5280 §4.1.2.5.1: 50 and above are of the last century
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
