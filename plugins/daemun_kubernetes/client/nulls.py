"""JSON without its nulls."""

from __future__ import annotations

from typing import Any

__all__ = ["without_nulls"]


def without_nulls(value: Any) -> Any:
    """A copy of what was decoded, in which a key with null is one that is not there, as Kubernetes means it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value
