"""`json-to-soap`: callers that speak JSON, a back end that speaks SOAP."""

from __future__ import annotations

import base64
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from daemun import (
    Body,
    Buffered,
    ExchangeError,
    FilterContext,
    Handler,
    Headers,
    Reason,
    Request,
    Response,
    SettingsError,
)
from daemun.testing import Pieces, content, make_request
from daemun_soap.dialect import SOAP_JSON
from daemun_soap.facade.settings import JsonToSoapSettings
from daemun_soap.kinds import JSON_TO_SOAP

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested here depends on no event loop."""
    return "asyncio"


WSDLS = Path(__file__).parent / "wsdl"
JSON = (b"content-type", b"application/json")
XML = (b"content-type", b"text/xml; charset=utf-8")
XML12 = (b"content-type", b"application/soap+xml; charset=utf-8")
SOAP11, SOAP12 = "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"
PRICE = b'{"currency":null,"symbol":"ABC"}'


def enveloped(body: str, namespace: str = SOAP11) -> bytes:
    return f'<s:Envelope xmlns:s="{namespace}" xmlns:t="urn:example:stock:types"><s:Body>{body}</s:Body></s:Envelope>'.encode()


PRICED = enveloped("<t:GetPriceResponse><t:price>12.50</t:price></t:GetPriceResponse>")


class BackEnd:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self, content: bytes | Body = PRICED, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        self.body: Body = Buffered(content) if isinstance(content, bytes) else content
        self.response = Response(status, headers or (XML,), self.body)
        self.request: Request | None = None
        self.content = b""

    async def handle(self, request: Request) -> Response:
        self.request = request
        self.content = await content(request.body)
        return self.response

    @property
    def asked(self) -> etree._Element:
        """The first child of the Body that it was sent."""
        body = etree.fromstring(self.content)[-1]
        return body[0]


def post(path: str, data: bytes | Body = PRICE, *headers: tuple[bytes, bytes]) -> Request:
    body = Buffered(data) if isinstance(data, bytes) else data
    return make_request("POST", f"http://a.test{path}", headers or (JSON,), body)


async def filtered(handler: Handler, request: Request, **settings: Any) -> Response:
    given = {"wsdl": "stock.wsdl", **settings}
    async with JSON_TO_SOAP.build(JsonToSoapSettings(**given), FilterContext("json-to-soap", WSDLS)) as layer:
        return await layer(handler)(request)


async def answer(response: Response) -> Any:
    assert response.header(b"content-type") == b"application/json"
    return json.loads(await content(response.body), parse_float=Decimal)


async def problem(response: Response) -> dict[str, Any]:
    assert response.header(b"content-type") == b"application/problem+json"
    found: dict[str, Any] = json.loads(await content(response.body))
    assert found["status"] == response.status
    assert found["title"]
    assert found["type"] == "about:blank"
    return found


# --- requests ---


@pytest.mark.parametrize("path", ["/GetPrice", "/StockService/GetPrice", "/StockService/%47etPrice", "/GetPrice?a=b"])
@pytest.mark.parametrize("whole", [True, False])
async def test_json_becomes_an_envelope_and_its_answer_json(path: str, whole: bool) -> None:
    back_end = BackEnd()
    body: Body = Buffered(PRICE) if whole else Pieces(PRICE[:5], PRICE[5:])
    request = post(path, body, (b"content-type", b"Application/JSON; charset=utf-8"), (b"accept", b"application/json"),
                   (b"accept-encoding", b"gzip"), (b"if-none-match", b"*"), (b"x-own", b"1"), (b"authorization", b"Basic eA=="))  # fmt: skip
    response = await filtered(back_end.handle, request)
    assert response.status == 200
    assert await answer(response) == {"price": Decimal("12.50")}
    assert back_end.request is not None
    assert back_end.request.method == b"POST"
    assert back_end.request.target == b"/soap/stock"
    assert back_end.request.headers == (
        (b"content-type", b"text/xml; charset=utf-8"),
        (b"accept", b"text/xml, multipart/related"),
        (b"soapaction", b'"urn:example:stock/GetPrice"'),
        (b"x-own", b"1"),
        (b"authorization", b"Basic eA=="),
    )
    assert [str(child.tag) for child in back_end.asked] == [
        "{urn:example:stock:types}symbol", "{urn:example:stock:types}currency",
    ]  # fmt: skip


async def test_header_blocks_that_the_operation_declares_are_one_member() -> None:
    back_end = BackEnd()
    data = b'{"#header":{"Credentials":{"user":"me"}},"symbol":"ABC","currency":null}'
    assert (await filtered(back_end.handle, post("/GetPrice", data))).status == 200
    header = etree.fromstring(back_end.content)[0]
    assert header.tag == f"{{{SOAP11}}}Header"
    assert [(str(child.tag), child[0].text) for child in header] == [("{urn:example:stock:types}Credentials", "me")]
    for wrong, path in (
        (b'{"#header":{"Credentials":{"user":1}},"symbol":"ABC","currency":null}', "$.#header.Credentials.user"),
        (b'{"#header":{"Nope":1},"symbol":"ABC","currency":null}', "$.#header.Nope"),
        (b'{"#header":[],"symbol":"ABC","currency":null}', "$.#header"),
    ):
        found = await problem(await filtered(back_end.handle, post("/GetPrice", wrong)))
        assert [one["path"] for one in found["problems"]] == [path]
    found = await problem(await filtered(back_end.handle, post("/Ping", b'{"#header":{}}')))
    assert found["problems"][0]["path"] == "$.#header"


async def test_soap_1_2_has_its_action_in_the_content_type() -> None:
    back_end = BackEnd(enveloped("<t:GetPriceResponse><t:price>1</t:price></t:GetPriceResponse>", SOAP12), 200, XML12)
    response = await filtered(back_end.handle, post("/GetPrice"), port="StockSoap12")
    assert await answer(response) == {"price": 1}
    assert back_end.request is not None
    assert back_end.request.target == b"/soap/stock12"
    assert back_end.request.header(b"soapaction") is None
    assert back_end.request.header(b"content-type") == (
        b'application/soap+xml; charset=utf-8; action="urn:example:stock/GetPrice"'
    )
    assert etree.fromstring(back_end.content).tag == f"{{{SOAP12}}}Envelope"


async def test_a_prefix_and_a_path_of_the_back_end() -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, post("/api/v1/GetPrice"), path="/api/v1", back_end_path="/other?x=1")
    assert response.status == 200
    assert back_end.request is not None
    assert back_end.request.target == b"/other?x=1"


async def test_what_is_not_below_the_path_passes_as_it_is() -> None:
    back_end = BackEnd(b"page", 200, (b"content-type", b"text/html"))
    request = make_request("GET", "http://a.test/apix/GetPrice")
    response = await filtered(back_end.handle, request, path="/api")
    assert back_end.request is request
    assert response is back_end.response
    assert request.exchange.dialect is None


async def test_rpc_parts_stand_in_the_wrapper_without_namespace() -> None:
    back_end = BackEnd(enveloped('<r:addResponse xmlns:r="http://calc.example/rpc"><sum>3</sum></r:addResponse>'))
    response = await filtered(back_end.handle, post("/add", b'{"b":2,"a":1}'), wsdl="rpc.wsdl")
    assert await answer(response) == {"sum": 3}
    assert back_end.asked.tag == "{http://calc.example/rpc}add"
    assert [(str(child.tag), child.text) for child in back_end.asked] == [("a", "1"), ("b", "2")]


async def test_bare_messages_are_the_member_value() -> None:
    back_end = BackEnd(enveloped('<w:Degrees xmlns:w="http://weather.inside.test/">21.5</w:Degrees>'))
    response = await filtered(back_end.handle, post("/Weather/Temperature", b'{"value":"Seoul"}'), wsdl="bare.wsdl")
    assert await answer(response) == {"value": Decimal("21.5")}
    assert back_end.asked.text == "Seoul"
    for wrong, path in ((b'"Seoul"', "$"), (b'{"value":5}', "$.value"), (b"{}", "$")):
        response = await filtered(back_end.handle, post("/Weather/Temperature", wrong), wsdl="bare.wsdl")
        assert (await problem(response))["problems"][0]["path"] == path


@pytest.mark.parametrize(
    "path", ["/Temperature", "//Temperature", "/Nope/Temperature", "/", "/Weather", "/Weather/Temperature/"]
)
async def test_unknown_operations_are_told_with_what_there_is(path: str) -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, post(path), wsdl="bare.wsdl")
    assert response.status == 404
    words = (await problem(response))["detail"]
    assert words.startswith(f"there is no operation '{path[1:]}' below / (accepted: ")
    assert "Weather/Temperature" in words
    assert words.endswith("; GET /openapi.json tells of all)")
    assert back_end.request is None


async def test_what_is_not_described_is_not_listed() -> None:
    response = await filtered(BackEnd().handle, post("/Nope" + "x" * 1000), wsdl="bare.wsdl", openapi=False)
    words = (await problem(response))["detail"]
    assert words.startswith("there is no operation 'Nopexxx")
    assert "Temperature" not in words
    assert len(words) < 300


async def test_the_path_itself_is_no_operation() -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, post("/api", enveloped(""), XML), path="/api")
    assert response.status == 404
    assert back_end.request is None


async def test_operations_without_content_take_none() -> None:
    back_end = BackEnd(enveloped(""))
    response = await filtered(back_end.handle, make_request("POST", "http://a.test/Weather/Reset"), wsdl="bare.wsdl")
    assert response.status == 204
    assert await content(response.body) == b""
    assert len(etree.fromstring(back_end.content)[0]) == 0
    back_end = BackEnd(enveloped("<t:PingResponse/>"))
    assert await answer(await filtered(back_end.handle, post("/Ping", b""))) == {}


async def test_one_way_operations_are_taken() -> None:
    back_end = BackEnd(b"", 202, (b"content-length", b"0"))
    response = await filtered(back_end.handle, post("/Forget", b'{"number":[1,2]}'))
    assert response.status == 202
    assert back_end.request is not None
    assert back_end.request.header(b"soapaction") == b'""'
    assert [child.text for child in back_end.asked] == ["1", "2"]


# --- requests that are refused ---


async def test_json_that_does_not_fit_is_told_by_its_places() -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, post("/GetPrice", b'{"symbol":"abc","day":"x","nope":1}'))
    assert response.status == 400
    found = await problem(response)
    assert found["detail"] == "the JSON does not fit the operation"
    assert [one["path"] for one in found["problems"]] == ["$.nope"]
    response = await filtered(back_end.handle, post("/GetPrice", b'{"symbol":"abc","day":"x"}'))
    assert [one["path"] for one in (await problem(response))["problems"]] == ["$.symbol", "$.day", "$.currency"]
    assert back_end.request is None


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((XML,), 415),
        (((b"content-type", b"application/x-www-form-urlencoded"),), 415),
        (((b"x", b"y"),), 415),
        ((JSON, (b"content-encoding", b"gzip")), 415),
        ((JSON, (b"content-encoding", b"identity")), 200),
        (((b"content-type", b"application/vnd.x+json"),), 200),
    ],
)
async def test_only_json_is_taken(headers: Headers, status: int) -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, post("/GetPrice", PRICE, *headers))
    assert response.status == status
    assert (back_end.request is None) == (status != 200)


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
async def test_operations_are_called_by_post(method: str) -> None:
    back_end = BackEnd()
    response = await filtered(back_end.handle, make_request(method, "http://a.test/GetPrice", (JSON,)))
    assert response.status == 405
    assert response.header(b"allow") == b"POST"
    assert back_end.request is None


@pytest.mark.parametrize("whole", [True, False])
async def test_a_request_that_is_too_long_is_refused(whole: bool) -> None:
    back_end = BackEnd()
    pieces = Pieces(PRICE, b" " * 100)
    with pytest.raises(ExchangeError) as caught:
        await filtered(
            back_end.handle, post("/GetPrice", Buffered(PRICE + b" " * 100) if whole else pieces), max_request_bytes=100
        )
    assert caught.value.reason is Reason.CONTENT_TOO_LARGE
    assert back_end.request is None


async def test_large_messages_are_worked_on_elsewhere() -> None:
    back_end = BackEnd(b"", 202, (b"content-length", b"0"))
    data = json.dumps({"number": list(range(20_000))}).encode()
    response = await filtered(back_end.handle, post("/Forget", data))
    assert response.status == 202
    assert len(back_end.asked) == 20_000


# --- answers ---


def fault11(code: str, detail: str = "") -> bytes:
    return enveloped(
        f"<s:Fault><faultcode>{code}</faultcode><faultstring>no such thing</faultstring>"
        f"<faultactor>urn:me</faultactor><detail>{detail}</detail></s:Fault>"
    )


def fault12(code: str, detail: str = "") -> bytes:
    return enveloped(
        f"<s:Fault><s:Code><s:Value>{code}</s:Value><s:Subcode><s:Value>t:Unknown</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="de">nein</s:Text><s:Text xml:lang="en">no such thing</s:Text></s:Reason>'
        f"<s:Detail>{detail}</s:Detail></s:Fault>",
        SOAP12,
    )


NO_SUCH = "<t:NoSuchSymbol><t:symbol>ABC</t:symbol><t:known>7</t:known></t:NoSuchSymbol>"


@pytest.mark.parametrize(
    ("content", "http_status", "status", "code", "subcodes"),
    [
        (fault11("s:Client", NO_SUCH), 500, 400, "Client", None),
        (fault11("s:Server", NO_SUCH), 500, 500, "Server", None),
        (fault11("s:Client.Symbol.Unknown", NO_SUCH), 500, 400, "Client", ["Symbol.Unknown"]),
        (fault11("s:Server", NO_SUCH), 200, 500, "Server", None),
        (fault11("t:Own", NO_SUCH), 500, 500, "Own", None),
        (fault12("s:Sender", NO_SUCH), 400, 400, "Sender", ["{urn:example:stock:types}Unknown"]),
        (fault12("s:Receiver", NO_SUCH), 500, 500, "Receiver", ["{urn:example:stock:types}Unknown"]),
    ],
)
async def test_a_fault_is_a_problem_document(
    content: bytes, http_status: int, status: int, code: str, subcodes: list[str] | None
) -> None:
    version = XML12 if SOAP12.encode() in content else XML
    back_end = BackEnd(content, http_status, version, (b"x-trace", b"1"), (b"set-cookie", b"a=b"))
    response = await filtered(back_end.handle, post("/GetPrice"))
    assert response.status == status
    assert response.headers[1:] == ((b"x-trace", b"1"), (b"set-cookie", b"a=b"))
    found = await problem(response)
    assert found["detail"] == "no such thing"
    assert found["fault"]["code"] == code
    assert found["fault"].get("subcodes") == subcodes
    assert found["fault"]["detail"] == {"NoSuchSymbol": {"symbol": "ABC", "known": 7}}
    assert found["fault"].get("actor", "urn:me") == "urn:me"


async def test_details_that_no_schema_knows_are_told_as_they_are() -> None:
    back_end = BackEnd(
        fault11(
            "s:Server", '<x:trace xmlns:x="urn:x" id="1"><x:line>a</x:line><x:line>b</x:line></x:trace><t:GetPrice/>'
        ),
        500,
    )
    found = await problem(await filtered(back_end.handle, post("/GetPrice")))
    assert found["fault"]["detail"] == {"trace": {"@id": "1", "line": ["a", "b"]}, "GetPrice": {}}
    back_end = BackEnd(fault11("s:Server", "just words"), 500)
    found = await problem(await filtered(back_end.handle, post("/GetPrice")))
    assert found["fault"]["detail"] == {"#text": "just words"}


MANY = " ".join(f'xmlns:p{number}="urn:{number}"' for number in range(128))
"""More namespaces than may be around an element, with those of the envelope."""
MIXED = (b"content-type", b'multipart/related; boundary=b; type="text/xml"')


@pytest.mark.parametrize(
    ("status", "headers", "content", "expected"),
    [
        (401, ((b"content-type", b"text/html"), (b"www-authenticate", b"Basic")), b"no", 401),
        (401, (XML, (b"www-authenticate", b"Basic")), b"<html/>", 401),
        (503, ((b"retry-after", b"5"),), b"", 503),
        (302, ((b"location", b"http://inside.test/"),), b"", None),
        (404, ((b"content-type", b"text/html"),), b"secret page", None),
        (200, ((b"content-type", b"text/html"),), b"<html/>", None),
        (200, (XML,), b"<html/>", None),
        (200, (XML,), b"<not xml", None),
        (200, (XML,), b"", None),
        (200, (XML,), enveloped(""), None),
        (200, (XML,), enveloped("<t:PingResponse/>"), None),
        (200, (XML,), enveloped(f"<t:GetPriceResponse {MANY}/>"), None),
        (200, (MIXED,), b"--b\r\nContent-Type: garbage\r\n\r\n" + PRICED + b"\r\n--b--", None),
        (500, (XML,), PRICED, None),
        (200, (XML, (b"content-encoding", b"gzip")), PRICED, None),
        (200, (XML,), b'<!DOCTYPE a [<!ENTITY b "c">]>' + PRICED, None),
        (200, (XML,), enveloped("<t:GetPriceResponse>" + "<t:a>" * 90 + "</t:a>" * 90 + "</t:GetPriceResponse>"), None),
    ],
)
async def test_what_is_no_answer(status: int, headers: Headers, content: bytes, expected: int | None) -> None:
    back_end = BackEnd(content, status, *headers)
    if expected is None:
        with pytest.raises(ExchangeError) as caught:
            await filtered(back_end.handle, post("/GetPrice"))
        assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
        assert "secret" not in caught.value.message
        assert "inside" not in caught.value.message
        return
    response = await filtered(back_end.handle, post("/GetPrice"))
    assert response.status == expected
    assert response.headers[-1] in headers
    await problem(response)


@pytest.mark.parametrize("length", [None, 2000])
async def test_an_answer_that_is_too_long_is_none(length: int | None) -> None:
    body = Pieces(PRICED, b" " * 1000, b" " * 1000, length=length)
    with pytest.raises(ExchangeError, match="longer than 1500") as caught:
        await filtered(BackEnd(body).handle, post("/GetPrice"), max_response_bytes=1500)
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL
    assert body.closed


async def test_answers_that_do_not_keep_to_the_schema_are_told_all_the_same() -> None:
    back_end = BackEnd(
        enveloped('<GetPriceResponse xmlns="urn:other"><price>a lot</price><more x="1">2</more></GetPriceResponse>')
    )
    assert await answer(await filtered(back_end.handle, post("/GetPrice"))) == {
        "price": "a lot", "{urn:other}more": {"@x": "1", "#text": "2"},
    }  # fmt: skip


def mtom(root: str, *parts: tuple[str, bytes]) -> tuple[bytes, tuple[bytes, bytes]]:
    head = '--b1\r\nContent-Type: application/xop+xml; charset=UTF-8; type="text/xml"\r\nContent-ID: <root@x>\r\n\r\n'
    data = head.encode() + root.encode()
    for name, part in parts:
        data += f"\r\n--b1\r\nContent-ID: <{name}>\r\nContent-Transfer-Encoding: binary\r\n\r\n".encode() + part
    return data + b"\r\n--b1--\r\n", (
        b"content-type", b'multipart/related; boundary=b1; type="application/xop+xml"; start="<root@x>"; start-info="text/xml"',
    )  # fmt: skip


INCLUDE = '<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:{}"/>'


async def test_attachments_come_as_base64() -> None:
    blob = bytes(range(256))
    root = enveloped(
        f'<f:StoreResponse xmlns:f="urn:example:files"><f:data>{INCLUDE.format("a%40x")}</f:data></f:StoreResponse>'
    ).decode()
    data, content_type = mtom(root, ("a@x", blob))
    back_end = BackEnd(data, 200, content_type)
    found = await answer(
        await filtered(back_end.handle, post("/Store", b'{"name":"n","data":"AQID"}'), wsdl="mtom.wsdl")
    )
    assert base64.b64decode(found["{urn:example:files}data"]) == blob
    assert back_end.asked[1].text == "AQID"


@pytest.mark.parametrize("case", ["missing", "flood", "cut", "preamble"])
async def test_attachments_that_cannot_be_told_are_no_answer(case: str) -> None:
    include = INCLUDE.format("b@x" if case == "missing" else "a@x")
    root = enveloped(
        f'<f:StoreResponse xmlns:f="urn:example:files">{f"<f:d>{include}</f:d>" * (400 if case == "flood" else 1)}</f:StoreResponse>'
    )
    data, content_type = mtom(root.decode(), ("a@x", bytes(20_000)))
    if case == "cut":
        data = data[:-8]
    elif case == "preamble":
        data = data.replace(b"<root@x>", b"<other@x>")
    with pytest.raises(ExchangeError) as caught:
        await filtered(
            BackEnd(data, 200, content_type).handle,
            post("/Store", b'{"name":"n","data":""}'),
            wsdl="mtom.wsdl",
            max_response_bytes=200_000,
        )
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL


# --- errors of the gateway, and the document ---


async def test_errors_of_the_gateway_are_problem_documents() -> None:
    async def failing(request: Request) -> Response:
        raise ExchangeError(Reason.UPSTREAM_TIMEOUT, "silent for 5 s", retry_after_seconds=7)

    request = post("/GetPrice")
    with pytest.raises(ExchangeError) as caught:
        await filtered(failing, request)
    assert request.exchange.dialect is SOAP_JSON
    assert SOAP_JSON.claims(request)
    response = SOAP_JSON.render(request, caught.value)
    assert response.status == 504
    assert response.header(b"retry-after") == b"7"
    found = await problem(response)
    assert (found["detail"], found["reason"], found["side"]) == ("silent for 5 s", "upstream_timeout", "upstream")
    assert not SOAP_JSON.claims(make_request("POST", "http://a.test/GetPrice", (JSON,)))


async def test_the_document_is_below_the_path() -> None:
    back_end = BackEnd()
    request = make_request("GET", "http://a.test/api/openapi.json")
    document = await answer(await filtered(back_end.handle, request, path="/api/"))
    assert document["servers"] == [{"url": "/api"}]
    assert "/StockService/GetPrice" in document["paths"]
    wrong = make_request("POST", "http://a.test/api/openapi.json", (JSON,))
    assert (await filtered(back_end.handle, wrong, path="/api")).status == 405
    assert (await filtered(back_end.handle, request, path="/api", openapi=False)).status == 404
    assert back_end.request is None


async def test_settings_that_name_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="known: StockService/StockSoap"):
        await filtered(BackEnd().handle, post("/GetPrice"), service="Nope")
    with pytest.raises(SettingsError, match=r"nope\.wsdl"):
        await filtered(BackEnd().handle, post("/GetPrice"), wsdl="nope.wsdl")
