"""The file of a worker's cells: what is read back, whatever happened to its bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_prometheus.cells import Record
from daemun_prometheus.record_file import HEADER_BYTES, MARK, BrokenFileError, encode, places, records
from daemun_prometheus.shared import SharedCells, is_owned

RECORDS = st.lists(
    st.tuples(st.text(max_size=10), st.lists(st.text(max_size=20), max_size=4).map(tuple), st.integers(0, 20)),
    max_size=8,
)
Appended = list[tuple[str, tuple[str, ...], int]]


def file_of(appended: Appended) -> bytes:
    body = b"".join(encode(kind, labels, count)[0] for kind, labels, count in appended)
    header = MARK + (HEADER_BYTES + len(body)).to_bytes(8, "little")
    return header.ljust(HEADER_BYTES, b"\0") + body


def read(data: bytes) -> tuple[list[Record], bool]:
    """The records before the first that is broken, and whether there is one."""
    found: list[Record] = []
    try:
        found.extend(records(data))
    except BrokenFileError:
        found = []
        try:
            for record in records(data):
                found.append(record)
        except BrokenFileError:
            pass
        return found, True
    return found, False


@given(RECORDS)
def test_a_whole_file_is_read_back(appended: Appended) -> None:
    found, broken = read(file_of(appended))
    assert not broken
    assert found == [Record(kind, labels, (0.0,) * count) for kind, labels, count in appended]


@given(RECORDS)
def test_every_cell_is_aligned(appended: Appended) -> None:
    assert all(place.at % 8 == 0 for place in places(file_of(appended)))


@given(RECORDS, st.data())
def test_a_file_that_was_cut_is_broken_and_nothing_worse(appended: Appended, data: st.DataObject) -> None:
    whole = file_of(appended)
    end = data.draw(st.integers(0, len(whole) - 1))
    found, broken = read(whole[:end])
    assert broken or (found == [] and end < HEADER_BYTES)
    assert found == [Record(kind, labels, (0.0,) * count) for kind, labels, count in appended][: len(found)]


@given(RECORDS, st.data())
def test_a_byte_that_changed_harms_no_record_before_it(appended: Appended, data: st.DataObject) -> None:
    whole = bytearray(file_of(appended))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    wanted = [Record(kind, labels, (0.0,) * count) for kind, labels, count in appended]
    ends = [place.at + 8 * place.size for place in places(file_of(appended))]
    safe = sum(end <= at for end in ends)
    found, _ = read(bytes(whole))
    if at >= HEADER_BYTES:
        assert found[:safe] == wanted[:safe]
    assert [(kind, labels) for kind, labels, _ in found] == [(kind, labels) for kind, labels, _ in wanted][: len(found)]


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_harm(data: bytes) -> None:
    read(data)
    read(MARK + (HEADER_BYTES + len(data)).to_bytes(8, "little") + bytes(48) + data)


def opened(folder: Path, index: int = 0, workers: int = 1) -> SharedCells:
    return SharedCells.open(folder, "m", index, workers, list)


def test_counts_are_in_the_file_at_once(tmp_path: Path) -> None:
    cells = opened(tmp_path)
    at = cells.append("kind", ("a", "b"), 2)
    cells.values[at + 1] += 2.5
    assert list(records(cells.path.read_bytes())) == [Record("kind", ("a", "b"), (0.0, 2.5))]
    cells.close()


def test_a_file_grows_and_keeps_its_counts(tmp_path: Path) -> None:
    cells = opened(tmp_path)
    size = cells.path.stat().st_size
    for number in range(3000):
        at = cells.append("kind", (str(number),), 20)
        cells.values[at] += number
    assert cells.path.stat().st_size > size
    found = list(records(cells.path.read_bytes()))
    assert [values[0] for _, _, values in found] == list(range(3000))
    cells.close()


def test_a_successor_goes_on_counting(tmp_path: Path) -> None:
    first = opened(tmp_path)
    assert not first.succeeds
    at = first.append("kind", ("a",), 1)
    first.values[at] += 1
    first.close()
    second = opened(tmp_path)
    assert second.succeeds
    assert second.path == first.path
    (place,) = second.places()
    assert (place.kind, place.labels, place.at, place.size) == ("kind", ("a",), at, 1)
    second.values[place.at] += 1
    second.append("kind", ("b",), 1)
    assert list(records(second.path.read_bytes())) == [Record("kind", ("a",), (2.0,)), Record("kind", ("b",), (0.0,))]
    second.close()


def test_a_file_has_one_owner_at_a_time(tmp_path: Path) -> None:
    old, other = opened(tmp_path, 0, 2), opened(tmp_path, 1, 2)
    new = opened(tmp_path, 0, 2)
    assert [cells.succeeds for cells in (old, other, new)] == [False, False, True]
    assert len({old.path, other.path, new.path}) == 3
    assert all(is_owned(cells.path) for cells in (old, other, new))
    old.close()
    assert not is_owned(old.path)
    assert is_owned(new.path)
    newest = opened(tmp_path, 0, 2)
    assert newest.path == old.path
    for cells in (other, new, newest):
        cells.close()


def test_what_was_half_written_is_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = opened(tmp_path)
    at = cells.append("kind", ("a",), 1)
    cells.values[at] = 7.0
    used = cells.append("kind", ("b",), 1) * 8
    cells.close()
    with cells.path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 8, used - 8)  # the end of the second record's labels
    again = opened(tmp_path)
    assert [place.labels for place in again.places()] == [("a",)]
    again.append("kind", ("c",), 1)
    assert list(records(again.path.read_bytes())) == [Record("kind", ("a",), (7.0,)), Record("kind", ("c",), (0.0,))]
    assert [one for one in caplog.records if "is broken" in one.getMessage()]
    again.close()


def test_a_file_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "m-0.cells").write_bytes(b"something else " * 100)
    cells = opened(tmp_path)
    cells.append("kind", ("a",), 1)
    assert list(records(cells.path.read_bytes())) == [Record("kind", ("a",), (0.0,))]
    cells.close()
