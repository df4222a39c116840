"""Schemas of namespaces that everybody imports and nobody should have to fetch: small ones of our own.

They say no less than the originals about what messages may hold, and a little more where those are strict for no use.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import xmlschema
from lxml import etree

from daemun_soap.names import SOAP11, SOAP12, WSA, WSDL, XOP, XSD

__all__ = ["BUILT_IN", "SOAP_ENCODING", "SOAP_ENCODING12", "XML", "known_schema"]

SOAP_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
SOAP_ENCODING12 = "http://www.w3.org/2003/05/soap-encoding"
XML = "http://www.w3.org/XML/1998/namespace"

_BUILT_IN = """
duration dateTime time date gYearMonth gYear gMonthDay gDay gMonth boolean base64Binary hexBinary float double anyURI
string normalizedString token language Name NMTOKEN NCName NMTOKENS ID IDREF ENTITY IDREFS ENTITIES decimal integer
nonPositiveInteger negativeInteger long int short byte nonNegativeInteger unsignedLong unsignedInt unsignedShort
unsignedByte positiveInteger QName
"""
BUILT_IN = frozenset((*_BUILT_IN.split(), "anyType", "anySimpleType", "NOTATION"))
"""The types that XML Schema itself has."""

_PACKAGED = {
    "http://www.w3.org/1999/xlink": "XLINK/xlink.xsd",
    "http://www.w3.org/2000/09/xmldsig#": "DSIG/xmldsig-core-schema.xsd",
    "http://www.w3.org/2001/04/xmlenc#": "XENC/xenc-schema.xsd",
}
"""Those that come with xmlschema, as they were published."""

_ANYTHING = """
<xs:complexType name="{name}">
 <xs:sequence><xs:any minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>
 <xs:anyAttribute namespace="##any" processContents="lax"/>
</xs:complexType>
"""

_ENCODED = """
<xs:attribute name="arrayType" type="xs:string"/>
<xs:attribute name="offset" type="xs:string"/>
<xs:attribute name="position" type="xs:string"/>
<xs:attribute name="root" type="xs:boolean"/>
<xs:attribute name="itemType" type="xs:QName"/>
<xs:attribute name="arraySize" type="xs:string"/>
<xs:attribute name="nodeType" type="xs:NMTOKEN"/>
<xs:attributeGroup name="commonAttributes">
 <xs:attribute name="id" type="xs:ID"/><xs:attribute name="href" type="xs:anyURI"/>
 <xs:anyAttribute namespace="##other" processContents="lax"/>
</xs:attributeGroup>
<xs:attributeGroup name="arrayAttributes">
 <xs:attribute ref="t:arrayType"/><xs:attribute ref="t:offset"/>
</xs:attributeGroup>
<xs:attributeGroup name="arrayMemberAttributes"><xs:attribute ref="t:position"/></xs:attributeGroup>
<xs:group name="Array">
 <xs:sequence><xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>
</xs:group>
<xs:group name="Struct">
 <xs:sequence><xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>
</xs:group>
<xs:element name="Array" type="t:Array"/>
<xs:complexType name="Array">
 <xs:group ref="t:Array" minOccurs="0"/>
 <xs:attributeGroup ref="t:arrayAttributes"/><xs:attributeGroup ref="t:commonAttributes"/>
</xs:complexType>
<xs:element name="Struct" type="t:Struct"/>
<xs:complexType name="Struct">
 <xs:group ref="t:Struct" minOccurs="0"/><xs:attributeGroup ref="t:commonAttributes"/>
</xs:complexType>
<xs:simpleType name="base64"><xs:restriction base="xs:base64Binary"/></xs:simpleType>
<xs:element name="anyType"/>
""" + "".join(
    f"""
<xs:element name="{name}" type="t:{name}"/>
<xs:complexType name="{name}">
 <xs:simpleContent>
  <xs:extension base="xs:{name}"><xs:attributeGroup ref="t:commonAttributes"/></xs:extension>
 </xs:simpleContent>
</xs:complexType>
"""
    for name in _BUILT_IN.split()
)

_XML = """
<xs:attribute name="lang"><xs:simpleType>
 <xs:union memberTypes="xs:language">
  <xs:simpleType><xs:restriction base="xs:string"><xs:enumeration value=""/></xs:restriction></xs:simpleType>
 </xs:union>
</xs:simpleType></xs:attribute>
<xs:attribute name="space"><xs:simpleType>
 <xs:restriction base="xs:NCName"><xs:enumeration value="default"/><xs:enumeration value="preserve"/></xs:restriction>
</xs:simpleType></xs:attribute>
<xs:attribute name="base" type="xs:anyURI"/>
<xs:attribute name="id" type="xs:ID"/>
<xs:attributeGroup name="specialAttrs">
 <xs:attribute ref="t:base"/><xs:attribute ref="t:lang"/><xs:attribute ref="t:space"/><xs:attribute ref="t:id"/>
</xs:attributeGroup>
"""

_XMIME = """
<xs:attribute name="contentType">
 <xs:simpleType><xs:restriction base="xs:string"><xs:minLength value="3"/></xs:restriction></xs:simpleType>
</xs:attribute>
<xs:attribute name="expectedContentTypes" type="xs:string"/>
<xs:complexType name="base64Binary">
 <xs:simpleContent>
  <xs:extension base="xs:base64Binary"><xs:attribute ref="t:contentType"/></xs:extension>
 </xs:simpleContent>
</xs:complexType>
<xs:complexType name="hexBinary">
 <xs:simpleContent>
  <xs:extension base="xs:hexBinary"><xs:attribute ref="t:contentType"/></xs:extension>
 </xs:simpleContent>
</xs:complexType>
"""

_XOP = """
<xs:element name="Include" type="t:Include"/>
<xs:complexType name="Include">
 <xs:sequence><xs:any namespace="##other" minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>
 <xs:attribute name="href" type="xs:anyURI" use="required"/><xs:anyAttribute namespace="##other" processContents="lax"/>
</xs:complexType>
"""

_WSA = (
    "".join(
        f"""
<xs:complexType name="{name}">
 <xs:simpleContent>
  <xs:extension base="xs:anyURI"><xs:anyAttribute namespace="##other" processContents="lax"/></xs:extension>
 </xs:simpleContent>
</xs:complexType>
"""
        for name in ("AttributedURIType", "RelatesToType")
    )
    + "".join(
        _ANYTHING.format(name=name)
        for name in ("EndpointReferenceType", "ReferenceParametersType", "MetadataType", "ProblemActionType")
    )
    + "".join(
        f'<xs:element name="{name}" type="t:{kind}"/>'
        for name, kind in {
            "EndpointReference": "EndpointReferenceType",
            "ReplyTo": "EndpointReferenceType",
            "From": "EndpointReferenceType",
            "FaultTo": "EndpointReferenceType",
            "ReferenceParameters": "ReferenceParametersType",
            "Metadata": "MetadataType",
            "ProblemAction": "ProblemActionType",
            "To": "AttributedURIType",
            "Action": "AttributedURIType",
            "MessageID": "AttributedURIType",
            "ProblemIRI": "AttributedURIType",
            "RelatesTo": "RelatesToType",
        }.items()
    )
)

_ENVELOPE = (
    "".join(
        f'<xs:element name="{name}" type="t:{name}"/>' + _ANYTHING.format(name=name)
        for name in ("Envelope", "Header", "Body", "Fault", "detail")
    )
    + """
<xs:attribute name="mustUnderstand" type="xs:boolean"/>
<xs:attribute name="actor" type="xs:anyURI"/>
<xs:attribute name="role" type="xs:anyURI"/>
<xs:attribute name="relay" type="xs:boolean"/>
<xs:attribute name="encodingStyle" type="xs:string"/>
<xs:attributeGroup name="encodingStyle"><xs:attribute ref="t:encodingStyle"/></xs:attributeGroup>
"""
)

_WSDL = """
<xs:attribute name="arrayType" type="xs:string"/>
<xs:attribute name="required" type="xs:boolean"/>
"""

_SCHEMA = """
<xs:element name="schema"><xs:complexType>
 <xs:sequence><xs:any processContents="skip" minOccurs="0" maxOccurs="unbounded"/></xs:sequence>
 <xs:anyAttribute namespace="##any" processContents="skip"/>
</xs:complexType></xs:element>
"""

_OWN = {
    SOAP_ENCODING: _ENCODED,
    SOAP_ENCODING12: _ENCODED,
    SOAP11: _ENVELOPE,
    SOAP12: _ENVELOPE,
    WSA: _WSA,
    WSDL: _WSDL,
    XML: _XML,
    XOP: _XOP,
    XSD: _SCHEMA,
    "http://www.w3.org/2005/05/xmlmime": _XMIME,
    "http://www.w3.org/2004/11/xmlmime": _XMIME,
    "http://ws-i.org/profiles/basic/1.1/xsd": (
        '<xs:simpleType name="swaRef"><xs:restriction base="xs:anyURI"/></xs:simpleType>'
    ),
}


@cache
def known_schema(namespace: str) -> bytes | None:
    """A schema document for a well-known namespace, or None."""
    packaged = _PACKAGED.get(namespace)
    if packaged is not None:
        tree = etree.parse(Path(xmlschema.__file__).parent / "schemas" / packaged, etree.XMLParser(no_network=True))
        return etree.tostring(tree.getroot(), encoding="UTF-8", xml_declaration=True)
    text = _OWN.get(namespace)
    if text is None:
        return None
    head = f'<xs:schema xmlns:xs="{XSD}" targetNamespace="{namespace}" elementFormDefault="qualified"'
    if namespace == XML:
        text = text.replace("t:", "xml:")
    else:
        head += f' xmlns:t="{namespace}"'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}>{text}</xs:schema>\n'.encode()
