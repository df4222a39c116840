"""Messages against the schema of their WSDL: what stands in the Body, by style, and the headers that are declared.

Document style: the elements of the parts. RPC/literal: the wrapper, with an accessor for each part. RPC/encoded is not
checked: what its messages look like is not for a schema to say. libxml2 does the work where it understands the schemas,
xmlschema, which is far slower and understands more, where it does not.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import xmlschema
from lxml import etree

from daemun_soap.names import SOAP11, SOAP12, XOP, local_name, qualified
from daemun_soap.wsdl import Message, Operation, Part, Wsdl
from daemun_soap.wsdl_accessors import ACCESSORS, Accessors
from daemun_soap.wsdl_schema import SchemaDocuments, compiled_schema, typed_schema

__all__ = ["InvalidMessage", "Validator"]

log = logging.getLogger("daemun.soap")

MAX_WORDS = 300
MAX_VALUE = 40
MAX_SHOWN = 2000
"""Elements of a message whose error is looked for a second time, to tell where it is."""
MAX_SLOW = 5000
"""Elements of a message that xmlschema checks, at some 20 µs each."""

_INCLUDE = qualified(XOP, "Include")
_FAULTS = (qualified(SOAP11, "Fault"), qualified(SOAP12, "Fault"))
_DETAILS = ("detail", qualified(SOAP12, "Detail"))
_OF_SOAP = (
    f"{{{SOAP11}}}",
    f"{{{SOAP12}}}",
    "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}",
)
"""Attributes that any element may carry, whatever its type says, by how their names begin."""
_SIZE = etree.XPath("count(descendant::*)")
_VALUE = re.compile(r"(?:(?<=value )|^)'(.*)'(?= (?:is|has|does) )", re.DOTALL)
_PREFIX = re.compile(r"(?<=')[\w.-]+:(?=[\w.-]+')")
_QUOTED = re.compile(r"'([^']*)'")
_NAMESPACE = re.compile(r"\{[A-Za-z][A-Za-z0-9+.-]*:[^}]*\}")
_SUBJECT = re.compile(r"Element '[^']*'(?:, attribute '(?P<attribute>[^']*)')?: ")
_STEP = re.compile(r"(?:(?P<prefix>[^:\[]+):)?(?P<name>[^\[]+)(?:\[(?P<position>\d+)\])?")


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
    """The element of the schema that it must be valid by; "": it is not checked."""


class _Wrong(NamedTuple):
    """What is wrong in an element, and where in it."""

    steps: tuple[str, ...]
    words: str


class _Shape(NamedTuple):
    """What a message looks like."""

    body: tuple[_Slot, ...]
    headers: dict[str, _Slot]


class Validator:
    """Checks the messages of all operations of a WSDL."""

    def __init__(self, wsdl: Wsdl, schemas: SchemaDocuments) -> None:
        self._elements = wsdl.schema.maps.elements
        accessors = Accessors(wsdl.schema.maps.types, schemas.namespaces)
        self._shapes: dict[Message, _Shape] = {}
        self._details: dict[str, _Slot] = {}
        for operation in _operations(wsdl):
            if operation.encoded:
                log.info(
                    "operation %s of %s is rpc/encoded: its messages are not checked", operation.name, wsdl.namespace
                )
                continue
            for message in (operation.request, operation.response):
                if message is not None and message not in self._shapes:
                    self._shapes[message] = self._shape(message, operation.style, accessors)
            for _, part in operation.faults:
                slot = self._slot(part, accessors)
                self._details[slot.tag] = slot
        schemas = schemas.with_schemas({ACCESSORS: accessors.schema()})
        self._compiled = compiled_schema(schemas)
        if self._compiled is None:
            self._parser, self._typed = None, typed_schema(schemas)
        else:
            # what it is given was within limits when it was parsed for the first time
            self._parser = etree.XMLParser(
                schema=self._compiled, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True
            )
            self._typed = wsdl.schema

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
                raise InvalidMessage("Body", f"{_cut(str(child.tag))} is not expected; expected: {slot.tag}")
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
            return
        if next(element.iter(_INCLUDE), None) is not None:
            element = _without_parts(element)
        name = local_name(slot.tag)
        if slot.declared != slot.tag:
            element = _renamed(element, slot.declared)
        wrong = self._check_slowly(element) if self._parser is None else self._check_fast(element, self._parser)
        if wrong is not None:
            raise InvalidMessage("/".join((around, name, *wrong.steps)), wrong.words)

    def _check_fast(self, element: etree._Element, parser: etree.XMLParser) -> _Wrong | None:
        # a validating parser, and no validation of the tree: for each error there libxml2 counts all elements before it
        try:
            etree.fromstring(etree.tostring(element, with_tail=False), parser)
        except etree.XMLSyntaxError as error:
            if self._compiled is not None and _SIZE(element) <= MAX_SHOWN and not self._compiled.validate(element):
                entry = self._compiled.error_log[0]
                return _Wrong(_steps(element, entry.path or ""), _words(entry.message))
            return _Wrong((), _words(error.msg or "", with_subject=True))
        return None

    def _check_slowly(self, element: etree._Element) -> _Wrong | None:
        if _SIZE(element) > MAX_SLOW:
            return _Wrong(
                (), f"there are more than {MAX_SLOW} elements, which is more than the check of this wsdl takes"
            )
        try:
            prefixes = {prefix or "": namespace for prefix, namespace in element.nsmap.items()}
            error = next(self._typed.iter_errors(cast("Any", element), namespaces=prefixes), None)
        except (xmlschema.XMLSchemaException, RecursionError) as failure:
            return _Wrong((), _words(str(failure)))
        if error is None:
            return None
        steps = (local_name(step).rpartition(":")[2] for step in (error.path or "").strip("/").split("/")[1:])
        words = error.reason or error.message
        for value in _values(error.elem):
            words = words.replace(repr(value), _cut(value)).replace(value, _cut(value))
        return _Wrong(tuple(steps), _words(_PREFIX.sub("", words)))

    def _shape(self, message: Message, style: str, accessors: Accessors) -> _Shape:
        headers = {slot.tag: slot for slot in (self._slot(part, accessors) for part in message.headers)}
        if style == "rpc":
            unknown = [part for part in message.parts if part.element and part.element not in self._elements]
            declared = "" if unknown else accessors.wrapper(message.parts)
            return _Shape((_Slot(message.root, declared),), headers)
        return _Shape(tuple(self._slot(part, accessors) for part in message.parts), headers)

    def _slot(self, part: Part, accessors: Accessors) -> _Slot:
        if part.element:
            if part.element not in self._elements:
                log.warning("element %s is not in the schemas of the wsdl: it is not checked", part.element)
                return _Slot(part.element, "")
            return _Slot(part.element, part.element)
        return _Slot(part.name, accessors.element(part))


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


def _steps(root: etree._Element, path: str) -> tuple[str, ...]:
    """The names on the way to what libxml2 calls `/*/*[2]/ns:name`, without the first one."""
    names: list[str] = []
    element = root
    for step in path.strip("/").split("/")[1:]:
        match = _STEP.fullmatch(step)
        if match is None or step.startswith("@"):
            break
        position = int(match["position"] or 1)
        children = [child for child in element if isinstance(child.tag, str)]
        if match["name"] != "*":
            children = [
                child
                for child in children
                if local_name(str(child.tag)) == match["name"] and child.prefix == match["prefix"]
            ]
        if position > len(children):
            break
        element = children[position - 1]
        alike = sum(1 for child in element.itersiblings(str(element.tag), preceding=True))
        more = alike or next(element.itersiblings(str(element.tag)), None) is not None
        names.append(local_name(str(element.tag)) + (f"[{alike + 1}]" if more else ""))
    return tuple(names)


def _words(message: str, *, with_subject: bool = False) -> str:
    """What is wrong, in the words of the library, without what the path says already."""
    subject = _SUBJECT.match(message)
    if subject is not None and not with_subject:
        message = message[subject.end() :]
        if subject["attribute"]:
            message = f"attribute {subject['attribute']}: {message}"
    head, _, rest = message.partition(": ") if with_subject and subject is not None else ("", "", message)
    rest = _QUOTED.sub(lambda match: _cut(match[1]), _VALUE.sub(lambda match: _cut(match[1]), rest))
    message = " ".join(_NAMESPACE.sub("", f"{head}: {rest}" if head else rest).split()).removesuffix(".")
    return message[:1].lower() + message[1:MAX_WORDS]


def _values(element: Any) -> Iterator[str]:
    """Values of an element that are too long to be told, also as whitespace is taken in them."""
    for value in () if element is None else (element.text, *element.attrib.values()):
        if isinstance(value, str):
            yield from (form for form in (value, value.strip(), " ".join(value.split())) if len(form) > MAX_VALUE)


def _cut(text: str) -> str:
    return f"'{text}'" if len(text) <= MAX_VALUE else f"'{text[: MAX_VALUE - 1]}…'"
