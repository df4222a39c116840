"""Errors of ours as Faults: on which requests, of which version, with which status."""

from __future__ import annotations

import pytest

from daemun import ExchangeError, Headers, Reason, Request
from daemun.testing import content, make_request
from daemun_soap.dialect import SOAP
from daemun_soap.envelopes.fault import Code, FaultError, read_fault
from daemun_soap.envelopes.hardened import parse
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.message import head_of, message_of
from daemun_soap.names import SOAP11, Version

pytestmark = pytest.mark.anyio

ACTION = (b"soapaction", b'""')
TEXT = (b"content-type", b"text/xml; charset=utf-8")
SOAP_1_2 = (b"content-type", b"application/soap+xml")
MTOM = b'multipart/related; boundary=b; type="application/xop+xml"'
SWA = b'multipart/related; boundary=b; type="text/xml"'


def request(*fields: tuple[bytes, bytes]) -> Request:
    return make_request("POST", "http://a.test/", fields)


@pytest.mark.parametrize(
    ("fields", "version"),
    [
        ((TEXT, ACTION), Version.V1_1),
        ((SOAP_1_2,), Version.V1_2),
        (((b"content-type", b"Application/SOAP+XML;action=a"),), Version.V1_2),
        (((b"content-type", b"application/soap+xml; charset=a; charset=b"),), Version.V1_2),
        (((b"content-type", MTOM),), Version.V1_1),
        (((b"content-type", MTOM + b'; start-info="text/xml"'),), Version.V1_1),
        (((b"content-type", MTOM + b'; start-info="application/soap+xml"'),), Version.V1_2),
        (((b"content-type", SWA), ACTION), Version.V1_1),
        (((b"content-type", SWA.replace(b"text/xml", b"application/soap+xml")),), Version.V1_2),
    ],
)
def test_what_it_claims(fields: Headers, version: Version) -> None:
    asked = request(*fields)
    assert SOAP.claims(asked)
    response = SOAP.render(asked, ExchangeError(Reason.NO_ENDPOINT))
    assert response.header(b"content-type") == version.content_type + b"; charset=utf-8"


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (TEXT,),
        (ACTION,),
        ((b"content-type", b"application/json"), ACTION),
        ((b"content-type", b"application/xml"), ACTION),
        ((b"content-type", SWA),),
        ((b"content-type", b"multipart/form-data; boundary=b"), ACTION),
        ((b"content-type", b"text/xml; charset=a; charset=b"),),
    ],
)
def test_what_it_does_not_touch(fields: Headers) -> None:
    assert not SOAP.claims(request(*fields))


def test_what_was_seen_to_be_soap_is_claimed_by_its_envelope() -> None:
    asked = request(TEXT)
    head = head_of(asked)
    assert head is not None
    message = message_of(asked, head, Limits())
    assert SOAP.claims(asked)
    message.read(f'<s:Envelope xmlns:s="{SOAP11}"><s:Body/></s:Envelope>'.encode())
    assert SOAP.claims(asked)


def test_what_was_seen_to_be_no_soap_is_not() -> None:
    asked = request(TEXT)
    head = head_of(asked)
    assert head is not None
    with pytest.raises(ExchangeError):
        message_of(asked, head, Limits()).read(b"<order/>")
    assert not SOAP.claims(asked)


@pytest.mark.parametrize(
    ("field", "error", "status"),
    [
        (TEXT, ExchangeError(Reason.BAD_REQUEST), 500),
        (TEXT, ExchangeError(Reason.CONTENT_TOO_LARGE), 500),
        (TEXT, ExchangeError(Reason.WAITING_ROOM_FULL), 500),
        (TEXT, ExchangeError(Reason.METHOD_REFUSED), 405),
        (TEXT, ExchangeError(Reason.BAD_REQUEST, status=401), 401),
        (TEXT, ExchangeError(Reason.BAD_REQUEST, status=415), 415),
        (SOAP_1_2, ExchangeError(Reason.BAD_REQUEST), 400),
        (SOAP_1_2, ExchangeError(Reason.CONTENT_TOO_LARGE), 400),
        (SOAP_1_2, ExchangeError(Reason.ROUTE_TIMEOUT), 500),
        (SOAP_1_2, FaultError(Code.MUST_UNDERSTAND, "no"), 500),
        (SOAP_1_2, ExchangeError(Reason.METHOD_REFUSED), 405),
    ],
)
async def test_statuses_are_those_of_the_version(field: tuple[bytes, bytes], error: ExchangeError, status: int) -> None:
    response = SOAP.render(request(field, ACTION), error)
    assert response.status == status
    assert response.header(b"x-daemun-reason") == error.reason.value.encode()
    assert (response.header(b"allow") == b"POST") is (status == 405)
    found = read_fault(parse(await content(response.body), Limits())[-1][0])
    assert found is not None
    assert found.reason == error.message


def test_when_to_come_again_is_said() -> None:
    error = ExchangeError(Reason.OVERLOADED, retry_after_seconds=7)
    assert SOAP.render(request(SOAP_1_2), error).header(b"retry-after") == b"7"
    assert SOAP.render(request(SOAP_1_2), ExchangeError(Reason.OVERLOADED)).header(b"retry-after") is None
