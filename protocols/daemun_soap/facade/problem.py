"""RFC 9457: what went wrong, as JSON. Errors of ours, JSON that does not fit, and Faults, there and back."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from msgspec import Struct

from daemun import Buffered, Headers, Response
from daemun_soap.facade.bounds import JsonError, Problem
from daemun_soap.facade.codec import from_json, to_json

__all__ = ["MEDIA_TYPE", "FaultMember", "phrase", "problem", "read_problem"]

MEDIA_TYPE = b"application/problem+json"


class FaultMember(Struct, omit_defaults=True):
    """A Fault, as the member `fault` of a problem document."""

    code: str
    """`Client` and the like of SOAP 1.1, `Sender` and the like of SOAP 1.2: local names."""
    subcodes: list[str] = []
    """From general to special, `{namespace}name`."""
    actor: str = ""
    detail: Any = None
    """Elements of the detail by their local names, as JSON."""


def phrase(status: int) -> str:
    """What HTTP calls a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def problem(
    status: int,
    detail: str,
    *,
    headers: Headers = (),
    problems: tuple[Problem, ...] = (),
    fault: FaultMember | None = None,
) -> Response:
    """An answer that tells of a problem."""
    members: dict[str, Any] = {"type": "about:blank", "title": phrase(status), "status": status, "detail": detail}
    if problems:
        members["problems"] = problems
    if fault is not None:
        members["fault"] = fault
    return Response(status, ((b"content-type", MEDIA_TYPE), *headers), Buffered(to_json(members)))


def read_problem(data: bytes) -> tuple[str, FaultMember | None]:
    """What a problem document says in words ("" if it is none), and its member `fault`."""
    try:
        value = from_json(data)
    except JsonError:
        return "", None
    if not isinstance(value, dict):
        return "", None
    words = next((words for words in (value.get("detail"), value.get("title")) if isinstance(words, str)), "")
    said = value.get("fault")
    if not isinstance(said, dict):
        return words, None
    code, actor = (text if isinstance(text := said.get(name), str) else "" for name in ("code", "actor"))
    return words, FaultMember(code, actor=actor, detail=said.get("detail"))
