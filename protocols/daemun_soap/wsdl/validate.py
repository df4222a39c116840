"""Messages against the schema of their WSDL: what stands in the Body, by style, and the headers that are declared.

Document style: the elements of the parts. RPC/literal: the wrapper, with an accessor for each part. RPC/encoded is not
checked: what its messages look like is not for a schema to say. libxml2 does the work where it understands the schemas,
xmlschema, which is far slower and understands more, where it does not.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lxml import etree

from daemun_soap.names import SOAP11, SOAP12, XOP, local_name, qualified
from daemun_soap.wsdl.accessors import ACCESSORS, Accessors
from daemun_soap.wsdl.check import Compiled, Typed, Wrong, cut
from daemun_soap.wsdl.gaps import Validates
from daemun_soap.wsdl.model import Message, Operation, Part, Wsdl
from daemun_soap.wsdl.schema import SchemaDocuments, compiled_schema, typed_schema

__all__ = ["InvalidMessage", "Validator"]

log = logging.getLogger("daemun.soap")

_INCLUDE = qualified(XOP, "Include")
_FAULTS = (qualified(SOAP11, "Fault"), qualified(SOAP12, "Fault"))
_DETAILS = ("detail", qualified(SOAP12, "Detail"))
_OF_SOAP = (
    f"{{{SOAP11}}}",
    f"{{{SOAP12}}}",
    "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}",
)
"""Attributes that any element may carry, whatever its type says, by how their names begin."""


class InvalidMessage(ValueError):
    """A message that is not what its WSDL says."""

    def __init__(self, path: str, words: str) -> None:
        self.path = path
        """Where: `Body/GetPrice/symbol`."""
        self.words = words
        """What is wrong there, for people. Values in it are cut."""
        super().__init__(f"{path}: {words}")


class _Slot(NamedTuple):
    """An element that a message has, and how it is checked."""

    tag: str
    declared: str
    """The element of the schema that it must be valid by; "": there is none, and nothing is valid."""


class _Shape(NamedTuple):
    """What a message looks like."""

    body: tuple[_Slot, ...]
    headers: dict[str, _Slot]


class Validator:
    """Checks the messages of all operations of a WSDL. What no schema says anything of is never valid, and one of the
    gaps."""

    def __init__(self, wsdl: Wsdl, schemas: SchemaDocuments) -> None:
        self._elements = wsdl.schema.maps.elements
        self._gaps = schemas.gaps
        self._types = wsdl.schema.maps.types
        accessors = Accessors(self._types, schemas.namespaces)
        self._shapes: dict[Message, _Shape] = {}
        self._details: dict[str, _Slot] = {}
        for operation in _operations(wsdl):
            if operation.encoded:
                log.info(
                    "wsdl %s: operation %s is rpc/encoded: its messages are not checked", wsdl.location, operation.name
                )
                continue
            for message in (operation.request, operation.response):
                if message is not None and message not in self._shapes:
                    self._shapes[message] = self._shape(message, operation.style, accessors)
            for _, part in operation.faults:
                slot = self._slot(part, accessors)
                self._details[slot.tag] = slot
        self.slow = any(b"pattern" in data for data in schemas.by_location.values())
        """Whether a value may take libxml2 seconds."""
        schemas = schemas.with_schemas({ACCESSORS: accessors.schema()})
        compiled = compiled_schema(schemas)
        self.by = Validates.TYPED if compiled is None else Validates.COMPILED
        """Who does the work."""
        self._find: Callable[[etree._Element], Wrong | None] = (
            Compiled(compiled).wrong if compiled is not None else Typed(typed_schema(schemas)).wrong
        )

    def check(self, envelope: etree._Element, operation: Operation, message: Message | None) -> None:
        """Returns if an envelope is as `message` of `operation` says. Raises `InvalidMessage`.

        A Fault is as it should be if its details are, as far as they are declared.
        """
        namespace = etree.QName(envelope).namespace or ""
        body = envelope.find(qualified(namespace, "Body"))
        if body is None:
            raise InvalidMessage(local_name(str(envelope.tag)), "there is no Body")
        children = [child for child in body if isinstance(child.tag, str)]
        if children and children[0].tag in _FAULTS:
            self._check_fault(children[0])
            return
        shape = None if message is None else self._shapes.get(message)
        if operation.encoded or shape is None:
            return
        if len(children) != len(shape.body):
            wanted = ", ".join(local_name(slot.tag) for slot in shape.body) or "nothing"
            raise InvalidMessage("Body", f"there are {len(children)} elements, expected: {wanted}")
        for child, slot in zip(children, shape.body, strict=True):
            # a wrapper without a namespace: some toolkits read the binding otherwise
            if child.tag != slot.tag and not (operation.style == "rpc" and local_name(str(child.tag)) == slot.tag):
                raise InvalidMessage("Body", f"{cut(str(child.tag))} is not expected; expected: {slot.tag}")
            self._check_element(child, slot, "Body")
        header = envelope.find(qualified(namespace, "Header")) if shape.headers else None
        for block in header if header is not None else ():
            declared = shape.headers.get(str(block.tag))
            if declared is not None:
                self._check_element(_without_attributes(block), declared, "Header")

    def _check_fault(self, fault: etree._Element) -> None:
        for detail in fault.iterchildren(*_DETAILS):
            for child in detail:
                declared = self._details.get(str(child.tag))
                if declared is not None:
                    self._check_element(
                        _without_attributes(child), declared, f"Body/Fault/{local_name(str(detail.tag))}"
                    )

    def _check_element(self, element: etree._Element, slot: _Slot, around: str) -> None:
        if not slot.declared:
            raise InvalidMessage(f"{around}/{local_name(slot.tag)}", "no schema of the WSDL says what it is")
        if next(element.iter(_INCLUDE), None) is not None:
            element = _without_parts(element)
        name = local_name(slot.tag)
        if slot.declared != slot.tag:
            element = _renamed(element, slot.declared)
        wrong = self._find(element)
        if wrong is not None:
            raise InvalidMessage("/".join((around, name, *wrong.steps)), wrong.words)

    def _shape(self, message: Message, style: str, accessors: Accessors) -> _Shape:
        headers = {slot.tag: slot for slot in (self._slot(part, accessors) for part in message.headers)}
        if style == "rpc":
            known = [self._is_known(part) for part in message.parts]
            declared = accessors.wrapper(message.parts) if all(known) else ""
            return _Shape((_Slot(message.root, declared),), headers)
        return _Shape(tuple(self._slot(part, accessors) for part in message.parts), headers)

    def _slot(self, part: Part, accessors: Accessors) -> _Slot:
        known = self._is_known(part)
        if part.element:
            return _Slot(part.element, part.element if known else "")
        return _Slot(part.name, accessors.element(part) if known else "")

    def _is_known(self, part: Part) -> bool:
        """Whether a schema says what a part is; it is a gap if none does, and nothing is valid as such."""
        if part.element in self._elements or (not part.element and part.type in self._types):
            return True
        what = f"element {part.element}" if part.element else f"type {part.type or '(none is said)'}"
        self._gaps.nowhere(f"{what} of the part {part.name!r} is in no schema")
        return False


def _operations(wsdl: Wsdl) -> Iterator[Operation]:
    for service in wsdl.services:
        for port in service.ports:
            yield from port.operations


def _renamed(element: etree._Element, tag: str) -> etree._Element:
    """The same content under another name, with all prefixes that are declared around it."""
    renamed = etree.Element(tag, nsmap=element.nsmap)
    renamed.text = element.text
    for name, value in element.attrib.items():
        renamed.set(name, value)
    renamed.extend(copy.deepcopy(child) for child in element)
    return renamed


def _without_attributes(block: etree._Element) -> etree._Element:
    """A header without what SOAP and its security add to it: `mustUnderstand`, `actor`, `wsu:Id` …"""
    added = [name for name in block.attrib if str(name).startswith(_OF_SOAP)]
    if not added:
        return block
    block = _renamed(block, str(block.tag))
    for name in added:
        del block.attrib[name]
    return block


def _without_parts(element: etree._Element) -> etree._Element:
    """The message as if what travels in parts of their own (XOP) were empty."""
    element = _renamed(element, str(element.tag))
    for include in list(element.iter(_INCLUDE)):
        parent = include.getparent()
        if parent is not None:
            parent.remove(include)
    return element
