"""Patterns of a schema, matched in time that grows with the text alone.

Python's `re` tries one way after the other: a value of forty letters can keep it for years, if the pattern is one of
those that can be matched in many ways. Here all ways are followed at once. Patterns with only one are left to `re`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xmlschema import XMLSchema
from xmlschema.validators import XsdSimpleType

from daemun_soap.names import XSD
from daemun_soap.wsdl.gaps import Gaps

__all__ = ["Linear", "make_linear"]

_TOKEN = re.compile(r"\(\?:|[()|*+?]|\{(\d+)(,?)(\d*)\}|(\[\^?(?:[^\]\\]|\\.)+\]|\\.|[^\[\\{])", re.DOTALL)
_WHOLE = re.compile(r"\^\(\?:(.*)\)\$\(\?!\\n\\Z\)", re.DOTALL)
"""How xmlschema writes a pattern for `re`."""
_NOTHING = re.compile("(?!)")
_MAX_WORDS = 200
_MANY = {"*": (0, None), "+": (1, None), "?": (0, 1)}
_MAX_STATES = 5000
_MAX_KEPT = 100_000
"""States in sets that are kept, and ways between sets."""
_MAX_WORK = 2_000_000
"""States that one text may have looked at; one that needs more matches nothing."""

_Node = tuple[Any, ...]
"""("one", characters), ("all", nodes), ("any", nodes), ("times", node, least, most)."""


class _Step(dict[str, "_Step"]):
    """A set of states, and those that characters lead to as far as they were met."""

    def __init__(self, states: frozenset[int]) -> None:
        super().__init__()
        self.states = states


class Linear:
    """A pattern as xmlschema writes them for `re`. Raises `ValueError` for one that is another, or too large."""

    def __init__(self, pattern: str) -> None:
        whole = _WHOLE.fullmatch(pattern)
        if whole is None:
            raise ValueError("not a pattern of a schema")
        self._tokens = list(_tokens(whole[1]))
        node = self._either()
        if self._tokens:
            raise ValueError("a parenthesis too many")
        self.plain = _ways(node) <= 1
        """Whether there is only one way, so that `re` does as well."""
        self.pattern = pattern
        self._one: list[re.Pattern[str] | None] = [None]
        """What a state takes; None: it takes nothing, and goes on to all of the next at once."""
        self._next: list[list[int]] = [[]]
        self._begins = self._reached([self._build(node, 0)])
        self._forget()

    def match(self, text: str) -> Linear | None:
        """Something if all of the text matches, as of `re.Pattern`."""
        if not isinstance(text, str):
            raise TypeError("not a string")
        step, work = self._first, 0
        for character in text:
            following = step.get(character)
            if following is None:
                work += len(step.states)
                if work > _MAX_WORK:
                    return None
                following = self._follow(step, character)
            step = following
        return self if 0 in step.states else None

    def _forget(self) -> None:
        self._first = _Step(self._begins)
        self._known = {self._begins: self._first}
        self._kept = 0

    def _follow(self, step: _Step, character: str) -> _Step:
        states = []
        for state in step.states:
            takes = self._one[state]
            if takes is not None and takes.fullmatch(character):
                states += self._next[state]
        reached = self._reached(states)
        if self._kept > _MAX_KEPT:
            self._forget()
        following = self._known.get(reached)
        if following is None:
            following = self._known[reached] = _Step(reached)
            self._kept += len(reached)
        self._kept += 1
        step[character] = following
        return following

    def _reached(self, states: list[int]) -> frozenset[int]:
        found: set[int] = set()
        while states:
            state = states.pop()
            if state not in found:
                found.add(state)
                if self._one[state] is None:
                    states += self._next[state]
        return frozenset(found)

    def _state(self, takes: re.Pattern[str] | None, following: list[int]) -> int:
        if len(self._one) > _MAX_STATES:
            raise ValueError("a pattern that is too large")
        self._one.append(takes)
        self._next.append(following)
        return len(self._one) - 1

    def _build(self, node: _Node, after: int) -> int:
        """The state in which `node` begins, of which `after` is what follows."""
        kind, of = node[0], node[1]
        if kind == "one":
            return self._state(re.compile(of), [after])
        if kind == "all":
            for part in reversed(of):
                after = self._build(part, after)
            return after
        if kind == "any":
            return self._state(None, [self._build(part, after) for part in of])
        least, most = node[2], node[3]
        if most is None:
            loop = self._state(None, [after])
            self._next[loop].append(self._build(of, loop))
            begins = loop
        else:
            begins = after
            for _ in range(most - least):
                begins = self._state(None, [self._build(of, begins), after])
        for _ in range(least):
            begins = self._build(of, begins)
        return begins

    def _either(self) -> _Node:
        parts = [self._row()]
        while self._tokens and self._tokens[0][0] == "|":
            self._tokens.pop(0)
            parts.append(self._row())
        return parts[0] if len(parts) == 1 else ("any", parts)

    def _row(self) -> _Node:
        parts: list[_Node] = []
        while self._tokens and self._tokens[0][0] not in ("|", ")"):
            token = self._tokens.pop(0)
            if token[0] in ("(", "(?:"):
                parts.append(self._either())
                if not self._tokens or self._tokens.pop(0)[0] != ")":
                    raise ValueError("a parenthesis that is not closed")
            elif token[0] == "times":
                if not parts:
                    raise ValueError("nothing to repeat")
                parts.append(("times", parts.pop(), *token[1:]))
            else:
                parts.append(token)
        return ("all", parts)


def _tokens(pattern: str) -> Iterator[_Node]:
    at = 0
    while at < len(pattern):
        found = _TOKEN.match(pattern, at)
        if found is None:
            raise ValueError("not a pattern of a schema")
        at = found.end()
        if found[4] is not None:
            yield ("one", found[4])
        elif found[1] is not None:
            least = int(found[1])
            yield ("times", least, (int(found[3]) if found[3] else None) if found[2] else least)
        elif found[0] in _MANY:
            yield ("times", *_MANY[found[0]])
        else:
            yield (found[0],)


def _ways(node: _Node) -> int:
    """At how many places a match may go on in more than one way, as far as it must be known; 2 is many."""
    kind, of = node[0], node[1]
    if kind == "one":
        return 0
    if kind == "all":
        return sum(map(_ways, of))
    if kind == "any":
        return 1 + max(map(_ways, of))
    if of[0] != "one" and (of[0] != "all" or _ways(of) or node[2] != node[3]):
        return 2
    return 0 if node[2] == node[3] else 1


def make_linear(schema: XMLSchema, gaps: Gaps) -> None:
    """Replaces the patterns of a schema's own types that `re` might not come to an end with.

    Nothing matches one that is too large, which is one of the gaps.
    """
    for component in schema.maps.iter_components():
        facet = getattr(component, "patterns", None) if isinstance(component, XsdSimpleType) else None
        if facet is None or component.schema.target_namespace == XSD:
            continue
        for number, pattern in enumerate(facet.patterns):
            if isinstance(pattern, re.Pattern):
                try:
                    linear = Linear(pattern.pattern)
                except ValueError as error:
                    gaps.nowhere(f"pattern {facet.regexps[number][:_MAX_WORDS]} cannot be used: {error}")
                    facet.patterns[number] = _NOTHING
                    continue
                if not linear.plain:
                    facet.patterns[number] = linear
