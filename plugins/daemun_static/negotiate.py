"""What `Accept` and `Accept-Encoding` allow (RFC 9110 §12.4.2, §12.5). Pure functions; results of recent
values are kept."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["MAX_FIELD_BYTES", "accepts_html", "codings_for"]

MAX_FIELD_BYTES = 1024
"""A longer field is taken for one that says nothing."""

_WEIGHT = re.compile(rb"(?:^|;)[ \t]*q=([^;]*)")
_QVALUE = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")


def codings_for(value: bytes, offered: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `offered` that a client with this `Accept-Encoding` likes at least as much as none, the best
    first."""
    return _codings_for(value, offered) if len(value) <= MAX_FIELD_BYTES else ()


def accepts_html(value: bytes) -> bool:
    """Whether `Accept` names `text/html`: browsers do when they navigate; scripts say `*/*`, which does not
    count."""
    return len(value) <= MAX_FIELD_BYTES and _accepts_html(value)


@lru_cache(maxsize=256)
def _codings_for(value: bytes, offered: tuple[str, ...]) -> tuple[str, ...]:
    weights = _weights(value)
    if b"x-gzip" in weights:
        weights.setdefault(b"gzip", weights[b"x-gzip"])
    others = weights.get(b"*", 0.0)
    plain = weights.get(b"identity", 0.0)
    liked = [(weights.get(coding.encode(), others), coding) for coding in offered]
    liked.sort(key=lambda pair: -pair[0])  # stable: equals stay in the order of `offered`
    return tuple(coding for weight, coding in liked if weight > 0 and weight >= plain)


@lru_cache(maxsize=256)
def _accepts_html(value: bytes) -> bool:
    return _weights(value).get(b"text/html", 0.0) > 0


def _weights(value: bytes) -> dict[bytes, float]:
    """What the list `value` names, with its weights; an item with a malformed weight is left out."""
    weights: dict[bytes, float] = {}
    for item in value.lower().split(b","):
        name, _, parameters = item.partition(b";")
        weight = _WEIGHT.search(parameters)
        if weight is None:
            weights[name.strip(b" \t")] = 1.0
        elif qvalue := _QVALUE.fullmatch(weight[1].strip(b" \t")):
            weights[name.strip(b" \t")] = float(qvalue[0])
    return weights
