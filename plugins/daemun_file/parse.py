"""Bytes of a YAML, TOML or JSON file as plain data, with the line of every value where the format tells it.

YAML is built straight from the parser's events: no object is ever made by a tag, nesting and aliases are
bounded while they are read, duplicate keys are refused, and plain values are those of YAML 1.2 (`no` and `on`
are text).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from typing import Any

import yaml

__all__ = ["MAX_ALIASED_VALUES", "MAX_DEPTH", "SUFFIXES", "Path", "TextDocument", "UnreadableError", "parse"]

MAX_DEPTH = 64
MAX_ALIASED_VALUES = 100_000
_TAG = "tag:yaml.org,2002:"

Path = tuple[str | int, ...]
"""Keys and indices that lead from a document to a value in it."""


class UnreadableError(Exception):
    """A whole file that cannot be used: not well-formed, too big, not there. The text says where and why."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        self.line = line
        self.column = column
        super().__init__(f"line {line}, column {column}: {message}" if line else message)


class TextDocument:
    """One document of a file: its data, and the lines where its values begin."""

    __slots__ = ("_first", "_lines", "data")

    def __init__(self, data: Any, lines: dict[int, dict[str | int, int]] | None = None, first: int = 0) -> None:
        self.data = data
        self._lines = lines or {}
        self._first = first

    def line(self, path: Path) -> int:
        """The line, from 1, of the deepest value on the way along `path`; 0: the format does not tell."""
        line = self._first
        value = self.data
        for key in path:
            line = self._lines.get(id(value), {}).get(key, line)
            try:
                value = value[key]
            except (LookupError, TypeError):
                break
        return line


def parse(content: bytes, suffix: str) -> list[TextDocument]:
    """The documents of a file; more than one only in YAML. Raises `UnreadableError`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise UnreadableError("the text is not UTF-8", line, column) from None
    try:
        documents = SUFFIXES[suffix](text)
    except RecursionError:
        raise UnreadableError(f"values are nested more than {MAX_DEPTH} levels deep") from None
    if not documents:
        raise UnreadableError("the file is empty")
    return documents


def _yaml(text: str) -> list[TextDocument]:
    events = _LOADER(text)
    try:
        return _Builder(events).documents()
    except yaml.MarkedYAMLError as error:
        problem = " ".join(filter(None, (error.context, error.problem)))
        mark: Any = error.problem_mark or error.context_mark
        raise UnreadableError(problem, *((mark.line + 1, mark.column + 1) if mark else ())) from None
    except yaml.YAMLError as error:
        raise UnreadableError(" ".join(str(error).split())) from None
    finally:
        events.dispose()


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Builder:
    """Builds the values of one stream of events."""

    def __init__(self, events: Any) -> None:
        self._next: Callable[[], Any] = events.get_event
        self._lines: dict[int, dict[str | int, int]] = {}
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0
        self._aliased = 0

    def documents(self) -> list[TextDocument]:
        documents = []
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                self._lines = {}
                root = self._next()
                data = self._value(root, 0)
                if data is not None:
                    documents.append(TextDocument(data, self._lines, _line(root)))
        return documents

    def _value(self, event: Any, depth: int) -> Any:
        if type(event) is yaml.AliasEvent:
            if event.anchor not in self._anchors:
                raise _at(event, f"alias *{event.anchor} has no anchor before it")
            value, size = self._anchors[event.anchor]
            self._aliased += size
            if self._aliased > MAX_ALIASED_VALUES:
                raise _at(event, f"aliases stand for more than {MAX_ALIASED_VALUES} values")
            self._values += size
            return value
        before = self._values
        self._values += 1
        if type(event) is yaml.ScalarEvent:
            value = _scalar(event)
        elif depth >= MAX_DEPTH:
            raise _at(event, f"values are nested more than {MAX_DEPTH} levels deep")
        elif type(event) is yaml.SequenceStartEvent:
            value = self._sequence(event, depth + 1)
        else:
            value = self._mapping(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = value, self._values - before
        return value

    def _sequence(self, start: Any, depth: int) -> list[Any]:
        _refuse_tag(start, "seq")
        values: list[Any] = []
        lines: dict[str | int, int] = {}
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            lines[len(values)] = _line(event)
            values.append(self._value(event, depth))
        self._lines[id(values)] = lines
        return values

    def _mapping(self, start: Any, depth: int) -> dict[str, Any]:
        _refuse_tag(start, "map")
        values: dict[str, Any] = {}
        merged: list[dict[str, Any]] = []
        lines: dict[str | int, int] = {}
        while type(event := self._next()) is not yaml.MappingEndEvent:
            if type(event) is not yaml.ScalarEvent:
                raise _at(event, "a key must be plain text")
            key = event.value
            if key == "<<" and event.implicit[0]:
                merged += self._merge(event, self._value(self._next(), depth))
                continue
            if key in values:
                raise _at(event, f"key {key!r} is written twice; first on line {lines[key]}")
            lines[key] = _line(event)
            values[key] = self._value(self._next(), depth)
        for other in merged:
            values = other | values
        self._lines[id(values)] = lines
        return values

    def _merge(self, event: Any, value: Any) -> list[dict[str, Any]]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(item, dict) for item in values):
            raise _at(event, "<< takes a mapping or a list of mappings")
        return values


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _at(event: Any, message: str) -> UnreadableError:
    return UnreadableError(message, event.start_mark.line + 1, event.start_mark.column + 1)


def _refuse_tag(event: Any, name: str) -> None:
    if event.tag not in (None, "!", _TAG + name):
        raise _at(event, f"tag {event.tag} is not accepted here")


_PLAIN = re.compile(
    r"""(?P<null> ~ | null | Null | NULL | )
      | (?P<true> true | True | TRUE )
      | (?P<false> false | False | FALSE )
      | (?P<int> [-+]? [0-9]+ )
      | (?P<octal> 0o [0-7]+ )
      | (?P<hex> 0x [0-9a-fA-F]+ )
      | (?P<float> [-+]? (?: \. [0-9]+ | [0-9]+ (?: \. [0-9]* )? ) (?: [eE] [-+]? [0-9]+ )? )
      | (?P<infinite> [-+]? \. (?: inf | Inf | INF ) | \. (?: nan | NaN | NAN ) )""",
    re.VERBOSE,
)
_VALUES: dict[str, Callable[[str], Any]] = {
    "null": lambda text: None,
    "true": lambda text: True,
    "false": lambda text: False,
    "int": int,
    "octal": lambda text: int(text, 0),
    "hex": lambda text: int(text, 0),
    "float": float,
    "infinite": lambda text: float(text.replace(".", "", 1)),
}
_TAGGED = {
    "null": ("null",),
    "bool": ("true", "false"),
    "int": ("int", "octal", "hex"),
    "float": ("float", "int"),
}
_MAYBE_PLAIN = frozenset("0123456789+-.~nNtTfF")


def _scalar(event: Any) -> Any:
    text: str = event.value
    kind = event.tag and event.tag.removeprefix(_TAG)
    if kind in ("!", "str") or (kind is None and not event.implicit[0]):
        return text
    if kind is None and text and text[0] not in _MAYBE_PLAIN:
        return text
    match = _PLAIN.fullmatch(text)
    form = match and match.lastgroup
    if kind is not None and form not in _TAGGED.get(kind, ()):
        raise _at(event, f"tag {event.tag} is not accepted here")
    try:
        return text if form is None else _VALUES[kind if kind == "float" else form](text)
    except ValueError:
        raise _at(event, "the number has too many digits") from None


def _toml(text: str) -> list[TextDocument]:
    try:
        return _bounded(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        message, _, place = str(error).partition(" (at ")
        numbers = [int(number) for number in re.findall(r"[0-9]+", place)]
        raise UnreadableError(message[:1].lower() + message[1:], *numbers[:2]) from None


def _json(text: str) -> list[TextDocument]:
    if not text.strip():
        return []
    try:
        data = json.loads(text, object_pairs_hook=_unique)
        if "\\u" in text:
            json.dumps(data, ensure_ascii=False).encode()
        return _bounded(data)
    except json.JSONDecodeError as error:
        raise UnreadableError(error.msg[:1].lower() + error.msg[1:], error.lineno, error.colno) from None
    except UnicodeEncodeError:
        raise UnreadableError("a \\u escape is half of a surrogate pair") from None
    except ValueError as error:
        raise UnreadableError(str(error)) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise UnreadableError(f"key {name!r} is written twice in one object")
        values[name] = value
    return values


def _bounded(data: Any) -> list[TextDocument]:
    level = [data]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return [] if data is None else [TextDocument(data)]
    raise UnreadableError(f"values are nested more than {MAX_DEPTH} levels deep")


SUFFIXES: dict[str, Callable[[str], list[TextDocument]]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
    ".json": _json,
}
"""The file name endings that are read, with their readers."""
