"""What xmlschema finds wrong with an element, in words for those who write JSON."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from xmlschema import XMLResource
from xmlschema.namespaces import NamespaceMapper
from xmlschema.validators import (
    ValidationContext,
    XMLSchemaChildrenValidationError,
    XMLSchemaDecodeError,
    XMLSchemaValidationError,
    XsdElement,
)

from daemun_soap.facade.bounds import Problem
from daemun_soap.names import local_name

__all__ = ["first_errors", "problem_of", "shortened", "words_of"]

_MAX_WORDS = 300


class _Enough(Exception):
    """No more errors are looked for."""


class _Errors(list[XMLSchemaValidationError]):
    """The first errors: xmlschema would look for all of them, at a millisecond each."""

    def __init__(self, most: int, besides: Container[Any]) -> None:
        super().__init__()
        self._most = most
        self._besides = besides

    def append(self, error: XMLSchemaValidationError) -> None:
        if error.elem in self._besides:
            return
        super().append(error)
        if len(self) == self._most:
            raise _Enough


def first_errors(
    element: XsdElement, node: Any, most: int, besides: Container[Any] = ()
) -> list[XMLSchemaValidationError]:
    """What xmlschema finds wrong with an element of lxml, but for elements in `besides`; it ends with the `most`th."""
    source = XMLResource(node)
    errors = _Errors(most, besides)
    context = ValidationContext(source, NamespaceMapper(source=source), errors)
    try:
        element.raw_decode(node, "lax", context)
    except _Enough:
        pass
    return errors


def problem_of(error: XMLSchemaValidationError, path: str) -> Problem:
    """The problem with the element at `path`, whose children are in the order that they should have."""
    if isinstance(error, XMLSchemaChildrenValidationError):
        return _of_children(error, shortened(path))
    return Problem(shortened(path), words_of(error))


def shortened(words: str) -> str:
    """`words` in one line, and not too many: some of them are what a client sent."""
    words = " ".join(words.split())
    return words if len(words) <= _MAX_WORDS else f"{words[:_MAX_WORDS]}…"


def words_of(error: XMLSchemaValidationError) -> str:
    """What xmlschema found wrong, in words."""
    if isinstance(error, XMLSchemaDecodeError):
        name = local_name(getattr(error.validator, "name", None) or "")
        return f"is no {name}" if name else "is no value of its type"
    return shortened(error.reason or "is not valid")


def _of_children(error: XMLSchemaChildrenValidationError, path: str) -> Problem:
    """What is wrong with which children there are. Their order was restored: something lacks, or is too much."""
    there = {child.tag for child in error.elem} if error.elem is not None else set()
    expected = [part.name for part in error.expected or () if isinstance(part, XsdElement) and part.name]
    lacking = [local_name(name) for name in expected if name not in there]
    if len(lacking) == 1:
        return Problem(f"{path}.{lacking[0]}", "is missing")
    if lacking:
        return Problem(path, f"lacks one of {', '.join(lacking)}")
    if expected:
        return Problem(path, f"has too few of {', '.join(map(local_name, expected))}")
    if error.invalid_tag is None:
        return Problem(path, shortened(error.reason or "is not complete"))
    name = local_name(str(error.invalid_tag))
    return Problem(f"{path}.{name}", "is there too often, or does not go with the others")
