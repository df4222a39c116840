"""All schemas of a WSDL as one: typed by xmlschema, and compiled by libxml2, neither of which opens anything."""

from __future__ import annotations

import hashlib
import io
from email.message import Message
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import BaseHandler, OpenerDirector, Request
from urllib.response import addinfourl

import xmlschema
from lxml import etree
from xmlschema.validators import XMLSchemaModelError

from daemun import SettingsError
from daemun_soap.names import XSD, qualified
from daemun_soap.wsdl.gaps import Gaps
from daemun_soap.wsdl.patterns import make_linear

__all__ = ["HOST", "SchemaDocuments", "compiled_schema", "namespace_location", "typed_schema"]

HOST = "http://schemas.invalid/"
"""Where the documents are said to be: nothing is ever fetched there."""

_IMPORT = qualified(XSD, "import")


class SchemaDocuments(NamedTuple):
    """Schemas that refer to nothing but each other, by their made-up locations."""

    top: str
    """The location of the document that imports all namespaces."""
    by_location: dict[str, bytes]
    namespaces: frozenset[str]
    gaps: Gaps
    """What is missing in them, and what whoever reads on does not understand."""

    def with_schemas(self, schemas: dict[str, bytes]) -> SchemaDocuments:
        """The same with more, by their target namespaces; these may import `namespace_location(...)`."""
        places = {namespace: f"{HOST}more/{number}.xsd" for number, namespace in enumerate(schemas)}
        top = etree.fromstring(self.by_location[self.top])
        for namespace, place in places.items():
            etree.SubElement(top, _IMPORT, namespace=namespace, schemaLocation=place)
        more = {places[namespace]: data for namespace, data in schemas.items()}
        return SchemaDocuments(
            self.top,
            {**self.by_location, **more, self.top: etree.tostring(top)},
            self.namespaces | frozenset(schemas),
            self.gaps,
        )


def namespace_location(namespace: str) -> str:
    """Where the document is said to be that has all of `namespace`."""
    return f"{HOST}ns/{hashlib.sha256(namespace.encode()).hexdigest()[:16]}.xsd"


class _Memory(BaseHandler):
    """Opens documents by their made-up locations, and nothing else."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        self._documents = documents

    def default_open(self, request: Request) -> addinfourl:
        data = self._documents.get(request.full_url)
        if data is None:
            raise URLError(f"{request.full_url} is not among the documents of the wsdl")
        return addinfourl(io.BytesIO(data), Message(), request.full_url, 200)


class _Resolver(etree.Resolver):
    """The same for lxml."""

    def __init__(self, documents: dict[str, bytes]) -> None:
        super().__init__()
        self._documents = documents

    def resolve(self, system_url: str | None, public_id: str | None, context: Any) -> Any:
        return self.resolve_string(self._documents.get(system_url or "", b""), context, base_url=system_url)


def typed_schema(schemas: SchemaDocuments) -> xmlschema.XMLSchema:
    """All components, with their types. What cannot be resolved is of any type, and one of the gaps.

    Raises `SettingsError` for schemas that cannot be used at all.
    """
    opener = OpenerDirector()
    opener.add_handler(_Memory(schemas.by_location))
    try:
        schema = xmlschema.XMLSchema(
            schemas.top, validation="lax", opener=opener, use_fallback=False, defuse="never", timeout=1
        )
    except (xmlschema.XMLSchemaException, OSError, RecursionError) as error:
        raise SettingsError(f"wsdl {schemas.gaps.location}: its schemas cannot be used: {error}") from error
    for fault in schema.maps.all_errors:
        # content that could be meant in two ways is checked, as one of them
        told = schemas.gaps.left_out if isinstance(fault, XMLSchemaModelError) else schemas.gaps.misread
        told(f"schema: {fault.message}")
    make_linear(schema, schemas.gaps)
    return schema


def compiled_schema(schemas: SchemaDocuments) -> etree.XMLSchema | None:
    """The same in C, for messages; None where libxml2 cannot make sense of the schemas."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    parser.resolvers.add(_Resolver(schemas.by_location))
    try:
        return etree.XMLSchema(etree.fromstring(schemas.by_location[schemas.top], parser, base_url=schemas.top))
    except etree.XMLSchemaParseError as error:
        schemas.gaps.left_out(f"its schemas cannot be compiled, which makes checks slow: {error}")
        return None
