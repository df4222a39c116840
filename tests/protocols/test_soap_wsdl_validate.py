"""Messages against the schema of their WSDL, by libxml2 and by xmlschema: both refuse and accept the same."""

from __future__ import annotations

import functools
from pathlib import Path
from time import process_time
from typing import Any
from urllib.parse import unquote

import anyio
import pytest
import xmlschema
import zeep
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree
from zeep.transports import Transport

from daemun_soap.names import SOAP11, SOAP12
from daemun_soap.wsdl import validate
from daemun_soap.wsdl.check import Compiled, Typed
from daemun_soap.wsdl.documents import load_documents
from daemun_soap.wsdl.gather import gather_schemas
from daemun_soap.wsdl.known import known_schema
from daemun_soap.wsdl.model import Operation
from daemun_soap.wsdl.read import describe
from daemun_soap.wsdl.schema import typed_schema
from daemun_soap.wsdl.validate import InvalidMessage, Validator

BASE = Path(__file__).parent / "wsdl"
STOCK = 'xmlns="urn:example:stock:types"'


HARD = r"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="m"><xs:simpleType>
 <xs:restriction base="xs:string"><xs:pattern value="[a-z]+@[a-z](\.?[\-a-z]*[a-z])*"/></xs:restriction>
</xs:simpleType></xs:element></xs:schema>"""


def test_a_pattern_that_libxml2_gives_up_is_no_way_through() -> None:
    compiled = Compiled(etree.XMLSchema(etree.fromstring(HARD)))
    good, hard = (etree.fromstring(f"<m>{text}</m>") for text in ("a@b.cd", "a@" + "a" * 30 + "!"))
    assert compiled.wrong(good) is None
    wrong = compiled.wrong(hard)
    assert wrong is not None
    assert "takes too long" in wrong.words


def test_namespaces_without_end_are_not_looked_through() -> None:
    typed = Typed(xmlschema.XMLSchema(HARD))
    names = " ".join(f'xmlns:p{number}="urn:{number}"' for number in range(129))
    assert typed.wrong(etree.fromstring("<m>a@b</m>")) is None
    wrong = typed.wrong(etree.fromstring(f"<m {names}>a@b</m>"))
    assert wrong is not None
    assert "namespaces" in wrong.words


class Checked:
    """The operations of a WSDL by their names or actions, and a validator of each kind."""

    def __init__(self, name: str) -> None:
        documents = anyio.run(load_documents, name, BASE)
        schemas = gather_schemas(documents)
        wsdl = describe(documents, typed_schema(schemas))
        self.operations: dict[str, Operation] = {}
        for service in wsdl.services:
            for port in service.ports:
                for operation in port.operations:
                    self.operations.setdefault(operation.name, operation)
                    self.operations.setdefault(operation.action, operation)
        self.fast = Validator(wsdl, schemas)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(validate, "compiled_schema", lambda schemas: None)
            self.slow = Validator(wsdl, schemas)

    def wrong(self, kind: str, operation: str, envelope: etree._Element, side: str) -> str:
        """Where and why the message is refused; "": it is not."""
        found = self.operations[operation]
        try:
            getattr(self, kind).check(envelope, found, getattr(found, side))
        except InvalidMessage as error:
            return str(error)
        return ""


@functools.cache
def checked(name: str) -> Checked:
    return Checked(name)


def envelope(body: str, header: str = "", space: str = SOAP11) -> etree._Element:
    return etree.fromstring(
        f'<s:Envelope xmlns:s="{space}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:t="urn:example:stock:types">'
        f"<s:Header>{header}</s:Header><s:Body><!-- here --> {body}\n</s:Body></s:Envelope>"
    )


PRICE = f'<GetPrice {STOCK} priority="1"><symbol>IBM</symbol><day>2026-11-23</day><currency xsi:nil="true"/></GetPrice>'
ORDER = (
    '<t:PlaceOrder><t:order id="a" xml:lang="de"><t:line><t:symbol>A</t:symbol><t:amount>1</t:amount>'
    "<t:part><t:symbol>B</t:symbol><t:amount>2</t:amount></t:part></t:line>"
    '<t:line xsi:type="t:UrgentLine"><t:symbol>A</t:symbol><t:amount>3</t:amount><t:before>2026-01-01T00:00:00Z</t:before></t:line>'
    '<t:card>1</t:card><any xmlns="urn:x"/></t:order></t:PlaceOrder>'
)
STORE = '<f:Store xmlns:f="urn:example:files"><f:name>a</f:name><f:data>{}</f:data></f:Store>'
XOP = '<xop:Include xmlns:xop="http://www.w3.org/2004/08/xop/include" href="cid:1@x"/>'
ADD = '<r:add xmlns:r="http://calc.example/rpc" s:encodingStyle="">{}</r:add>'
LEND = (
    '<b:Lend xmlns:b="urn:example:books"><b:book><b:title>{}</b:title><b:pages>1</b:pages></b:book>'
    "<b:book><b:title>{}</b:title></b:book><b:to>{}</b:to></b:Lend>"
)
FAULT = "<s:Fault><faultcode>s:Client</faultcode><faultstring>no</faultstring><detail>{}</detail></s:Fault>"

GOOD = [
    ("stock.wsdl", "GetPrice", "request", PRICE),
    ("stock.wsdl", "PlaceOrder", "request", ORDER),
    ("stock.wsdl", "Ping", "request", "<t:Ping/>"),
    ("stock.wsdl", "Forget", "request", f"<Forget {STOCK}><number>1</number><number>-2</number></Forget>"),
    ("stock.wsdl", "GetPrice", "response", "<t:GetPriceResponse><t:price>1.50</t:price></t:GetPriceResponse>"),
    (
        "stock.wsdl",
        "GetPrice",
        "response",
        FAULT.format("<t:NoSuchSymbol><t:symbol>A</t:symbol><t:known>1</t:known></t:NoSuchSymbol>"),
    ),
    ("stock.wsdl", "GetPrice", "response", FAULT.format("<undeclared/>")),
    ("bare.wsdl", "Temperature", "request", '<City xmlns="http://weather.inside.test/">Bonn</City>'),
    ("bare.wsdl", "Reset", "request", ""),
    ("rpc.wsdl", "add", "request", ADD.format("<a>1</a><b>2</b>")),
    ("rpc.wsdl", "add", "request", ADD.format('<b xsi:type="xsd:short">1</b><a>2</a>')),
    ("rpc.wsdl", "add", "response", '<r:addResponse xmlns:r="http://calc.example/rpc"><sum>3</sum></r:addResponse>'),
    ("encoded.wsdl", "login", "request", "<anything/>"),
    ("mtom.wsdl", "Store", "request", STORE.format("aGVsbG8=")),
    ("mtom.wsdl", "Store", "request", STORE.format(XOP)),
    ("quirky.wsdl", "Plain", "request", "<Plain>a</Plain>"),
    ("quirky.wsdl", "Typed", "request", "<name>a</name>"),
    ("redefined/main.wsdl", "Lend", "request", LEND.format("A", "B", "me")),
    (
        "redefined/main.wsdl",
        "List",
        "response",
        '<b:Listed xmlns:b="urn:example:books"><xsd:schema id="x"><xsd:element name="a"/></xsd:schema><d xmlns="urn:d"/></b:Listed>',
    ),
]

BAD = [
    ("stock.wsdl", "GetPrice", "request", "", "Body: there are 0 elements, expected: GetPrice"),
    ("stock.wsdl", "GetPrice", "request", PRICE + PRICE, "Body: there are 2 elements"),
    ("stock.wsdl", "GetPrice", "request", "<t:Ping/>", "Body: '{urn:example:stock:types}Ping' is not expected"),
    ("stock.wsdl", "GetPrice", "request", PRICE.replace('"1"', '"one"'), "Body/GetPrice: attribute priority"),
    ("stock.wsdl", "GetPrice", "request", PRICE.replace("IBM", "ibm"), "Body/GetPrice/symbol: "),
    ("stock.wsdl", "GetPrice", "request", PRICE.replace("2026-11-23", "today"), "Body/GetPrice/day: "),
    (
        "stock.wsdl",
        "GetPrice",
        "request",
        PRICE.replace(' xsi:nil="true"/>', ">GBP</currency>"),
        "Body/GetPrice/currency: ",
    ),
    ("stock.wsdl", "GetPrice", "request", "<t:GetPrice/>", "Body/GetPrice: "),
    ("stock.wsdl", "PlaceOrder", "request", ORDER.replace(">3<", ">0<"), "Body/PlaceOrder/order/line[2]/amount: "),
    ("stock.wsdl", "PlaceOrder", "request", ORDER.replace(' id="a"', ""), "Body/PlaceOrder/order: "),
    ("stock.wsdl", "Forget", "request", f"<Forget {STOCK}><number>x</number></Forget>", "Body/Forget/number: "),
    (
        "stock.wsdl",
        "GetPrice",
        "response",
        "<t:GetPriceResponse><t:price>EUR</t:price></t:GetPriceResponse>",
        "Body/GetPriceResponse/price: ",
    ),
    ("stock.wsdl", "GetPrice", "response", FAULT.format("<t:NoSuchSymbol/>"), "Body/Fault/detail/NoSuchSymbol: "),
    (
        "bare.wsdl",
        "Temperature",
        "response",
        '<Degrees xmlns="http://weather.inside.test/">warm</Degrees>',
        "Body/Degrees: ",
    ),
    ("bare.wsdl", "Reset", "request", "<a/>", "Body: there are 1 elements, expected: nothing"),
    ("rpc.wsdl", "add", "request", ADD.format("<a>1</a><b>two</b>"), "Body/add/b: "),
    ("rpc.wsdl", "add", "request", ADD.format("<a>1</a>"), "Body/add: "),
    ("rpc.wsdl", "add", "request", ADD.format("<r:a>1</r:a><b>1</b>"), "Body/add"),
    ("mtom.wsdl", "Store", "request", STORE.format("=nonsense="), "Body/Store/data: "),
    (
        "quirky.wsdl",
        "More",
        "request",
        '<q:More xmlns:q="urn:example:quirky"><what><ever/></what></q:More>',
        "Body/More",
    ),
    ("quirky.wsdl", "Do", "response", '<q:Done xmlns:q="urn:example:quirky"><n>z</n></q:Done>', "Body/Done/n: "),
    ("redefined/main.wsdl", "Lend", "request", LEND.format("A", "B", "somebody else"), "Body/Lend/to: "),
    ("redefined/main.wsdl", "Lend", "request", LEND.format("A", "A", "me"), "Body/Lend"),
]


@pytest.mark.parametrize("kind", ["fast", "slow"])
@pytest.mark.parametrize(("name", "operation", "side", "body"), GOOD)
def test_what_the_schema_allows_passes(kind: str, name: str, operation: str, side: str, body: str) -> None:
    assert checked(name).wrong(kind, operation, envelope(body), side) == ""


@pytest.mark.parametrize("kind", ["fast", "slow"])
@pytest.mark.parametrize(("name", "operation", "side", "body", "words"), BAD)
def test_what_it_does_not_allow_is_refused_with_the_place(
    kind: str, name: str, operation: str, side: str, body: str, words: str
) -> None:
    assert checked(name).wrong(kind, operation, envelope(body), side).startswith(words)


@pytest.mark.parametrize("kind", ["fast", "slow"])
def test_headers_that_are_declared_are_checked_and_others_are_not(kind: str) -> None:
    stock = checked("stock.wsdl")
    right = (
        '<t:Credentials s:mustUnderstand="1" s:actor="urn:a"><t:user>me</t:user></t:Credentials><other xmlns="urn:x"/>'
    )
    assert stock.wrong(kind, "GetPrice", envelope(PRICE, right), "request") == ""
    wrong = stock.wrong(kind, "GetPrice", envelope(PRICE, right.replace("user>", "pass>")), "request")
    assert wrong.startswith("Header/Credentials")
    session = '<w:Session xmlns:w="http://weather.inside.test/">{}</w:Session>'
    days = '<w:Days xmlns:w="http://weather.inside.test/">3</w:Days>'
    weather = checked("bare.wsdl")
    assert weather.wrong(kind, "Forecast", envelope(days, session.format(7)), "request") == ""
    assert weather.wrong(kind, "Forecast", envelope(days, session.format(-7)), "request").startswith("Header/Session: ")


def test_the_details_of_a_fault_of_soap_12_are_checked() -> None:
    stock = checked("stock.wsdl")
    fault = (
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value></s:Code><s:Reason/><s:Detail>"
        "<t:NoSuchSymbol><t:symbol>A</t:symbol><t:known>{}</t:known></t:NoSuchSymbol></s:Detail></s:Fault>"
    )
    assert stock.wrong("fast", "GetPrice", envelope(fault.format(1), space=SOAP12), "response") == ""
    wrong = stock.wrong("fast", "GetPrice", envelope(fault.format("one"), space=SOAP12), "response")
    assert wrong.startswith("Body/Fault/Detail/NoSuchSymbol/known: 'one' is not a valid value")


def test_an_envelope_without_a_body_is_refused() -> None:
    empty = etree.fromstring(f'<s:Envelope xmlns:s="{SOAP11}"/>')
    assert checked("stock.wsdl").wrong("fast", "Ping", empty, "request") == "Envelope: there is no Body"


def test_checking_leaves_the_envelope_as_it_was() -> None:
    message = envelope(STORE.format(XOP), '<t:Credentials s:mustUnderstand="1"><t:user>me</t:user></t:Credentials>')
    before = etree.tostring(message)
    assert checked("mtom.wsdl").wrong("fast", "Store", message, "request") == ""
    assert etree.tostring(message) == before


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="<&>"), min_size=60, max_size=2000)
)
@example("'" + "a' is " * 20)
@example('"' * 70)
def test_long_values_are_not_told(value: str) -> None:
    for kind in ("fast", "slow"):
        body = f"<Forget {STOCK}><number>x{value}</number></Forget>"
        wrong = checked("stock.wsdl").wrong(kind, "Forget", envelope(body), "request")
        assert wrong.startswith("Body/Forget/number: ")
        assert value[:60] not in wrong
        assert len(wrong) < 400


@pytest.mark.parametrize("kind", ["fast", "slow"])
def test_a_message_full_of_errors_costs_no_more_than_its_length(kind: str) -> None:
    body = f"<Forget {STOCK}>" + "<number>x</number>" * 20000 + "</Forget>"
    message = envelope(body)
    began = process_time()
    assert checked("stock.wsdl").wrong(kind, "Forget", message, "request").startswith("Body/Forget")
    assert process_time() - began < 5


TEXTS = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="m"><xs:complexType><xs:sequence>
 <xs:element name="n" type="xs:int" minOccurs="0" maxOccurs="unbounded"/>
 <xs:element name="t" minOccurs="0"><xs:simpleType><xs:restriction base="xs:string"><xs:maxLength value="600000"/>
 </xs:restriction></xs:simpleType></xs:element></xs:sequence></xs:complexType></xs:element></xs:schema>"""


@pytest.mark.parametrize("elements", [0, 3000])
@pytest.mark.parametrize("piece", ["&lt;", "\ud55c", "&#13;", "]]&gt;", "a&amp;"])
def test_a_long_text_costs_no_more_than_its_length(piece: str, elements: int) -> None:
    compiled = Compiled(etree.XMLSchema(etree.fromstring(TEXTS)))
    size = len(etree.fromstring(f"<a>{piece}</a>").text or "")
    began = process_time()
    for length, inside, good in ((600_000, True, True), (606_000, True, False), (600_000, False, False)):
        text = piece * (length // size)
        numbers = "<n>1</n>" * elements
        data = f"<m>{numbers}<t>{text}</t></m>" if inside else f"<m>{numbers}{text}<t/></m>"
        element = etree.fromstring(data, etree.XMLParser(huge_tree=True))
        before = etree.tostring(element)
        blank = piece == "&#13;" and not inside
        assert (compiled.wrong(element) is None) is (good or blank)
        assert etree.tostring(element) == before
    assert process_time() - began < 2


def test_namespaces_around_a_long_message_are_known() -> None:
    numbers = "<number>1</number>" * 3000
    forget = envelope(f"<Forget {STOCK} xmlns:i='http://www.w3.org/2001/XMLSchema-instance'>{numbers}</Forget>")
    assert checked("stock.wsdl").wrong("fast", "Forget", forget, "request") == ""
    lines = ORDER.replace("<t:card>", ORDER[ORDER.index("<t:line>") : ORDER.index("<t:card>")] * 500 + "<t:card>")
    assert checked("stock.wsdl").wrong("fast", "PlaceOrder", envelope(lines), "request") == ""
    wrong = checked("stock.wsdl").wrong("fast", "PlaceOrder", envelope(lines.replace(">3<", ">0<")), "request")
    assert "'0'" in wrong


def test_what_is_too_long_for_the_slow_check_is_refused() -> None:
    body = f"<Forget {STOCK}>" + "<number>1</number>" * 5001 + "</Forget>"
    assert "more than 5000 elements" in checked("stock.wsdl").wrong("slow", "Forget", envelope(body), "request")
    assert checked("stock.wsdl").wrong("fast", "Forget", envelope(body), "request") == ""


@pytest.mark.parametrize(
    ("name", "service", "port", "operation", "values"),
    [
        (
            "stock.wsdl",
            "StockService",
            "StockSoap",
            "GetPrice",
            {"symbol": "IBM", "day": "2026-11-23", "currency": "EUR"},
        ),
        ("stock.wsdl", "StockService", "StockSoap12", "GetPrice", {"symbol": "IBM", "currency": "KRW", "priority": 3}),
        ("stock.wsdl", "StockService", "StockSoap", "Forget", {"number": [1, 2, 3]}),
        ("rpc.wsdl", "CalcService", "Calc", "add", {"a": 1, "b": 2}),
        ("encoded.wsdl", "OldService", "Port", "login", {"user": "me", "key": "k"}),
        (
            "split/main.wsdl",
            "ShopService",
            "Shop",
            "Buy",
            {"buyer": "me", "item": [{"good": {"name": "x"}, "count": 2}]},
        ),
        ("mtom.wsdl", "FilesService", "Files12", "Store", {"name": "a", "data": b"hello"}),
    ],
)
def test_what_another_stack_writes_is_valid(
    name: str, service: str, port: str, operation: str, values: dict[str, Any]
) -> None:
    class Loader(Transport):
        def load(self, url: str) -> bytes:
            return (
                known_schema(url)
                or known_schema(url.replace("2001/xml.xsd", "XML/1998/namespace"))
                or Path(unquote(url)).read_bytes()
            )

    client = zeep.Client(str(BASE / name), transport=Loader())  # type: ignore[no-untyped-call]
    message = client.create_message(client.bind(service, port), operation, **values)  # type: ignore[no-untyped-call]
    for kind in ("fast", "slow"):
        assert checked(name).wrong(kind, operation, message, "request") == ""
