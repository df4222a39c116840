"""What a cluster refuses, in words for people."""

from __future__ import annotations

from typing import Any

import msgspec

from daemun import DaemunError

__all__ = ["ApiError", "Cause", "Details", "Status", "read_status"]


class Cause(msgspec.Struct, frozen=True):
    """One of several things that are wrong."""

    reason: str = ""
    message: str = ""
    field: str = ""


class Details(msgspec.Struct, frozen=True):
    """What a refusal is about."""

    causes: tuple[Cause, ...] | None = None


class Status(msgspec.Struct, frozen=True):
    """The object `Status` of the API: what has become of a request."""

    code: int | None = None
    reason: str | None = None
    message: str | None = None
    details: Details | None = None

    def has(self, cause: str) -> bool:
        """Whether `cause` is among the reasons of its details."""
        return any(known.reason == cause for known in (self.details and self.details.causes) or ())


class ApiError(DaemunError):
    """A request that the API server refused, or that did not reach it.

    `status` is that of HTTP, 0 without an answer; `reason` is the API's word (`NotFound`, `Conflict`, `Forbidden` …,
    `Unreachable` without an answer). The text says what was asked for, of which server, and what it said.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "Unreachable",
        said: Status | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.said = said or Status()
        """The server's own words."""
        self.retry_after_seconds = retry_after_seconds
        """How long the server wants to be left alone; None if it does not say."""

    @property
    def gone(self) -> bool:
        """A resource version, or a continuation, that the server does not remember: list again."""
        return self.status == 410 or self.reason in ("Expired", "Gone")

    @property
    def ahead(self) -> bool:
        """A resource version that the server has not seen yet, as after a restore: list again from scratch."""
        return self.said.has("ResourceVersionTooLarge") or "Too large resource version" in (self.said.message or "")


def read_status(body: bytes | msgspec.Raw) -> Status:
    """The `Status` in `body`; an empty one if there is none."""
    try:
        value: Any = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Status()
    return value  # type: ignore[no-any-return]
