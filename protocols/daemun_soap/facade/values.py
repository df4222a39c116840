"""Simple values: what stands in XML as text, in JSON as the type of the schema has it.

Integers and decimals are numbers, digit for digit; doubles are numbers, but for `INF`, `-INF` and `NaN`, which
are strings; lists are arrays; a union is what the first of its types says that takes the text; everything else is a
string as it stands in XML: dates, durations, enumerations, base64, hex. A QName is `{namespace}name`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from xmlschema.namespaces import NamespaceMapper
from xmlschema.validators import ValidationContext, XsdList, XsdSimpleType, XsdUnion

from daemun_soap.names import XSD

__all__ = ["Kind", "QName", "item_type", "kind_of", "loose_text", "member_types", "read_value", "write_value"]

_MAX_DIGITS = 4000


class Kind(enum.Enum):
    """What a simple type is in JSON. The value is what messages call it."""

    BOOLEAN = "true or false"
    INTEGER = "an integer"
    DECIMAL = "a number"
    FLOAT = 'a number, "INF", "-INF" or "NaN"'
    TEXT = "a string"
    BASE64 = "a string of base64"
    QNAME = "a string, {namespace}name"
    LIST = "an array"
    UNION = "a value of one of its types"


_BUILT_IN = {
    f"{{{XSD}}}{name}": kind
    for name, kind in {
        "boolean": Kind.BOOLEAN,
        "integer": Kind.INTEGER,
        "decimal": Kind.DECIMAL,
        "float": Kind.FLOAT,
        "double": Kind.FLOAT,
        "base64Binary": Kind.BASE64,
        "QName": Kind.QNAME,
    }.items()
}
_SPECIAL = {"INF": math.inf, "+INF": math.inf, "-INF": -math.inf, "NaN": math.nan}


class QName(str):
    """A qualified name, `{namespace}name`, that is to be written with a prefix."""

    __slots__ = ()


def _ancestors(xsd_type: XsdSimpleType) -> list[Any]:
    found: list[Any] = [xsd_type]
    while (base := getattr(found[-1], "base_type", None)) is not None and base is not found[-1]:
        found.append(base)
    return found


def kind_of(xsd_type: XsdSimpleType) -> Kind:
    """What a simple type is in JSON."""
    for ancestor in _ancestors(xsd_type):
        if isinstance(ancestor, XsdList):
            return Kind.LIST
        if isinstance(ancestor, XsdUnion):
            return Kind.UNION
        kind = _BUILT_IN.get(ancestor.name or "")
        if kind is not None:
            return kind
    return Kind.TEXT


def item_type(xsd_type: XsdSimpleType) -> XsdSimpleType:
    """The type of the items of a list."""
    return next(ancestor.item_type for ancestor in _ancestors(xsd_type) if isinstance(ancestor, XsdList))


def member_types(xsd_type: XsdSimpleType) -> list[XsdSimpleType]:
    """The types of a union."""
    return next(ancestor.member_types for ancestor in _ancestors(xsd_type) if isinstance(ancestor, XsdUnion))


def _takes(xsd_type: XsdSimpleType, text: str) -> bool:
    """Whether `text` is a value of a type. The context that xmlschema keeps for this is not for several threads."""
    schema = xsd_type.schema
    context = ValidationContext(schema.source, NamespaceMapper(schema.namespaces))
    xsd_type.raw_decode(text, "lax", context)
    return not context.errors


def read_value(text: str, xsd_type: XsdSimpleType, namespaces: Mapping[str | None, str]) -> Any:
    """The JSON value of `text`. What is no value of the type comes out as the string that it is."""
    kind = kind_of(xsd_type)
    if kind is Kind.TEXT:
        return text.strip(" \t\r\n") if xsd_type.white_space == "collapse" else text
    text = text.strip(" \t\r\n")
    if kind is Kind.LIST:
        items = item_type(xsd_type)
        return [read_value(item, items, namespaces) for item in text.split()]
    if kind is Kind.UNION:
        for member in member_types(xsd_type):
            if _takes(member, text):
                return read_value(text, member, namespaces)
        return text
    return _read_atomic(text, kind, namespaces)


def _read_atomic(text: str, kind: Kind, namespaces: Mapping[str | None, str]) -> Any:
    if kind is Kind.BOOLEAN:
        return {"true": True, "1": True, "false": False, "0": False}.get(text, text)
    if kind is Kind.BASE64:
        return "".join(text.split())
    if kind is Kind.QNAME:
        prefix, _, local = text.rpartition(":")
        namespace = namespaces.get(prefix or None, "")
        return f"{{{namespace}}}{local}" if namespace else text
    if len(text) > _MAX_DIGITS or "_" in text:
        return text
    try:
        if kind is Kind.INTEGER:
            return int(text)
        if kind is Kind.DECIMAL:
            number = Decimal(text)
            return number if number.is_finite() and "e" not in text.lower() else text
        if text in _SPECIAL:
            return text
        value = float(text)
    except (ValueError, InvalidOperation):
        return text
    if math.isnan(value) or math.isinf(value):
        return "NaN" if math.isnan(value) else "INF" if value > 0 else "-INF"
    return value


def write_value(value: Any, xsd_type: XsdSimpleType) -> str:
    """The text of a JSON value. Raises `ValueError` with words for what would be accepted."""
    kind = kind_of(xsd_type)
    if kind is Kind.LIST:
        if isinstance(value, list):
            items = item_type(xsd_type)
            return " ".join(write_value(item, items) for item in value)
    elif kind is Kind.UNION:
        for member in member_types(xsd_type):
            try:
                text = write_value(value, member)
            except ValueError:
                continue
            if _takes(member, text):
                return text
    else:
        text_or_none = _write_atomic(value, kind)
        if text_or_none is not None:
            return text_or_none
    raise ValueError(f"is {_called(value)} (accepted: {kind.value})")


def _write_atomic(value: Any, kind: Kind) -> str | None:
    if kind is Kind.BOOLEAN:
        return {True: "true", False: "false"}[value] if isinstance(value, bool) else None
    if kind is Kind.QNAME:
        return QName(value) if isinstance(value, str) else None
    if kind in (Kind.TEXT, Kind.BASE64):
        return value if isinstance(value, str) else None
    if kind is Kind.FLOAT and isinstance(value, str):
        return value if value in ("INF", "-INF", "NaN") else None
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    return _digits(value, kind)


def _digits(value: float | Decimal, kind: Kind) -> str | None:
    """A number as XML has it: without exponent, but for doubles. None: it is none of this kind."""
    if kind is Kind.FLOAT:
        return str(Decimal(value) if isinstance(value, int) else value)
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > _MAX_DIGITS:
        return None
    if kind is Kind.INTEGER:
        return str(int(number)) if number == number.to_integral_value() else None
    return format(number, "f")


def loose_text(value: Any) -> str | None:
    """The text of a simple JSON value where no schema says what it is; None: it is not simple."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    return None


def _called(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float, Decimal)):
        return f"the number {str(value)[:40]}"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
