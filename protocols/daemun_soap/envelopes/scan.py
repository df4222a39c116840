"""An envelope on its way: which operation it asks for, as soon as it says so, and whether it is one envelope at all."""

from __future__ import annotations

import gc

from lxml import etree

from daemun_soap.envelopes.fault import Code, FaultError
from daemun_soap.envelopes.hardened import Document, crowded, learning, parser_options, tree, xml_error
from daemun_soap.envelopes.limits import Limits
from daemun_soap.envelopes.prolog import malformed
from daemun_soap.names import SOAP11, SOAP12, WSA, Version, qualified

__all__ = ["EnvelopeScan"]

_SPOKEN = ((SOAP11, Version.V1_1), (SOAP12, Version.V1_2))
_VERSIONS = {qualified(uri, "Envelope"): version for uri, version in _SPOKEN}
_TAGS = {version: (qualified(uri, "Header"), qualified(uri, "Body")) for uri, version in _SPOKEN}
_ADDRESSING = (WSA, *(f"http://schemas.xmlsoap.org/ws/{when}/addressing" for when in ("2004/08", "2004/03", "2003/03")))
"""All versions of WS-Addressing that back ends read."""
_ACTIONS = tuple(qualified(namespace, "Action") for namespace in _ADDRESSING)


class _Left:
    """What parsers were fed that may still be there: each is in a circle with what it holds."""

    bytes = 0


_LEFT = _Left()
_MAX_LEFT_BYTES = 16 * 1024 * 1024


class EnvelopeScan:
    """Reads one envelope, whole or in pieces; it keeps none of the bytes.

    Only the Body that is a child of the Envelope counts. `feed`, `read` and `close` raise `ExchangeError`; after that
    the scan is of no more use.
    """

    __slots__ = (
        "_document",
        "_doubled",
        "_expected",
        "_headed",
        "_later",
        "_parser",
        "_root",
        "_size",
        "foreign",
        "operation",
        "siblings",
        "version",
        "wsa_action",
    )

    def __init__(self, limits: Limits, charset: str = "", version: Version | None = None) -> None:
        self.version: Version | None = None
        self.operation: str | None = None
        """The qualified name of the Body's first child; "": an empty Body; None: not known yet."""
        self.wsa_action: str | None = None
        """The Action of WS-Addressing in the header."""
        self.foreign = False
        """Whether it turned out to be XML of another kind."""
        self.siblings = False
        """Whether the Body has more than one child, as far as it is known."""
        self._parser: etree.XMLPullParser[etree._Element] | None = None
        self._root: etree._Element | None = None
        self._later: list[bytes] | None = None
        """What is parsed as a whole, in the end."""
        self._document = Document(limits, charset)
        self._doubled = 0
        self._expected = version
        self._headed = False
        self._size = 0

    def read(self, data: bytes) -> None:
        """Reads all of it."""
        document = self._document
        content = document.feed(data, last=True)
        self._check_name()
        document.close()
        learning(len(content), lambda: self._settle(tree(content, document.encoding)))

    def feed(self, data: bytes) -> None:
        """Reads the next bytes."""
        self._size += len(data)
        try:
            self._feed(data)
        except BaseException:
            self._drop()
            raise

    def close(self) -> None:
        """Ends it. Raises `ExchangeError` if it is not complete, or no envelope."""
        try:
            self._close()
        finally:
            self._drop()

    def __del__(self) -> None:
        self._drop()

    def _drop(self) -> None:
        """Frees the tree: a parser that reads in pieces is in a circle, which only a rare collection finds."""
        parser, root = self._parser, self._root
        self._parser = self._root = self._later = None
        if parser is not None:
            _free(parser, root)
            _LEFT.bytes += self._size

    def _feed(self, data: bytes) -> None:
        content = self._document.feed(data)
        if not content:
            return
        if self._later is not None:
            self._later.append(content)
            self._look_ahead(self._later)
            return
        if self._parser is None:
            self._check_name()
            if crowded():
                self._later = [content]
                self._look_ahead(self._later)
                return
            self._parser = self._new_parser()
        learning(len(content), lambda: self._parse(content))

    def _close(self) -> None:
        self._document.close()
        self._check_name()
        if self._later is not None:
            content = b"".join(self._later)
            learning(len(content), lambda: self._settle(tree(content, self._document.encoding)))
            return
        assert self._parser is not None
        try:
            root = self._parser.close()
        except (etree.LxmlError, ValueError) as error:
            raise xml_error(error) from None
        self._root = root
        self._settle(root)

    def _check_name(self) -> None:
        prolog = self._document.prolog
        if prolog is not None and prolog.root != "Envelope":
            self.foreign = True
            raise malformed("it is no Envelope")

    def _new_parser(self) -> etree.XMLPullParser[etree._Element]:
        if _LEFT.bytes > _MAX_LEFT_BYTES:
            _LEFT.bytes = 0
            gc.collect(1)
        return etree.XMLPullParser(("start",), tag="{*}Envelope", **parser_options(self._document.encoding))

    def _parse(self, content: bytes) -> None:
        assert self._parser is not None
        root = self._root = _fed(self._parser, content, self._root)
        if root is not None:
            self._look(root)

    def _look_ahead(self, pieces: list[bytes]) -> None:
        """Parses what came so far, elsewhere, each time that it has doubled, until the operation is known."""
        size = sum(map(len, pieces))
        if self.operation is not None or size < self._doubled:
            return
        self._doubled = 2 * size

        def work() -> None:
            parser, root = self._new_parser(), None
            try:
                root = _fed(parser, b"".join(pieces), None)
                if root is not None:
                    self._look(root)
            finally:
                _free(parser, root)  # in the thread that made them

        learning(size, work)

    def _settle(self, root: etree._Element) -> None:
        """What a complete tree says."""
        self._document.check(root)
        body = self._look(root)
        if body is None:
            raise malformed("an Envelope without a Body")
        if self.operation is None:
            self.operation = ""

    def _look(self, root: etree._Element) -> etree._Element | None:
        """The Body, if it is there yet. What is already there must be right."""
        header_tag, body_tag = _TAGS[self.version or self._told(root)]
        header = body = None
        for child in root:
            tag = child.tag
            if body is not None:
                raise malformed("something follows the Body")
            if tag == body_tag:
                body = child
            elif tag == header_tag and header is None:
                header = child
            else:
                raise malformed("an Envelope with something else than one Header and one Body")
        if body is not None:
            if not self._headed:
                self._headed = True
                self._look_at_header(header)
            self._look_into(body)
        return body

    def _told(self, root: etree._Element) -> Version:
        version = _VERSIONS.get(str(root.tag))
        if version is None:
            self.foreign = True
            raise FaultError(
                Code.VERSION_MISMATCH, "an Envelope of no known version of SOAP; accepted: those of SOAP 1.1 and 1.2"
            )
        if self._expected is not None and version is not self._expected:
            raise FaultError(
                Code.VERSION_MISMATCH,
                f"an Envelope of SOAP {version.value} in a message whose content-type says SOAP {self._expected.value}",
            )
        self.version = version
        return version

    def _look_into(self, body: etree._Element) -> None:
        for first in body:
            if not isinstance(first.tag, str):
                raise malformed("a processing instruction, which SOAP forbids")
            self.operation = first.tag
            self.siblings = first.getnext() is not None
            return

    def _look_at_header(self, header: etree._Element | None) -> None:
        if header is None:
            return
        actions = [child.text or "" for child in header if child.tag in _ACTIONS]
        if len(actions) > 1:
            raise malformed("more than one Action of WS-Addressing")
        self.wsa_action = actions[0].strip() if actions else None


def _free(parser: etree.XMLPullParser[etree._Element], root: etree._Element | None) -> None:
    """Frees the tree: a parser that reads in pieces is in a circle with it, which only a rare collection finds."""
    try:
        parser.close()
    except (etree.LxmlError, ValueError):
        pass  # it is not complete, or was closed before
    if root is not None:
        root.clear()


def _fed(
    parser: etree.XMLPullParser[etree._Element], content: bytes, root: etree._Element | None
) -> etree._Element | None:
    """The root, if it is known, once `content` was parsed."""
    try:
        parser.feed(content)
    except (etree.LxmlError, ValueError) as error:
        raise xml_error(error) from None
    return root if root is not None else next((element for _, element in parser.read_events()), None)
