"""JSON Schema (2020-12) of the elements of an XML schema, as the codec reads and writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xmlschema.validators import XsdComplexType, XsdComponent, XsdElement, XsdGroup

from daemun_soap.facade.models import UNBOUNDED
from daemun_soap.facade.schema_values import value_schema
from daemun_soap.facade.shapes import JSON_NIL, JSON_TYPE, TEXT, AnyType, Member, Shape, Shapes
from daemun_soap.facade.values import read_value
from daemun_soap.names import XSD, local_name

__all__ = ["JsonSchemas", "documentation_of"]

_NOT_IN_NAME = re.compile(r"[^A-Za-z0-9._-]")


def documentation_of(component: XsdComponent) -> str:
    """What `xs:documentation` says of a component."""
    annotation = component.annotation
    if annotation is None:
        return ""
    texts = (" ".join("".join(element.itertext()).split()) for element in annotation.documentation)
    return "\n\n".join(text for text in texts if text)


class JsonSchemas:
    """Makes schemas; what has a name, or holds itself, becomes a component."""

    def __init__(self, shapes: Shapes, prefix: str = "#/components/schemas/") -> None:
        self.components: dict[str, Any] = {}
        """Schemas by name, all that others refer to."""
        self._shapes = shapes
        self._prefix = prefix
        self._names: dict[object, str] = {}
        self._heirs = _heirs(shapes)

    def element(self, element: XsdElement) -> dict[str, Any]:
        """The schema of the values of an element."""
        found = self._of_type(element)
        facts: dict[str, Any] = {}
        description = documentation_of(element)
        if description:
            facts["description"] = description
        for word, text in (("const", element.fixed), ("default", element.default)):
            shape = self._shapes.of(element.type)
            if text is not None and shape.content == "value" and shape.value is not None:
                facts[word] = read_value(text, shape.value, {})
        if element.nillable:
            found = self._nillable(found, self._shapes.of(element.type))
            facts.pop("const", None)
        return {**found, **facts}

    def _nillable(self, found: dict[str, Any], shape: Shape) -> dict[str, Any]:
        if not found:
            return found
        if shape.attributes or shape.any_attribute:
            nil = {"type": "object", "properties": {JSON_NIL: {"const": True}}, "required": [JSON_NIL]}
            return {"anyOf": [found, nil, {"type": "null"}]}
        if isinstance(found.get("type"), str) and "enum" not in found:
            return {**found, "type": [found["type"], "null"]}
        return {"anyOf": [found, {"type": "null"}]}

    def _of_type(self, element: XsdElement) -> dict[str, Any]:
        xsd_type = element.type
        shape = self._shapes.of(xsd_type)
        if shape.content == "any":
            return {}
        if shape.content == "value" and shape.value is not None:
            return self._simple(xsd_type)
        own = self._reference(xsd_type, (element.ref or element).name if element.parent is None or element.ref else "")
        heirs = self._heirs.get(xsd_type, ())
        if not heirs:
            return own
        others = [
            {**self._reference(heir, ""), "required": [JSON_TYPE]}
            for heir in heirs
            if not getattr(heir, "abstract", False)
        ]
        return {"anyOf": others if xsd_type.abstract else [own, *others]}

    def _simple(self, xsd_type: AnyType) -> dict[str, Any]:
        shape = self._shapes.of(xsd_type)
        assert shape.value is not None
        if not xsd_type.name or xsd_type.name.startswith(f"{{{XSD}}}"):
            return value_schema(shape.value)
        name = self._names.get(xsd_type)
        if name is None:
            name = self._named(xsd_type, xsd_type.name)
            description = documentation_of(xsd_type)
            schema = value_schema(shape.value)
            self.components[name] = {**schema, "description": description} if description else schema
        return {"$ref": self._prefix + name}

    def _reference(self, xsd_type: AnyType, element_name: str) -> dict[str, Any]:
        """A complex type: a component if it or its element has a name, otherwise where it is used."""
        name = self._names.get(xsd_type)
        if name is None:
            called = xsd_type.name or element_name
            if not called:
                return self._object(xsd_type)
            name = self._named(xsd_type, called)
            self.components[name] = {}
            self.components[name] = self._object(xsd_type)
        return {"$ref": self._prefix + name}

    def _named(self, xsd_type: AnyType, called: str) -> str:
        plain = _NOT_IN_NAME.sub("_", local_name(called)) or "type"
        name, number = plain, 2
        while name in self.components:
            name, number = f"{plain}_{number}", number + 1
        self._names[xsd_type] = name
        return name

    def _object(self, xsd_type: AnyType) -> dict[str, Any]:
        shape = self._shapes.of(xsd_type)
        properties: dict[str, Any] = {}
        required: list[str] = []
        if isinstance(xsd_type, XsdComplexType) and xsd_type.name:
            properties[JSON_TYPE] = {"enum": [self._shapes.type_name(xsd_type), self._shapes.qname(xsd_type)]}
        for attribute in shape.attributes.values():
            properties[attribute.name] = value_schema(attribute.type)
            if attribute.required:
                required.append(attribute.name)
        for member in shape.members.values():
            properties[member.name] = self._member(member)
            if member.least:
                required.append(member.name)
        if shape.content == "text" and shape.value is not None:
            properties[TEXT] = value_schema(shape.value)
            required.append(TEXT)
        elif shape.mixed:
            properties[TEXT] = {"type": "string"}
        found: dict[str, Any] = {"type": "object"}
        description = documentation_of(xsd_type)
        if description:
            found["description"] = description
        if properties:
            found["properties"] = properties
        if required:
            found["required"] = required
        choices = [] if shape.group is None else list(_choices(shape.group, shape))
        if len(choices) == 1:
            found["oneOf"] = choices[0]
        elif choices:
            found["allOf"] = [{"oneOf": choice} for choice in choices]
        if not shape.wildcard and not shape.any_attribute:
            found["additionalProperties"] = False
        return found

    def _member(self, member: Member) -> dict[str, Any]:
        schema = self.element(member.element)
        if not member.many:
            return schema
        found: dict[str, Any] = {"type": "array", "items": schema}
        if member.least:
            found["minItems"] = member.least
        if member.most < UNBOUNDED:
            found["maxItems"] = member.most
        return found


def _heirs(shapes: Shapes) -> dict[AnyType, list[AnyType]]:
    """The global complex types that may stand for others."""
    found: dict[AnyType, list[AnyType]] = {}
    for heir in shapes.maps.types.values():
        if not isinstance(heir, XsdComplexType) or (heir.name or "").startswith(f"{{{XSD}}}"):
            continue
        base: Any = heir.base_type
        while base is not None and isinstance(base, XsdComplexType) and base.name != f"{{{XSD}}}anyType":
            found.setdefault(base, []).append(heir)
            base = base.base_type
    return found


def _choices(group: XsdGroup, shape: Shape) -> Iterator[list[dict[str, Any]]]:
    """The choices of which exactly one member must be there, as far as JSON tells that by names."""
    if group.max_occurs != 1 or group.min_occurs != 1:
        return
    if group.model != "choice":
        for part in group:
            if isinstance(part, XsdGroup):
                yield from _choices(part, shape)
        return
    names = []
    for part in group:
        member = shape.tags.get(part.name) if isinstance(part, XsdElement) else None
        alone = member is not None and member.most == 1 and part.min_occurs == 1
        if not alone or member is None or next(iter(member.element.iter_substitutes()), None) is not None:
            return
        names.append(member.name)
    yield [{"required": [name]} for name in names]
