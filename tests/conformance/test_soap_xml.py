"""Hostile XML over a socket to the gateway: refused in time, in little memory, and nobody fetches what it names."""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .conftest import GatewayProcess, Start
from .peak import Peak

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]

RUNS = 3
"""Other programs of the machine take time too: of so many runs the fastest counts."""
WATCHED = 19099
"""The port that documents of the corpus name."""
REFUSALS = {400, 404, 413, 415, 500}
"""SOAP 1.1 has its Faults under 500; what a matcher does not take has no route."""
KEPT_MB = 20
"""How much more memory the gateway may have in the end."""
PIECE = 65536
OPEN = b"<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body><a>"
ROW = b"<r x='1'><v>%b</v></r>" % (b"y" * 70)
END = b"</a></s:Body></s:Envelope>"

WSDL = """\
<definitions name="Any" targetNamespace="urn:any" xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:tns="urn:any"
    xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:soap12="http://schemas.xmlsoap.org/wsdl/soap12/">
  <types><schema xmlns="http://www.w3.org/2001/XMLSchema"><element name="a"/></schema></types>
  <message name="Any"><part name="any" element="a"/></message>
  <portType name="Any"><operation name="a"><input message="tns:Any"/></operation></portType>
  <binding name="Any11" type="tns:Any">
    <soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="a"><soap:operation soapAction=""/><input><soap:body use="literal"/></input></operation>
  </binding>
  <binding name="Any12" type="tns:Any">
    <soap12:binding transport="http://schemas.xmlsoap.org/soap/http"/>
    <operation name="a"><soap12:operation soapAction=""/><input><soap12:body use="literal"/></input></operation>
  </binding>
  <service name="Any">
    <port name="Any11" binding="tns:Any11"><soap:address location="http://127.0.0.1/any"/></port>
    <port name="Any12" binding="tns:Any12"><soap12:address location="http://127.0.0.1/any12"/></port>
  </service>
</definitions>
"""


@cache
def zeros_in_gzip(size: int) -> bytes:
    gzip, zeros = zlib.compressobj(1, zlib.DEFLATED, 31), bytes(1 << 20)
    return b"".join([*(gzip.compress(zeros) for _ in range(size >> 20)), gzip.flush()])


def spelt(case: dict[str, Any]) -> bytes:
    """The content of a case."""
    if size := case.get("gen_gzip_zeros"):
        return zeros_in_gzip(size)
    text = ""
    for segment in case["body"]:
        if isinstance(segment, str):
            text += segment
        elif "rep" in segment:
            text += segment["rep"][0] * segment["rep"][1]
        else:
            text += "".join(segment["seq"][0] % number for number in range(segment["seq"][1]))
    return text.encode(case.get("encode", "utf-8"))


def posted(gateway: GatewayProcess, case: dict[str, Any], content: bytes, *, chunked: bool) -> tuple[int, float]:
    """The status of the answer, and the seconds to it."""
    pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
    framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(content))}
    fields = {"host": "a.test", "content-type": case["content_type"], "connection": "close", **case.get("headers", {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **framing}.items())
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as client:
        began = time.monotonic()
        try:
            client.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode())
            for piece in pieces:
                client.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            client.sendall(b"0\r\n\r\n" if chunked else b"")
        except OSError:
            pass  # it is refused already
        line = client.makefile("rb").readline()
        return int(line.split(b" ")[1]), time.monotonic() - began


@pytest.fixture
def watched() -> Iterator[socket.socket]:
    """Listens where documents of the corpus say that something is to be fetched."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", WATCHED))
        listener.listen()
        listener.setblocking(False)
        yield listener


FILTER = {"type": "soap"}
VALIDATING = {"type": "soap", "settings": {"wsdl": "any.wsdl", "validate": "request"}}
MATCHERS = [{"type": "soap", "settings": {"operations": ["a"]}}]
ROUTES: dict[str, dict[str, Any]] = {
    "filter": {"filters": [FILTER]},
    "validation": {"filters": [VALIDATING]},
    "matcher and filter": {"match": {"matchers": MATCHERS}, "filters": [FILTER]},
}
"""What reads the message."""


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("reader", ROUTES)
def test_every_case_of_xml(
    reader: str, chunked: bool, corpus: Path, start: Start, origin: int, watched: socket.socket, tmp_path: Path
) -> None:
    (tmp_path / "any.wsdl").write_text(WSDL)
    gateway = start(origin, routes=[{"name": "soap", "to": "up", **ROUTES[reader]}])
    cases = [json.loads(line) for line in (corpus / "xml_cases.jsonl").read_text().splitlines()]
    posted(gateway, cases[0], spelt(cases[0]), chunked=chunked)  # the first one imports and connects
    peak, wrong = Peak(gateway.pid), {}
    before = peak.now_mb
    for case in cases:
        content = spelt(case)
        peak.begin()
        answers = [posted(gateway, case, content, chunked=chunked) for _ in range(RUNS)]
        grown = peak.grown_mb()
        status, seconds = min(answers, key=lambda answer: answer[1])
        accepted = {answer[0] for answer in answers} == {200}
        refused = {answer[0] for answer in answers} <= REFUSALS
        expected = {"accept": accepted, "reject": refused, "either": accepted or refused}[case["expect"]]
        if not expected or seconds * 1000 > case["max_ms"] or grown > case["max_rss_mb"]:
            wrong[case["id"]] = (case["expect"], status, f"{seconds * 1000:.0f} ms", f"{grown} MB")
    assert wrong == {}
    assert peak.now_mb - before <= KEPT_MB
    with pytest.raises(BlockingIOError):
        watched.accept()


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("reader", ["filter", "validation"])
def test_no_message_is_kept(reader: str, chunked: bool, start: Start, origin: int, tmp_path: Path) -> None:
    (tmp_path / "any.wsdl").write_text(WSDL)
    gateway = start(origin, routes=[{"name": "soap", "to": "up", **ROUTES[reader]}])
    messages = {
        "good": OPEN + ROW * 4_000 + END,
        "of too many elements": OPEN + ROW * 11_000 + END,
        "of too long a text": OPEN + b"y" * 12_000_000 + END,
        "without an end": OPEN + ROW * 4_000,
    }
    case = {"content_type": "text/xml"}
    kept = {}
    for name, content in messages.items():
        status = posted(gateway, case, content, chunked=chunked)[0]
        assert (status == 200) == (name == "good")
        peak = Peak(gateway.pid)
        before = peak.now_mb
        for _ in range(30):
            posted(gateway, case, content, chunked=chunked)
        kept[name] = round(peak.now_mb - before)
    assert {name: mb for name, mb in kept.items() if mb > KEPT_MB} == {}
