"""Envelopes: their operation as soon as it is said, what else an envelope must be, and what actions say of it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import ExchangeError
from daemun_soap.envelopes.action import agreed_action, announced_action, names_operation
from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.media import SoapType, parse_media, soap_type
from daemun_soap.envelopes.scan import EnvelopeScan
from daemun_soap.names import SOAP11, SOAP12, WSA, Version
from daemun_soap.operations import allows

LIMITS = Limits()
HEADER = f'<s:Header><w:Action xmlns:w="{WSA}"> urn:do </w:Action></s:Header>'


def envelope(inside: str, namespace: str = SOAP11) -> bytes:
    return f'<s:Envelope xmlns:s="{namespace}">{inside}</s:Envelope>'.encode()


def scanned(data: bytes, *cuts: int, version: Version | None = None) -> EnvelopeScan:
    """A scan that was given `data` in pieces, or whole if there are no cuts."""
    scan = EnvelopeScan(LIMITS, "", version)
    if not cuts:
        scan.read(data)
        return scan
    at = 0
    for cut in (*sorted(cuts), len(data)):
        scan.feed(data[at:cut])
        at = max(at, cut)
    scan.close()
    return scan


READS: list[Callable[[bytes], EnvelopeScan]] = [scanned, lambda data: scanned(data, *range(1, len(data)))]


@pytest.mark.parametrize("read", READS, ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("data", "version", "operation", "action"),
    [
        (envelope("<s:Body><a/></s:Body>"), Version.V1_1, "a", None),
        (envelope("<s:Body><a/></s:Body>", SOAP12), Version.V1_2, "a", None),
        (envelope('<s:Body><a xmlns="urn:x"/></s:Body>'), Version.V1_1, "{urn:x}a", None),
        (envelope("<s:Body/>"), Version.V1_1, "", None),
        (envelope("<s:Body> <!-- nothing --> </s:Body>"), Version.V1_1, "", None),
        (envelope(f"{HEADER}<s:Body><a/></s:Body>"), Version.V1_1, "a", "urn:do"),
        (envelope(f"{HEADER}<s:Body/>"), Version.V1_1, "", "urn:do"),
        (envelope("<s:Header/><!-- c --><s:Body><!-- c --><a/></s:Body>"), Version.V1_1, "a", None),
        (envelope("<s:Header><w><s:Body><b/></s:Body></w></s:Header><s:Body><a/></s:Body>"), Version.V1_1, "a", None),
        (envelope("<s:Body><a><s:Body><b/></s:Body></a></s:Body>"), Version.V1_1, "a", None),
        (envelope("<s:Body><a><s:Envelope/></a></s:Body>"), Version.V1_1, "a", None),
        (envelope(f"<s:Header><x>{HEADER}</x></s:Header><s:Body><a/></s:Body>"), Version.V1_1, "a", None),
        (envelope("<s:Body><s:Fault/></s:Body>"), Version.V1_1, f"{{{SOAP11}}}Fault", None),
        (f'<Envelope xmlns="{SOAP12}"><Body><a xmlns=""/></Body></Envelope>'.encode(), Version.V1_2, "a", None),
    ],
)
def test_what_an_envelope_says(
    read: Callable[[bytes], EnvelopeScan], data: bytes, version: Version, operation: str, action: str | None
) -> None:
    scan = read(data)
    assert (scan.version, scan.operation, scan.wsa_action) == (version, operation, action)
    assert not scan.foreign
    assert not scan.siblings


@pytest.mark.parametrize("read", READS, ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "data",
    [
        envelope(""),
        envelope("<s:Header/>"),
        envelope("<Body><a/></Body>"),
        envelope(f'<x:Body xmlns:x="{SOAP12}"><a/></x:Body>'),
        envelope("<s:Body><a/></s:Body><s:Body><b/></s:Body>"),
        envelope("<s:Body/><s:Body><b/></s:Body>"),
        envelope("<s:Body><a/></s:Body><s:Header/>"),
        envelope("<s:Body><a/></s:Body><b/>"),
        envelope("<s:Header/><s:Header/><s:Body><a/></s:Body>"),
        envelope("<b/><s:Body><a/></s:Body>"),
        envelope(f"<s:Header>{HEADER[10:-11]}{HEADER[10:-11]}</s:Header><s:Body><a/></s:Body>"),
        envelope("<s:Body><a/></s:Body>")[:-1],
        envelope("<s:Body><a></s:Body>"),
        b"<s:Envelope",
        b"",
    ],
)
def test_what_is_no_envelope(read: Callable[[bytes], EnvelopeScan], data: bytes) -> None:
    with pytest.raises(ExchangeError, match="malformed"):
        read(data)


@pytest.mark.parametrize("read", READS, ids=["whole", "byte by byte"])
@pytest.mark.parametrize("data", [b"<order><a/></order>", b"<s:Other xmlns:s='u'/>"])
def test_another_kind_of_xml_is_told_by_its_first_tag(read: Callable[[bytes], EnvelopeScan], data: bytes) -> None:
    scan = EnvelopeScan(LIMITS)
    with pytest.raises(FaultError, match=r"begins with '(order|Other)'; accepted: an Envelope of SOAP 1\.1") as caught:
        scan.feed(data)
    assert scan.foreign
    assert caught.value.code is Code.VERSION_MISMATCH


@pytest.mark.parametrize("month", ["2003/03", "2004/03", "2004/08"])
def test_an_action_of_any_version_of_ws_addressing_is_told(month: str) -> None:
    header = HEADER.replace(WSA, f"http://schemas.xmlsoap.org/ws/{month}/addressing")
    assert scanned(envelope(f"{header}<s:Body><a/></s:Body>")).wsa_action == "urn:do"
    with pytest.raises(ExchangeError, match="more than one Action"):
        scanned(envelope(f"<s:Header>{HEADER[10:-11]}{header[10:-11]}</s:Header><s:Body><a/></s:Body>"))


def test_an_unknown_version_is_a_mismatch() -> None:
    for cuts in ((), (30,)):
        with pytest.raises(FaultError) as caught:
            scanned(envelope("<s:Body/>", "urn:soap-9"), *cuts)
        assert caught.value.code is Code.VERSION_MISMATCH


def test_a_version_that_the_content_type_does_not_say_is_refused() -> None:
    assert scanned(envelope("<s:Body/>"), version=Version.V1_1).version is Version.V1_1
    with pytest.raises(ExchangeError, match=r"SOAP 1\.2 .* SOAP 1\.1"):
        scanned(envelope("<s:Body/>", SOAP12), version=Version.V1_1)


def test_the_operation_is_known_with_its_tag() -> None:
    data = envelope("<s:Header><h/></s:Header><s:Body><p:a xmlns:p='urn:x' b='1'>text</p:a></s:Body>")
    end = data.index(b"text")
    scan = EnvelopeScan(LIMITS)
    scan.feed(data[: end - 1])
    assert scan.operation is None
    scan.feed(data[end - 1 : end])
    assert scan.operation == "{urn:x}a"


def test_a_header_that_comes_in_crumbs_is_not_read_again_with_each() -> None:
    data = envelope(f"<s:Header>{'<h/>' * 10_000}</s:Header><s:Body><a/></s:Body>")
    scan = EnvelopeScan(LIMITS)
    began = process_time()
    for at in range(0, len(data), 8):
        scan.feed(data[at : at + 8])
    scan.close()
    assert process_time() - began < 5
    assert scan.operation == "a"


def test_a_scan_may_be_dropped_in_another_thread() -> None:
    for index in range(200):
        scan = EnvelopeScan(LIMITS)
        scan.feed(envelope(f"<s:Body><a{index}><b{index} c{index}='1'>text")[: -len("</s:Envelope>")])
        circle: list[object] = [scan]
        circle.append(circle)
        del scan, circle
        if index % 40 == 0:
            thread = threading.Thread(target=gc.collect)
            thread.start()
            thread.join()


def test_what_was_broken_off_is_not_read_on() -> None:
    scan = EnvelopeScan(LIMITS)
    scan.feed(envelope("<s:Bo")[:-10])
    scan.drop()
    with pytest.raises(ExchangeError, match="broken off"):
        scan.feed(envelope("<s:Body/>"))
    with pytest.raises(ExchangeError, match="broken off"):
        scan.close()


@pytest.mark.parametrize("cuts", [(), (60,)])
def test_more_than_one_child_of_the_body_is_told(cuts: tuple[int, ...]) -> None:
    scan = scanned(envelope("<s:Body><a/> <b/></s:Body>"), *cuts)
    assert scan.siblings
    assert scan.operation == "a"


PARTS = st.sampled_from(
    ["<s:Header>", "</s:Header>", "<s:Header/>", "<s:Body>", "</s:Body>", "<s:Body/>", "<a>", "</a>", "<b/>", "<!-- c -->",
     "<?pi?>", "text", "<![CDATA[<x>]]>", f'<w:Action xmlns:w="{WSA}">urn:do</w:Action>', '<c xmlns="urn:c"/>', "&lt;"]
)  # fmt: skip


@given(st.lists(PARTS, max_size=12).map("".join), st.lists(st.integers(0, 400), min_size=1, max_size=8), st.booleans())
def test_pieces_say_what_the_whole_says(inside: str, cuts: list[int], wide: bool) -> None:
    data = envelope(inside)
    if wide:
        data = data.decode().encode("utf-16")

    def verdict(*cuts: int) -> object:
        try:
            scan = scanned(data, *(min(cut, len(data)) for cut in cuts))
        except ExchangeError as error:
            return error.reason
        return scan.version, scan.operation, scan.wsa_action, scan.siblings

    assert verdict(*cuts) == verdict()


# --- content types ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"text/xml", SoapType(Version.V1_1)),
        (b"Text/XML ; Charset=UTF-8", SoapType(Version.V1_1, "UTF-8")),
        (b'application/soap+xml; charset="utf-8"; action="urn:a;b"', SoapType(Version.V1_2, "utf-8", "urn:a;b")),
        (b"application/soap+xml;action=urn:a;", SoapType(Version.V1_2, "", "urn:a")),
        (b"text/xml; action=urn:a", SoapType(Version.V1_1, "", "urn:a")),
        (
            b"multipart/related; boundary=uuid:1+id=2; type=text/xml; start=<http://tempuri.org/0>",
            SoapType(Version.V1_1, boundary=b"uuid:1+id=2", start="<http://tempuri.org/0>"),
        ),
        (
            rb'multipart/related; boundary=b; type="application/soap+xml; action=\"urn:a\""',
            SoapType(Version.V1_2, "", "urn:a", b"b"),
        ),
        (
            b'multipart/related; boundary="a b"; type="text/xml"; start="<r@x>"',
            SoapType(Version.V1_1, boundary=b"a b", start="<r@x>"),
        ),
        (
            b'multipart/related; boundary=b; type="application/xop+xml"; start-info="text/xml"',
            SoapType(Version.V1_1, boundary=b"b"),
        ),
        (
            rb'multipart/related; boundary=b; type="application/xop+xml"; start-info="application/soap+xml; action=\"urn:a\""',
            SoapType(Version.V1_2, "", "urn:a", b"b"),
        ),
        (
            b'multipart/related; boundary=b; type="application/xop+xml"; start-info="application/soap+xml"; action="urn:a"',
            SoapType(Version.V1_2, "", "urn:a", b"b"),
        ),
        (b'multipart/related; boundary=b; type="application/xop+xml"', SoapType(None, boundary=b"b")),
        (b"multipart/related; boundary=b; type=image/png", None),
        (b"multipart/related; boundary=b", None),
        (b'multipart/related; boundary=b; type="application/xop+xml"; start-info="image/png"', None),
        (b"multipart/form-data; boundary=b", None),
        (b"application/json", None),
        (b"application/xml", None),
        (b"text/xml-patch", None),
        (b"", None),
    ],
)
def test_content_types(value: bytes, expected: SoapType | None) -> None:
    assert soap_type(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"text/xml; charset=utf-8; charset=utf-16",
        b'text/xml; charset="utf-8',
        b"text/xml, application/json",
        b"text/xml charset=utf-8",
        b"multipart/related; type=text/xml",
        b"multipart/related; type=text/xml; boundary=" + b"b" * 71,
        b'multipart/related; type=text/xml; boundary="a "',
        b'multipart/related; type=text/xml; boundary="a\xe9"',
        b'multipart/related; boundary=b; type="application/xop+xml"; start-info="text/xml;charset"',
        b"multipart/related; boundary=b; type=application/soap+xml; action=a; "
        b'start-info="application/soap+xml;action=b"',
        b'multipart/related; boundary=b; action=a; type="application/soap+xml;action=b"',
        rb'multipart/related; type="text/xml"; boundary="a\b"',
        rb'multipart/related; type="text/xml"; boundary=b; start="<\r>"',
        rb'multipart/related; type="text\/xml"; boundary=b',
        rb'multipart/related; type="text/xml"; boundary=b; x="\"; boundary=c; y=\""',
        rb'multipart/related; type="text/xml; a=\"; boundary=c; y=\""; boundary=b',
        rb'multipart/related; type="text/xml; a=\"b\"; c=\"d\""; boundary=b',
        rb'multipart/related; boundary=b; type="application/xop+xml"; start-info="text\/xml"',
        rb'text/xml; charset="utf\-8"',
        rb'application/soap+xml; action="urn:\a"',
        b"multipart/related; type=text/xml; boundary=b; boundary*=us-ascii''c",
        b"multipart/related; type=text/xml; boundary*0=b",
        b"multipart/related; type=text/xml; boundary=b; start*=us-ascii''%3Cr%3E",
        b"multipart/related; type=text/xml; boundary=b(x)",
        b"multipart/related; type=text/xml; boundary=b; start=[r]",
        b"application/soap+xml; x-action=urn:a",
        b'application/soap+xml; x="action=urn:a"',
        b'application/soap+xml; x="my action = urn:a"; action="urn:b"',
        b'application/soap+xml; type="application/soap+xml; action=urn:a"; action="urn:b"',
        b"application/soap+xml; start-info=action=urn:a",
    ],
)
def test_malformed_content_types(value: bytes) -> None:
    with pytest.raises(ExchangeError, match="malformed"):
        soap_type(value)


@given(st.binary(max_size=60) | st.text('text/xml;="\\ abc,', max_size=60).map(str.encode))
def test_any_content_type_is_read_or_refused(value: bytes) -> None:
    for prefix in (b"", b"text/xml", b"multipart/related;"):
        try:
            soap_type(prefix + value)
            media = parse_media(prefix + value)
        except ExchangeError:
            continue
        assert media.name == media.name.lower()


# --- actions ---

TYPE_1_1, TYPE_1_2 = SoapType(Version.V1_1), SoapType(Version.V1_2, action="urn:a")


@pytest.mark.parametrize(
    ("field", "media", "action"),
    [
        (None, TYPE_1_1, None),
        (b'"urn:a"', TYPE_1_1, "urn:a"),
        (b"urn:a", TYPE_1_1, "urn:a"),
        (b' \t"urn:a" ', TYPE_1_1, "urn:a"),
        (b'""', TYPE_1_1, ""),
        (b"", TYPE_1_1, ""),
        (None, TYPE_1_2, "urn:a"),
        (b'"urn:a"', TYPE_1_2, "urn:a"),
        (b'""', TYPE_1_2, "urn:a"),
    ],
)
def test_the_action_that_a_head_says(field: bytes | None, media: SoapType, action: str | None) -> None:
    assert announced_action(field, media) == action


@pytest.mark.parametrize(
    ("field", "media"),
    [
        (b'"urn:a', TYPE_1_1),
        (b'"a" "b"', TYPE_1_1),
        (b"a b", TYPE_1_1),
        (b" " * 30_000 + b"a b", TYPE_1_1),
        (b'"a", "b"', TYPE_1_1),
        (b'"urn:b"', TYPE_1_2),
    ],
)
def test_actions_that_say_two_things_are_refused(field: bytes, media: SoapType) -> None:
    with pytest.raises(ExchangeError, match=r"action|SOAPAction"):
        announced_action(field, media)


def test_head_and_header_agree() -> None:
    assert agreed_action("urn:a", "urn:a") == "urn:a"
    assert agreed_action("", "urn:a") == "urn:a"
    assert agreed_action("urn:a", None) == "urn:a"
    assert agreed_action(None, None) == ""
    with pytest.raises(ExchangeError, match="WS-Addressing"):
        agreed_action("urn:a", "urn:b")


@pytest.mark.parametrize(
    ("action", "operation", "same"),
    [
        ("urn:GetPrice", "{urn:s}GetPrice", True),
        ("http://a/b/GetPrice", "GetPrice", True),
        ("http://a/b#GetPrice", "GetPrice", True),
        ("http://a/b?GetPrice", "GetPrice", True),
        ("GetPrice", "{urn:s}GetPrice", True),
        ("http://a/Port/GetPriceRequest", "GetPrice", True),
        ("http://a/Port/GetPrice", "{urn:s}GetPriceRequest", True),
        ("urn:Delete", "GetPrice", False),
        ("urn:GetPrice/", "GetPrice", False),
        ("urn:XGetPrice", "GetPrice", False),
        ("urn:CheckIn", "Check", False),
        ("urn:getprice", "GetPrice", False),
        ("urn:Delete", "", False),
    ],
)
def test_an_action_names_its_operation(action: str, operation: str, same: bool) -> None:
    assert names_operation(action, operation) is same


def test_operations_by_local_and_by_qualified_name() -> None:
    assert allows(())("anything")
    allowed = allows(("GetPrice", "{urn:s}Buy", "{}Bare"))
    assert [name for name in ("GetPrice", "{urn:x}GetPrice", "{urn:s}Buy", "Buy", "{urn:x}Buy", "Bare", "{urn:s}Bare", "")
            if allowed(name)] == ["GetPrice", "{urn:x}GetPrice", "{urn:s}Buy", "Bare"]  # fmt: skip
