"""Elements for what a WSDL gives a type and no element: wrappers and accessors of RPC, parts by `type`.

A schema validates elements. So there is one more schema, of elements made here, each of the type that the WSDL says.
"""

from __future__ import annotations

from collections.abc import Container

from lxml import etree

from daemun_soap.names import XSD, local_name, qualified
from daemun_soap.wsdl.model import Part
from daemun_soap.wsdl.schema import namespace_location

__all__ = ["ACCESSORS", "Accessors"]

ACCESSORS = "urn:daemun:soap:accessors"
"""The namespace of the elements."""

_ELEMENT = qualified(XSD, "element")


class Accessors:
    """A schema of elements for what has a type only: parts of RPC, and parts by `type` in document style."""

    def __init__(self, types: Container[str], namespaces: Container[str]) -> None:
        self._types = types
        self._namespaces = namespaces
        self._elements: list[etree._Element] = []
        self._prefixes = {XSD: "xs"}

    def element(self, part: Part) -> str:
        """The name of an element of the type of `part`."""
        return self._named(self._of(part))

    def wrapper(self, parts: tuple[Part, ...]) -> str:
        """The name of an element that wraps an accessor for each part, in any order."""
        element = etree.Element(_ELEMENT)
        wrapper = etree.SubElement(element, qualified(XSD, "complexType"))
        etree.SubElement(wrapper, qualified(XSD, "all")).extend(map(self._of, parts))
        etree.SubElement(wrapper, qualified(XSD, "anyAttribute"), namespace="##other", processContents="lax")
        return self._named(element)

    def schema(self) -> bytes:
        """All of it."""
        prefixes = {prefix: namespace for namespace, prefix in self._prefixes.items()}
        root = etree.Element(qualified(XSD, "schema"), targetNamespace=ACCESSORS, nsmap=prefixes)
        for namespace in self._prefixes.keys() - {XSD}:
            etree.SubElement(
                root, qualified(XSD, "import"), namespace=namespace, schemaLocation=namespace_location(namespace)
            )
        if "" in self._namespaces:
            etree.SubElement(root, qualified(XSD, "import"), schemaLocation=namespace_location(""))
        root.extend(self._elements)
        return etree.tostring(root)

    def _named(self, element: etree._Element) -> str:
        self._elements.append(element)
        element.set("name", f"m{len(self._elements)}")
        return qualified(ACCESSORS, f"m{len(self._elements)}")

    def _of(self, part: Part) -> etree._Element:
        element = etree.Element(_ELEMENT)
        name = part.element or part.type
        namespace = name[1:].partition("}")[0] if name.startswith("{") else ""
        if part.element:
            element.set("ref", self._prefixed(namespace, name))
        else:
            element.set("name", part.name)
            if name in self._types:
                element.set("type", self._prefixed(namespace, name))
        return element

    def _prefixed(self, namespace: str, name: str) -> str:
        if not namespace:
            return name
        prefix = self._prefixes.setdefault(namespace, f"n{len(self._prefixes)}")
        return f"{prefix}:{local_name(name)}"
