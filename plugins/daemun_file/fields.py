"""Names and values that go into heads and request lines, checked before anything is built from them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from daemun import HeaderEdit, ValueKind, ValueMatch
from daemun_file.document import ValueDocument
from daemun_file.explain import ObjectError
from daemun_file.parse import Path

__all__ = [
    "at",
    "field_name",
    "header_edit",
    "methods",
    "plain_path",
    "regex",
    "response_field",
    "value_matches",
]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH = re.compile(r"/[!-\"$->@-~]*")
_VALUE = re.compile(r"[\t -~]*")
_FRAMING = frozenset(
    [
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


@contextmanager
def at(*path: str | int) -> Iterator[None]:
    """A `ValueError` in here is a fault of the value at `path`."""
    try:
        yield
    except ValueError as error:
        raise ObjectError(path, str(error)) from None


def plain_path(value: str) -> str:
    """A path as requests carry it. Raises `ValueError` in words, like all below."""
    if not value.startswith("/"):
        raise ValueError(f"{value!r} does not begin with /")
    if not _PATH.fullmatch(value):
        raise ValueError(f"{value!r} is no path; accepted: no ? or #, and other characters as %XX")
    return value


def regex(value: str) -> str:
    """A regular expression that compiles, as the core does it: over bytes."""
    try:
        re.compile(value)
        re.compile(value.encode())
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from None
    return value


def field_name(name: str) -> str:
    """The name of a header, in lower case."""
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header; accepted: letters, digits and -")
    return name.lower()


def response_field(name: str, value: str) -> None:
    """Refuses a header that would break the framing of a message."""
    if field_name(name) in _FRAMING:
        raise ValueError("the header belongs to the gateway's connections and cannot be set")
    if not _VALUE.fullmatch(value):
        raise ValueError("the value holds what a header cannot carry; accepted: printable ASCII")


def header_edit(edit: HeaderEdit, *where: str | int) -> HeaderEdit:
    """The same changes, checked."""
    for part, fields in (("set", edit.set), ("add", edit.add)):
        for name, value in fields.items():
            with at(*where, part, name):
                response_field(name, value)
    for index, name in enumerate(edit.remove):
        with at(*where, "remove", index):
            response_field(name, "")
    return edit


def methods(names: tuple[str, ...], *where: str | int) -> tuple[str, ...]:
    """Methods in upper case, each once."""
    for index, name in enumerate(names):
        if not _TOKEN.fullmatch(name):
            raise ObjectError((*where, index), f"{name!r} is no method; accepted: GET, POST and the like")
    return tuple(dict.fromkeys(name.upper() for name in names))


def value_matches(
    values: Mapping[str, str | ValueDocument], path: Path, check: Callable[[str], str]
) -> tuple[ValueMatch, ...]:
    """What headers or query parameters must be like; `check` returns a good name."""
    matches = []
    for name, wanted in values.items():
        with at(*path, name):
            matches.append(_value_match(check(name), wanted))
    return tuple(matches)


def _value_match(name: str, wanted: str | ValueDocument) -> ValueMatch:
    if isinstance(wanted, str):
        return ValueMatch(name, ValueKind.EXACT, wanted)
    found = [key for key in wanted.__struct_fields__ if getattr(wanted, key) is not None]
    match found:
        case ["present"]:
            return ValueMatch(name, ValueKind.PRESENT if wanted.present else ValueKind.ABSENT)
        case ["exact" | "prefix" as key]:
            return ValueMatch(name, ValueKind(key), getattr(wanted, key))
        case ["regex"]:
            return ValueMatch(name, ValueKind.REGEX, regex(wanted.regex or ""))
    accepted = ", ".join(wanted.__struct_fields__)
    raise ValueError(f"has {' and '.join(found) or 'no key'}; accepted: one of {accepted}, or the value itself")
