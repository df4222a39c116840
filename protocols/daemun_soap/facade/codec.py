"""XML ↔ JSON, by the types of a schema.

    element          a member with its local name; an array whenever it may be there more than once, `[]` if it is not
    attribute        `@name`; the text of what has attributes, or children between its text: `#text`
    xsi:nil          null; `xsi:type` is `@xsi:type`, with the local name of the type
    empty            {}; for a simple type what its text says
    xs:any           `{namespace}name`, typed if the schema knows the element, otherwise strings and objects

The order of a sequence is restored. What schemas demand of values and of occurrence is checked by xmlschema; what is
wrong is told by its place in the JSON.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
from lxml import etree
from xmlschema.validators import XMLSchemaBase, XsdElement

from daemun_soap.facade.bounds import Bounds, JsonError, Problem
from daemun_soap.facade.complaints import first_errors, shortened, words_of
from daemun_soap.facade.reading import Reading
from daemun_soap.facade.shapes import Shapes
from daemun_soap.facade.writing import Writing

__all__ = ["JsonCodec", "from_json", "to_json"]

_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def from_json(data: bytes) -> Any:
    """The value of JSON, its fractions as `Decimal`. Raises `JsonError`."""
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, ArithmeticError) as error:
        raise JsonError((Problem("$", f"is no JSON: {error}"),)) from None
    except RecursionError:
        raise JsonError((Problem("$", "is too deep"),)) from None


def to_json(value: Any) -> bytes:
    """JSON of a value, its decimals as numbers, digit for digit."""
    return _ENCODER.encode(value)


class JsonCodec:
    """Encodes JSON values as elements and decodes elements, by the declarations of one schema."""

    def __init__(self, schema: XMLSchemaBase, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.shapes = Shapes(schema)
        self.maps = schema.maps

    def encode(self, element: XsdElement, value: Any, tag: str = "", *, ignore_unknown: bool = False) -> etree._Element:
        """The element that `value` stands for, valid against the schema, called `tag` if given. Raises `JsonError`.

        `ignore_unknown` leaves out members that the schema does not know, instead of refusing them.
        """
        writing = Writing(self.shapes, self.bounds, ignore_unknown=ignore_unknown)
        root = writing.start(element, value)
        if writing.problems:
            raise JsonError(tuple(writing.problems))
        problems = tuple(writing.invalid(element, root))
        if problems:
            raise JsonError(problems)
        if tag:
            root.tag = tag
        etree.cleanup_namespaces(root, keep_ns_prefixes=sorted(writing.prefixes))
        return root

    def decode(self, element: XsdElement, node: etree._Element) -> Any:
        """The JSON value of an element, valid or not; what fits no type comes as string. Raises `JsonError` for what
        goes beyond the bounds."""
        return Reading(self.shapes, self.bounds).element(element, node, 1)

    def problems(self, element: XsdElement, node: etree._Element) -> tuple[Problem, ...]:
        """What is wrong with an element by the schema, by its places in the XML."""
        errors = first_errors(element, node, self.bounds.max_problems)
        return tuple(Problem(shortened(error.path or "/"), words_of(error)) for error in errors)

    def decode_loose(self, node: etree._Element) -> Any:
        """The JSON value of an element that no schema tells of."""
        return Reading(self.shapes, self.bounds).loose(node, 1)
