"""Content models as JSON sees them: which elements, in which order, and how often each may be there in all."""

from __future__ import annotations

from collections.abc import Iterator

from xmlschema.validators import XsdAnyElement, XsdElement, XsdGroup

__all__ = ["UNBOUNDED", "counts_of", "elements_of", "ranks_of", "wildcards_of"]

UNBOUNDED = 1 << 31
"""How often stands for any number of times."""

_Counts = dict[str, tuple[int, int]]


def elements_of(group: XsdGroup) -> Iterator[tuple[XsdElement, bool]]:
    """The elements of a content model in order, those after their heads that may stand for them."""
    for element in group.iter_elements():
        if isinstance(element, XsdElement):
            if not (element.ref or element).abstract:
                yield element, False
            for substitute in sorted(element.iter_substitutes(), key=lambda one: one.name):
                yield substitute, True


def counts_of(group: XsdGroup) -> _Counts:
    """How often each element may be there in a content model, at least and at most."""
    choice = group.model == "choice"
    found: _Counts = {}
    parts = [part for part in map(_part_counts, group) if part is not None]
    for part in parts:
        for tag, (least, most) in part.items():
            before = found.get(tag)
            if before is None:
                found[tag] = (least, most)
            elif choice:
                found[tag] = (min(before[0], least), max(before[1], most))
            else:
                found[tag] = (before[0] + least, min(before[1] + most, UNBOUNDED))
    if choice and len(group) > 1:
        everywhere = {tag for tag in found if sum(tag in part for part in parts) == len(group)}
        found = {tag: (least if tag in everywhere else 0, most) for tag, (least, most) in found.items()}
    return _times(found, group)


def _part_counts(part: object) -> _Counts | None:
    if isinstance(part, XsdGroup):
        return counts_of(part)
    if not isinstance(part, XsdElement):
        return None
    substitutes = [element.name for element in part.iter_substitutes()]
    least = 0 if substitutes else 1
    found = dict.fromkeys(substitutes, (0, 1))
    if not (part.ref or part).abstract:
        found[part.name] = (least, 1)
    return _times(found, part)


def _times(counts: _Counts, particle: XsdGroup | XsdElement) -> _Counts:
    upper = UNBOUNDED if particle.max_occurs is None else particle.max_occurs
    return {tag: (least * particle.min_occurs, min(most * upper, UNBOUNDED)) for tag, (least, most) in counts.items()}


def wildcards_of(group: XsdGroup) -> int:
    """How many elements the wildcards of a content model let in."""
    total = 0
    for part in group:
        if isinstance(part, XsdGroup):
            total += wildcards_of(part)
        elif isinstance(part, XsdAnyElement):
            total += UNBOUNDED if part.max_occurs is None else part.max_occurs
    upper = UNBOUNDED if group.max_occurs is None else group.max_occurs
    return min(total * upper, UNBOUNDED)


def ranks_of(group: XsdGroup) -> dict[str, int] | None:
    """The place of each element, "" standing for what a wildcard lets in; None: there is no such order.

    There is one if no group is there more than once, but for choices that leave the order open, and no element has two
    places.
    """
    ranks: dict[str, int] = {}
    return ranks if _rank(group, ranks, 0) is not None else None


def _rank(group: XsdGroup, ranks: dict[str, int], place: int) -> int | None:
    """Gives the elements of a group their places, from `place` on. The next place, or None if there is no order."""
    in_any_order = _leaves_order_open(group)
    if not in_any_order and group.max_occurs not in (0, 1):
        return None
    for part in group:
        if isinstance(part, XsdGroup):
            after = _rank(part, ranks, place)
            if after is None:
                return None
            place = after
            continue
        for tag in _tags(part):
            if tag in ranks:
                return None
            ranks[tag] = place
        place += 0 if in_any_order else 1
    return place + 1


def _tags(part: object) -> list[str]:
    if isinstance(part, XsdElement):
        return [part.name, *(substitute.name for substitute in part.iter_substitutes())]
    return [""]


def _leaves_order_open(group: XsdGroup) -> bool:
    if group.model != "choice" or group.max_occurs is not None:
        return False
    return all(not isinstance(part, XsdGroup) and part.min_occurs in (0, 1) for part in group)
