"""JSON Schema of simple types: their form in JSON, and those of their facets that JSON Schema can say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from xmlschema.validators import XsdSimpleType

from daemun_soap.facade.values import Kind, item_type, kind_of, member_types, read_value
from daemun_soap.names import XSD

__all__ = ["value_schema"]

_FORMATS = {"date": "date", "dateTime": "date-time", "anyURI": "uri-reference"}
_NOT_PORTABLE = re.compile(r"\\[icICpPwWdD]|-\[|&&|\^|\$|\(\?")
_RANGES: dict[str, tuple[int | None, int | None]] = {
    "byte": (-(2**7), 2**7 - 1),
    "short": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "long": (-(2**63), 2**63 - 1),
    "unsignedByte": (0, 2**8 - 1),
    "unsignedShort": (0, 2**16 - 1),
    "unsignedInt": (0, 2**32 - 1),
    "unsignedLong": (0, 2**64 - 1),
    "nonNegativeInteger": (0, None),
    "positiveInteger": (1, None),
    "nonPositiveInteger": (None, 0),
    "negativeInteger": (None, -1),
}
_BOUNDS = {
    "minInclusive": "minimum",
    "maxInclusive": "maximum",
    "minExclusive": "exclusiveMinimum",
    "maxExclusive": "exclusiveMaximum",
}
_HEX = "^(?:[0-9a-fA-F]{2})*$"


def value_schema(xsd_type: XsdSimpleType) -> dict[str, Any]:
    """The JSON Schema of the values of a simple type."""
    kind = kind_of(xsd_type)
    found: dict[str, Any]
    if kind is Kind.UNION:
        found = {"anyOf": [value_schema(member) for member in member_types(xsd_type)]}
    elif kind is Kind.LIST:
        found = {
            "type": "array",
            "items": value_schema(item_type(xsd_type)),
            **_lengths(xsd_type, "minItems", "maxItems"),
        }
    elif kind is Kind.BOOLEAN:
        found = {"type": "boolean"}
    elif kind is Kind.FLOAT:
        found = {"anyOf": [{"type": "number", **_bounds(xsd_type)}, {"enum": ["INF", "-INF", "NaN"]}]}
    elif kind in (Kind.INTEGER, Kind.DECIMAL):
        found = {"type": "integer" if kind is Kind.INTEGER else "number", **_range(xsd_type), **_bounds(xsd_type)}
    else:
        found = _string(xsd_type, kind)
    choices = _enumeration(xsd_type)
    return found if choices is None else {**found, "enum": choices}


def _chain(xsd_type: XsdSimpleType) -> Iterable[XsdSimpleType]:
    """A type and those that it restricts."""
    one: Any = xsd_type
    while one is not None:
        yield one
        one = getattr(one, "base_type", None) if getattr(one, "base_type", None) is not one else None


def _built_in(xsd_type: XsdSimpleType) -> Iterable[str]:
    prefix = f"{{{XSD}}}"
    return (
        one.name.removeprefix(prefix) for one in _chain(xsd_type) if (one.name or "").startswith(prefix) and one.name
    )


def _facet(xsd_type: XsdSimpleType, name: str) -> Any:
    """The facet of this name that counts: that of the most special type that has it."""
    for one in _chain(xsd_type):
        facet = getattr(one, "facets", {}).get(f"{{{XSD}}}{name}")
        if facet is not None:
            return facet
    return None


def _string(xsd_type: XsdSimpleType, kind: Kind) -> dict[str, Any]:
    if kind is Kind.BASE64:
        return {"type": "string", "contentEncoding": "base64"}
    found: dict[str, Any] = {"type": "string"}
    if kind is Kind.QNAME:
        return found
    names = list(_built_in(xsd_type))
    if "hexBinary" in names:
        return {**found, "pattern": _HEX}
    for name in names:
        if name in _FORMATS:
            found["format"] = _FORMATS[name]
    patterns = list(_patterns(xsd_type))
    if len(patterns) == 1:
        found["pattern"] = patterns[0]
    elif patterns:
        found["allOf"] = [{"pattern": pattern} for pattern in patterns]
    return {**found, **_lengths(xsd_type, "minLength", "maxLength")}


def _patterns(xsd_type: XsdSimpleType) -> Iterable[str]:
    """The patterns that mean the same to everybody; those of one type are alternatives."""
    for one in _chain(xsd_type):
        facet = getattr(one, "facets", {}).get(f"{{{XSD}}}pattern")
        if facet is None or (one.name or "").startswith(f"{{{XSD}}}"):
            continue
        alternatives = [element.get("value", "") for element in facet]
        if not any(_NOT_PORTABLE.search(_without_negations(alternative)) for alternative in alternatives):
            yield f"^(?:{'|'.join(alternatives)})$"


def _without_negations(pattern: str) -> str:
    return pattern.replace("[^", "[").replace(r"\^", "").replace(r"\$", "")


def _lengths(xsd_type: XsdSimpleType, least: str, most: str) -> dict[str, int]:
    exact = _facet(xsd_type, "length")
    if exact is not None:
        return {least: exact.value, most: exact.value}
    found = {least: _facet(xsd_type, "minLength"), most: _facet(xsd_type, "maxLength")}
    return {name: facet.value for name, facet in found.items() if facet is not None}


def _range(xsd_type: XsdSimpleType) -> dict[str, Any]:
    for name in _built_in(xsd_type):
        if name in _RANGES:
            least, most = _RANGES[name]
            found = {"minimum": least, "maximum": most}
            if name in ("int", "long"):
                return {**found, "format": "int32" if name == "int" else "int64"}
            return {word: value for word, value in found.items() if value is not None}
    return {}


def _bounds(xsd_type: XsdSimpleType) -> dict[str, Any]:
    found = {word: _facet(xsd_type, name) for name, word in _BOUNDS.items()}
    return {word: facet.value for word, facet in found.items() if facet is not None}


def _enumeration(xsd_type: XsdSimpleType) -> list[Any] | None:
    facet = _facet(xsd_type, "enumeration")
    if facet is None:
        return None
    namespaces = {prefix or None: uri for prefix, uri in xsd_type.schema.namespaces.items()}
    return [read_value(element.get("value", ""), xsd_type, namespaces) for element in facet]
