"""What SOAP callers post: an envelope of 10 KiB, and a message with an attachment beside its envelope (MTOM)."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

__all__ = ["ENVELOPE", "Posted", "mtom"]

_ENVELOPE_BYTES = 10 * 1024
_FILL = b"x" * 262144
_ACTION = "urn:stock/GetPrices"
_BOUNDARY = "part-of-the-message"
_START = f"""<?xml version="1.0" encoding="utf-8"?>
<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/">
<soap:Header xmlns:wsa="http://www.w3.org/2005/08/addressing">
<wsa:Action soap:mustUnderstand="1">{_ACTION}</wsa:Action>
<wsa:To>http://bench.test/upload</wsa:To>
<wsa:MessageID>urn:uuid:7d2d5f6a-6f0c-4f0e-8a55-1d6b7c8e9f01</wsa:MessageID>
</soap:Header>
<soap:Body>
<s:GetPrices xmlns:s="urn:stock">
"""
_END = "</s:GetPrices>\n</soap:Body>\n</soap:Envelope>\n"
_XOP = (
    '<s:Archive><xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" '
    'href="cid:archive@bench.test"/></s:Archive>\n'
)


class Posted(Struct, frozen=True):
    """A request's content, its middle filled up, and the fields that tell its kind."""

    fields: dict[str, str]
    start: bytes
    end: bytes
    length: int
    """Bytes in all."""

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of 256 KiB at most."""
        yield self.start
        left = self.length - len(self.start) - len(self.end)
        while left > 0:
            yield _FILL[:left]
            left -= len(_FILL)
        yield self.end

    @property
    def content(self) -> bytes:
        """All of it at once."""
        return b"".join(self.pieces())


def _envelope() -> Posted:
    items = []
    room = _ENVELOPE_BYTES - len(_START) - len(_END)
    number = 0
    while room > 0:
        item = f'<s:Item number="{number:04d}"><s:Symbol>SYM{number:05d}</s:Symbol><s:Market>XNAS</s:Market></s:Item>\n'
        items.append(item if len(item) <= room else " " * room)
        room -= len(item)
        number += 1
    fields = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{_ACTION}"'}
    return Posted(fields, (_START + "".join(items) + _END).encode(), b"", _ENVELOPE_BYTES)


ENVELOPE = _envelope()
"""A SOAP 1.1 envelope of 10 KiB with a header of WS-Addressing, and 100 elements in its operation."""


def mtom(length: int) -> Posted:
    """A message of `length` bytes in all: a small envelope that includes the attachment behind it."""
    root = 'Content-Type: application/xop+xml; charset=UTF-8; type="text/xml"\r\nContent-ID: <root@bench.test>'
    other = "Content-Type: application/octet-stream\r\nContent-ID: <archive@bench.test>"
    envelope = _START + _XOP + _END
    start = f"--{_BOUNDARY}\r\n{root}\r\n\r\n{envelope}\r\n--{_BOUNDARY}\r\n{other}\r\n\r\n"
    kind = 'multipart/related; type="application/xop+xml"; start="<root@bench.test>"; start-info="text/xml"'
    fields = {"Content-Type": f'{kind}; boundary="{_BOUNDARY}"', "SOAPAction": f'"{_ACTION}"'}
    return Posted(fields, start.encode(), f"\r\n--{_BOUNDARY}--\r\n".encode(), length)
