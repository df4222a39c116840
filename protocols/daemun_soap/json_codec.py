"""XML ↔ JSON, by the types of a schema.

    element          a member with its local name; an array whenever it may be there more than once, `[]` if it is not
    attribute        `@name`; the text of what has attributes, or children between its text: `#text`
    xsi:nil          null; `xsi:type` is `@xsi:type`, with the local name of the type
    empty            {}; for a simple type what its text says
    xs:any           `{namespace}name`, typed if the schema knows the element, otherwise strings and objects

The order of a sequence is restored. What schemas demand of values and of occurrence is checked by xmlschema; what is wrong
is told by its place in the JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree
from msgspec import Struct
from xmlschema.validators import (
    XMLSchemaBase,
    XMLSchemaChildrenValidationError,
    XMLSchemaDecodeError,
    XMLSchemaValidationError,
    XsdElement,
    XsdType,
)
from xmlschema.validators.models import iter_unordered_content

from daemun_soap.json_shapes import Attribute, Member, Shape, Shapes, namespace_of
from daemun_soap.json_values import QName, loose_text, read_value, write_value
from daemun_soap.names import XSI, local_name, qualified

__all__ = ["Bounds", "JsonCodec", "JsonError", "Problem"]

_NIL = f"{{{XSI}}}nil"
_TYPE = f"{{{XSI}}}type"
_XSI_PREFIX = f"{{{XSI}}}"
_TEXT = "#text"
_JSON_NIL = "@xsi:nil"
_JSON_TYPE = "@xsi:type"
_MAX_WORDS = 300


class Bounds(Struct, frozen=True):
    """How much a message may hold."""

    max_depth: int = 64
    """Elements within each other."""
    max_nodes: int = 100_000
    """Elements and attributes together."""
    max_problems: int = 10
    """Problems that are told; the search ends with the last of them."""


class Problem(Struct, frozen=True):
    """Something that is wrong, and where."""

    path: str
    """As in `$.order.item[2].@id`."""
    message: str


class JsonError(Exception):
    """A message that does not fit its schema."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{problem.path} {problem.message}" for problem in problems))


class JsonCodec:
    """Encodes JSON values as elements and decodes elements, by the declarations of one schema."""

    def __init__(self, schema: XMLSchemaBase, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.shapes = Shapes(schema)
        self.maps = schema.maps

    def encode(self, element: XsdElement, value: Any) -> etree._Element:
        """The element that `value` stands for, valid against the schema. Raises `JsonError`."""
        writing = _Writing(self)
        root = writing.start(element, value)
        if writing.problems:
            raise JsonError(tuple(writing.problems))
        problems = tuple(writing.invalid(element, root))
        if problems:
            raise JsonError(problems)
        etree.cleanup_namespaces(root, keep_ns_prefixes=sorted(writing.prefixes))
        return root

    def decode(self, element: XsdElement, node: etree._Element) -> Any:
        """The JSON value of an element, valid or not; what fits no type comes as string. Raises `JsonError` for what
        goes beyond the bounds."""
        return _Reading(self).element(element, node, 1)

    def problems(self, element: XsdElement, node: etree._Element) -> tuple[Problem, ...]:
        """What is wrong with an element by the schema, by its places in the XML."""
        found = []
        for error in element.iter_errors(node):
            found.append(Problem(error.path or "/", _words(error)))
            if len(found) == self.bounds.max_problems:
                break
        return tuple(found)

    def decode_loose(self, node: etree._Element) -> Any:
        """The JSON value of an element that no schema tells of."""
        return _Reading(self).loose(node, 1)


def _shortened(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}…"


def _words(error: XMLSchemaValidationError) -> str:
    if isinstance(error, XMLSchemaDecodeError):
        name = local_name(getattr(error.validator, "name", None) or "")
        return f"is no {name}" if name else "is no value of its type"
    return _shortened(error.reason or "is not valid")


class _Enough(Exception):
    """No more problems are looked for."""


class _Writing:
    """JSON on its way to XML."""

    def __init__(self, codec: JsonCodec) -> None:
        self._codec = codec
        self._shapes = codec.shapes
        self._left = codec.bounds.max_nodes
        self._namespaces = {prefix: uri for prefix, uri in codec.shapes.namespaces.items() if prefix != "xml"}
        self._paths: dict[etree._Element, str] = {}
        self._untyped: set[Any] = set()
        self.problems: list[Problem] = []
        self.prefixes: set[str] = set()

    def start(self, element: XsdElement, value: Any) -> etree._Element:
        root = etree.Element(element.name, nsmap=self._namespaces)
        try:
            self._fill(root, element, value, "$", 1)
        except _Enough:
            pass
        return root

    def invalid(self, element: XsdElement, root: etree._Element) -> Iterator[Problem]:
        """What xmlschema finds wrong with the element that was written."""
        told = 0
        for error in element.iter_errors(root):
            elem = error.elem
            if elem in self._untyped:
                continue  # no schema tells of it, nor whether it may be nil
            if told == self._codec.bounds.max_problems:
                return
            told += 1
            path = self._paths.get(elem, "$") if isinstance(elem, etree._Element) else "$"
            if isinstance(error, XMLSchemaChildrenValidationError):
                yield self._children(error, path)
            else:
                yield Problem(path, _words(error))

    @staticmethod
    def _children(error: XMLSchemaChildrenValidationError, path: str) -> Problem:
        """What is wrong with which children there are. Their order was restored: something lacks, or is too much."""
        there = {child.tag for child in error.elem} if error.elem is not None else set()
        lacking = [
            local_name(part.name)
            for part in error.expected or ()
            if isinstance(part, XsdElement) and part.name and part.name not in there
        ]
        if len(lacking) == 1:
            return Problem(f"{path}.{lacking[0]}", "is missing")
        if lacking:
            return Problem(path, f"lacks one of {', '.join(lacking)}")
        if error.invalid_tag is None:
            return Problem(path, _shortened(error.reason or "is not complete"))
        name = local_name(str(error.invalid_tag))
        return Problem(f"{path}.{name}", "is there too often, or does not go with the others")

    def _problem(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))
        if len(self.problems) >= self._codec.bounds.max_problems:
            raise _Enough

    def _count(self, path: str, number: int = 1) -> None:
        self._left -= number
        if self._left < 0:
            self._problem(path, f"goes beyond {self._codec.bounds.max_nodes} members in all")
            raise _Enough

    def _fill(self, node: etree._Element, element: XsdElement, value: Any, path: str, depth: int) -> None:
        """Writes `value` into the new element `node`, of which `element` is the declaration."""
        self._paths[node] = path
        if depth > self._codec.bounds.max_depth:
            self._problem(path, f"is more than {self._codec.bounds.max_depth} levels deep")
            return
        if value is None or (isinstance(value, dict) and value.get(_JSON_NIL) is True):
            if not element.nillable:
                self._problem(path, "is null, and the schema lets it only be left out")
                return
            node.set(_NIL, "true")
            if value is None:
                return
        xsd_type = element.type
        if isinstance(value, dict) and _JSON_TYPE in value:
            found = self._named_type(node, value[_JSON_TYPE], xsd_type, path)
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

    def _named_type(self, node: etree._Element, name: object, base: XsdType, path: str) -> XsdType | None:
        found = self._shapes.find_type(name, base) if isinstance(name, str) else None
        if found is None:
            self._problem(f"{path}.{_JSON_TYPE}", "names no type that may stand here")
            return None
        written = self._shapes.qname(found)
        self.prefixes.add(written.partition(":")[0])
        node.set(_TYPE, written.removeprefix(":"))
        return found

    def _simple(self, node: etree._Element, value: Any, shape: Shape, path: str) -> None:
        if isinstance(value, dict) and (_JSON_TYPE in value or _JSON_NIL in value):
            for name in value.keys() - {_JSON_TYPE, _JSON_NIL, _TEXT}:
                self._problem(f"{path}.{name}", "is not known")
            value = value.get(_TEXT)
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
        if any(character < " " and character not in "\t\n\r" or character in "￾￿" for character in text) or any(
            "\ud800" <= character <= "\udfff" for character in text
        ):
            self._problem(path, "has characters that XML cannot hold")
            return None
        return text

    def _object(self, node: etree._Element, value: dict[str, Any], shape: Shape, path: str, depth: int) -> None:
        nil = _NIL in node.attrib
        children: dict[str, list[tuple[Member | None, Any, str]]] = {}
        for name, inner in value.items():
            where = f"{path}.{name}"
            if name in (_JSON_NIL, _JSON_TYPE):
                continue
            if name == _TEXT and (shape.value is not None or shape.mixed):
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
                children.setdefault(tag, []).extend(
                    (None, item, where if inner is not items else f"{where}[{number}]")
                    for number, item in enumerate(items)
                )
            else:
                self._problem(where, f"is not known{_known(shape)}")
        if shape.value is not None and node.text is None and _TEXT not in value and not nil:
            self._problem(f"{path}.{_TEXT}", "is missing")
        for tag, (member_or_none, inner, where) in self._ordered(children, shape):
            self._child(node, tag, member_or_none, inner, where, depth)

    @staticmethod
    def _wild_tag(name: str, node: etree._Element, shape: Shape) -> str:
        if name.startswith("{"):
            return name.removeprefix("{}")
        return qualified(namespace_of(str(node.tag)), name) if shape.content == "any" else name

    def _member(self, into: list[tuple[Member | None, Any, str]], member: Member, inner: Any, where: str) -> None:
        if not member.many:
            if isinstance(inner, list) and self._shapes.of(member.element.type).content == "object":
                self._problem(where, "is an array (accepted: one object)")
                return
            self._count(where)
            into.append((member, inner, where))
        elif isinstance(inner, list):
            self._count(where, len(inner))
            into.extend((member, item, f"{where}[{number}]") for number, item in enumerate(inner))
        else:
            self._problem(where, "is no array (accepted: an array, also of one)")

    def _ordered(
        self, children: dict[str, list[tuple[Member | None, Any, str]]], shape: Shape
    ) -> list[tuple[str, tuple[Member | None, Any, str]]]:
        """Children in the order of the content model."""
        if shape.ranks is None and shape.group is not None:
            return list(iter_unordered_content({tag: items for tag, items in children.items() if items}, shape.group))
        tags = children if shape.ranks is None else sorted(children, key=lambda tag: (shape.ranks or {}).get(tag, -1))
        return [(tag, item) for tag in tags for item in children[tag]]

    def _child(
        self, node: etree._Element, tag: str, member: Member | None, value: Any, path: str, depth: int
    ) -> None:
        element = self._codec.maps.elements.get(tag) if member is None else member.element
        try:
            child = etree.SubElement(node, tag)
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
            self._problem(path, f"is not known{_known(shape)}")
            return
        if text is not None:
            try:
                node.set(tag, text)
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
        if depth > self._codec.bounds.max_depth:
            self._problem(path, f"is more than {self._codec.bounds.max_depth} levels deep")
        elif value is None:
            node.set(_NIL, "true")
        elif isinstance(value, dict):
            self._object(node, value, self._shapes.of(self._codec.maps.any_type), path, depth)
        else:
            text = loose_text(value)
            if text is None:
                self._problem(path, "is an array (accepted: an object, a string, a number, a boolean, null)")
            else:
                node.text = self._clean(text, path)


class _Reading:
    """XML on its way to JSON."""

    def __init__(self, codec: JsonCodec) -> None:
        self._codec = codec
        self._shapes = codec.shapes
        self._left = codec.bounds.max_nodes

    def element(self, element: XsdElement, node: etree._Element, depth: int) -> Any:
        self._bound(node, depth)
        xsd_type, said = self._type_of(element, node)
        shape = self._shapes.of(xsd_type)
        nil = node.get(_NIL, "").strip() in ("true", "1")
        if shape.content == "any" and not said:
            return self.loose(node, depth)
        if shape.content == "value":
            value = None if nil else self._value(node, shape, element)
            return {_JSON_TYPE: said, _TEXT: value} if said else value
        found: dict[str, Any] = {_JSON_TYPE: said} if said else {}
        self._attributes(found, node, shape)
        if nil:
            return {_JSON_NIL: True, **found} if found else None
        if shape.content == "text":
            found[_TEXT] = self._value(node, shape, element)
        else:
            self._members(found, node, shape, depth)
            found = {name: found[name] for name in shape.members if name in found} | found
        return found

    def _bound(self, node: etree._Element, depth: int) -> None:
        bounds = self._codec.bounds
        self._left -= 1 + len(node.attrib)
        if self._left < 0:
            raise JsonError((Problem("/", f"goes beyond {bounds.max_nodes} elements and attributes"),))
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
            found = self._codec.maps.get_instance_type(tag, element.type, {})
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
            elif not name.startswith(_XSI_PREFIX):
                found[f"@{name}"] = value

    def _members(self, found: dict[str, Any], node: etree._Element, shape: Shape, depth: int) -> None:
        for member in shape.members.values():
            if member.many and not member.substitute:
                found[member.name] = []
        if shape.mixed:
            text = _text_of(node)
            if text.strip():
                found[_TEXT] = text
        for child in node.iterchildren(tag=etree.Element):
            tag = str(child.tag)
            known = shape.tags.get(tag)
            if known is not None:
                value = self.element(known.element, child, depth + 1)
                _put(found, known.name, value, many=known.many)
            else:
                element = self._codec.maps.elements.get(tag) if shape.wildcard else None
                value = self.loose(child, depth + 1) if element is None else self.element(element, child, depth + 1)
                name = f"{{}}{tag}" if tag in shape.members else tag
                _put(found, name, value, many=shape.wildcard > 1)

    def loose(self, node: etree._Element, depth: int) -> Any:
        """The value of an element that no schema tells of: a string, or an object if it has attributes or children."""
        self._bound(node, depth)
        if node.get(_NIL, "").strip() in ("true", "1"):
            return None
        found: dict[str, Any] = {
            f"@{name}": str(value) for name, value in node.attrib.items() if not str(name).startswith(_XSI_PREFIX)
        }
        text = _text_of(node)
        children = list(node.iterchildren(tag=etree.Element))
        if not found and not children:
            return text
        if text.strip():
            found[_TEXT] = text
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


def _known(shape: Shape) -> str:
    names = [*shape.members, *shape.attributes]
    if not names:
        return " (nothing is)"
    return f" (known: {', '.join(names[:20])}{', …' if len(names) > 20 else ''})"


def _with_members(shape: Shape) -> str:
    if shape.content == "text":
        return f" with {_TEXT}"
    return f" with {', '.join(list(shape.members)[:20])}" if shape.members else ""
