"""WSDLs that do not have all that they name: who checks messages by one refuses it, or what nobody knows."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import daemun_soap
from daemun import (
    Buffered,
    ExchangeError,
    FilterContext,
    FilterSpec,
    Layer,
    Request,
    Respond,
    Response,
    RouteSpec,
    SettingsError,
)
from daemun.cli.main import main
from daemun.extend.loading import installed
from daemun.testing import make_request, routed
from daemun_soap.kinds import JSON_TO_SOAP, SOAP_FILTER, SOAP_TO_JSON
from daemun_soap.names import SOAP11
from daemun_soap.wsdl import validate
from daemun_soap.wsdl.gaps import Gaps, Validates

pytestmark = pytest.mark.anyio

PLUGINS = [] if "soap" in installed() else [daemun_soap]
STOCK = (Path(__file__).parent / "wsdl" / "bare.wsdl").read_text()

IMPORT = '<xs:import namespace="urn:gone" schemaLocation="{}"/>'
UNREAD: dict[str, tuple[Callable[[str], str], str]] = {
    "an import of a file": (
        lambda text: within_schema(text, IMPORT.format("gone.xsd")),
        r"/gone\.xsd, which is imported, cannot be read: No such file",
    ),
    "an import of nobody": (
        lambda text: within_schema(text, IMPORT.format(f"http://127.0.0.1:{unused_port()}/types.xsd")),
        r"http://127\.0\.0\.1:\d+/types\.xsd, which is imported, cannot be read: .*[Cc]onnection refused",
    ),
    "an include": (
        lambda text: within_schema(text, '<xs:include schemaLocation="gone.xsd"/>'),
        "gone.xsd, which is imported",
    ),
    "an import that is no schema": (
        lambda text: within_schema(text, IMPORT.format("/etc/passwd")),
        "file:///etc/passwd, which is imported, cannot be read: it is no well-formed XML",
    ),
}
CITY = '<City xmlns="http://weather.inside.test/">{}</City>'
DAYS = '<Days xmlns="http://weather.inside.test/">3</Days>'
NAMESPACE = "http://weather.inside.test/"


def of_city(content: str, more: str = "") -> Callable[[str], str]:
    """A change by which a city is of another type."""
    ends = "</xs:element>" if content.startswith(">") else ""
    made = f'<xs:element name="City"{content}{ends}{more}'
    return lambda text: within_schema(text.replace('<xs:element name="City" type="xs:string"/>', ""), made)


def holding(model: str) -> str:
    return f"><xs:complexType>{model}</xs:complexType>"


NOWHERE: dict[str, tuple[Callable[[str], str], str, str, str]] = {
    "a type": (of_city(' type="w:Gone"/>'), rf"type \{{{NAMESPACE}\}}Gone is named and in no schema", "Bonn", ""),
    "a type of XML Schema": (of_city(' type="xs:strin"/>'), r"XMLSchema\}strin is named and in no schema", "Bonn", ""),
    "a type of a member": (
        of_city(holding('<xs:all><xs:element name="a" type="w:Gone" minOccurs="0"/></xs:all>')),
        "Gone is named and in no schema",
        '<a xmlns="">x</a>',
        CITY.format(""),
    ),
    "an element": (
        of_city(holding('<xs:sequence><xs:element ref="w:Gone" minOccurs="0"/></xs:sequence>')),
        rf"element \{{{NAMESPACE}\}}Gone is named and in no schema",
        "<Gone/>",
        CITY.format(""),
    ),
    "an element of a namespace without schemas": (
        of_city(holding('<xs:sequence><xs:element ref="g:Gone" xmlns:g="urn:g" minOccurs="0"/></xs:sequence>')),
        r"element \{urn:g\}Gone is named and in no schema",
        '<Gone xmlns="urn:g"/>',
        CITY.format(""),
    ),
    "a group": (
        of_city(holding('<xs:group ref="w:Gone"/>')),
        rf"group \{{{NAMESPACE}\}}Gone is named and in no schema",
        "<a/>",
        "",
    ),
    "a base": (
        of_city(
            ' type="w:T"/>',
            '<xs:simpleType name="T"><xs:restriction base="w:Gone"><xs:maxLength value="9"/></xs:restriction></xs:simpleType>',
        ),
        "Gone is named and in no schema",
        "Bonn",
        "",
    ),
    "the base of a base": (
        of_city(
            ' type="w:T"/>',
            '<xs:complexType name="T"><xs:complexContent><xs:extension base="w:U"/></xs:complexContent></xs:complexType>'
            '<xs:complexType name="U"><xs:complexContent><xs:extension base="w:Gone"/></xs:complexContent></xs:complexType>',
        ),
        "Gone is named and in no schema",
        "",
        "",
    ),
    "an attribute": (
        of_city(holding('<xs:attribute ref="w:gone"/>')),
        rf"attribute \{{{NAMESPACE}\}}gone is named and in no schema",
        '" xmlns:w="http://weather.inside.test/" w:gone="1',
        CITY.format(""),
    ),
    "an attribute that must be there": (
        of_city(holding('<xs:attribute ref="w:gone" use="required"/>')),
        "gone is named and in no schema",
        "",
        "",
    ),
    "the type of an attribute": (
        of_city(holding('<xs:attribute name="a" type="w:Gone" default="x"/>')),
        "Gone is named and in no schema",
        '" a="x',
        CITY.format(""),
    ),
    "a group of attributes": (
        of_city(holding('<xs:attributeGroup ref="w:Gone"/>')),
        "Gone is named and in no schema",
        "",
        "",
    ),
    "a pattern": (
        of_city(
            '><xs:simpleType><xs:restriction base="xs:string"><xs:pattern value="[z-a]("/></xs:restriction></xs:simpleType>'
        ),
        r"pattern \[z-a\]\( cannot be used: ",
        "Bonn",
        "",
    ),
    "a word that is none": (of_city("><xs:simpletype/>"), "xs:simpletype is nothing of XML Schema", "Bonn", ""),
    "content in a wrong place": (
        of_city('><xs:sequence><xs:element name="a"/></xs:sequence>'),
        "sequence stands in element City, where it means nothing",
        "<a/>",
        "",
    ),
    "the element of a part": (
        lambda text: text.replace('<xs:element name="City" type="xs:string"/>', ""),
        rf"element \{{{NAMESPACE}\}}City of the part 'city' is in no schema",
        "Bonn",
        "",
    ),
}
"""Each with what is told, the content of a city that is refused for it, and a message that is accepted still, if any."""


def within_schema(text: str, more: str) -> str:
    begins, rest = text.split("<xs:schema", 1)
    head, rest = rest.split(">", 1)
    return f"{begins}<xs:schema{head}>{more}{rest}"


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def written(folder: Path, change: Callable[[str], str]) -> None:
    changed = change(STOCK)
    assert changed != STOCK
    (folder / "a.wsdl").write_text(changed)


def built(kind: Any, folder: Path, **settings: Any) -> AbstractAsyncContextManager[Layer]:
    decoded = msgspec.convert({"wsdl": "a.wsdl", **settings}, kind.settings)
    found: AbstractAsyncContextManager[Layer] = kind.build(decoded, FilterContext(kind.name, folder))
    return found


@pytest.mark.parametrize("validate", ["request", "response", "both"])
@pytest.mark.parametrize("gap", UNREAD)
async def test_validation_without_all_documents_is_refused(tmp_path: Path, gap: str, validate: str) -> None:
    change, words = UNREAD[gap]
    written(tmp_path, change)
    with pytest.raises(SettingsError, match=words) as caught:
        async with built(SOAP_FILTER, tmp_path, validate=validate):
            pass
    assert str(caught.value).startswith(f"wsdl file://{tmp_path}/a.wsdl: messages cannot be checked by it: ")
    assert str(caught.value).endswith("(accepted: a WSDL whose imports can be read, with schemas that are valid)")


@pytest.mark.parametrize("kind", [JSON_TO_SOAP, SOAP_TO_JSON], ids=lambda kind: str(kind.name))
@pytest.mark.parametrize("gap", UNREAD)
async def test_json_without_all_documents_is_refused(tmp_path: Path, kind: Any, gap: str) -> None:
    change, words = UNREAD[gap]
    written(tmp_path, change)
    with pytest.raises(SettingsError, match=words):
        async with built(kind, tmp_path):
            pass


@pytest.mark.parametrize("gap", UNREAD)
async def test_who_checks_nothing_tells_of_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture, gap: str) -> None:
    change, words = UNREAD[gap]
    written(tmp_path, change)
    for publish in (True, False):  # as two routes
        async with built(SOAP_FILTER, tmp_path, publish=publish):
            pass
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"wsdl file://{tmp_path}/a.wsdl: ")
    assert len(re.findall(words, record.getMessage())) == 1


async def passed(request: Request) -> Response:
    return Response(202)


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("gap", NOWHERE)
async def test_messages_with_what_no_schema_has_are_refused_and_others_checked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, gap: str, slow: bool
) -> None:
    change, words, unknown, good = NOWHERE[gap]
    written(tmp_path, change)
    if slow:
        monkeypatch.setattr(validate, "compiled_schema", lambda schemas: None)
    async with built(SOAP_FILTER, tmp_path, validate="both") as layer:
        handle = layer(passed)
        bad = CITY.replace('">{}', unknown + '">') if unknown.startswith('"') else CITY.format(unknown)
        with pytest.raises(ExchangeError, match="the message is not what the WSDL says: Body/City"):
            await handle(asked(bad))
        if good:
            assert (await handle(asked(good))).status == 202
        assert (await handle(asked(DAYS))).status == 202
        with pytest.raises(ExchangeError, match="Body/Days"):
            await handle(asked(DAYS.replace("3", "three")))
    (record,) = caplog.records
    assert len(re.findall(words, record.getMessage())) == 1
    assert record.getMessage().endswith(": who checks messages refuses those that have it")


@pytest.mark.parametrize("gap", [gap for gap in NOWHERE if gap != "the element of a part"])
async def test_json_with_what_no_schema_has_is_refused(tmp_path: Path, gap: str) -> None:
    change, _, unknown, _ = NOWHERE[gap]
    written(tmp_path, change)
    async with built(SOAP_TO_JSON, tmp_path) as layer:
        bad = CITY.replace('">{}', unknown + '">') if unknown.startswith('"') else CITY.format(unknown)
        with pytest.raises(ExchangeError, match="the message is not valid"):
            await layer(passed)(asked(bad))


def asked(inside: str) -> Request:
    data = f'<s:Envelope xmlns:s="{SOAP11}"><s:Body>{inside}</s:Body></s:Envelope>'.encode()
    return make_request("POST", "http://a.test/", ((b"content-type", b"text/xml"),), Buffered(data))


async def test_content_that_may_be_meant_in_two_ways_is_checked(tmp_path: Path) -> None:
    twice = '<xs:element name="b" minOccurs="0"/><xs:element name="b" type="xs:anyType"/>'
    model = f"<xs:complexType><xs:sequence>{twice}</xs:sequence></xs:complexType>"
    written(tmp_path, lambda text: within_schema(text, f'<xs:element name="x">{model}</xs:element>'))
    async with built(SOAP_FILTER, tmp_path, validate="both"):
        pass
    async with built(JSON_TO_SOAP, tmp_path):
        pass


def test_no_more_is_told_than_people_read(caplog: pytest.LogCaptureFixture) -> None:
    gaps = Gaps("many.wsdl")
    for number in range(9):
        gaps.unread(f"type T{number} " + "x" * 1000)
    with pytest.raises(SettingsError, match=r"T4 .*; 4 more of the kind \(accepted") as caught:
        gaps.settle(Validates.COMPILED)
    assert "T5" not in str(caught.value)
    assert len(str(caught.value)) < 2500
    gaps.settle(Validates.NOBODY)
    assert "4 more of the kind" in caplog.text


def route(validate: str) -> RouteSpec:
    return RouteSpec("stock", filters=(FilterSpec("soap", {"wsdl": "a.wsdl", "validate": validate}),), action=Respond())


async def test_a_route_is_refused_until_its_wsdl_is_whole_and_keeps_its_last_good_version(tmp_path: Path) -> None:
    schema = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:gone"/>'
    written(tmp_path, lambda text: within_schema(text, IMPORT.format("gone.xsd")))
    async with routed(*PLUGINS, only=("http1", "soap"), base_dir=tmp_path) as gateway:
        refused = (await gateway.publish(route("both"))).refused
        assert [status.name for status in refused] == ["stock"]
        assert "a.wsdl: messages cannot be checked by it: " in refused[0].error
        (tmp_path / "gone.xsd").write_text(schema)
        assert not (await gateway.publish(route("both"))).refused
        (tmp_path / "gone.xsd").unlink()
        refused = (await gateway.publish(route("request"))).refused
        assert "the version from before stays in use" in refused[0].error
        (tmp_path / "gone.xsd").write_text(schema)
        assert not (await gateway.publish(route("request"))).refused


def test_daemun_check_reports_it(tmp_path: Path) -> None:
    written(tmp_path, UNREAD["an import of nobody"][0])
    (tmp_path / "daemun.yaml").write_text(
        """
listeners: [{name: web, bind: "127.0.0.1:0"}]
sources:
  - type: inline
    routes:
      - {name: stock, respond: {}, filters: [{type: soap, settings: {wsdl: a.wsdl, validate: both}}]}
"""
    )
    result = CliRunner().invoke(main, ["check", "--settings", str(tmp_path / "daemun.yaml")])
    assert result.exit_code == 1, result.output
    assert "route stock: wsdl file://" in result.output
    assert "cannot be read" in result.output
    assert "1 of 1 objects refused" in result.output
