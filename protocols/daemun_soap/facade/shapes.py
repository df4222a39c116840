"""What a type of a schema looks like in JSON: the names of its members, which of them are arrays, what its text is.

Names are local names. Where two in one content model are the same, the later one is `prefix:name`, by the prefix that
the schema has for its namespace. What a wildcard lets in is written `{namespace}name`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from xmlschema.validators import (
    XMLSchemaBase,
    XsdAttribute,
    XsdComplexType,
    XsdElement,
    XsdGroup,
    XsdSimpleType,
    XsdType,
)

from daemun_soap.facade.models import UNBOUNDED, counts_of, elements_of, ranks_of, wildcards_of
from daemun_soap.names import XSD, XSI, local_name

__all__ = ["JSON_NIL", "JSON_TYPE", "TEXT", "AnyType", "Attribute", "Member", "Shape", "Shapes", "namespace_of"]

TEXT = "#text"
"""The member for the text of an element that is an object."""
JSON_NIL = "@xsi:nil"
JSON_TYPE = "@xsi:type"

AnyType = XsdSimpleType | XsdComplexType
"""A type of a schema."""

_XML = "http://www.w3.org/XML/1998/namespace"


def namespace_of(name: str) -> str:
    """The namespace of a qualified name, "" if it has none."""
    return name[1:].partition("}")[0] if name.startswith("{") else ""


class Member(Struct, frozen=True, eq=False):
    """An element of a content model, as a member of a JSON object."""

    name: str
    tag: str
    element: XsdElement
    least: int
    """How often it is there at least, whatever else is."""
    most: int
    """How often it may be there; 2³¹: any number."""
    substitute: bool
    """It stands for another element, by a substitution group."""

    @property
    def many(self) -> bool:
        """Whether it is an array."""
        return self.most > 1


class Attribute(Struct, frozen=True, eq=False):
    """An attribute, as a member whose name begins with `@`."""

    name: str
    tag: str
    type: XsdSimpleType
    required: bool


class Shape(Struct, frozen=True, eq=False):
    """A type of a schema, as JSON has it."""

    content: Literal["value", "text", "object", "any"]
    """`value`: a simple value; `text`: an object with `#text`; `object`: one with members; `any`: whatever it is."""
    value: XsdSimpleType | None = None
    group: XsdGroup | None = None
    mixed: bool = False
    """Text may stand between its members: it is `#text`, in one piece."""
    members: dict[str, Member] = {}
    tags: dict[str, Member] = {}
    attributes: dict[str, Attribute] = {}
    attribute_tags: dict[str, Attribute] = {}
    wildcard: int = 0
    """How many elements may be there that the type does not name."""
    any_attribute: bool = False
    ranks: dict[str, int] | None = None
    """The order of members where it is one; None: it depends on how often they are there."""


_ANY = Shape("any", mixed=True, wildcard=UNBOUNDED, any_attribute=True)


class Shapes:
    """The shapes of the types of a schema, made when they are first asked for."""

    def __init__(self, schema: XMLSchemaBase) -> None:
        self.maps = schema.maps
        self.namespaces = _prefixes(schema)
        """Namespaces by their prefixes."""
        self._prefix_of = {namespace: prefix for prefix, namespace in self.namespaces.items()}
        self._shapes: dict[XsdType, Shape] = {}
        self._plain_types = self._unique_types()

    def of(self, xsd_type: XsdType) -> Shape:
        """The shape of a type."""
        shape = self._shapes.get(xsd_type)
        if shape is None:
            shape = self._shapes[xsd_type] = self._shape(xsd_type)
        return shape

    def type_name(self, xsd_type: XsdType) -> str:
        """What `@xsi:type` says for a global type: its local name, with a prefix if that is not unique."""
        name = xsd_type.name or ""
        if self._plain_types.get(local_name(name)) == name:
            return local_name(name)
        return self._prefixed(name)

    def find_type(self, name: str, base: AnyType) -> AnyType | None:
        """The type that `@xsi:type` names, if it may stand for `base`."""
        prefix, colon, local = name.rpartition(":")
        if not colon and name in self._plain_types:
            tag = self._plain_types[name]
        else:
            namespace = self.namespaces.get(prefix, "")
            tag = f"{{{namespace}}}{local}" if namespace else local
        try:
            found: AnyType = self.maps.get_instance_type(tag, base, {})
        except (KeyError, TypeError, ValueError):
            return None
        return found

    def qname(self, xsd_type: XsdType) -> str:
        """The name of a global type as XML has it, with a prefix of `namespaces`."""
        return self._prefixed(xsd_type.name or "")

    def _prefixed(self, tag: str) -> str:
        namespace = namespace_of(tag)
        return f"{self._prefix_of.get(namespace, '')}:{local_name(tag)}" if namespace else f":{local_name(tag)}"

    def _unique_types(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self.maps.types:
            if namespace_of(name) != XSD:
                local = local_name(name)
                found[local] = "" if local in found else name
        return {local: name for local, name in found.items() if name}

    def _shape(self, xsd_type: XsdType) -> Shape:
        if xsd_type.name == f"{{{XSD}}}anyType":
            return _ANY
        if isinstance(xsd_type, XsdSimpleType):
            return Shape("value", xsd_type)
        assert isinstance(xsd_type, XsdComplexType)
        attributes, any_attribute = self._attributes(xsd_type)
        by_name = {attribute.name: attribute for attribute in attributes}
        by_tag = {attribute.tag: attribute for attribute in attributes}
        value = xsd_type.simple_type
        if value is not None and xsd_type.has_simple_content():
            content: Literal["value", "text"] = "text" if attributes or any_attribute else "value"
            return Shape(content, value, attributes=by_name, attribute_tags=by_tag, any_attribute=any_attribute)
        group = xsd_type.model_group
        members = [] if group is None else list(self._members(group))
        return Shape(
            "object",
            group=group,
            mixed=xsd_type.mixed,
            members={member.name: member for member in members},
            tags={member.tag: member for member in members},
            attributes=by_name,
            attribute_tags=by_tag,
            wildcard=0 if group is None else wildcards_of(group),
            any_attribute=any_attribute,
            ranks=None if group is None else ranks_of(group),
        )

    def _attributes(self, xsd_type: XsdComplexType) -> tuple[list[Attribute], bool]:
        found: list[Attribute] = []
        names: set[str] = set()
        any_attribute = False
        for tag, attribute in xsd_type.attributes.items():
            if tag is None:
                any_attribute = True
            elif isinstance(attribute, XsdAttribute) and attribute.use != "prohibited" and namespace_of(tag) != XSI:
                plain = local_name(tag) not in names and namespace_of(tag) != _XML
                name = local_name(tag) if plain else self._prefixed(tag)
                names.add(name)
                found.append(Attribute(f"@{name}", tag, attribute.type, attribute.use == "required"))
        return found, any_attribute

    def _members(self, group: XsdGroup) -> Iterator[Member]:
        counts = counts_of(group)
        names: set[str] = set()
        for element, substitute in elements_of(group):
            tag = element.name
            least, most = counts.pop(tag, (0, 0))
            if most == 0:
                continue
            name = local_name(tag) if local_name(tag) not in names else self._prefixed(tag)
            names.add(name)
            yield Member(name, tag, element, least, most, substitute)


def _prefixes(schema: XMLSchemaBase) -> dict[str, str]:
    """A prefix for each namespace: the first that a schema has for it, if no other has it already."""
    found = {"xml": _XML, "xs": XSD, "xsi": XSI}
    known = set(found.values())
    for namespace in schema.maps.namespaces:
        if namespace in known or not namespace:
            continue
        given = (
            prefix
            for one in schema.maps.namespaces[namespace]
            for prefix, meant in one.namespaces.items()
            if meant == namespace and prefix
        )
        prefix = next((prefix for prefix in given if prefix not in found), "")
        number = 1
        while not prefix or prefix in found:
            prefix, number = f"ns{number}", number + 1
        found[prefix] = namespace
        known.add(namespace)
    return found
