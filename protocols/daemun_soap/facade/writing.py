"""JSON on its way to XML: a tree in the order of its schema, and what is wrong with it by its place in the JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree
from xmlschema.validators import XsdElement
from xmlschema.validators.models import iter_unordered_content

from daemun_soap.facade.bounds import Bounds, Problem
from daemun_soap.facade.complaints import first_errors, problem_of, shortened
from daemun_soap.facade.shapes import JSON_NIL, JSON_TYPE, TEXT, AnyType, Attribute, Member, Shape, Shapes, namespace_of
from daemun_soap.facade.values import QName, loose_text, write_value
from daemun_soap.names import XSI, local_name, qualified

__all__ = ["Writing"]

_NIL = qualified(XSI, "nil")
_TYPE = qualified(XSI, "type")
_MAX_UNNAMED = 1000
"""Members of one object that only a wildcard lets in: their order is looked for one by one."""
_RESERVED = (XSI, "http://www.w3.org/2000/xmlns/")
_START = (
    r"A-Za-z_\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02ff\u0370-\u037d\u037f-\u1fff\u2c00-\u2fef\u3001-\ud7ff\uf900-\ufdcf"
)
_NAME = re.compile(rf"[{_START}][{_START}.0-9\u00b7\u0300-\u036f-]*")
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")


def _checked(tag: str) -> str:
    """A name that the schema does not know. Raises `ValueError` if XML cannot hold it, or means something by it."""
    if not _NAME.fullmatch(local_name(tag)) or tag == "xmlns" or namespace_of(tag) in _RESERVED:
        raise ValueError(tag)
    return tag


class _Enough(Exception):
    """No more problems are looked for."""


class _Child(NamedTuple):
    """A value on its way to be an element."""

    member: Member | None
    """None: only a wildcard lets it in."""
    value: Any
    path: str


class Writing:
    """JSON on its way to XML."""

    def __init__(self, shapes: Shapes, bounds: Bounds, *, ignore_unknown: bool = False) -> None:
        self._shapes = shapes
        self._ignore_unknown = ignore_unknown
        self._bounds = bounds
        self._left = bounds.max_written
        self._namespaces = {prefix: uri for prefix, uri in shapes.namespaces.items() if prefix != "xml"}
        self._paths: dict[etree._Element, str] = {}
        self._untyped: set[Any] = set()
        self.problems: list[Problem] = []
        """What is wrong with the JSON so far."""
        self.prefixes: set[str] = set()
        """Prefixes that stand in values."""

    def start(self, element: XsdElement, value: Any) -> etree._Element:
        """The element of `value`; worth nothing if there are problems."""
        root = etree.Element(element.name, nsmap=self._namespaces)
        try:
            self._fill(root, element, value, "$", 1)
        except _Enough:
            pass
        return root

    def invalid(self, element: XsdElement, root: etree._Element) -> Iterator[Problem]:
        """What xmlschema finds wrong with the element that was written."""
        # no schema tells of what is untyped, nor whether it may be nil
        for error in first_errors(element, root, self._bounds.max_problems, self._untyped):
            elem = error.elem
            path = self._paths.get(elem, "$") if isinstance(elem, etree._Element) else "$"
            yield problem_of(error, path)

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(shortened(path), message))
        if len(self.problems) >= self._bounds.max_problems:
            raise _Enough

    def _count(self, path: str, number: int = 1) -> None:
        self._left -= number
        if self._left < 0:
            self._problem(path, f"goes beyond {self._bounds.max_written} members in all")
            raise _Enough

    def _fill(self, node: etree._Element, element: XsdElement, value: Any, path: str, depth: int) -> None:
        """Writes `value` into the new element `node`, of which `element` is the declaration."""
        self._paths[node] = path
        if depth > self._bounds.max_depth:
            self._problem(path, f"is more than {self._bounds.max_depth} levels deep")
            return
        if value is None or (isinstance(value, dict) and value.get(JSON_NIL) is True):
            if not element.nillable:
                self._problem(path, "is null, and the schema lets it only be left out")
                return
            node.set(_NIL, "true")
            if value is None:
                return
        xsd_type = element.type
        if isinstance(value, dict) and JSON_TYPE in value:
            found = self._named_type(node, value[JSON_TYPE], xsd_type, path)
            if found is None:
                return
            xsd_type = found
        shape = self._shapes.of(xsd_type)
        if shape.content == "value":
            self._simple(node, value, shape, path)
        elif shape.content == "any" and not isinstance(value, dict):
            self._loose(node, value, path, depth)
        elif isinstance(value, dict):
            self._object(node, value, shape, path, depth)
        else:
            self._problem(path, f"is no object (accepted: an object{_with_members(shape)})")

    def _named_type(self, node: etree._Element, name: object, base: AnyType, path: str) -> AnyType | None:
        found = self._shapes.find_type(name, base) if isinstance(name, str) else None
        if found is None:
            self._problem(f"{path}.{JSON_TYPE}", "names no type that may stand here")
            return None
        written = self._shapes.qname(found)
        self.prefixes.add(written.partition(":")[0])
        node.set(_TYPE, written.removeprefix(":"))
        return found

    def _simple(self, node: etree._Element, value: Any, shape: Shape, path: str) -> None:
        if isinstance(value, dict) and (JSON_TYPE in value or JSON_NIL in value):
            for name in value.keys() - {JSON_TYPE, JSON_NIL, TEXT}:
                self._problem(f"{path}.{name}", "is not known")
            value = value.get(TEXT)
            if value is None:
                return
        text = self._text(value, shape, path)
        if text is not None:
            node.text = text

    def _text(self, value: Any, shape: Shape, path: str) -> str | None:
        """The text of a value of a simple type, or None after telling of a problem."""
        if shape.value is None:
            text = loose_text(value)
            if text is None:
                self._problem(path, "is no text (accepted: a string)")
        else:
            try:
                text = write_value(value, shape.value)
            except ValueError as error:
                self._problem(path, str(error))
                return None
        return None if text is None else self._clean(text, path)

    def _clean(self, text: str, path: str) -> str | None:
        """`text` as XML takes it, or None after telling of a problem."""
        if isinstance(text, QName):
            namespace, local = namespace_of(text), local_name(text)
            prefix = next((prefix for prefix, uri in self._namespaces.items() if uri == namespace), "")
            if namespace and not prefix:
                self._problem(path, "is a name in a namespace that the schema does not know")
                return None
            self.prefixes.add(prefix)
            text = f"{prefix}:{local}" if prefix else local
        if _NOT_IN_XML.search(text):
            self._problem(path, "has characters that XML cannot hold")
            return None
        return text

    def _object(self, node: etree._Element, value: dict[str, Any], shape: Shape, path: str, depth: int) -> None:
        nil = _NIL in node.attrib
        children: dict[str, list[_Child]] = {}
        unnamed = 0
        for name, inner in value.items():
            where = f"{path}.{name}"
            if name in (JSON_NIL, JSON_TYPE):
                continue
            if name == TEXT and (shape.value is not None or shape.mixed):
                node.text = self._text(inner, shape, where)
            elif name.startswith("@"):
                self._attribute(node, name, inner, shape, where)
            elif nil:
                self._problem(where, "is there though the value is nil")
            elif name in shape.members:
                member = shape.members[name]
                self._member(children.setdefault(member.tag, []), member, inner, where)
            elif shape.wildcard:
                items = inner if isinstance(inner, list) and shape.wildcard > 1 else [inner]
                tag = self._wild_tag(name, node, shape)
                self._count(where, len(items))
                unnamed += 1
                if unnamed > _MAX_UNNAMED:
                    self._problem(path, f"has more than {_MAX_UNNAMED} members that its type does not name")
                    raise _Enough
                children.setdefault(tag, []).extend(
                    _Child(None, item, where if inner is not items else f"{where}[{number}]")
                    for number, item in enumerate(items)
                )
            elif not self._ignore_unknown:
                self._problem(where, f"is not known{_known(shape)}")
        if shape.value is not None and node.text is None and TEXT not in value and not nil:
            self._problem(f"{path}.{TEXT}", "is missing")
        for tag, child in self._ordered(children, shape):
            self._child(node, tag, child, depth)

    @staticmethod
    def _wild_tag(name: str, node: etree._Element, shape: Shape) -> str:
        if name.startswith("{"):
            return name.removeprefix("{}")
        return qualified(namespace_of(str(node.tag)), name) if shape.content == "any" else name

    def _member(self, into: list[_Child], member: Member, inner: Any, where: str) -> None:
        if not member.many:
            if isinstance(inner, list) and self._shapes.of(member.element.type).content == "object":
                self._problem(where, "is an array (accepted: one object)")
                return
            self._count(where)
            into.append(_Child(member, inner, where))
        elif isinstance(inner, list):
            if len(inner) > member.most:
                self._problem(where, f"has {len(inner)} items (accepted: at most {member.most})")
                return
            self._count(where, len(inner))
            into.extend(_Child(member, item, f"{where}[{number}]") for number, item in enumerate(inner))
        else:
            self._problem(where, "is no array (accepted: an array, also of one)")

    def _ordered(self, children: dict[str, list[_Child]], shape: Shape) -> list[tuple[str, _Child]]:
        """Children in the order of the content model."""
        if shape.ranks is None and shape.group is not None:
            content: dict[int | str, Any] = {tag: items for tag, items in children.items() if items}
            return [(str(tag), child) for tag, child in iter_unordered_content(content, shape.group)]
        ranks = shape.ranks or {}
        tags = sorted(children, key=lambda tag: ranks.get(tag, ranks.get("", -1)))
        return [(tag, item) for tag in tags for item in children[tag]]

    def _child(self, node: etree._Element, tag: str, written: _Child, depth: int) -> None:
        member, value, path = written
        element = self._shapes.maps.elements.get(tag) if member is None else member.element
        try:
            child = etree.SubElement(node, tag if member is not None else _checked(tag))
        except ValueError:
            self._problem(path, "is no name that XML can hold")
            return
        if element is None:
            self._paths[child] = path
            self._untyped.add(child)
            self._loose(child, value, path, depth + 1)
        else:
            self._fill(child, element, value, path, depth + 1)

    def _attribute(self, node: etree._Element, name: str, value: Any, shape: Shape, path: str) -> None:
        self._count(path)
        attribute = shape.attributes.get(name)
        if attribute is not None:
            text = self._attribute_text(value, attribute, path)
            tag = attribute.tag
        elif shape.any_attribute:
            tag, text = name[1:], loose_text(value)
            if text is None:
                self._problem(path, "is no text (accepted: a string)")
            else:
                text = self._clean(text, path)
        else:
            if not self._ignore_unknown:
                self._problem(path, f"is not known{_known(shape)}")
            return
        if text is not None:
            try:
                node.set(tag if attribute is not None else _checked(tag), text)
            except ValueError:
                self._problem(path, "is no name that XML can hold")

    def _attribute_text(self, value: Any, attribute: Attribute, path: str) -> str | None:
        try:
            return self._clean(write_value(value, attribute.type), path)
        except ValueError as error:
            self._problem(path, str(error))
            return None

    def _loose(self, node: etree._Element, value: Any, path: str, depth: int) -> None:
        """Writes what no schema tells of."""
        if depth > self._bounds.max_depth:
            self._problem(path, f"is more than {self._bounds.max_depth} levels deep")
        elif value is None:
            node.set(_NIL, "true")
        elif isinstance(value, dict):
            self._object(node, value, self._shapes.of(self._shapes.maps.any_type), path, depth)
        else:
            text = loose_text(value)
            if text is None:
                self._problem(path, "is an array (accepted: an object, a string, a number, a boolean, null)")
            else:
                node.text = self._clean(text, path)


def _known(shape: Shape) -> str:
    names = [*shape.members, *shape.attributes]
    if not names:
        return " (nothing is)"
    return f" (known: {', '.join(names[:20])}{', …' if len(names) > 20 else ''})"


def _with_members(shape: Shape) -> str:
    if shape.content == "text":
        return f" with {TEXT}"
    return f" with {', '.join(list(shape.members)[:20])}" if shape.members else ""
