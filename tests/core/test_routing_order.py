"""Positions that leave room: they always rise, and few move."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemun.routing.order import new_positions


def moved(positions: list[int | None], step: int = 1 << 32) -> list[int]:
    """The list after the change."""
    new = new_positions(positions, step)
    return [new.get(index, position if position is not None else 0) for index, position in enumerate(positions)]


def longest_rise(values: list[int]) -> int:
    lengths: list[int] = []
    for index, value in enumerate(values):
        lengths.append(1 + max((lengths[one] for one in range(index) if values[one] < value), default=0))
    return max(lengths, default=0)


lists = st.lists(st.integers(-40, 40), unique=True, max_size=12).flatmap(
    lambda known: st.lists(st.integers(0, len(known)), max_size=5).map(
        lambda places: [*_with_gaps(known, places)],
    )
)


def _with_gaps(known: list[int], places: list[int]) -> list[int | None]:
    mixed: list[int | None] = list(known)
    for place in places:
        mixed.insert(place, None)
    return mixed


@given(lists, st.sampled_from([1, 2, 64]))
def test_they_rise_whatever_the_list_was(positions: list[int | None], step: int) -> None:
    after = moved(positions, step)
    assert after == sorted(set(after))
    assert len(after) == len(positions)


@given(st.lists(st.integers(-40, 40).map(lambda one: one * 1000), unique=True, min_size=1, max_size=12))
def test_as_many_as_can_be_stay(positions: list[int]) -> None:
    assert len(new_positions(positions)) == len(positions) - longest_rise(positions)


def test_one_that_is_put_between_others_moves_none() -> None:
    positions: list[int | None] = [*moved([None] * 100)]
    for place in (0, 50, 101, 3):
        positions.insert(place, None)
        assert list(new_positions(positions)) == [place]
        positions = [*moved(positions)]


def test_the_last_that_becomes_the_first_moves_alone() -> None:
    positions = moved([None] * 100)
    assert list(new_positions([positions[-1], *positions[:-1]])) == [0]


def test_without_room_all_are_numbered_anew() -> None:
    positions: list[int | None] = [*moved([None] * 3)]
    anew = 0
    for _ in range(100):
        positions.insert(1, None)
        anew += len(new_positions(positions)) > 1
        positions = [*moved(positions)]
        assert positions == sorted(positions)  # type: ignore[type-var]
    assert 1 <= anew <= 4
