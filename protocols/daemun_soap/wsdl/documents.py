"""The documents that a WSDL is made of: itself and all that it imports or includes, read by file or by HTTP.

Whatever is read is bounded (documents, bytes, depth, seconds) and parsed without DTD, entities or network. Schemas of
well-known namespaces are never fetched: `known.py` has them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    url2pathname,
)

import anyio.to_thread
from lxml import etree

from daemun import SettingsError
from daemun_soap.names import WSDL, XSD, local_name, qualified
from daemun_soap.wsdl.gaps import Gaps
from daemun_soap.wsdl.known import known_schema

__all__ = [
    "FETCH_SECONDS",
    "MAX_DEPTH",
    "MAX_DOCUMENTS",
    "MAX_DOCUMENT_BYTES",
    "MAX_REDIRECTS",
    "MAX_TOTAL_BYTES",
    "Document",
    "Documents",
    "Reference",
    "load_documents",
    "parse_document",
    "place_of",
    "referring",
    "shown",
]

MAX_DOCUMENTS = 128
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024
MAX_TOTAL_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 32
"""Documents that refer to each other in a row."""
MAX_REDIRECTS = 5
FETCH_SECONDS = 10.0
"""How long one document may take."""

_DEFINITIONS = qualified(WSDL, "definitions")
_SCHEMA = qualified(XSD, "schema")
_IMPORT = qualified(XSD, "import")
_WSDL_IMPORT = qualified(WSDL, "import")
_REFERENCES = (_WSDL_IMPORT, _IMPORT, qualified(XSD, "include"), qualified(XSD, "redefine"))
_BLANK = b" \t\r\n"
_HTTP = ("http", "https")


class Reference(NamedTuple):
    """An import, include or redefine that names a location."""

    element: etree._Element
    target: str | None
    """The location of the document that it means; None: it could not be read."""


class Document(NamedTuple):
    """One document: a WSDL (`wsdl:definitions`) or a schema (`xs:schema`)."""

    location: str
    data: bytes
    root: etree._Element
    references: tuple[Reference, ...]

    @property
    def is_schema(self) -> bool:
        """Whether it is a schema and no WSDL."""
        return self.root.tag == _SCHEMA


class Documents(NamedTuple):
    """A WSDL with all that it refers to; `by_location` begins with the WSDL itself."""

    main: Document
    by_location: dict[str, Document]
    gaps: Gaps
    """What could not be read, and what whoever reads on finds missing."""


class _Unread(Exception):
    """A document that is not there or does not answer: an import of it is a gap."""


async def load_documents(location: str, base_dir: Path) -> Documents:
    """The WSDL at `location`, a file (relative to `base_dir`) or an http(s) URL, and all that it refers to.

    An import that cannot be read, or that is neither WSDL nor schema, is one of its `gaps`. Raises `SettingsError` if
    the WSDL itself is none, if a document has a DOCTYPE, or if there is too much to read.
    """
    return await anyio.to_thread.run_sync(_load, location, base_dir, abandon_on_cancel=True)


def parse_document(data: bytes) -> etree._Element:
    """The root of an XML document; opens nothing and expands nothing. Raises `ValueError` if it is not well-formed.

    What is wrong with namespaces alone is forgiven: prefixes without a declaration in policies, namespaces that are no
    URIs.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, recover=True)
    root = etree.fromstring(data.lstrip(_BLANK), parser)
    for entry in parser.error_log:
        if entry.domain_name != "NAMESPACE":
            raise ValueError(f"line {entry.line}: {entry.message}")
    if root is None:
        raise ValueError("it is empty")
    return root


def referring(root: etree._Element) -> Iterator[etree._Element]:
    """What refers to another document by its location, in order."""
    return (element for element in root.iter(*_REFERENCES) if element.get(place_of(element)))


def place_of(element: etree._Element) -> str:
    """The attribute that holds the location."""
    return "location" if element.tag == _WSDL_IMPORT else "schemaLocation"


def shown(location: str) -> str:
    """A location for messages: without the name and password that a URL may have."""
    parts = urlsplit(location)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _refused(location: str, words: str) -> SettingsError:
    return SettingsError(f"wsdl document {shown(location)} {words}")


def _load(location: str, base_dir: Path) -> Documents:
    first = _absolute(location, base_dir)
    loader = _Loader(Gaps(shown(first)))
    try:
        main = loader.read(first)
    except _Unread as error:
        accepted = "(accepted: WSDL 1.1 in a file, relative to the settings file, or at an http or https URL)"
        raise _refused(first, f"cannot be used: {error} {accepted}") from error
    if main.is_schema:
        raise _refused(first, "is a schema (accepted: WSDL 1.1)")
    waiting = deque([(main, 1)])
    while waiting:
        document, depth = waiting.popleft()
        for target in {reference.target: None for reference in document.references}:
            if target is None or target in loader.documents:
                continue
            if depth >= MAX_DEPTH:
                raise _refused(first, f"has imports deeper than {MAX_DEPTH} documents")
            try:
                waiting.append((loader.read(target), depth + 1))
            except _Unread as error:
                loader.pass_by(document.location, target, error)
    read = loader.documents
    kept = {
        place: document._replace(
            references=tuple(
                Reference(element, target if target in read else None) for element, target in document.references
            )
        )
        for place, document in read.items()
    }
    return Documents(kept[first], kept, loader.gaps)


def _absolute(location: str, base_dir: Path) -> str:
    try:
        scheme = urlsplit(location).scheme
    except ValueError:
        raise SettingsError("the location of the wsdl is malformed (accepted: a path, an http or https URL)") from None
    if scheme in _HTTP or scheme == "file":
        return location
    return (base_dir / location).resolve().as_uri()


class _Loader:
    """Reads documents, each once, and counts what they cost."""

    def __init__(self, gaps: Gaps) -> None:
        self.documents: dict[str, Document] = {}
        self.gaps = gaps
        self._fetched: dict[str, tuple[bytes, str] | None] = {}
        self._bytes = 0

    def read(self, location: str) -> Document:
        """The document, with its references looked up. Raises `_Unread`, `SettingsError`."""
        data, base = self._fetch(location)
        try:
            root = parse_document(data)
        except (etree.XMLSyntaxError, ValueError) as error:
            raise _Unread(f"it is no well-formed XML: {error}") from error
        if root.tag not in (_DEFINITIONS, _SCHEMA):
            raise _Unread(f"it begins with {local_name(str(root.tag))}, and is neither WSDL 1.1 nor a schema")
        if root.getroottree().docinfo.internalDTD is not None:
            raise _refused(location, "has a DOCTYPE (accepted: WSDL and schemas without one)")
        references = tuple(
            Reference(element, self._look_up(element, element.get(place_of(element), ""), base))
            for element in referring(root)
        )
        document = Document(location, data, root, references)
        self.documents[location] = document
        return document

    def pass_by(self, location: str, target: str, error: _Unread) -> None:
        """An import that is done without."""
        by = "" if shown(location) == self.gaps.location else f" by {shown(location)}"
        self.gaps.unread(f"{shown(target)}, which is imported{by}, cannot be read: {error}")

    def _look_up(self, element: etree._Element, place: str, base: str) -> str | None:
        try:
            target = urldefrag(urljoin(base, quote(place.strip().replace("\\", "/"), safe="/:?#[]@!$&'()*+,;=%~"))).url
        except ValueError:
            raise _refused(base, "refers to a malformed location") from None
        if urlsplit(base).scheme in _HTTP and urlsplit(target).scheme == "file":
            raise _refused(base, f"refers to the file {place!r} (accepted by HTTP: http and https URLs)")
        if target in self._fetched:
            return target if self._fetched[target] is not None else None
        namespace = element.get("namespace", "") if element.tag == _IMPORT else ""
        if namespace == XSD:
            return None  # the schema of schemas is known to all
        stand_in = known_schema(namespace)
        if stand_in is not None and self._needs_stand_in(target):
            self._keep(target, stand_in, target)
            return target
        try:
            self._fetch(target)
        except _Unread as error:
            self.pass_by(base, target, error)
            self._fetched[target] = None
            return None
        return target

    def _needs_stand_in(self, target: str) -> bool:
        """Whether a schema that is known is read from here: it is one of the web, missing, or has a DOCTYPE."""
        if urlsplit(target).scheme in _HTTP:
            return True
        try:
            return b"<!DOCTYPE" in self._fetch(target)[0]
        except _Unread:
            return True

    def _fetch(self, location: str) -> tuple[bytes, str]:
        """The bytes, and the location that relative ones start from."""
        fetched = self._fetched.get(location)
        if fetched is None:
            scheme = urlsplit(location).scheme
            if scheme == "file":
                fetched = _from_file(location), location
            elif scheme in _HTTP:
                fetched = _from_web(location)
            else:
                raise _Unread(f"its scheme is {scheme!r} (accepted: http, https, file)")
            self._keep(location, *fetched)
        return fetched

    def _keep(self, location: str, data: bytes, base: str) -> None:
        known = self._fetched.get(location)
        self._bytes += len(data) - (len(known[0]) if known is not None else 0)
        self._fetched[location] = data, base
        if self._bytes > MAX_TOTAL_BYTES:
            raise _refused(location, f"is too much: all documents are longer than {MAX_TOTAL_BYTES} bytes")
        if len(self._fetched) > MAX_DOCUMENTS:
            raise _refused(location, f"is one too many (accepted: {MAX_DOCUMENTS} documents)")


def _from_file(location: str) -> bytes:
    try:
        with open(url2pathname(urlsplit(location).path), "rb") as file:
            return _bounded(file, location)
    except OSError as error:
        raise _Unread(error.strerror or str(error)) from error


def _from_web(location: str) -> tuple[bytes, str]:
    headers = {"Accept": "text/xml, application/xml, application/wsdl+xml, */*;q=0.5", "User-Agent": "daemun"}
    try:
        with _opener().open(Request(location, headers=headers), timeout=FETCH_SECONDS) as response:
            return _bounded(response, location), response.url
    except HTTPError as error:
        error.close()
        raise _Unread(f"the answer was HTTP {error.code}") from error
    except URLError as error:
        raise _Unread(str(error.reason)) from error
    except (OSError, ValueError) as error:
        raise _Unread(str(error)) from error


def _bounded(file: BufferedIOBase, location: str) -> bytes:
    ends = monotonic() + FETCH_SECONDS
    data = bytearray()
    while chunk := file.read1(65536):
        data += chunk
        if len(data) > MAX_DOCUMENT_BYTES:
            raise _refused(location, f"is longer than {MAX_DOCUMENT_BYTES} bytes")
        if monotonic() > ends:
            raise _Unread(f"it took longer than {FETCH_SECONDS:g} s")
    return bytes(data)


class _Redirects(HTTPRedirectHandler):
    """Follows a few redirects, to http and https only."""

    max_redirections = MAX_REDIRECTS

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        if urlsplit(newurl).scheme not in _HTTP:
            fp.close()
            raise URLError(f"redirected to {shown(newurl)} (accepted: http, https)")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    opener = OpenerDirector()
    handlers = (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects)
    for handler in handlers:
        opener.add_handler(handler())
    return opener
