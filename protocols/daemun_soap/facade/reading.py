"""XML on its way to JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lxml import etree
from xmlschema.validators import XsdElement, XsdType

from daemun_soap.facade.bounds import Bounds, JsonError, Problem
from daemun_soap.facade.shapes import JSON_NIL, JSON_TYPE, TEXT, Shape, Shapes, namespace_of
from daemun_soap.facade.values import read_value
from daemun_soap.names import SOAP11, SOAP12, XSI, local_name, qualified

__all__ = ["Reading"]

_NIL = qualified(XSI, "nil")
_TYPE = qualified(XSI, "type")
_NOT_CONTENT = tuple(f"{{{namespace}}}" for namespace in (XSI, SOAP11, SOAP12))
"""How names of attributes begin that are about a message, and not of it."""


class Reading:
    """XML on its way to JSON."""

    def __init__(self, shapes: Shapes, bounds: Bounds) -> None:
        self._shapes = shapes
        self._bounds = bounds
        self._left = bounds.max_read

    def element(self, element: XsdElement, node: etree._Element, depth: int) -> Any:
        """The value of an element of which `element` is the declaration."""
        self._bound(node, depth)
        xsd_type, said = self._type_of(element, node)
        shape = self._shapes.of(xsd_type)
        nil = node.get(_NIL, "").strip() in ("true", "1")
        if shape.content == "any" and not said:
            return self.loose(node, depth)
        if shape.content == "value":
            if nil:
                return {JSON_NIL: True, JSON_TYPE: said} if said else None
            value = self._value(node, shape, element)
            return {JSON_TYPE: said, TEXT: value} if said else value
        found: dict[str, Any] = {JSON_TYPE: said} if said else {}
        self._attributes(found, node, shape)
        if nil:
            return {JSON_NIL: True, **found} if found else None
        if shape.content == "text":
            found[TEXT] = self._value(node, shape, element)
        else:
            members = self._members(node, shape, depth)
            found |= {name: members[name] for name in shape.members if name in members}
            found |= members
        return found

    def _bound(self, node: etree._Element, depth: int) -> None:
        bounds = self._bounds
        self._left -= 1 + len(node.attrib)
        if self._left < 0:
            raise JsonError((Problem("/", f"goes beyond {bounds.max_read} elements and attributes"),))
        if depth > bounds.max_depth:
            raise JsonError((Problem("/", f"is more than {bounds.max_depth} levels deep"),))

    def _type_of(self, element: XsdElement, node: etree._Element) -> tuple[XsdType, str]:
        """The type of an element, and its name if `xsi:type` says another than the declaration."""
        name = node.get(_TYPE)
        if name is None:
            return element.type, ""
        prefix, _, local = name.strip().rpartition(":")
        tag = qualified(node.nsmap.get(prefix or None) or "", local)
        try:
            found = self._shapes.maps.get_instance_type(tag, element.type, {})
        except (KeyError, TypeError, ValueError):
            return element.type, ""
        return (element.type, "") if found is element.type else (found, self._shapes.type_name(found))

    @staticmethod
    def _value(node: etree._Element, shape: Shape, element: XsdElement) -> Any:
        assert shape.value is not None
        text = _text_of(node)
        if not text:
            text = element.fixed or element.default or ""
        return read_value(text, shape.value, _namespaces(node))

    def _attributes(self, found: dict[str, Any], node: etree._Element, shape: Shape) -> None:
        for tag, text in node.attrib.items():
            name, value = str(tag), str(text)
            attribute = shape.attribute_tags.get(name)
            if attribute is not None:
                found[attribute.name] = read_value(value, attribute.type, _namespaces(node))
            elif not name.startswith(_NOT_CONTENT):
                found[f"@{name}"] = value

    def _members(self, node: etree._Element, shape: Shape, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for member in shape.members.values():
            if member.many and not member.substitute:
                found[member.name] = []
        if shape.mixed:
            text = _text_of(node)
            if text.strip():
                found[TEXT] = text
        for child in node.iterchildren(tag=etree.Element):
            tag = str(child.tag)
            known = shape.tags.get(tag)
            if known is None and not shape.wildcard:
                known = shape.members.get(local_name(tag))  # many back ends are in doubt about namespaces
            if known is not None:
                _put(found, known.name, self.element(known.element, child, depth + 1), many=known.many)
                continue
            element = self._shapes.maps.elements.get(tag) if shape.wildcard else None
            value = self.loose(child, depth + 1) if element is None else self.element(element, child, depth + 1)
            _put(found, f"{{}}{tag}" if tag in shape.members else tag, value, many=shape.wildcard > 1)
        return found

    def loose(self, node: etree._Element, depth: int) -> Any:
        """The value of an element that no schema tells of: a string, or an object if it has attributes or children."""
        self._bound(node, depth)
        if node.get(_NIL, "").strip() in ("true", "1"):
            return None
        found: dict[str, Any] = {
            f"@{name}": str(value) for name, value in node.attrib.items() if not str(name).startswith(_NOT_CONTENT)
        }
        text = _text_of(node)
        children = list(node.iterchildren(tag=etree.Element))
        if not found and not children:
            return text
        if text.strip():
            found[TEXT] = text
        namespace = namespace_of(str(node.tag))
        groups: dict[str, list[Any]] = {}
        for child in children:
            tag = str(child.tag)
            own = namespace_of(tag)
            name = local_name(tag) if own == namespace else tag if own else f"{{}}{tag}"
            groups.setdefault(name, []).append(self.loose(child, depth + 1))
        return found | {name: items[0] if len(items) == 1 else items for name, items in groups.items()}


def _put(found: dict[str, Any], name: str, value: Any, *, many: bool) -> None:
    if many:
        found.setdefault(name, []).append(value)
    elif name not in found:
        found[name] = value
    elif isinstance(found[name], list):
        found[name].append(value)
    else:
        found[name] = [found[name], value]


def _text_of(node: etree._Element) -> str:
    """The text of an element without that of its children."""
    if len(node) == 0:
        return node.text or ""
    return (node.text or "") + "".join(child.tail or "" for child in node)


def _namespaces(node: etree._Element) -> Mapping[str | None, str]:
    return {prefix or None: uri for prefix, uri in node.nsmap.items()}
