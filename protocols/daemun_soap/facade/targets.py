"""Where an operation goes in a back end that speaks JSON: a method, a path with members in it, a query, the rest."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from msgspec import Struct

from daemun import SettingsError
from daemun_soap.facade.codec import to_json
from daemun_soap.facade.operations import HEADER, Facade, JsonOperation

__all__ = ["Target", "target_of"]

_MEMBER = re.compile(r"\{([^{}]+)\}")
_NOT_IN_SEGMENT = re.compile(r"[/\\\x00-\x1f\x7f]")
"""What back ends that decode a path before they route by it would not take for part of one segment."""
_WITHOUT_BODY = ("GET", "DELETE")


class Target(Struct, frozen=True):
    """What is asked of the back end for one operation."""

    method: str
    template: str
    members: tuple[str, ...]
    """Those that stand in the template."""

    def fill(self, value: Any) -> tuple[bytes, bytes | None]:
        """Path with query, and the content; None: it has none. Raises `ValueError` for what no path can hold."""
        members = dict(value) if isinstance(value, dict) else {}
        query_at = self.template.find("?") % (len(self.template) + 1)

        def filled(match: re.Match[str]) -> str:
            return _segment(match[1], members.pop(match[1], None), in_path=match.start() < query_at)

        path = _MEMBER.sub(filled, self.template)
        if any(segment in (".", "..") for segment in path.partition("?")[0].split("/")):
            raise ValueError("a member is no part of a path")
        if self.method not in _WITHOUT_BODY:
            return path.encode("ascii"), to_json(members if isinstance(value, dict) else value)
        members.pop(HEADER, None)  # what stands in headers is often secret, and queries are logged
        query = urlencode([pair for name, member in members.items() for pair in _pairs(name, member)])
        joint = "&" if "?" in path else "?"
        return f"{path}{joint}{query}".encode("ascii") if query else path.encode("ascii"), None


def target_of(facade: Facade, operation: JsonOperation, prefix: str, template: str) -> Target:
    """The target of an operation: by `template`, `METHOD /path/{member}`, or `POST {prefix}/{operation}` without one.

    Raises `SettingsError` if the template names what is no member that every request has.
    """
    if not template:
        return Target("POST", f"{prefix.rstrip('/')}/{quote(operation.name)}", ())
    method, _, path = template.partition(" ")
    names = tuple(_MEMBER.findall(path))
    known = {} if operation.request is None else facade.codec.shapes.of(operation.request.element.type).members
    usable = [name for name, member in known.items() if member.least and not member.many]
    for name in names:
        if name not in usable:
            raise SettingsError(
                f"paths: {operation.name}: {name!r} is no member that every request has "
                f"(accepted: {', '.join(usable) or 'none'})"
            )
    return Target(method, path, names)


def _text(member: Any) -> str | None:
    if isinstance(member, bool):
        return "true" if member else "false"
    if isinstance(member, (str, int, float, Decimal)):
        return str(member)
    return None


def _segment(name: str, member: Any, *, in_path: bool) -> str:
    text = _text(member)
    if not text or (in_path and _NOT_IN_SEGMENT.search(text)):
        raise ValueError(f"{name} is no part of a path")
    return quote(text, safe="")


def _pairs(name: str, member: Any) -> list[tuple[str, str]]:
    """A member in a query: arrays are repeated, objects are JSON, null is left out."""
    if member is None:
        return []
    if isinstance(member, list):
        return [pair for item in member for pair in _pairs(name, item)]
    text = _text(member)
    return [(name, to_json(member).decode() if text is None else text)]
