"""Back ends for SOAP that know next to nothing of it: one of JSON, and one that notes what it gets and may answer 100 MiB."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = [
    "CONTENT_TYPES",
    "NAMESPACES",
    "Jsonic",
    "Recording",
    "envelope",
    "hash_of",
    "large",
    "large_bytes",
    "large_type",
]

CONTENT_TYPES = {"1.1": "text/xml; charset=utf-8", "1.2": "application/soap+xml; charset=utf-8"}
NAMESPACES = {"1.1": "http://schemas.xmlsoap.org/soap/envelope/", "1.2": "http://www.w3.org/2003/05/soap-envelope"}
SMALL_BYTES = 1 << 20
PIECE = bytes(range(256)) * 4096
PIECES = 100
"""100 MiB."""


def envelope(version: str, body: str, header: str = "") -> bytes:
    namespace = NAMESPACES[version]
    return (
        f"<s:Envelope xmlns:s='{namespace}'><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>".encode()
    )


def large(operation: str) -> Iterator[bytes]:
    """A message with an attachment of 100 MiB (MTOM), in pieces."""
    photo = '<photo><x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:photo@a.test"/></photo>'
    body = {
        "PlaceOrder": f"<order id='1'><line><sku>a</sku><count>1</count></line><note/>{photo}</order>",
        "PlaceOrderResponse": f"<PlaceOrderResult><number>1</number><items>1</items><sku>a</sku>{photo}</PlaceOrderResult>",
    }[operation]
    root = 'Content-Type: application/xop+xml; charset=utf-8; type="text/xml"\r\nContent-ID: <root@a.test>'
    yield f"--part\r\n{root}\r\n\r\n".encode() + envelope("1.1", f"<{operation} xmlns='urn:shop'>{body}</{operation}>")
    binary = "Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <photo@a.test>"
    yield f"\r\n--part\r\n{binary}\r\n\r\n".encode()
    yield from [PIECE] * PIECES
    yield b"\r\n--part--\r\n"


def large_bytes(operation: str) -> int:
    return sum(map(len, large(operation)))


def large_type(version: str) -> str:
    inner = CONTENT_TYPES[version].partition(";")[0]
    return f'multipart/related; boundary=part; type="application/xop+xml"; start="<root@a.test>"; start-info="{inner}"'


def hash_of(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


class Jsonic(BaseHTTPRequestHandler):
    """A shop of JSON."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/shop/prices/ABC":
            self._answer(200, {"GetPriceResult": 12.5 if query == "day=2026-11-23" else 13})
        else:
            fault = {"detail": {"NoSuchSymbol": "NONE"}}
            self._answer(404, {"title": "Not Found", "status": 404, "detail": "no such symbol", "fault": fault})

    def do_POST(self) -> None:
        order = json.loads(self.rfile.read(int(self.headers["content-length"])))["order"]
        items, sku = sum(line["count"] for line in order["line"]), [line["sku"] for line in order["line"]]
        receipt = {"photo": order["photo"], "sku": sku, "items": items, "number": f"{order['@id']}-1"}
        assert order["note"] is None
        self._answer(200 if self.path == "/shop/PlaceOrder" else 404, {"PlaceOrderResult": receipt})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json" if status == 200 else "application/problem+json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


class Recorder(BaseHTTPRequestHandler):
    """Notes what is posted, and answers the price of something; to what is large, as large a message."""

    protocol_version = "HTTP/1.1"
    server: Recording

    def do_POST(self) -> None:
        digest, content = hashlib.sha256(), b""
        for data in self._pieces():
            digest.update(data)
            content = (content + data)[:SMALL_BYTES]
        self.server.contents.append(content)
        self.server.hashes.append(digest.hexdigest())
        if self.path == "/large":
            self._answer(large_type("1.1"), large_bytes("PlaceOrderResponse"), large("PlaceOrderResponse"))
        else:
            answer = envelope(
                "1.1", "<GetPriceResponse xmlns='urn:shop'><GetPriceResult>1</GetPriceResult></GetPriceResponse>"
            )
            self._answer(CONTENT_TYPES["1.1"], len(answer), [answer])

    def _pieces(self) -> Iterator[bytes]:
        if "content-length" in self.headers:
            yield from self._read(int(self.headers["content-length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield from self._read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _read(self, size: int) -> Iterator[bytes]:
        while size:
            data = self.rfile.read1(min(size, 1 << 16))
            size -= len(data)
            yield data

    def _answer(self, content_type: str, size: int, pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(size))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)

    def log_message(self, *arguments: object) -> None:
        pass


class Recording(ThreadingHTTPServer):
    """The server of `Recorder`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Recorder)
        self.contents: list[bytes] = []
        self.hashes: list[str] = []
