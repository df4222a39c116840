"""XML from strangers: lxml behind caps. No DTD, no entities, no processing instructions, no network, one encoding.

libxml2 keeps every name that it ever met in a thread for as long as the thread lives. Names come from strangers here,
so once what was learnt is too much, documents are parsed in other threads, each until it has learnt as much.
"""

from __future__ import annotations

import codecs
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

from lxml import etree

from daemun import ExchangeError, Reason
from daemun_soap.envelopes.limits import MAX_DEPTH, Caps, Limits, too_much
from daemun_soap.envelopes.prolog import Prolog, malformed, read_prolog
from daemun_soap.envelopes.syntax import in_words, limit_of

__all__ = [
    "MAX_NAMESPACES",
    "Document",
    "crowded",
    "learning",
    "namespaces_around",
    "parse",
    "parser_options",
    "tree",
    "xml_error",
]

T = TypeVar("T")

MAX_NAMESPACES = 128
"""Namespaces around an element where each element costs all of them: in what is written in Python."""
_MAX_LEARNT_BYTES = 16 * 1024 * 1024


def parser_options(encoding: str) -> dict[str, Any]:
    """How every parser here is made."""
    return {
        "encoding": encoding,
        "resolve_entities": False,
        "no_network": True,
        "load_dtd": False,
        "dtd_validation": False,
        "huge_tree": False,
        "recover": False,
        "remove_comments": True,
        "collect_ids": False,
    }


def xml_error(error: Exception) -> ExchangeError:
    """What a parser says, without what it read."""
    if not isinstance(error, etree.XMLSyntaxError):
        return malformed("not well-formed")
    limit = limit_of(error)
    if limit:
        return too_much(limit)
    words = in_words(error)
    return malformed(f"{words}, line {error.lineno}" if error.lineno else words)


class Document:
    """A document on its way to a parser: its prolog is read, its caps are counted, its encoding is told.

    `feed` gives what the parser may have: nothing until the prolog is over, then bytes in `encoding`.
    """

    __slots__ = (
        "_caps",
        "_charset",
        "_decoder",
        "_enough",
        "_held",
        "_limits",
        "_open",
        "encoding",
        "prolog",
        "suspect",
    )

    def __init__(self, limits: Limits, charset: str = "") -> None:
        self.prolog: Prolog | None = None
        self.encoding = ""
        """What the parser is to be told, once `prolog` is there."""
        self._caps = Caps(limits)
        self._charset = charset
        self._decoder: codecs.IncrementalDecoder | None = None
        self._enough = 0
        self._held = b""
        self._limits = limits
        self._open = False
        self.suspect = False
        """Whether there may be processing instructions in it."""

    def feed(self, data: bytes, *, last: bool = False) -> bytes:
        """What may be parsed now. Raises `ExchangeError` for what may not be parsed at all."""
        at = 0
        if self.prolog is None:
            data = self._held + data if self._held else data
            if len(data) >= self._enough or last:
                self.prolog = read_prolog(data, self._charset)
                self._enough = 2 * len(data)
            if self.prolog is None:
                self._held = data
                return b""
            self._held = b""
            self.encoding = self.prolog.encoding
            if self.encoding == "utf-16":
                self.encoding = "utf-8"
                self._decoder = codecs.getincrementaldecoder("utf-16")()
            at = self.prolog.size or 6  # behind the beginning of an XML declaration
        if self._decoder is not None:
            data = self._decoded(data, final=False)
        self._caps.feed(data, last=last)
        if data.find(b"?", at) >= 0 and (data.find(b"<?", at) >= 0 or (self._open and data[:1] == b"?")):
            self.suspect = True
        self._open = data[-1:] == b"<"
        return data

    def close(self) -> None:
        """Raises `ExchangeError` if the document ends where it may not."""
        if self.prolog is None:
            raise malformed("it ends before its first element")
        if self._decoder is not None:
            self._decoded(b"", final=True)

    def check(self, root: etree._Element) -> None:
        """Raises `ExchangeError` for what only the complete tree can tell: its depth, and processing instructions."""
        if self.suspect and root.xpath("boolean(//processing-instruction())"):
            raise malformed("a processing instruction, which SOAP forbids")
        depth = self._limits.max_depth
        if depth < MAX_DEPTH and _beyond(depth)(root):
            raise too_much(f"more than {depth} levels of elements")

    def _decoded(self, data: bytes, *, final: bool) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decode(data, final).encode()
        except UnicodeError:
            raise malformed("it is no UTF-16") from None


def parse(data: bytes, limits: Limits, charset: str = "", *, reason: Reason = Reason.BAD_REQUEST) -> etree._Element:
    """The root of a document. Comments are left out.

    Raises `ExchangeError` with `reason` if it is malformed, or `CONTENT_TOO_LARGE` (of an answer: `reason` too).
    """
    try:
        document = Document(limits, charset)
        content = document.feed(data, last=True)
        document.close()
        root = learning(len(content), lambda: tree(content, document.encoding))
        document.check(root)
    except ExchangeError as error:
        if reason is Reason.BAD_REQUEST:
            raise
        raise ExchangeError(reason, error.message) from None
    return root


def namespaces_around(root: etree._Element) -> int:
    """How many declarations of namespaces are in force at most, those that are declared again counted twice."""
    now = most = 0
    for event, _ in etree.iterwalk(root, events=("start-ns", "end-ns")):
        now += 1 if event == "start-ns" else -1
        most = max(most, now)
    return most


def crowded() -> bool:
    """Whether so much was learnt that documents are parsed elsewhere, each as a whole."""
    return _LEARNT.bytes > _MAX_LEARNT_BYTES


def learning(size: int, work: Callable[[], T]) -> T:
    """What `work` returns, which parses a document of `size` bytes. It may run in another thread."""
    if crowded():
        return _elsewhere(size, work)
    before = _names()
    try:
        return work()
    finally:
        if _names() > before:
            _LEARNT.bytes += size


class _Learnt:
    """How much was parsed that held new names."""

    bytes = 0


_LEARNT = _Learnt()
_names: Callable[[], int] = etree.memory_debugger.dict_size  # type: ignore[attr-defined]


class _Elsewhere(threading.local):
    """Where a thread has its documents parsed: in another, until that has learnt too much itself."""

    def __init__(self) -> None:
        self.executor: ThreadPoolExecutor | None = None
        self.learnt_bytes = 0


_ELSEWHERE = _Elsewhere()


def _elsewhere(size: int, work: Callable[[], T]) -> T:
    place = _ELSEWHERE
    if place.executor is None or place.learnt_bytes > _MAX_LEARNT_BYTES:
        if place.executor is not None:
            place.executor.shutdown(wait=False)
        place.executor, place.learnt_bytes = ThreadPoolExecutor(1, "daemun-xml"), 0
    results: list[T] = []
    failures: list[Exception] = []

    def run() -> bool:
        before = _names()
        try:
            results.append(work())
        except Exception as error:
            failures.append(error)
        return _names() > before

    if place.executor.submit(run).result():
        place.learnt_bytes += size
    if failures:
        raise failures.pop()  # which no frame holds then
    return results[0]


@lru_cache(maxsize=64)
def _beyond(depth: int) -> etree.XPath:
    return etree.XPath(f"boolean({'/*' * (depth + 1)})")


class _Parsers(threading.local):
    """Parsers by encoding. A parser goes on with the names of the thread that made it, so each thread has its own."""

    def __init__(self) -> None:
        self.made: dict[str, etree.XMLParser[etree._Element]] = {}

    def parser(self, encoding: str) -> etree.XMLParser[etree._Element]:
        if encoding not in self.made:
            self.made[encoding] = etree.XMLParser(**parser_options(encoding))
        return self.made[encoding]


_PARSERS = _Parsers()


def tree(content: bytes, encoding: str) -> etree._Element:
    """The root of a document that `Document` let pass. Raises `ExchangeError` if it is not well-formed."""
    try:
        return etree.fromstring(content, _PARSERS.parser(encoding))
    except (etree.LxmlError, ValueError) as error:
        raise xml_error(error) from None
