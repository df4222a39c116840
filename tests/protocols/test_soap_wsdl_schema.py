"""Schemas as they are in the wild: what is at fault in them is mended, so that the rest can be compiled and used."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
import xmlschema
from lxml import etree

from daemun_soap.names import WSA, WSDL, XOP, XSD, qualified
from daemun_soap.wsdl.documents import load_documents
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.gather import gather_schemas
from daemun_soap.wsdl.known import SOAP_ENCODING, XML, known_schema
from daemun_soap.wsdl.schema import compiled_schema, typed_schema

HEAD = f'xmlns:xs="{XSD}" xmlns:t="urn:t" targetNamespace="urn:t"'


class Made:
    """Schemas in the types of a WSDL, as both libraries have them."""

    def __init__(self, folder: Path, *schemas: str, declared: str = "") -> None:
        (folder / "a.wsdl").write_text(
            f'<definitions xmlns="{WSDL}" xmlns:xs="{XSD}" {declared}><types>{"".join(schemas)}</types></definitions>'
        )
        documents = gather_schemas(anyio.run(load_documents, "a.wsdl", folder))
        self.typed = typed_schema(documents)
        compiled = compiled_schema(documents)
        assert compiled is not None
        self.compiled = compiled
        self.gaps = documents.gaps
        assert self.typed.maps.all_errors == []

    def valid(self, message: str) -> bool:
        """Whether both find a message valid; they must agree."""
        root = etree.fromstring(message)
        element: Any = root
        prefixes = {prefix or "": namespace for prefix, namespace in root.nsmap.items()}
        found = self.compiled.validate(root)
        assert found is (next(self.typed.iter_errors(element, namespaces=prefixes), None) is None)
        return found


def schema(inside: str, head: str = HEAD) -> str:
    return f"<xs:schema {head}>{inside}</xs:schema>"


def test_inline_schemas_inherit_the_prefixes_around_them(tmp_path: Path) -> None:
    made = Made(
        tmp_path,
        schema('<xs:element name="a" type="o:T"/>', f'xmlns:xs="{XSD}" targetNamespace="urn:t"').replace(
            "</xs:schema>", '<xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType></xs:schema>'
        ),
        declared='xmlns:o="urn:t"',
    )
    assert made.valid('<a xmlns="urn:t">1</a>')
    assert not made.valid('<a xmlns="urn:t">one</a>')


def test_namespaces_need_no_import_and_may_be_in_several_schemas(tmp_path: Path) -> None:
    made = Made(
        tmp_path,
        schema('<xs:element name="a" type="u:U" xmlns:u="urn:u"/><xs:element name="c" type="t:T"/>'),
        schema(
            '<xs:simpleType name="U"><xs:restriction base="t:T"/></xs:simpleType>',
            HEAD.replace('targetNamespace="urn:t"', 'targetNamespace="urn:u"'),
        ),
        schema('<xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType>'),
        schema(
            '<xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType><xs:element name="b" type="xs:date"/>'
        ),
        schema('<xs:import namespace="urn:t"/><xs:import namespace="urn:nowhere"/>'),
    )
    assert made.valid('<a xmlns="urn:t">1</a>')
    assert not made.valid('<a xmlns="urn:t">x</a>')
    assert made.valid('<b xmlns="urn:t">2026-01-01</b>')


def test_one_prefix_may_mean_two_namespaces(tmp_path: Path) -> None:
    made = Made(
        tmp_path,
        schema(
            '<xs:element name="a"><xs:complexType><xs:sequence>'
            '<xs:element name="one" type="p:T" xmlns:p="urn:t"/><xs:element name="two" type="p:T" xmlns:p="urn:u"/>'
            "</xs:sequence></xs:complexType>"
            '<xs:unique name="k"><xs:selector xpath=".//p:x | p:y" xmlns:p="urn:u"/><xs:field xpath="@id"/></xs:unique></xs:element>'
            '<xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType>'
        ),
        schema(
            '<xs:simpleType name="T"><xs:restriction base="xs:date"/></xs:simpleType>',
            f'xmlns:xs="{XSD}" targetNamespace="urn:u"',
        ),
    )
    assert made.valid('<t:a xmlns:t="urn:t"><one>1</one><two>2026-01-01</two></t:a>')
    assert not made.valid('<t:a xmlns:t="urn:t"><one>2026-01-01</one><two>1</two></t:a>')


@pytest.mark.parametrize(
    ("inside", "unknown", "wrong"),
    [
        ('<xs:element name="a" type="t:Gone"/>', "<t:a><b/></t:a>", ""),
        ('<xs:element name="a" substitutionGroup="t:Gone" type="xs:int"/>', "<t:a>1</t:a>", "<t:a>x</t:a>"),
        (
            '<xs:element name="a"><xs:complexType><xs:sequence><xs:element ref="t:Gone" minOccurs="0" maxOccurs="2"/>'
            '<xs:element name="b" type="xs:int"/></xs:sequence></xs:complexType></xs:element>',
            "<t:a><t:Gone/><t:Gone/><b>1</b></t:a>",
            "<t:a><b>x</b></t:a>",
        ),
        (
            '<xs:element name="a"><xs:complexType><xs:all><xs:element ref="t:Gone"/><xs:element name="b" type="xs:int"/>'
            "</xs:all></xs:complexType></xs:element>",
            "<t:a><b>1</b></t:a>",
            "<t:a><b>x</b></t:a>",
        ),
        (
            '<xs:element name="a"><xs:complexType><xs:group ref="t:Gone"/><xs:attribute name="i" type="xs:int"/></xs:complexType></xs:element>',
            '<t:a i="1"><x/><y/></t:a>',
            '<t:a i="x"/>',
        ),
        (
            '<xs:element name="a"><xs:complexType><xs:attribute name="i" type="xs:int"/><xs:attribute ref="t:gone"/>'
            '<xs:attributeGroup ref="t:Gone"/></xs:complexType></xs:element>',
            '<t:a i="1" t:gone="x" any="y"/>',
            '<t:a i="x"/>',
        ),
        (
            '<xs:element name="a"><xs:complexType><xs:attribute name="i" type="t:Gone"/></xs:complexType></xs:element>',
            '<t:a i="x"/>',
            "<t:a>x</t:a>",
        ),
        (
            '<xs:element name="a"><xs:complexType><xs:complexContent><xs:extension base="t:Gone"><xs:sequence>'
            '<xs:element name="b"/></xs:sequence></xs:extension></xs:complexContent></xs:complexType></xs:element>',
            '<t:a z="1">text <b/></t:a>',
            "",
        ),
        (
            '<xs:element name="a"><xs:simpleType><xs:restriction base="t:Gone"><xs:maxLength value="1"/></xs:restriction></xs:simpleType></xs:element>',
            "<t:a>long</t:a>",
            "<t:a><b/></t:a>",
        ),
        (
            '<xs:element name="a"><xs:simpleType><xs:list itemType="t:Gone"/></xs:simpleType></xs:element>',
            "<t:a>a b</t:a>",
            "<t:a><b/></t:a>",
        ),
        (
            '<xs:element name="a"><xs:simpleType><xs:union memberTypes="xs:int t:Gone"/></xs:simpleType></xs:element>',
            "<t:a>a b</t:a>",
            "<t:a><b/></t:a>",
        ),
    ],
)
def test_nothing_is_valid_of_what_is_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, inside: str, unknown: str, wrong: str
) -> None:
    made = Made(tmp_path, schema(inside))
    needless = "substitutionGroup" in inside
    assert made.valid(unknown.replace("<t:a", '<t:a xmlns:t="urn:t"', 1)) is needless
    if wrong:
        assert not made.valid(wrong.replace("<t:a", '<t:a xmlns:t="urn:t"', 1))
    made.gaps.settle(Validates.TYPED)
    assert re.search(r"a\.wsdl: .*\{urn:t\}[Gg]one is named and in no schema", caplog.text)


@pytest.mark.parametrize(
    "inside",
    [
        '<xs:element name="a" type="T" minOccurs="0" maxOccurs="unbounded"/>',
        '<xs:element name="a"><xs:simpleType name="inner"><xs:restriction base="t:T"/></xs:simpleType></xs:element>',
        'stray <xs:element name="a" type="t:T">text<xs:annotation><xs:documentation>to <b>keep</b></xs:documentation></xs:annotation></xs:element> here',
        '<xs:element name="a" type="t:T" undeclared:hint="x"/><undeclared:thing/>',
        '<xs:import namespace="urn:t"/><xs:element name="a" type="t:T"/>',
    ],
)
def test_small_faults_are_mended(tmp_path: Path, caplog: pytest.LogCaptureFixture, inside: str) -> None:
    made = Made(tmp_path, schema(inside + '<xs:simpleType name="T"><xs:restriction base="xs:int"/></xs:simpleType>'))
    assert made.valid('<a xmlns="urn:t">1</a>')
    assert not made.valid('<a xmlns="urn:t">x</a>')
    made.gaps.settle(Validates.TYPED)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_two_of_one_name_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    same = '<xs:element name="s" type="xs:int"/>'
    made = Made(
        tmp_path,
        schema('<xs:element name="a" type="xs:int"/>' + same),
        schema('<xs:element name="a" type="xs:date"/>' + same),
    )
    assert made.valid('<a xmlns="urn:t">1</a>')
    made.gaps.settle(Validates.TYPED)
    assert f"{tmp_path}/a.wsdl: element {{urn:t}}a is there twice" in caplog.text
    assert "{urn:t}s" not in caplog.text


def test_schemas_in_several_places_are_read_as_one(tmp_path: Path) -> None:
    common = schema('<xs:simpleType name="N"><xs:restriction base="xs:int"/></xs:simpleType>', f'xmlns:xs="{XSD}"')
    (tmp_path / "common.xsd").write_text(common)
    (tmp_path / "copy.xsd").write_text(common)
    (tmp_path / "t.xsd").write_text(schema('<xs:include schemaLocation="copy.xsd"/><xs:element name="b" type="t:N"/>'))
    made = Made(
        tmp_path,
        schema(
            '<xs:include schemaLocation="common.xsd"/><xs:include schemaLocation="t.xsd"/><xs:element name="a" type="t:N"/>'
        ),
        schema(
            '<xs:include schemaLocation="./common.xsd"/><xs:element name="a" type="u:N" xmlns:u="urn:u"/>',
            f'xmlns:xs="{XSD}" targetNamespace="urn:u"',
        ),
        schema('<xs:import namespace="urn:t" schemaLocation="t.xsd"/>', f'xmlns:xs="{XSD}"'),
        schema(
            '<xs:include schemaLocation="t.xsd"/>', f'xmlns:xs="{XSD}" targetNamespace="urn:v"'
        ),  # of another namespace
    )
    for message in ('<a xmlns="urn:t">{}</a>', '<b xmlns="urn:t">{}</b>', '<a xmlns="urn:u">{}</a>'):
        assert made.valid(message.format(1))
        assert not made.valid(message.format("x"))


@pytest.mark.parametrize(
    "namespace",
    [SOAP_ENCODING, XML, XOP, WSA, WSDL, "http://www.w3.org/2005/05/xmlmime", "http://ws-i.org/profiles/basic/1.1/xsd"],
)
def test_known_schemas_are_schemas_of_their_namespaces(namespace: str) -> None:
    data = known_schema(namespace)
    assert data is not None
    assert xmlschema.XMLSchema(data).target_namespace == namespace
    assert etree.XMLSchema(etree.fromstring(data)) is not None
    assert known_schema("urn:unheard-of") is None


def test_published_schemas_of_others_come_without_their_doctype() -> None:
    for namespace in (
        "http://www.w3.org/2000/09/xmldsig#",
        "http://www.w3.org/2001/04/xmlenc#",
        "http://www.w3.org/1999/xlink",
    ):
        data = known_schema(namespace)
        assert data is not None
        assert b"<!DOCTYPE" not in data
        assert etree.fromstring(data).get("targetNamespace") == namespace


def test_known_namespaces_are_there_if_they_are_only_named(tmp_path: Path) -> None:
    made = Made(
        tmp_path,
        schema(
            f'<xs:element name="a"><xs:complexType><xs:sequence><xs:element name="s" type="e:string" xmlns:e="{SOAP_ENCODING}"/>'
            f'<xs:element ref="w:EndpointReference" xmlns:w="{WSA}"/></xs:sequence><xs:attribute ref="xml:lang"/></xs:complexType></xs:element>'
            f'<xs:element name="b"><xs:complexType><xs:sequence><xs:element ref="d:Signature" xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>'
            f"</xs:sequence></xs:complexType></xs:element>"
        ),
    )
    reference = f'<w:EndpointReference xmlns:w="{WSA}"><w:Address>a</w:Address></w:EndpointReference>'
    assert made.valid(f'<t:a xmlns:t="urn:t" xml:lang="de"><s id="i">x</s>{reference}</t:a>')
    assert not made.valid(f'<t:a xmlns:t="urn:t" xml:lang="-"><s>x</s>{reference}</t:a>')
    assert not made.valid('<t:b xmlns:t="urn:t"><d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/></t:b>')
    assert qualified("http://www.w3.org/2000/09/xmldsig#", "Signature") in made.typed.maps.elements


def test_what_cannot_be_compiled_can_still_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    inside = (
        '<xs:element name="a"><xs:complexType><xs:sequence><xs:element name="b" minOccurs="0"/>'
        '<xs:element name="b" type="xs:anyType"/></xs:sequence></xs:complexType></xs:element>'
    )
    (tmp_path / "a.wsdl").write_text(f'<definitions xmlns="{WSDL}"><types>{schema(inside)}</types></definitions>')
    documents = gather_schemas(anyio.run(load_documents, "a.wsdl", tmp_path))
    assert compiled_schema(documents) is None
    assert "{urn:t}a" in typed_schema(documents).maps.elements
    documents.gaps.settle(Validates.TYPED)
    assert "checks slow" in caplog.text
