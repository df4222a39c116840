"""`soap-to-json`: callers that speak SOAP, a back end that speaks JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from lxml import etree

from daemun import Buffered, ExchangeError, FilterContext, Handler, Reason, Request, Response, SettingsError
from daemun.testing import Pieces, content, make_request
from daemun_soap.dialect import SOAP
from daemun_soap.envelopes.fault import Code, FaultError, SoapFault, read_fault
from daemun_soap.facade.settings import JsonToSoapSettings, SoapToJsonSettings
from daemun_soap.kinds import JSON_TO_SOAP, SOAP_TO_JSON

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested here depends on no event loop."""
    return "asyncio"


WSDLS = Path(__file__).parent / "wsdl"
JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")
XML = (b"content-type", b"text/xml; charset=utf-8")
XML12 = (b"content-type", b'application/soap+xml; charset=utf-8; action="urn:example:stock/GetPrice"')
SOAP11, SOAP12 = "http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"
ASK = '<t:GetPrice priority="3"><t:symbol>ABC</t:symbol><t:currency>EUR</t:currency></t:GetPrice>'


def enveloped(body: str, namespace: str = SOAP11, header: str = "") -> bytes:
    return (
        f'<s:Envelope xmlns:s="{namespace}" xmlns:t="urn:example:stock:types">{header}<s:Body>{body}</s:Body></s:Envelope>'
    ).encode()


def post(data: bytes, *headers: tuple[bytes, bytes]) -> Request:
    return make_request("POST", "http://a.test/soap?x=1", headers or (XML,), Buffered(data))


class BackEnd:
    """Answers as it is told and remembers what it was asked."""

    def __init__(self, data: bytes = b'{"price":12.50}', status: int = 200, *headers: tuple[bytes, bytes]) -> None:
        self.response = Response(status, headers or (JSON,), Buffered(data))
        self.request: Request | None = None
        self.content = b""

    async def handle(self, request: Request) -> Response:
        self.request = request
        self.content = await content(request.body)
        return self.response


async def filtered(handler: Handler, request: Request, **settings: Any) -> Response:
    given = {"wsdl": "stock.wsdl", **settings}
    async with SOAP_TO_JSON.build(SoapToJsonSettings(**given), FilterContext("soap-to-json", WSDLS)) as layer:
        return await layer(handler)(request)


async def body_of(response: Response, namespace: str = SOAP11) -> etree._Element:
    root = etree.fromstring(await content(response.body))
    assert root.tag == f"{{{namespace}}}Envelope"
    return root[-1]


async def fault_of(response: Response, namespace: str = SOAP11) -> SoapFault:
    found = read_fault((await body_of(response, namespace))[0])
    assert found is not None
    return found


# --- requests ---


@pytest.mark.parametrize("version", [1, 2])
async def test_an_envelope_becomes_json_and_its_answer_an_envelope(version: int) -> None:
    back_end = BackEnd(b'{"price":12.50,"more":[1]}', 200, JSON, (b"x-own", b"1"), (b"etag", b'"e"'))
    namespace, content_type = ((SOAP11, XML), (SOAP12, XML12))[version - 1]
    request = post(enveloped(ASK, namespace), content_type, (b"soapaction", b'"urn:example:stock/GetPrice"'),
                   (b"accept-encoding", b"gzip"), (b"authorization", b"Basic eA=="))  # fmt: skip
    response = await filtered(back_end.handle, request, path="/rest/")
    assert back_end.request is not None
    assert (back_end.request.method, back_end.request.target) == (b"POST", b"/rest/GetPrice")
    assert back_end.request.headers == (
        JSON, (b"accept", b"application/json, application/problem+json"), (b"authorization", b"Basic eA=="),
    )  # fmt: skip
    assert json.loads(back_end.content) == {"symbol": "ABC", "currency": "EUR", "@priority": 3}
    assert response.status == 200
    assert response.headers == (
        (b"content-type", content_type[1].partition(b";")[0] + b"; charset=utf-8"),
        (b"x-own", b"1"),
    )
    answer = (await body_of(response, namespace))[0]
    assert answer.tag == "{urn:example:stock:types}GetPriceResponse"
    assert [child.text for child in answer] == ["12.50"]


@pytest.mark.parametrize(
    ("template", "method", "target", "sent"),
    [
        ("GET /prices/{symbol}", b"GET", b"/prices/A%3AB%20%3F?%40priority=3&currency=EUR", b""),
        ("GET /prices?s={symbol}", b"GET", b"/prices?s=A%3AB%20%3F&%40priority=3&currency=EUR", b""),
        ("PUT /prices/{symbol}/price", b"PUT", b"/prices/A%3AB%20%3F/price", b'{"@priority":3,"currency":"EUR"}'),
        ("DELETE /prices/{symbol}/{currency}", b"DELETE", b"/prices/A%3AB%20%3F/EUR?%40priority=3", b""),
    ],
)
async def test_members_go_into_path_and_query(
    tmp_path: Path, template: str, method: bytes, target: bytes, sent: bytes
) -> None:
    loose = (WSDLS / "stock.wsdl").read_text().replace("[A-Z]{1,5}", ".*")
    (tmp_path / "loose.wsdl").write_text(loose)
    back_end = BackEnd()
    request = post(enveloped(ASK.replace("ABC", "A:B ?")))
    await filtered(back_end.handle, request, wsdl=str(tmp_path / "loose.wsdl"), paths={"GetPrice": template})
    assert back_end.request is not None
    assert (back_end.request.method, back_end.request.target, back_end.content) == (method, target, sent)


@pytest.mark.parametrize("symbol", [".", "..", "", "../admin", "..\\admin", "a/b"])
async def test_members_that_no_path_can_hold_are_refused(tmp_path: Path, symbol: str) -> None:
    (tmp_path / "loose.wsdl").write_text((WSDLS / "stock.wsdl").read_text().replace("[A-Z]{1,5}", ".*"))
    back_end = BackEnd()
    request = post(enveloped(ASK.replace("ABC", symbol)))
    with pytest.raises(FaultError, match="is no part of a path") as caught:
        await filtered(
            back_end.handle, request, wsdl=str(tmp_path / "loose.wsdl"), paths={"GetPrice": "GET /prices/{symbol}/now"}
        )
    assert caught.value.code is Code.SENDER
    assert back_end.request is None
    if "/" in symbol:
        paths = {"GetPrice": "GET /prices?s={symbol}"}
        await filtered(back_end.handle, request, wsdl=str(tmp_path / "loose.wsdl"), paths=paths)
        assert back_end.request is not None


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"Nope": "GET /x"}, "'Nope' is no operation"),
        ({"GetPrice": "GET /{nope}"}, r"'nope' is no member that every request has \(accepted: symbol, currency\)"),
        ({"GetPrice": "GET /{day}"}, "'day' is no member"),
        ({"Forget": "DELETE /{number}"}, r"accepted: none"),
    ],
)
async def test_paths_that_cannot_be_filled_are_refused_at_the_start(paths: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        await filtered(BackEnd().handle, post(enveloped(ASK)), paths=paths)


@pytest.mark.parametrize("template", ["prices", "FETCH /x", "GET x", "GET /a b"])
def test_templates_are_a_method_and_a_path(template: str) -> None:
    with pytest.raises(ValueError, match="is no method and path"):
        SoapToJsonSettings("stock.wsdl", paths={"GetPrice": template})


async def test_rpc_parts_and_overloaded_operations() -> None:
    back_end = BackEnd(b'{"centre":{"x":1.5,"y":"INF"}}')
    many = '<c:centre xmlns:c="http://calc.example/rpc"><points><point><x>1</x><y>2</y></point></points></c:centre>'
    two = '<c:centre xmlns:c="http://calc.example/rpc/two"><one><x>1</x><y>2</y></one><other><x>3</x><y>4</y></other></c:centre>'
    response = await filtered(back_end.handle, post(enveloped(many)), wsdl="rpc.wsdl")
    assert json.loads(back_end.content) == {"points": {"point": [{"x": 1, "y": 2}]}}
    answer = (await body_of(response))[0]
    assert answer.tag == "{http://calc.example/rpc}centreResponse"
    assert [(str(child.tag), [inner.text for inner in child]) for child in answer] == [("centre", ["1.5", "INF"])]
    await filtered(back_end.handle, post(enveloped(two)), wsdl="rpc.wsdl")
    assert json.loads(back_end.content) == {"one": {"x": 1, "y": 2}, "other": {"x": 3, "y": 4}}


async def test_bare_messages_are_the_member_value() -> None:
    ask = '<w:City xmlns:w="http://weather.inside.test/">Seoul</w:City>'
    for answered in (b'{"value":21.5}', b"21.5"):
        back_end = BackEnd(answered)
        response = await filtered(back_end.handle, post(enveloped(ask)), wsdl="bare.wsdl", service="Weather")
        assert json.loads(back_end.content) == {"value": "Seoul"}
        assert (await body_of(response))[0].text == "21.5"


async def test_attachments_come_as_base64() -> None:
    include = '<x:Include xmlns:x="http://www.w3.org/2004/08/xop/include" href="cid:a@x"/>'
    root = enveloped(f'<f:Store xmlns:f="urn:example:files"><f:name>n</f:name><f:data>{include}</f:data></f:Store>')
    data = b'--b\r\nContent-Type: application/xop+xml; type="text/xml"\r\n\r\n' + root
    data += b"\r\n--b\r\nContent-ID: <a@x>\r\n\r\n\x01\x02\x03\r\n--b--\r\n"
    content_type = (
        b"content-type",
        b'multipart/related; boundary=b; type="application/xop+xml"; start-info="text/xml"',
    )
    back_end = BackEnd(b'{"bytes":3}')
    response = await filtered(back_end.handle, post(data, content_type), wsdl="mtom.wsdl")
    assert json.loads(back_end.content) == {"name": "n", "data": "AQID"}
    assert (await body_of(response))[0][0].text == "3"


async def test_an_empty_body_is_an_operation_too() -> None:
    back_end = BackEnd(b"", 204, (b"x", b"y"))
    response = await filtered(back_end.handle, post(enveloped("")), wsdl="bare.wsdl", service="Weather")
    assert back_end.request is not None
    assert back_end.request.target == b"/Reset"
    assert back_end.content == b"{}"
    assert len(await body_of(response)) == 0


async def test_nothing_becomes_an_empty_element() -> None:
    response = await filtered(BackEnd(b"", 204, (b"x", b"y")).handle, post(enveloped("<t:Ping/>")))
    assert (await body_of(response))[0].tag == "{urn:example:stock:types}PingResponse"
    with pytest.raises(ExchangeError, match=r"price is missing") as caught:
        await filtered(BackEnd(b"", 204, (b"x", b"y")).handle, post(enveloped(ASK)))
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL


async def test_one_way_operations_are_taken() -> None:
    back_end = BackEnd(b'{"ignored":1}')
    response = await filtered(back_end.handle, post(enveloped("<t:Forget><t:number>1</t:number></t:Forget>")))
    assert response.status == 202
    assert await content(response.body) == b""
    assert json.loads(back_end.content) == {"number": [1]}


@pytest.mark.parametrize(
    "request_",
    [
        make_request("GET", "http://a.test/?wsdl"),
        make_request("POST", "http://a.test/", (JSON,), Buffered(b"{}")),
        make_request("GET", "http://a.test/", (XML,)),
    ],
)
async def test_what_is_no_soap_passes_as_it_is(request_: Request) -> None:
    back_end = BackEnd()
    assert await filtered(back_end.handle, request_) is back_end.response
    assert back_end.request is request_


# --- requests that are refused ---


@pytest.mark.parametrize(
    ("data", "headers", "code", "words"),
    [
        (
            enveloped("<t:Nope/>"),
            (XML,),
            Code.SENDER,
            "no operation begins with '{urn:example:stock:types}Nope'; accepted: ",
        ),
        (enveloped(""), (XML,), Code.SENDER, "no operation has an empty Body; accepted: "),
        (b"<order/>", (XML,), Code.VERSION_MISMATCH, "the message begins with 'order'; accepted: an Envelope"),
        (enveloped("<GetPrice/>"), (XML,), Code.SENDER, "no operation"),
        (enveloped("<t:GetPrice/>"), (XML,), Code.SENDER, "is not valid: "),
        (enveloped(ASK.replace("ABC", "abc")), (XML,), Code.SENDER, "symbol: "),
        (enveloped(ASK), (XML, (b"soapaction", b'"urn:example:stock/PlaceOrder"')), Code.SENDER, "the action"),
        (enveloped(ASK, SOAP12), (XML,), Code.VERSION_MISMATCH, "another version"),
        (enveloped(ASK), (XML, (b"content-encoding", b"gzip")), Code.SENDER, "compressed"),
        (
            enveloped(ASK, header='<s:Header><t:Pay s:mustUnderstand="1"/></s:Header>'),
            (XML,),
            Code.MUST_UNDERSTAND,
            "{urn:example:stock:types}Pay",
        ),
        (
            enveloped(
                ASK,
                SOAP12,
                f'<s:Header><t:Pay s:mustUnderstand="1" s:role="{SOAP12}/role/ultimateReceiver"/></s:Header>',
            ),
            (XML12,),
            Code.MUST_UNDERSTAND,
            "{urn:example:stock:types}Pay",
        ),
    ],
)
async def test_what_does_not_fit_is_a_fault(
    data: bytes, headers: tuple[tuple[bytes, bytes], ...], code: Code, words: str
) -> None:
    back_end = BackEnd()
    with pytest.raises(FaultError) as caught:
        await filtered(back_end.handle, post(data, *headers))
    assert caught.value.code is code
    assert words in caught.value.message
    assert back_end.request is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<not xml", Reason.BAD_REQUEST),
        (b"<a/>", Reason.BAD_REQUEST),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + enveloped(ASK), Reason.BAD_REQUEST),
        (enveloped(ASK) + b" " * 5000, Reason.CONTENT_TOO_LARGE),
    ],
)
async def test_what_cannot_be_read_reaches_nobody(data: bytes, reason: Reason) -> None:
    back_end = BackEnd()
    with pytest.raises(ExchangeError) as caught:
        await filtered(back_end.handle, post(data), max_request_bytes=5000)
    assert caught.value.reason is reason
    assert back_end.request is None


@pytest.mark.parametrize(
    ("block", "understood"),
    [
        ('<t:Pay s:mustUnderstand="1"/>', ("{urn:example:stock:types}Pay",)),
        ('<t:Pay s:mustUnderstand="1"/>', ("{urn:example:stock:types}*",)),
        ('<t:Pay s:mustUnderstand="0"/>', ()),
        ('<t:Pay s:mustUnderstand="1" s:actor="urn:somebody"/>', ()),
    ],
)
async def test_headers_for_others_pass(block: str, understood: tuple[str, ...]) -> None:
    request = post(enveloped(ASK, header=f"<s:Header>{block}</s:Header>"))
    assert (await filtered(BackEnd().handle, request, understood=understood)).status == 200


@pytest.mark.parametrize(
    ("announced", "addressed", "agrees"),
    [
        ("", "urn:example:stock/GetPrice", True),
        ("urn:example:stock/GetPrice", "urn:example:stock/GetPrice", True),
        ("", "urn:example:stock/PlaceOrder", False),
        ("urn:example:stock/GetPrice", "urn:example:stock/PlaceOrder", False),
    ],
)
async def test_the_action_of_ws_addressing_is_looked_at_too(announced: str, addressed: str, agrees: bool) -> None:
    block = f'<a:Action xmlns:a="http://www.w3.org/2005/08/addressing">{addressed}</a:Action>'
    request = post(
        enveloped(ASK, header=f"<s:Header>{block}</s:Header>"), XML, (b"soapaction", f'"{announced}"'.encode())
    )
    back_end = BackEnd()
    if agrees:
        assert (await filtered(back_end.handle, request)).status == 200
        return
    with pytest.raises(
        FaultError, match=r"the action .* is not that of '.*GetPrice'; accepted: urn:example:stock/GetPrice"
    ):
        await filtered(back_end.handle, request)
    assert back_end.request is None


async def test_errors_are_faults_also_without_soap_action() -> None:
    request = post(enveloped("<t:Nope/>"))
    with pytest.raises(FaultError) as caught:
        await filtered(BackEnd().handle, request)
    assert SOAP.claims(request)
    assert (await fault_of(SOAP.render(request, caught.value))).code is Code.SENDER


async def test_header_blocks_that_the_operation_declares_are_one_member() -> None:
    block = '<t:Credentials s:mustUnderstand="1"><t:user>me</t:user></t:Credentials><t:Other/>'
    data = enveloped(ASK, header=f"<s:Header>{block}</s:Header>")
    back_end = BackEnd()
    await filtered(back_end.handle, post(data))
    assert json.loads(back_end.content)["#header"] == {"Credentials": {"user": "me"}}
    await filtered(back_end.handle, post(data), paths={"GetPrice": "GET /prices/{symbol}"})
    assert back_end.request is not None
    assert back_end.request.target == b"/prices/ABC?%40priority=3&currency=EUR"


async def test_a_message_full_of_errors_is_told_by_the_first_of_them() -> None:
    wrong = " ".join(f'a{number}="1"' for number in range(250))
    for inside in (f"<t:x {wrong}/>" * 60, "<t:x/>" * 9000):
        request = post(enveloped(f"<t:GetPrice>{inside}</t:GetPrice>"))
        began = process_time()
        with pytest.raises(FaultError, match="not valid"):
            await filtered(BackEnd().handle, request)
        assert process_time() - began < 20


async def test_a_body_is_one_and_has_one_child() -> None:
    for data in (enveloped(ASK + "<t:Ping/>"), enveloped(ASK).replace(b"</s:Envelope>", b"<s:Body/></s:Envelope>")):
        with pytest.raises(ExchangeError, match="one"):
            await filtered(BackEnd().handle, post(data))


async def test_namespaces_without_end_are_refused() -> None:
    many = " ".join(f'xmlns:p{number}="urn:{number}"' for number in range(128))
    with pytest.raises(ExchangeError, match="128 namespaces"):
        await filtered(BackEnd().handle, post(enveloped(ASK.replace("<t:GetPrice", f"<t:GetPrice {many}"))))


# --- answers ---


@pytest.mark.parametrize(
    ("status", "namespace", "code", "http_status"),
    [
        (422, SOAP11, Code.SENDER, 500),
        (404, SOAP12, Code.SENDER, 400),
        (500, SOAP11, Code.RECEIVER, 500),
        (503, SOAP12, Code.RECEIVER, 500),
    ],
)
async def test_a_problem_is_a_fault_of_the_callers_version(
    status: int, namespace: str, code: Code, http_status: int
) -> None:
    problem = {
        "title": "No",
        "detail": "no <such> thing",
        "fault": {"actor": "urn:me", "detail": {"NoSuchSymbol": {"known": 7, "symbol": "A"}, "x": 1}},
    }
    back_end = BackEnd(json.dumps(problem).encode(), status, PROBLEM, (b"retry-after", b"5"))
    content_type = XML if namespace == SOAP11 else XML12
    response = await filtered(back_end.handle, post(enveloped(ASK, namespace), content_type))
    assert response.status == http_status
    assert response.header(b"retry-after") == b"5"
    found = await fault_of(response, namespace)
    assert (found.code, found.reason, found.actor) == (code, "no <such> thing", "urn:me")
    assert found.detail is not None
    assert [str(child.tag) for child in found.detail] == ["{urn:example:stock:types}NoSuchSymbol"]
    assert [child.text for child in found.detail[0]] == ["A", "7"]


@pytest.mark.parametrize(
    ("data", "headers", "words"),
    [
        (b"", ((b"x", b"y"),), "404 Not Found"),
        (b"<html>secret</html>", ((b"content-type", b"text/html"),), "404 Not Found"),
        (b'{"detail":5,"title":"Gone fishing"}', (PROBLEM,), "Gone fishing"),
        (b'{"fault":{"detail":{"NoSuchSymbol":{"known":"x"}}}}', (PROBLEM,), "404 Not Found"),
        (b"[1]", (JSON,), "404 Not Found"),
    ],
)
async def test_errors_without_a_problem_are_faults_too(
    data: bytes, headers: tuple[tuple[bytes, bytes], ...], words: str
) -> None:
    found = await fault_of(await filtered(BackEnd(data, 404, *headers).handle, post(enveloped(ASK))))
    assert (found.code, found.reason) == (Code.SENDER, words)
    assert found.detail is None


@pytest.mark.parametrize(
    ("data", "status", "headers"),
    [
        (b"<html/>", 200, ((b"content-type", b"text/html"),)),
        (b"", 302, ((b"location", b"/x"),)),
        (b"{", 200, (JSON,)),
        (b'{"price":"a lot"}', 200, (JSON,)),
        (b"[]", 200, (JSON,)),
        (b'{"price":1}', 200, (JSON, (b"content-encoding", b"gzip"))),
        (b'{"price":1}' + b" " * 2000, 200, (JSON,)),
    ],
)
async def test_what_is_no_answer(data: bytes, status: int, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(ExchangeError) as caught:
        await filtered(BackEnd(data, status, *headers).handle, post(enveloped(ASK)), max_response_bytes=1000)
    assert caught.value.reason is Reason.UPSTREAM_PROTOCOL


# --- both ---


async def test_json_through_soap_to_json_and_back() -> None:
    order = {
        "order": {
            "@id": "o1",
            "@xml:lang": "ko",
            "line": [
                {"symbol": "ABC", "amount": 2, "part": [{"symbol": "DEF", "amount": 1, "part": []}]},
                {"@xsi:type": "UrgentLine", "symbol": "GHI", "amount": 3, "part": [], "before": "2026-01-01T00:00:00Z"},
            ],
            "invoice": True,
            "{urn:far}note": [{"@by": "me", "{urn:far}text": "x"}],
        }
    }
    back_end = BackEnd(b'{"number":9007199254740993}')
    context = FilterContext("x", WSDLS)
    async with (
        JSON_TO_SOAP.build(JsonToSoapSettings("stock.wsdl"), context) as outer,
        SOAP_TO_JSON.build(SoapToJsonSettings("stock.wsdl"), context) as inner,
    ):
        body = Pieces(*(bytes([byte]) for byte in json.dumps(order).encode()))
        request = make_request("POST", "http://a.test/PlaceOrder", (JSON,), body)
        response = await outer(inner(back_end.handle))(request)
    found = json.loads(back_end.content)
    assert found["order"].pop("{urn:far}note") == [{"@by": "me", "text": "x"}]
    del order["order"]["{urn:far}note"]
    assert found == order
    assert json.loads(await content(response.body), parse_float=Decimal) == {"number": 9007199254740993}
