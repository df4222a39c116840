"""Faults: as they are written in both versions, and as they are read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from daemun import ExchangeError, Reason
from daemun_soap.envelopes.fault import (
    FAULT_NAMESPACE,
    Code,
    FaultError,
    SoapFault,
    fault,
    fault_of,
    fault_status,
    read_fault,
)
from daemun_soap.envelopes.hardened import parse
from daemun_soap.envelopes.limits import Limits
from daemun_soap.names import SOAP11, SOAP12, Version

VERSIONS = list(Version)
CODES_1_1 = {
    Code.SENDER: "Client",
    Code.RECEIVER: "Server",
    Code.VERSION_MISMATCH: "VersionMismatch",
    Code.MUST_UNDERSTAND: "MustUnderstand",
    Code.DATA_ENCODING_UNKNOWN: "Client",
}


def read(data: bytes) -> SoapFault:
    """The fault in an envelope."""
    body = parse(data, Limits())[-1]
    found = read_fault(body[0])
    assert found is not None
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("code", list(Code))
def test_what_is_written_is_read(version: Version, code: Code) -> None:
    found = read(fault(version, code, "a < b & c", actor="urn:me", detail='<d xmlns="urn:d">1</d>'))
    assert (found.version, found.reason, found.actor) == (version, "a < b & c", "urn:me")
    if version is Version.V1_1:
        assert found.code_name == f"{{{SOAP11}}}{CODES_1_1[code]}"
    else:
        assert found.code_name == f"{{{SOAP12}}}{code.value}"
        assert found.code is code
    assert found.detail is not None
    assert found.detail.findtext("{urn:d}d") == "1"


def test_the_form_of_1_1_has_no_namespaces_inside() -> None:
    body = parse(fault(Version.V1_1, Code.SENDER, "no", actor="urn:me", detail="<d/>"), Limits())[0]
    assert [child.tag for child in body[0]] == ["faultcode", "faultstring", "faultactor", "detail"]


def test_the_form_of_1_2_has_them_everywhere() -> None:
    body = parse(fault(Version.V1_2, Code.SENDER, "no", actor="urn:me", detail="<d/>"), Limits())[0]
    names = [etree.QName(child).localname for child in body[0]]
    assert names == ["Code", "Reason", "Role", "Detail"]
    assert body[0][1][0].get("{http://www.w3.org/XML/1998/namespace}lang") == "en"


def test_a_version_mismatch_of_1_2_says_what_is_spoken() -> None:
    header = parse(fault(Version.V1_2, Code.VERSION_MISMATCH, "no"), Limits())[0]
    spoken = [supported.nsmap[supported.get("qname", "").partition(":")[0]] for supported in header[0]]
    assert spoken == [SOAP12, SOAP11]


@given(st.text(), st.sampled_from(VERSIONS))
def test_any_words_make_a_document(words: str, version: Version) -> None:
    found = read(fault(version, Code.RECEIVER, words))
    assert found.code is Code.RECEIVER


@pytest.mark.parametrize(
    ("version", "error", "status", "code"),
    [
        (Version.V1_1, ExchangeError(Reason.BAD_REQUEST), 500, "Client"),
        (Version.V1_1, ExchangeError(Reason.NO_ENDPOINT), 500, "Server"),
        (Version.V1_1, FaultError(Code.MUST_UNDERSTAND, "no"), 500, "MustUnderstand"),
        (Version.V1_2, ExchangeError(Reason.BAD_REQUEST), 400, "Sender"),
        (Version.V1_2, ExchangeError(Reason.CONNECT_FAILED), 500, "Receiver"),
        (Version.V1_2, FaultError(Code.VERSION_MISMATCH, "no"), 500, "VersionMismatch"),
    ],
)
def test_an_error_of_ours_is_a_fault(version: Version, error: ExchangeError, status: int, code: str) -> None:
    got, data = fault_of(version, error)
    found = read(data)
    assert got == status
    assert found.code_name == f"{{{version.namespace}}}{code}"
    assert found.reason == error.message
    assert found.detail is not None
    assert found.detail.findtext(f"{{{FAULT_NAMESPACE}}}reason") == error.reason.value


def test_statuses() -> None:
    assert [fault_status(Version.V1_1, code) for code in Code] == [500] * 5
    assert [fault_status(Version.V1_2, code) for code in Code] == [500, 500, 500, 400, 500]


def element(xml: str) -> etree._Element:
    return parse(xml.encode(), Limits())


def test_a_fault_of_1_1_as_others_write_it() -> None:
    found = read_fault(
        element(
            f'<x:Fault xmlns:x="{SOAP11}"><faultcode> x:Server.Db.Busy </faultcode>'
            "<faultstring xml:lang='de'> später </faultstring></x:Fault>"
        )
    )
    assert found is not None
    assert (found.code, found.code_name, found.subcodes) == (Code.RECEIVER, f"{{{SOAP11}}}Server.Db.Busy", ("Db.Busy",))
    assert (found.reason, found.actor, found.detail) == ("später", "", None)


@pytest.mark.parametrize(("written", "name"), [("Client", "Client"), ("q:Client", "q:Client"), ("", "")])
def test_codes_whose_prefix_is_not_bound(written: str, name: str) -> None:
    found = read_fault(element(f'<x:Fault xmlns:x="{SOAP11}"><faultcode>{written}</faultcode></x:Fault>'))
    assert found is not None
    assert found.code_name == name


def test_a_code_of_somebody_else() -> None:
    found = read_fault(
        element(f'<x:Fault xmlns:x="{SOAP11}" xmlns:m="urn:m"><faultcode>m:Broken</faultcode></x:Fault>')
    )
    assert found is not None
    assert (found.code, found.code_name) == (None, "{urn:m}Broken")


def test_a_fault_of_1_2_as_others_write_it() -> None:
    found = read_fault(
        element(
            f'<Fault xmlns="{SOAP12}" xmlns:e="{SOAP12}" xmlns:m="urn:m"><Code><Value>e:Sender</Value><Subcode><Value>m:A'
            "</Value><Subcode><Value>m:B</Value></Subcode></Subcode></Code><Reason><Text xml:lang='de'>nein</Text>"
            "<Text xml:lang='en-GB'>no</Text></Reason><Node>urn:n</Node><Role>urn:r</Role><Detail><m:d/></Detail></Fault>"
        )
    )
    assert found is not None
    assert (found.code, found.subcodes) == (Code.SENDER, ("{urn:m}A", "{urn:m}B"))
    assert (found.reason, found.node, found.actor) == ("no", "urn:n", "urn:r")
    assert found.detail is not None
    assert found.detail[0].tag == "{urn:m}d"


def test_an_empty_fault_of_1_2() -> None:
    found = read_fault(element(f'<Fault xmlns="{SOAP12}"/>'))
    assert found is not None
    assert (found.code, found.reason, found.subcodes, found.detail) == (None, "", (), None)


def test_something_else_is_no_fault() -> None:
    assert read_fault(element("<Fault/>")) is None
