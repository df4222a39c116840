"""What it costs to learn the operation of a SOAP envelope of 10 KiB: all at once, and in the pieces it came in."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.scan import EnvelopeScan

from .results import Fact, Results

_BYTES = 10 * 1024
_START = (
    b'<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Header>'
    b'<wsa:Action xmlns:wsa="http://www.w3.org/2005/08/addressing">urn:stock/GetPrices</wsa:Action></soap:Header>'
    b'<soap:Body><s:GetPrices xmlns:s="urn:stock">'
)
_END = b"</s:GetPrices></soap:Body></soap:Envelope>"
_ITEM = b"<s:Item><s:Symbol>SYM00001</s:Symbol><s:Market>XNAS</s:Market></s:Item>\n"
_OPERATION = "{urn:stock}GetPrices"
_LIMITS = Limits()


def _envelope() -> bytes:
    items, rest = divmod(_BYTES - len(_START) - len(_END), len(_ITEM))
    return _START + _ITEM * items + b" " * rest + _END


def _whole(envelope: bytes) -> str | None:
    scan = EnvelopeScan(_LIMITS)
    scan.read(envelope)
    return scan.operation


def _until_told(envelope: bytes) -> str | None:
    """As a matcher reads it: a piece of 1 KiB after the other, until the operation is known."""
    scan = EnvelopeScan(_LIMITS)
    for at in range(0, len(envelope), 1024):
        scan.feed(envelope[at : at + 1024])
        if scan.operation is not None:
            break
    return scan.operation


def _in_pieces(envelope: bytes) -> str | None:
    """As it comes from a slow caller, in ten pieces."""
    scan = EnvelopeScan(_LIMITS)
    for at in range(0, len(envelope), 1024):
        scan.feed(envelope[at : at + 1024])
    scan.close()
    return scan.operation


@pytest.mark.benchmark(timer=process_time, group="SOAP envelope of 10 KiB")
@pytest.mark.parametrize(
    ("words", "scan"),
    [("at once", _whole), ("until the operation is known", _until_told), ("in ten pieces", _in_pieces)],
    ids=["whole", "until told", "pieces"],
)
def test_an_envelope_is_scanned(
    benchmark: BenchmarkFixture, rounds: int, results: Results, words: str, scan: Callable[[bytes], str | None]
) -> None:
    envelope = _envelope()
    assert len(envelope) == _BYTES
    found = benchmark.pedantic(scan, (envelope,), rounds=rounds * 5, iterations=50, warmup_rounds=2)  # type: ignore[no-untyped-call]
    assert found == _OPERATION
    assert benchmark.stats is not None
    stats = benchmark.stats.stats
    results.facts.append(
        Fact(f"SOAP envelope of 10 KiB, scanned {words}", stats.median * 1e6, "µs", stats.iqr / 2 * 1e6)
    )
