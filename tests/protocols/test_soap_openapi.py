"""The façade as OpenAPI 3.1: valid, complete, and true of what the codec reads and writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from xmlschema import XMLSchema

from daemun import SettingsError
from daemun_soap.facade.codec import JsonCodec, to_json
from daemun_soap.facade.openapi import openapi
from daemun_soap.facade.operations import Facade
from daemun_soap.facade.schema import JsonSchemas
from daemun_soap.wsdl.read import read_wsdl

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """What is tested here depends on no event loop."""
    return "asyncio"


WSDLS = Path(__file__).parent / "wsdl"


async def facade_of(name: str, service: str = "", port: str = "") -> Facade:
    return Facade(await read_wsdl(name, WSDLS), service, port)


async def document_of(name: str, **chosen: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_json(openapi(await facade_of(name, **chosen), "https://api.test/soap")))
    return found


def fits(document: dict[str, Any], schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": document["components"]}
    return not list(Draft202012Validator(whole).iter_errors(json.loads(to_json(value))))


def request_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return found


def response_of(document: dict[str, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    return found


@pytest.mark.parametrize("name", ["stock.wsdl", "rpc.wsdl", "bare.wsdl", "mtom.wsdl", "quirky.wsdl", "split/main.wsdl"])
async def test_the_document_is_openapi(name: str) -> None:
    document = await document_of(name)
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "https://api.test/soap"}]
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    names = [one["post"]["operationId"] for one in document["paths"].values()]
    assert len(set(names)) == len(names)


async def test_operations_say_what_they_take_and_answer() -> None:
    document = await document_of("stock.wsdl")
    assert list(document["paths"]) == [
        f"/StockService/{name}" for name in ("GetPrice", "PlaceOrder", "Forget", "Ping")
    ]  # fmt: skip
    price = document["paths"]["/StockService/GetPrice"]["post"]
    assert price["description"] == "The price of one symbol."
    assert document["tags"] == [{"name": "StockService", "description": "Prices and orders."}]
    request = request_of(document, "/StockService/GetPrice")
    assert fits(document, request, {"symbol": "ABC", "currency": None, "@priority": 1})
    assert not fits(document, request, {"symbol": "abc", "currency": None})
    assert fits(document, request, {"#header": {"Credentials": {"user": "me"}}, "symbol": "ABC", "currency": None})
    assert not fits(document, request, {"#header": {"Credentials": {}}, "symbol": "ABC", "currency": None})
    assert not fits(document, request, {"symbol": "ABC", "currency": "GBP"})
    assert not fits(document, request, {"symbol": "ABC"})
    assert not fits(document, request, {"symbol": "ABC", "currency": None, "nope": 1})
    assert fits(document, response_of(document, "/StockService/GetPrice"), {"price": 1.5})
    assert list(document["paths"]["/StockService/Forget"]["post"]["responses"]) == ["202", "400", "default"]


async def test_choices_arrays_and_types_that_stand_for_others() -> None:
    document = await document_of("stock.wsdl")
    request = request_of(document, "/StockService/PlaceOrder")
    line = {"symbol": "ABC", "amount": 1, "part": []}
    urgent = {**line, "before": "2026-01-01T00:00:00Z", "@xsi:type": "UrgentLine"}

    def order(**members: Any) -> dict[str, Any]:
        return {"order": {"@id": "o1", "line": [line], **members}}

    assert fits(document, request, order(card="1"))
    assert fits(document, request, order(card="1", line=[line, urgent, {**line, "part": [urgent]}]))
    assert not fits(document, request, order())
    assert not fits(document, request, order(card="1", invoice=True))
    assert not fits(document, request, order(card="1", line=[]))
    assert not fits(document, request, order(card="1", line=[{**line, "before": "2026-01-01T00:00:00Z"}]))
    assert not fits(document, request, order(card="1", line=[{**line, "amount": 0}]))
    assert fits(document, request, order(card="1", **{"{urn:far}x": ["anything"]}))


async def test_faults_have_the_types_of_their_details() -> None:
    document = await document_of("stock.wsdl")
    responses = document["paths"]["/StockService/GetPrice"]["post"]["responses"]
    failed = responses["default"]["content"]["application/problem+json"]["schema"]
    assert fits(
        document,
        failed,
        {"status": 500, "fault": {"code": "Server", "detail": {"NoSuchSymbol": {"symbol": "A", "known": 1}}}},
    )
    assert not fits(document, failed, {"fault": {"code": "Server", "detail": {"NoSuchSymbol": {"symbol": "A"}}}})


async def test_rpc_is_an_object_of_parts_and_overloaded_names_are_told_apart() -> None:
    document = await document_of("rpc.wsdl")
    assert list(document["paths"]) == ["/CalcService/add", "/CalcService/centre", "/CalcService/centre_2"]
    assert fits(document, request_of(document, "/CalcService/add"), {"a": 1, "b": 2})
    assert not fits(document, request_of(document, "/CalcService/add"), {"a": 1})
    assert fits(
        document, request_of(document, "/CalcService/centre"), {"one": {"x": 1, "y": "INF"}, "other": {"x": 1, "y": 2}}
    )
    assert fits(document, request_of(document, "/CalcService/centre_2"), {"points": {"point": [{"x": 1, "y": 2}]}})


async def test_what_is_no_object_is_the_member_value() -> None:
    document = await document_of("bare.wsdl", service="Weather")
    assert list(document["paths"]) == ["/Weather/Temperature", "/Weather/Forecast", "/Weather/Reset"]
    assert fits(document, request_of(document, "/Weather/Temperature"), {"value": "Seoul"})
    assert not fits(document, request_of(document, "/Weather/Temperature"), "Seoul")
    reset = document["paths"]["/Weather/Reset"]["post"]
    assert "requestBody" not in reset
    assert list(reset["responses"]) == ["204", "400", "default"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"service": "Nope"}, "known: StockService/StockSoap, StockService/StockSoap12"),
        ({"port": "Nope"}, "no service and port 'Nope'"),
        ({"service": "StockService", "port": "StockHttpGet"}, "that speaks SOAP"),
    ],
)
async def test_services_and_ports_that_are_not_there(chosen: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        await facade_of("stock.wsdl", **chosen)


async def test_encoded_operations_are_left_out() -> None:
    with pytest.raises(SettingsError, match="no operation that JSON can be made of"):
        await facade_of("encoded.wsdl")


async def test_operations_of_unknown_types_are_left_out(tmp_path: Path) -> None:
    broken = (WSDLS / "rpc.wsdl").read_text().replace('name="points" type="t:Points"', 'name="points" type="t:Nowhere"')
    (tmp_path / "broken.wsdl").write_text(broken)
    facade = Facade(await read_wsdl("broken.wsdl", tmp_path))
    assert set(facade.services["CalcService"].operations) >= {"add", "centre"}
    document = json.loads(to_json(openapi(facade)))
    OpenAPIV31SpecValidator(document).validate()
    assert fits(document, request_of(document, "/CalcService/add"), {"a": 1, "b": 2})


FACETS = """
<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema">
  <xs:element name="e"><xs:simpleType>{}</xs:simpleType></xs:element>
</xs:schema>
"""
STRING, INT = (
    '<xs:restriction base="xs:string">{}</xs:restriction>',
    '<xs:restriction base="xs:int">{}</xs:restriction>',
)


@pytest.mark.parametrize(
    ("definition", "schema"),
    [
        (STRING.format('<xs:length value="3"/>'), {"type": "string", "minLength": 3, "maxLength": 3}),
        (STRING.format('<xs:maxLength value="3"/>'), {"type": "string", "maxLength": 3}),
        (STRING.format('<xs:pattern value="a|b+"/>'), {"type": "string", "pattern": "^(?:a|b+)$"}),
        (STRING.format(r'<xs:pattern value="\i\c*"/>'), {"type": "string"}),
        (STRING.format('<xs:pattern value="$5"/>'), {"type": "string"}),
        (STRING.format('<xs:enumeration value="a"/>'), {"type": "string", "enum": ["a"]}),
        (
            INT.format('<xs:enumeration value="5"/>'),
            {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1, "enum": [5]},
        ),
        (
            INT.format('<xs:minInclusive value="5"/>'),
            {"type": "integer", "format": "int32", "minimum": 5, "maximum": 2**31 - 1},
        ),
        (
            '<xs:restriction base="xs:decimal"><xs:minExclusive value="0"/></xs:restriction>',
            {"type": "number", "exclusiveMinimum": 0},
        ),
        ('<xs:restriction base="xs:date"/>', {"type": "string", "format": "date"}),
        ('<xs:restriction base="xs:dateTime"/>', {"type": "string", "format": "date-time"}),
        ('<xs:restriction base="xs:base64Binary"/>', {"type": "string", "contentEncoding": "base64"}),
        ('<xs:restriction base="xs:unsignedByte"/>', {"type": "integer", "minimum": 0, "maximum": 255}),
        ('<xs:list itemType="xs:boolean"/>', {"type": "array", "items": {"type": "boolean"}}),
        ('<xs:union memberTypes="xs:boolean xs:decimal"/>', {"anyOf": [{"type": "boolean"}, {"type": "number"}]}),
    ],
)
def test_facets_are_said_as_json_schema_says_them(definition: str, schema: dict[str, Any]) -> None:
    loaded = XMLSchema(FACETS.format(definition))
    found = JsonSchemas(JsonCodec(loaded).shapes).element(loaded.maps.elements["e"])
    assert json.loads(to_json(found)) == schema


def test_an_element_that_holds_itself_is_a_component() -> None:
    loaded = XMLSchema(
        '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema"><xs:element name="tree"><xs:complexType><xs:sequence>'
        "<xs:annotation><xs:documentation>A tree.</xs:documentation></xs:annotation>"
        '<xs:element ref="tree" minOccurs="0" maxOccurs="2"/></xs:sequence></xs:complexType></xs:element></xs:schema>'
    )
    schemas = JsonSchemas(JsonCodec(loaded).shapes, "#/$defs/")
    assert schemas.element(loaded.maps.elements["tree"]) == {"$ref": "#/$defs/tree"}
    tree = schemas.components["tree"]
    assert tree["properties"]["tree"] == {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}
