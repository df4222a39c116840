"""The matcher `soap`: which routes take a message, and how much of it is read for that."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from daemun import EMPTY, Body, Buffered, ExchangeError, Headers, MatcherContext, Request
from daemun.extend.loading import installed
from daemun.testing import Pieces, make_plugin, make_request, proxying
from daemun_soap.dialect import SOAP
from daemun_soap.envelopes.message import SOAP_MESSAGE
from daemun_soap.kinds import SOAP_FILTER, SOAP_MATCHER
from daemun_soap.names import SOAP11, SOAP12, WSA
from daemun_soap.settings import MatchSettings

pytestmark = pytest.mark.anyio

TEXT = (b"content-type", b"text/xml")
ACTION = (b"soapaction", b'"urn:GetPrice"')
SOAP_1_2 = (b"content-type", b"application/soap+xml; action=urn:GetPrice")


def envelope(inside: str = '<GetPrice xmlns="urn:s"><a>1</a></GetPrice>', namespace: str = SOAP11) -> bytes:
    return f'<s:Envelope xmlns:s="{namespace}"><s:Body>{inside}</s:Body></s:Envelope>'.encode()


class Looked:
    """What a matcher may look at, and how much of it is left."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._pieces: list[bytes] = []

    @property
    def seen(self) -> tuple[bytes, ...]:
        return tuple(self._pieces)

    async def more(self) -> bytes:
        data = await self._body.read()
        if data:
            self._pieces.append(data)
        return data


def request(body: Body | bytes, *fields: tuple[bytes, bytes], method: str = "POST") -> Request:
    if isinstance(body, bytes):
        body = Buffered(body)
    return make_request(method, "http://a.test/", fields or (TEXT, ACTION), body)


async def taken(asked: Request, looked: Looked | None = None, **settings: object) -> bool:
    decoded = msgspec.convert(settings, MatchSettings)
    async with SOAP_MATCHER.build(decoded, MatcherContext("soap", Path())) as matcher:
        return await matcher(asked, looked or Looked(asked.body))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, True),
        ({"operations": ["GetPrice"]}, True),
        ({"operations": ["Buy", "{urn:s}GetPrice"]}, True),
        ({"operations": ["{urn:x}GetPrice"]}, False),
        ({"operations": ["Buy"]}, False),
        ({"versions": ["1.1"]}, True),
        ({"versions": ["1.2"]}, False),
        ({"actions": ["urn:GetPrice"]}, True),
        ({"actions": ["urn:Buy"]}, False),
        ({"operations": ["GetPrice"], "actions": ["urn:Buy"]}, False),
    ],
)
async def test_settings(settings: dict[str, Any], wanted: bool) -> None:
    assert await taken(request(envelope()), **settings) is wanted
    assert await taken(request(Pieces(*(bytes([byte]) for byte in envelope()))), **settings) is wanted


async def test_versions_and_actions_of_1_2() -> None:
    asked = request(envelope(namespace=SOAP12), SOAP_1_2)
    assert await taken(asked, versions=["1.2"], actions=["urn:GetPrice"])
    assert not await taken(asked, versions=["1.1"])


@pytest.mark.parametrize(
    "settings", [{"operations": ["Get Price"]}, {"operations": ["{urn:s"]}, {"versions": []}, {"op": 1}]
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(settings, MatchSettings)


class Unread:
    """Content that nobody may read."""

    length = None
    trailers: Headers = ()

    async def read(self) -> bytes:
        raise AssertionError("the content was read")

    async def aclose(self) -> None:
        raise AssertionError("the content was closed")


@pytest.mark.parametrize(
    "asked",
    [
        request(Unread(), (b"content-type", b"application/json")),
        request(Unread(), (b"content-type", b"multipart/form-data; boundary=b")),
        request(Unread(), (b"x-nothing", b"1")),
        request(Unread(), TEXT, method="PUT"),
        request(Unread(), TEXT, method="GET"),
        request(EMPTY, TEXT),
    ],
)
async def test_what_is_no_soap_is_not_read(asked: Request) -> None:
    assert not await taken(asked)
    assert not SOAP.claims(asked)


async def test_no_more_is_read_than_tells_the_operation() -> None:
    data = envelope("<GetPrice>")[: -len("</s:Body></s:Envelope>")]
    asked = request(Pieces(data[:20], data[20:], AssertionError("too much was read")))
    looked = Looked(asked.body)
    assert await taken(asked, looked, operations=["GetPrice"])
    assert b"".join(looked.seen) == data


async def test_routes_share_what_they_read() -> None:
    data = envelope()
    asked = request(Pieces(data[:150], data[150:], AssertionError("too much was read")))
    looked = Looked(asked.body)
    assert not await taken(asked, looked, operations=["Buy"])
    assert await taken(asked, looked, operations=["GetPrice"])
    message = asked.exchange.stash[SOAP_MESSAGE]
    assert message.seen == sum(map(len, looked.seen))


async def test_what_another_matcher_looked_at_is_known() -> None:
    data = envelope()
    asked = request(Pieces(data[:30], data[30:]))
    looked = Looked(asked.body)
    assert await looked.more()
    assert await taken(asked, looked, operations=["GetPrice"])


async def test_what_follows_the_operation_of_long_content_is_not_its_business() -> None:
    data = envelope("<GetPrice>" + "<a/>" * 20_000) + b"<malformed>"
    assert await taken(request(data))
    assert await taken(request(Pieces(data)))


async def test_short_content_is_waited_for_whole_and_looked_at_no_further_than_tells_it() -> None:
    data = envelope("<GetPrice>" + "<a/>" * 2000)
    asked = request(Pieces(data, b"<malformed>", length=len(data) + 11))
    looked = Looked(asked.body)
    assert await taken(asked, looked)
    assert b"".join(looked.seen) == data + b"<malformed>"
    assert asked.exchange.stash[SOAP_MESSAGE].seen <= 1024


@pytest.mark.parametrize("body", [b"<order/>", b"<Envelope xmlns='urn:post'><to/></Envelope>"])
async def test_xml_of_others_is_left_alone(body: bytes) -> None:
    for content in (Buffered(body), Pieces(*(bytes([byte]) for byte in body))):
        asked = request(content, TEXT)
        looked = Looked(asked.body)
        assert not await taken(asked, looked)
        assert not await taken(asked, looked)
        assert not SOAP.claims(asked)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"<order/>", (TEXT, ACTION)),
        (b"<order/>", ((b"content-type", b"application/soap+xml"),)),
        (b"<!DOCTYPE a><a/>", (TEXT,)),
        (envelope()[:90], (TEXT,)),
        (envelope(namespace=SOAP12), (TEXT,)),
        (envelope(), (TEXT, ACTION, ACTION)),
        (envelope(), (TEXT, TEXT)),
        (envelope(), (TEXT, (b"content-encoding", b"br"))),
    ],
)
async def test_soap_that_is_malformed_is_refused(body: bytes, fields: Headers) -> None:
    with pytest.raises(ExchangeError):
        await taken(request(body, *fields))


async def test_actions_that_differ_are_refused() -> None:
    header = f'<s:Header><a:Action xmlns:a="{WSA}">urn:Other</a:Action></s:Header>'
    body = f'<s:Envelope xmlns:s="{SOAP11}">{header}<s:Body><GetPrice/></s:Body></s:Envelope>'.encode()
    with pytest.raises(ExchangeError, match="differ"):
        await taken(request(body), actions=["urn:GetPrice"])


def plugin() -> ModuleType:
    """The three of them, where the package is not installed."""
    return make_plugin(
        "soap_under_test",
        daemun_dialects=lambda: [SOAP],
        daemun_matchers=lambda: [SOAP_MATCHER],
        daemun_filters=lambda: [SOAP_FILTER],
    )


PLUGINS = [] if "soap" in installed() else [plugin()]


async def test_through_a_gateway() -> None:
    route = {
        "match": {"matchers": [{"type": "soap", "settings": {"operations": ["GetPrice"]}}]},
        "filters": [{"type": "soap"}],
    }

    def post(body: bytes, fields: bytes = b"Content-Type: text/xml\r\n") -> bytes:
        return b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (fields, len(body), body)

    async with proxying(route=route, extra=PLUGINS) as proxy:
        assert (await proxy.ask(post(envelope()))).status == 200
        assert proxy.upstream.requests[0].endswith(envelope())
        other = await proxy.ask(post(envelope("<Buy/>")))
        assert other.status == 500
        assert b"Fault" in other.body
        assert other.field(b"x-daemun-reason") == b"no_route"
        assert (await proxy.ask(post(b"<order/>"))).status == 404
        long = envelope("<GetPrice>" + "<a>1</a>" * 15_000 + "</GetPrice>")
        assert (await proxy.ask(post(long))).status == 200
        assert proxy.upstream.requests[1].endswith(long)
