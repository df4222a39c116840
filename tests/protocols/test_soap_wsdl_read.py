"""What is read out of WSDLs of several dialects: operations and their messages, and what is passed by."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from daemun import SettingsError
from daemun_soap.names import Version, qualified
from daemun_soap.wsdl.model import Message, Operation, Part, Wsdl
from daemun_soap.wsdl.read import read_wsdl

pytestmark = pytest.mark.anyio

BASE = Path(__file__).parent / "wsdl"
TYPES = "urn:example:stock:types"


@functools.cache
def read(name: str) -> Wsdl:
    return anyio.run(read_wsdl, name, BASE)


def operations(wsdl: Wsdl, port: str) -> dict[str, Operation]:
    ports = {found.name: found for service in wsdl.services for found in service.ports}
    return {operation.name: operation for operation in ports[port].operations}


async def test_a_wsdl_is_read_on_every_loop() -> None:
    wsdl = await read_wsdl("stock.wsdl", BASE)
    assert wsdl.namespace == "urn:example:stock"
    assert next(iter(wsdl.documents)) == (BASE / "stock.wsdl").as_uri()
    found = wsdl.operation(qualified(TYPES, "GetPrice"), Version.V1_2)
    assert found is not None
    assert (found[0].name, found[1].name) == ("StockSoap12", "GetPrice")


def test_ports_of_both_versions_are_there_and_those_of_http_are_not() -> None:
    (service,) = read("stock.wsdl").services
    assert (service.name, service.namespace, service.documentation) == (
        "StockService",
        "urn:example:stock",
        "Prices and orders.",
    )
    assert [(port.name, port.version, port.address) for port in service.ports] == [
        ("StockSoap", Version.V1_1, "http://stock.inside.test:8080/soap/stock"),
        ("StockSoap12", Version.V1_2, "http://stock.inside.test:8080/soap/stock12"),
    ]


def test_an_operation_of_document_style() -> None:
    assert operations(read("stock.wsdl"), "StockSoap")["GetPrice"] == Operation(
        name="GetPrice",
        style="document",
        encoded=False,
        action="urn:example:stock/GetPrice",
        wsa_action="urn:example:stock/GetPrice",
        request=Message(
            qualified(TYPES, "GetPrice"),
            (Part("parameters", element=qualified(TYPES, "GetPrice")),),
            (Part("credentials", element=qualified(TYPES, "Credentials")),),
        ),
        response=Message(
            qualified(TYPES, "GetPriceResponse"), (Part("parameters", element=qualified(TYPES, "GetPriceResponse")),)
        ),
        faults=(("NoSuchSymbol", Part("detail", element=qualified(TYPES, "NoSuchSymbol"))),),
        documentation="The price of one symbol.",
    )


def test_actions_of_ws_addressing_are_explicit_or_made_of_names() -> None:
    actions = {name: operation.wsa_action for name, operation in operations(read("stock.wsdl"), "StockSoap").items()}
    assert actions == {
        "GetPrice": "urn:example:stock/GetPrice",  # its SOAPAction
        "PlaceOrder": "urn:example:stock:actions:order",  # wsam:Action
        "Forget": "urn:example:stock:Stock:Forget",  # one-way
        "Ping": "urn:example:stock:Stock:PingAsked",  # a named input
    }
    assert operations(read("mtom.wsdl"), "Files")["Store"].wsa_action == "urn:example:files:Files:StoreRequest"


def test_one_way_operations_have_no_response() -> None:
    found = operations(read("stock.wsdl"), "StockSoap")
    assert [name for name, operation in found.items() if operation.response is None] == ["Forget"]


def test_bare_messages_parts_and_several_services() -> None:
    wsdl = read("bare.wsdl")
    assert [service.name for service in wsdl.services] == ["Weather", "WeatherSpare"]
    found = operations(wsdl, "WeatherSpare")
    assert found == operations(wsdl, "Weather")
    space = "http://weather.inside.test/"
    assert found["Temperature"].request.root == qualified(space, "City")
    assert found["Forecast"].request == Message(
        qualified(space, "Days"),
        (Part("days", element=qualified(space, "Days")),),
        (Part("session", element=qualified(space, "Session")),),
    )
    assert found["Reset"].request == Message("")


def test_rpc_wrappers_and_operations_of_one_name() -> None:
    (service,) = read("rpc.wsdl").services
    found = {operation.action: operation for operation in service.ports[0].operations}
    assert sorted(found) == ["add", "centre-many", "centre-two"]  # what begins on the other side is no operation here
    integer = qualified("http://www.w3.org/2001/XMLSchema", "int")
    assert found["add"].style == "rpc"
    assert found["add"].request == Message(
        "{http://calc.example/rpc}add", (Part("a", type=integer), Part("b", type=integer))
    )
    assert found["add"].response == Message("{http://calc.example/rpc}addResponse", (Part("sum", type=integer),))
    assert found["centre-two"].request.root == "{http://calc.example/rpc/two}centre"
    assert [part.name for part in found["centre-two"].request.parts] == ["one", "other"]
    assert [part.name for part in found["centre-many"].request.parts] == ["points"]


def test_encoded_operations_are_marked_and_their_arrays_break_nothing() -> None:
    wsdl = read("encoded.wsdl")
    found = operations(wsdl, "Port")
    assert all(operation.encoded for operation in found.values())
    assert found["call"].request.parts[1].type == "{urn:Old}entryArray"
    assert "{urn:Old}entryArray" in wsdl.schema.maps.types
    assert wsdl.schema.maps.all_errors == []


def test_documents_of_several_namespaces_are_one_wsdl() -> None:
    wsdl = read("split/main.wsdl")
    found = operations(wsdl, "ShopTwo")
    assert {name: operation.request.root for name, operation in found.items()} == {
        "Buy": "{http://shop.example/orders}Buy",
        "Look": "{http://shop.example/looking}Look",
    }
    maps: Any = wsdl.schema.maps
    types, elements = maps.types, maps.elements
    assert {"{http://shop.example/orders}Person", "{http://shop.example/goods}Person"} <= set(types)  # included twice
    shelf = elements["{http://shop.example/looking}Look"].type.content[0]
    assert shelf.type.name == "{http://shop.example/shelves}Shelf"
    assert wsdl.schema.maps.all_errors == []


def test_schemas_by_wsdl_import_with_redefinitions() -> None:
    wsdl = read("redefined/main.wsdl")
    maps: Any = wsdl.schema.maps
    assert [child.local_name for child in maps.types["{urn:example:books}Book"].content.iter_elements()] == [
        "title",
        "pages",
    ]
    lend = list(maps.elements["{urn:example:books}Lend"].type.content.iter_elements())
    assert [child.type.name for child in lend] == [
        "{urn:example:books}Book",
        "{urn:example:people}Name",
        "{urn:example:books}Shelf",
    ]
    assert maps.all_errors == []


def test_parts_that_travel_beside_the_envelope_are_no_part_of_the_body() -> None:
    found = operations(read("mtom.wsdl"), "Files")
    assert [part.name for part in found["Attach"].request.parts] == ["body"]
    assert found["Attach"].request.root == "{urn:example:files}Attach"


def test_what_toolkits_forgive_is_forgiven(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(BASE / "quirky.wsdl", tmp_path)
    for _ in range(2):  # and told once
        wsdl = anyio.run(read_wsdl, "quirky.wsdl", tmp_path)
    roots = {name: operation.request.root for name, operation in operations(wsdl, "Quirky").items()}
    assert roots == {
        "Do": "{urn:example:quirky}Do",
        "Plain": "Plain",
        "More": "{urn:example:quirky}More",
        "Typed": "name",
        "Empty": "",
    }
    assert [port.name for service in wsdl.services for port in service.ports] == ["Quirky"]
    for passed in (
        "operation Lost",
        "operation Unheard",
        "port Dangling",
        "port Queue",
        "no-such-file.xsd",
        "urn:example:gone",
    ):
        assert caplog.text.count(passed) == 1
    assert all(f"{tmp_path}/quirky.wsdl: " in record.getMessage() for record in caplog.records)
    more: Any = wsdl.schema.maps.elements["{urn:example:quirky}More"]
    assert "type-Thing-is-in-no-schema" in more.type.attributes
    assert wsdl.schema.maps.all_errors == []


@pytest.mark.parametrize(
    "change",
    [
        ("http://schemas.xmlsoap.org/soap/http", "http://example.test/pigeons"),
        ("http://schemas.xmlsoap.org/wsdl/soap/", "http://example.test/washing"),
        ('<port name="Weather" binding="w:Weather">', '<port name="Weather">'),
        ("portType", "portKind"),
    ],
)
def test_a_wsdl_without_a_usable_port_is_refused(tmp_path: Path, change: tuple[str, str]) -> None:
    text = (
        (BASE / "bare.wsdl")
        .read_text()
        .replace('<port name="WeatherSpare" binding="w:Weather">', '<port name="WeatherSpare">')
    )
    (tmp_path / "a.wsdl").write_text(text.replace(*change))
    with pytest.raises(
        SettingsError, match=r"a\.wsdl has no port that can be used \(accepted: SOAP 1.1 or 1.2 over HTTP"
    ):
        anyio.run(read_wsdl, "a.wsdl", tmp_path)
