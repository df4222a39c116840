"""Where a frame ends, however its bytes come."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daemun_websocket.frames import Boundary, close_frame


def frame(size: int, opcode: int = 2, *, masked: bool = False) -> bytes:
    mask = 0x80 if masked else 0
    head = bytes([0x80 | opcode])
    if size < 126:
        head += bytes([mask | size])
    elif size < 1 << 16:
        head += bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mask | 127]) + size.to_bytes(8, "big")
    return head + bytes(4 if masked else 0) + bytes(size)


SIZES = st.sampled_from([0, 1, 2, 3, 125, 126, 127, 1024, 65535, 65536, 70000])
FRAMES = st.lists(st.tuples(SIZES, st.booleans(), st.sampled_from([1, 2, 0, 9, 10])), min_size=1, max_size=5)


@given(FRAMES, st.lists(st.integers(0, 100_000), max_size=8))
def test_a_frame_ends_where_it_says_however_it_comes(frames: list[tuple[int, bool, int]], cuts: list[int]) -> None:
    written = [frame(size, opcode, masked=masked) for size, masked, opcode in frames]
    data = b"".join(written)
    ends = {sum(map(len, written[:count])) for count in range(len(written) + 1)}
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    boundary = Boundary()
    for start, end in pairwise(places):
        boundary.feed(memoryview(data)[start:end])
        assert boundary.whole is (end in ends)
        assert boundary.rest(data[end:]) == (0 if boundary.whole else min(one for one in ends if one > end) - end)
    assert boundary.whole
    assert not boundary.closed


@given(st.sampled_from([0, 1, 7, 200]), st.integers(1, 12))
def test_a_close_is_noticed_when_its_head_is_there(size: int, step: int) -> None:
    boundary = Boundary()
    data = frame(size) + close_frame(1000, "goodbye")
    for start in range(0, len(data), step):
        boundary.feed(data[start : start + step])
    assert boundary.closed
    assert boundary.whole


def test_the_reason_of_a_close_is_cut_to_what_fits_between_two_characters() -> None:
    data = close_frame(1001, "ü" * 100)
    assert len(data) == data[1] + 2
    assert data[1] <= 125
    assert data[4:].decode() == "ü" * 61
