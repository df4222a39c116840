"""What the filter `soap` asks of a WSDL: which operation a message is, whether its action fits, whether it is valid."""

from __future__ import annotations

import functools
from pathlib import Path

import anyio
import pytest
from lxml import etree

from daemun import SettingsError
from daemun_soap.names import SOAP11, Version
from daemun_soap.wsdl.contract import Contract, open_contract
from daemun_soap.wsdl.validate import InvalidMessage

pytestmark = pytest.mark.anyio

BASE = Path(__file__).parent / "wsdl"
TYPES = "{urn:example:stock:types}"


@functools.cache
def contract(name: str) -> Contract:
    return anyio.run(functools.partial(open_contract, checked=True), name, BASE)


def named(contract: Contract, root: str, version: Version = Version.V1_1, action: str = "") -> tuple[str, str] | None:
    found = contract.operation(root, version, action)
    return None if found is None else (found[0].name, found[1].name)


async def test_a_contract_opens_on_every_loop() -> None:
    opened = await open_contract("stock.wsdl", BASE)
    assert named(opened, TYPES + "GetPrice") == ("StockSoap", "GetPrice")
    with pytest.raises(SettingsError, match="cannot be used"):
        await open_contract("stock.xsd", BASE)


def test_operations_are_found_by_root_and_version() -> None:
    stock = contract("stock.wsdl")
    assert named(stock, TYPES + "GetPrice", Version.V1_2) == ("StockSoap12", "GetPrice")
    assert named(stock, TYPES + "Ping") == ("StockSoap", "Ping")
    assert named(stock, TYPES + "Ping", Version.V1_2) is None  # only SOAP 1.1 has it
    assert named(stock, TYPES + "GetPriceResponse") is None
    assert named(stock, "GetPrice") is None
    assert named(contract("bare.wsdl"), "") == ("Weather", "Reset")
    assert named(contract("rpc.wsdl"), "{http://calc.example/rpc}add") == ("Calc", "add")


def test_the_action_decides_between_operations_that_begin_alike(tmp_path: Path) -> None:
    text = (BASE / "bare.wsdl").read_text()
    (tmp_path / "a.wsdl").write_text(
        text.replace(
            '<message name="AskMore">', '<message name="AskMore"><part name="days" element="w:City"/>'
        ).replace('<part name="days" element="w:Days"/>', "")
    )
    alike = anyio.run(open_contract, "a.wsdl", tmp_path)
    root = "{http://weather.inside.test/}City"
    assert named(alike, root) == ("Weather", "Temperature")
    assert named(alike, root, action="http://weather.inside.test/Forecast") == ("Weather", "Forecast")
    assert named(alike, root, action="urn:unheard-of") == ("Weather", "Temperature")


def test_a_wrapper_without_a_namespace_may_have_that_of_the_wsdl(tmp_path: Path) -> None:
    text = (BASE / "rpc.wsdl").read_text()
    (tmp_path / "a.wsdl").write_text(text.replace(' namespace="http://calc.example/rpc"', ""))
    calc = anyio.run(functools.partial(open_contract, checked=True), "a.wsdl", tmp_path)
    for root in ("add", "{http://calc.example/wsdl}add"):
        found = calc.operation(root, Version.V1_1)
        assert found is not None
        envelope = etree.Element(f"{{{SOAP11}}}Envelope")
        wrapper = etree.SubElement(etree.SubElement(envelope, f"{{{SOAP11}}}Body"), root)
        etree.SubElement(wrapper, "a").text = "1"
        etree.SubElement(wrapper, "b").text = "2"
        calc.check_request(envelope, found[1])


@pytest.mark.parametrize(
    ("operation", "soap_action", "wsa_action", "fits"),
    [
        ("GetPrice", "urn:example:stock/GetPrice", None, True),
        ("GetPrice", None, None, True),
        ("GetPrice", "", None, True),
        ("GetPrice", "urn:example:stock/PlaceOrder", None, False),
        ("GetPrice", "anything", None, False),
        ("GetPrice", "", "urn:example:stock/PlaceOrder", False),
        ("GetPrice", "urn:example:stock/GetPrice", "urn:example:stock/GetPrice", True),
        ("PlaceOrder", "urn:example:stock/PlaceOrder", "urn:example:stock:actions:order", True),
        ("PlaceOrder", "urn:example:stock:actions:order", "urn:example:stock:actions:order", True),
        ("Ping", "Ping", None, True),
        ("Ping", "http://whatever.test/", None, True),
        ("Ping", "PlaceOrder", None, False),
        ("Ping", "urn:example:stock/GetPrice", None, False),
        ("Ping", None, "", False),
    ],
)
def test_actions_fit_or_are_another_operation_s(
    operation: str, soap_action: str | None, wsa_action: str | None, fits: bool
) -> None:
    stock = contract("stock.wsdl")
    found = stock.operation(TYPES + operation, Version.V1_1)
    assert found is not None
    assert stock.action_fits(found[1], soap_action, wsa_action) is fits


def test_messages_are_checked_only_if_asked() -> None:
    envelope = etree.fromstring(
        f'<s:Envelope xmlns:s="{SOAP11}"><s:Body><GetPrice xmlns="urn:example:stock:types"/></s:Body></s:Envelope>'
    )
    for opened, refused in ((contract("stock.wsdl"), True), (anyio.run(open_contract, "stock.wsdl", BASE), False)):
        found = opened.operation(TYPES + "GetPrice", Version.V1_1)
        assert found is not None
        for check in (opened.check_request, opened.check_response):
            try:
                check(envelope, found[1])
                assert not refused
            except InvalidMessage as error:
                assert refused
                assert error.path.startswith("Body")
