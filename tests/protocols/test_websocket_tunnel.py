"""What stands between the two sides of a WebSocket, by bodies in pieces and a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import EMPTY, Exchange, Headers, Peer, Reason, Stream
from daemun.testing import Pieces, content
from daemun_websocket.frames import PING
from daemun_websocket.settings import Rules
from daemun_websocket.tunnel import FromClient, FromUpstream, Tunnel

pytestmark = pytest.mark.anyio


class Clock:
    """Timers that fire when a test says how much time has passed; stands in for `Timers`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[ClockTimer] = []

    def timer(self, fire: Callable[[], None]) -> ClockTimer:
        timer = ClockTimer(self, fire)
        self.timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.timers if timer.at is not None and timer.at <= end + 1e-9]:
            timer = min(due, key=lambda one: one.at or 0.0)
            self.now, timer.at = timer.at or 0.0, None
            timer.fire()
        self.now = end

    @property
    def armed(self) -> int:
        return sum(timer.at is not None for timer in self.timers)


class ClockTimer:
    def __init__(self, clock: Clock, fire: Callable[[], None]) -> None:
        self.at: float | None = None
        self.fire = fire
        self._clock = clock

    def start(self, seconds: float) -> None:
        self.at = self._clock.now + seconds

    def cancel(self) -> None:
        self.at = None


class Talk:
    """A body that says what a test lets it say, when it is said."""

    def __init__(self) -> None:
        self.length: int | None = None
        self.trailers: Headers = ()
        self.closed = 0
        self._said: list[bytes] = []
        self._news = anyio.Event()

    def say(self, *pieces: bytes) -> None:
        """b"" is the end."""
        self._said += pieces
        self._news.set()

    async def read(self) -> bytes:
        while not self._said:
            self._news = anyio.Event()
            await self._news.wait()
        return self._said.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


class Sink:
    """Where a relay leads to; stands in for a stream."""

    def __init__(self) -> None:
        self.relayed_bytes = 0
        self.data = b""


class Relaying(Talk):
    """The same for a body that can pass bytes straight on."""

    async def relay(self, sink: Stream, came: Callable[[memoryview], None] | None = None) -> int:
        target, before = cast("Sink", sink), sink.relayed_bytes
        while data := await self.read():
            if came is not None:
                came(memoryview(data))
            target.data += data
            target.relayed_bytes += len(data)
        self.say(b"")
        return target.relayed_bytes - before


class Stage:
    """A tunnel that is open."""

    def __init__(self, upstream: Any, client: Any = EMPTY, *, timed: bool = True, **rules: Any) -> None:
        self.clock = Clock()
        self.exchange = Exchange(Peer())
        self.deadlines: list[float] = []
        self.exchange.on_deadline = self.deadlines.append
        self.exchange.timers = cast("Any", self.clock) if timed else None
        self.tunnel = Tunnel(self.exchange, client)
        self.client: FromClient = self.tunnel.client
        self.upstream: FromUpstream = self.tunnel.open(upstream, Rules(**rules))

    def drain(self) -> None:
        assert self.exchange.on_drain is not None
        self.exchange.on_drain()


def frame(data: bytes, opcode: int = 2) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """What `data` holds, which must be whole frames."""
    found = []
    while data:
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        assert len(data) >= start + size, "a frame is cut"
        found.append((data[0] & 15, data[start : start + size]))
        data = data[start + size :]
    return found


SIZES = st.sampled_from([0, 1, 5, 125, 126, 300, 65_536])
MESSAGES = st.lists(st.tuples(st.sampled_from([0, 1, 2, 9, 10]), SIZES.map(bytes)), min_size=1, max_size=6)
CUTS = st.lists(st.integers(0, 70_000), max_size=10)
EMPTY_PING = (9, b"")


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


# --- what passes, and what is said in between ---


@given(MESSAGES, CUTS)
async def test_bytes_pass_as_they_are(messages: list[tuple[int, bytes]], cuts: list[int]) -> None:
    pieces = cut(b"".join(frame(data, opcode) for opcode, data in messages), cuts)
    stage = Stage(Pieces(*pieces))
    read = []
    while data := await stage.upstream.read():
        read.append(data)
    assert read == pieces


@given(MESSAGES, CUTS, st.integers(0, 12))
async def test_a_close_stands_behind_the_frame_that_has_begun_and_is_the_last(
    messages: list[tuple[int, bytes]], cuts: list[int], before: int
) -> None:
    pieces = cut(b"".join(frame(data, opcode) for opcode, data in messages), cuts)
    stage = Stage(Pieces(*pieces))
    read = b""
    for _ in range(min(before, len(pieces))):
        read += await stage.upstream.read()
    stage.drain()
    stage.drain()
    passed = len(read)
    read += await content(stage.upstream)
    found = frames(read)
    ends = [sum(len(frame(data, opcode)) for opcode, data in messages[:count]) for count in range(len(messages) + 1)]
    count = next(number for number, end in enumerate(ends) if end >= passed)
    assert found[:-1] == messages[:count]
    assert found[-1][0] == 8
    assert found[-1][1][:2] == b"\x03\xe9"


@given(MESSAGES, CUTS, st.sets(st.integers(0, 12)))
async def test_pings_stand_between_frames(messages: list[tuple[int, bytes]], cuts: list[int], when: set[int]) -> None:
    pieces = cut(b"".join(frame(data, opcode) for opcode, data in messages), cuts)
    stage = Stage(Pieces(*pieces))
    read, turn = b"", 0
    while True:
        if turn in when:
            stage.upstream.ping()
            stage.upstream.ping()  # two that wait are one
        turn += 1
        if not (data := await stage.upstream.read()):
            break
        read += data
    found = frames(read)
    assert [one for one in found if one != EMPTY_PING] == [one for one in messages if one != EMPTY_PING]
    own = found.count(EMPTY_PING) - messages.count(EMPTY_PING)
    assert (0 in when) <= own <= len(when)


@pytest.mark.parametrize("what", ["drain", "ping"])
async def test_who_waits_for_the_upstream_is_told_at_once(what: str) -> None:
    talk = Talk()
    stage = Stage(talk)
    read: list[bytes] = []

    async def listen() -> None:
        while data := await stage.upstream.read():
            read.append(data)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        talk.say(frame(b"one"))
        await anyio.wait_all_tasks_blocked()
        stage.drain() if what == "drain" else stage.upstream.ping()
        await anyio.wait_all_tasks_blocked()
        assert read[0] == frame(b"one")
        assert len(read) == 2
        assert read[1][:1] == (b"\x88" if what == "drain" else b"\x89")
        talk.say(frame(b"two"))
        await anyio.wait_all_tasks_blocked()
        assert read[2:] == ([] if what == "drain" else [frame(b"two")])
        talk.say(b"")


async def test_nothing_is_lost_that_comes_in_the_same_moment() -> None:
    talk = Talk()
    stage = Stage(talk)
    read: list[bytes] = []

    async def listen() -> None:
        while data := await stage.upstream.read():
            read.append(data)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await anyio.wait_all_tasks_blocked()
        talk.say(frame(b"x" * 300)[:100])
        stage.drain()
        await anyio.wait_all_tasks_blocked()
        talk.say(frame(b"x" * 300)[100:], b"")
    opcodes = [opcode for opcode, _ in frames(b"".join(read))]
    assert opcodes in ([8], [2, 8])
    if opcodes == [2, 8]:
        assert frames(b"".join(read))[0] == (2, b"x" * 300)


async def test_who_does_not_read_just_now_is_not_disturbed() -> None:
    stage = Stage(Pieces(frame(b"one"), frame(b"two")))
    assert await stage.upstream.read() == frame(b"one")
    stage.drain()
    await anyio.lowlevel.checkpoint()
    assert (await stage.upstream.read())[:1] == b"\x88"
    assert await stage.upstream.read() == b""


@pytest.mark.parametrize("what", ["drain", "ping", "idle"])
async def test_nothing_is_said_behind_a_close_of_the_upstream(what: str) -> None:
    close = frame(b"\x03\xe8", 8)
    stage = Stage(Pieces(frame(b"one") + close, length=None), idle_timeout_seconds=1)
    assert await stage.upstream.read() == frame(b"one") + close
    if what == "drain":
        stage.drain()
    elif what == "ping":
        stage.upstream.ping()
    else:
        stage.clock.advance(5)
        assert len(stage.deadlines) == 1  # who does not leave by itself is cut off
    assert await content(stage.upstream) == b""


# --- the relay ---


async def test_a_relay_ends_where_something_is_to_be_said_and_goes_on_behind_it() -> None:
    talk, sink = Relaying(), Sink()
    stage = Stage(talk)
    moved: list[int] = []

    async def listen() -> None:
        while data := await stage.upstream.read():
            sink.data += data
            moved.append(await stage.upstream.relay(cast("Any", sink)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        talk.say(frame(b"one"), frame(b"two"), frame(b"three"))
        await anyio.wait_all_tasks_blocked()
        stage.upstream.ping()
        await anyio.wait_all_tasks_blocked()
        assert sink.data == frame(b"one") + frame(b"two") + frame(b"three") + PING
        assert moved == [len(frame(b"two") + frame(b"three"))]
        talk.say(frame(b"four" * 100)[:50])
        await anyio.wait_all_tasks_blocked()
        stage.drain()
        await anyio.wait_all_tasks_blocked()
        assert sink.data.endswith(frame(b"four" * 100)[:50])
        talk.say(frame(b"four" * 100)[50:] + frame(b"five"), frame(b"six"), b"")
    words = [b"one", b"two", b"three", b"", b"four" * 100]
    assert [data for _, data in frames(sink.data)][:-1] == words
    assert frames(sink.data)[-1][0] == 8


async def test_bodies_that_cannot_relay_are_read() -> None:
    stage = Stage(Pieces(frame(b"one")), Pieces(b"two"))
    sink = cast("Any", Sink())
    assert await stage.upstream.relay(sink) == 0
    assert await stage.client.relay(sink) == 0
    assert await content(stage.upstream) == frame(b"one")
    assert await content(stage.client) == b"two"


async def test_what_a_client_says_by_relay_counts() -> None:
    talk, sink = Relaying(), Sink()
    stage = Stage(Talk(), talk, idle_timeout_seconds=4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.client.relay, cast("Any", sink))
        for _ in range(20):
            talk.say(b"x")
            await anyio.wait_all_tasks_blocked()
            stage.clock.advance(1)
        assert not stage.deadlines
        talk.say(b"")
    assert sink.data == b"x" * 20


# --- silence ---


@given(st.floats(0.1, 10_000))
async def test_who_is_quiet_is_closed_soon_after_its_time(idle: float) -> None:
    stage = Stage(Talk(), idle_timeout_seconds=idle)
    stage.clock.advance(idle * 0.99)
    assert not stage.deadlines
    stage.clock.advance(idle * 0.3)
    assert len(stage.deadlines) == 1
    assert stage.exchange.timeout_reason is Reason.IDLE_TIMEOUT
    assert (await stage.upstream.read())[:4:3] == b"\x88\xe9"
    stage.clock.advance(idle * 10)
    assert len(stage.deadlines) == 1


@pytest.mark.parametrize("side", ["client", "upstream"])
async def test_either_side_keeps_it_open(side: str) -> None:
    stage = Stage(Pieces(*[frame(b"", 9)] * 100), Pieces(*[frame(b"", 9)] * 100), idle_timeout_seconds=4)
    for _ in range(50):
        await (stage.client.read() if side == "client" else stage.upstream.read())
        stage.clock.advance(3)
    assert not stage.deadlines
    stage.clock.advance(6)
    assert len(stage.deadlines) == 1


async def test_pings_of_our_own_keep_nothing_open_and_their_answers_do() -> None:
    talk = Talk()
    stage = Stage(talk, Pieces(*[b"pong"] * 100), idle_timeout_seconds=10, ping_interval_seconds=2)
    for _ in range(12):
        stage.clock.advance(2.5)
        assert await stage.upstream.read() == PING
        assert await stage.client.read() == b"pong"
    assert not stage.deadlines
    for _ in range(3):
        stage.clock.advance(2.5)
        assert await stage.upstream.read() == PING
    assert not stage.deadlines
    stage.clock.advance(5)
    assert len(stage.deadlines) == 1


async def test_a_client_that_is_spoken_to_is_not_pinged() -> None:
    stage = Stage(Pieces(*[frame(b"hello")] * 100), ping_interval_seconds=2)
    for _ in range(90):
        stage.clock.advance(1.5)
        assert await stage.upstream.read() == frame(b"hello")
    stage.clock.advance(3)
    assert await stage.upstream.read() == PING


async def test_a_lifetime_ends_however_much_is_said() -> None:
    stage = Stage(Pieces(*[frame(b"hello")] * 100), max_lifetime_seconds=10)
    for _ in range(9):
        stage.clock.advance(1)
        assert await stage.upstream.read() == frame(b"hello")
    assert not stage.deadlines
    stage.clock.advance(1)
    assert len(stage.deadlines) == 1
    assert (await stage.upstream.read())[:1] == b"\x88"


async def test_without_limits_nothing_is_timed() -> None:
    stage = Stage(Talk(), idle_timeout_seconds=0)
    assert stage.clock.timers == []


async def test_without_timers_only_a_drain_closes() -> None:
    stage = Stage(Pieces(frame(b"one")), timed=False, idle_timeout_seconds=1, max_lifetime_seconds=1)
    assert await stage.upstream.read() == frame(b"one")
    stage.drain()
    assert (await stage.upstream.read())[:1] == b"\x88"


async def test_what_is_over_is_not_watched_any_more() -> None:
    upstream, client = Pieces(frame(b"one")), Pieces(b"two")
    stage = Stage(upstream, client, idle_timeout_seconds=1, ping_interval_seconds=1, max_lifetime_seconds=9)
    assert stage.clock.armed == 2
    await stage.upstream.aclose()
    await stage.client.aclose()
    assert stage.clock.armed == 0
    assert stage.exchange.on_drain is None
    stage.clock.advance(100)
    assert not stage.deadlines
    assert (upstream.closed, client.closed) == (1, 1)
