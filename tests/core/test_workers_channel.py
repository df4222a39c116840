"""What supervisor and workers say to each other: framing, strict reading, and snapshots as differences."""

from __future__ import annotations

import os
import socket
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import (
    BackendSpec,
    CertificateSpec,
    ExchangeError,
    ObjectStatus,
    PluginError,
    Reason,
    Respond,
    RouteSpec,
    SettingsError,
    Snapshot,
)
from daemun.downstream.drain import Connections
from daemun.process.workers.backoff import Backoff
from daemun.process.workers.balance import Board, Turn
from daemun.process.workers.channel import MAX_FRAME_BYTES, Channel, ChannelError, Deframer, framed, receive_blocking
from daemun.process.workers.feed import Feed, gathered
from daemun.process.workers.frames import (
    Drain,
    Failed,
    Outcome,
    Patch,
    Piece,
    Ping,
    Pong,
    decode_from_supervisor,
    decode_from_worker,
    encode,
)
from daemun.process.workers.patch import difference, patched, pieces

pytestmark = pytest.mark.anyio


# --- framing ---


@given(st.lists(st.binary(max_size=300), max_size=20), st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_frames_come_out_as_they_went_in_however_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(framed, bodies))
    deframer = Deframer()
    found: list[bytes] = []
    while data:
        cut = cuts[0]
        cuts = [*cuts[1:], cut]
        deframer.feed(data[:cut])
        data = data[cut:]
        found += iter(deframer.next, None)
    assert found == bodies
    assert deframer.empty


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_an_error_and_nothing_is_held_above_the_limit(data: bytes) -> None:
    deframer = Deframer(max_bytes=100)
    deframer.feed(data)
    try:
        found = list(iter(deframer.next, None))
    except ChannelError as error:
        assert "is announced (accepted: 100)" in str(error)
    else:
        assert all(len(one) <= 100 for one in found)
        assert sum(len(one) + 4 for one in found) <= len(data)


def test_a_message_above_the_limit_is_not_sent() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_FRAME_BYTES + 1

    with pytest.raises(ChannelError, match="is too large"):
        framed(Huge())


@given(st.binary(max_size=100))
def test_any_message_is_read_strictly_or_refused(data: bytes) -> None:
    for decode in (decode_from_supervisor, decode_from_worker):
        try:
            frame = decode(data)
        except ValueError:
            continue
        assert decode(encode(frame)) == frame


@pytest.mark.parametrize(
    "frame",
    [{"type": "ping", "more": 1}, {"type": "pang"}, {"type": "outcome", "serial": "1"}, {"type": "pong"}, [], None],
)
def test_what_a_worker_may_not_be_told_is_refused(frame: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_from_supervisor(msgspec.msgpack.encode(frame))


async def test_frames_pass_both_ways_and_the_end_is_seen() -> None:
    ours, theirs = socket.socketpair()
    one, other = Channel(ours, decode_from_worker), Channel(theirs, decode_from_supervisor)
    large = Patch(1, "s", (Piece(-1, 1),), (RouteSpec("r", Respond(body=b"x" * 2_000_000)),), (), ())
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.write)
            tasks.start_soon(other.write)
            one.post(encode(Ping()))
            one.post(encode(large))
            assert await other.receive() == Ping()
            assert await other.receive() == large
            other.post(encode(Pong()))
            assert await one.receive() == Pong()
            await other.written()
            one.close()
            assert await other.receive() is None
            assert other.lost
            other.post(encode(Pong()))
            await other.written()
            tasks.cancel_scope.cancel()
    other.close()


async def test_a_side_that_does_not_read_is_given_up() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(ours, decode_from_worker)
        for _ in range(10_001):
            channel.post(encode(Ping()))
        assert channel.lost
        channel.close()


async def test_a_message_that_is_none_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel(ours, decode_from_worker)
        theirs.sendall(framed(b"\xc1"))
        with pytest.raises(ChannelError, match="cannot be read"):
            await channel.receive()
        channel.close()


def test_the_first_message_is_read_without_an_event_loop() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        theirs.sendall(framed(encode(Drain())))
        assert receive_blocking(ours, decode_from_supervisor) == Drain()
        theirs.sendall(framed(b"abc")[:-1])
        theirs.close()
        assert receive_blocking(ours, decode_from_supervisor) is None


@pytest.mark.parametrize(
    "error",
    [
        SettingsError("no", file="f", path="$.a"),
        PluginError("no", plugin="p"),
        ExchangeError(Reason.ACTIVATION_FAILED, "no", status=503, retry_after_seconds=7),
    ],
)
def test_errors_pass_unchanged(error: Exception) -> None:
    found = msgspec.msgpack.decode(encode(Failed.of(error)), type=Failed).error()
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


# --- differences ---

NAMES = st.sampled_from("abcdefg")
ROUTES = st.lists(
    st.builds(lambda name, status: RouteSpec(name, Respond(status)), NAMES, st.integers(200, 202)),
    unique_by=lambda route: route.name,
).map(tuple)
BACKENDS = st.lists(
    st.builds(lambda name, origin: BackendSpec(name, origin=origin), NAMES, NAMES), unique_by=lambda one: one.name
).map(tuple)
CERTIFICATES = st.lists(
    st.builds(lambda name, key: CertificateSpec(name, (), "chain", key), NAMES, NAMES), unique_by=lambda one: one.name
).map(tuple)
SNAPSHOTS = st.builds(
    lambda routes, backends, certificates: Snapshot(routes, backends, certificates=certificates),
    ROUTES,
    BACKENDS,
    CERTIFICATES,
)


@given(st.lists(SNAPSHOTS, min_size=1, max_size=5))
def test_a_worker_has_what_was_published_and_keeps_the_objects_that_did_not_change(history: list[Snapshot]) -> None:
    supervisor, worker = Snapshot(), Snapshot()
    for new in history:
        wire = encode(difference(1, "s", supervisor, new))
        patch = decode_from_supervisor(wire)
        assert isinstance(patch, Patch)
        before = {route.name: route for route in worker.routes}
        supervisor, worker = new, patched(worker, patch)
        assert worker == new
        for route in worker.routes:
            assert route != before.get(route.name) or route is before[route.name]


def test_one_changed_route_of_many_is_a_small_message() -> None:
    old = Snapshot(tuple(RouteSpec(f"r{n}", Respond()) for n in range(10_000)))
    new = Snapshot((*old.routes[:5000], RouteSpec("r5000", Respond(404)), *old.routes[5001:]))
    assert len(encode(difference(1, "s", old, new))) < 1000


def test_names_that_stand_twice_stay_twice() -> None:
    twice = (RouteSpec("r", Respond(201)), RouteSpec("r", Respond(202)))
    runs, fresh = pieces((), twice)
    assert (runs, fresh) == ((Piece(-1, 2),), twice)
    worker = patched(Snapshot(), difference(1, "s", Snapshot(), Snapshot(twice)))
    assert patched(worker, difference(2, "s", Snapshot(twice), Snapshot(twice))).routes == twice


def test_a_run_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="is not there"):
        patched(Snapshot(), Patch(1, "s", (Piece(3, 1),), (), (), ()))


# --- one answer of all ---


class Worker:
    """A reader that refuses what it was made to."""

    def __init__(self, *refused: ObjectStatus, dies: bool = False) -> None:
        self.refused = refused
        self.dies = dies
        self.patches: list[Patch] = []

    def post(self, frame: bytes) -> None:
        patch = decode_from_supervisor(frame)
        assert isinstance(patch, Patch)
        self.patches.append(patch)

    async def outcome(self, serial: int) -> Outcome | None:
        return None if self.dies else Outcome(serial, 7, 1, self.refused)


def bad(error: str) -> ObjectStatus:
    return ObjectStatus("route", "bad", "f#bad", error)


async def test_workers_that_agree_are_quoted_once_and_others_each() -> None:
    snapshot = Snapshot(
        (RouteSpec("bad", Respond(), origin="f#bad"), RouteSpec("good", Respond())), (BackendSpec("b"),)
    )
    applied = gathered(snapshot, [Outcome(1, 3, 1, (bad("no"),)), Outcome(1, 5, 1, (bad("no"),))])
    assert applied.generation == 5
    assert applied.objects == (bad("no"), ObjectStatus("route", "good"), ObjectStatus("backend", "b"))
    applied = gathered(
        snapshot, [Outcome(1, 3, 1, (bad("no"),)), Outcome(1, 3, 1, (bad("never"),)), Outcome(1, 3, 2, ())]
    )
    assert applied.refused == (bad("no; never"),)


async def test_a_worker_that_dies_while_it_applies_holds_nobody_up() -> None:
    told: list[Any] = []
    feed = Feed(told.append)
    workers = Worker(), Worker(dies=True)
    for worker in workers:
        await feed.join(worker)
    applied = await feed.publish("s", Snapshot((RouteSpec("r", Respond()),)))
    assert applied.refused == ()
    assert told == [applied]
    late = Worker(bad("no"))
    assert await feed.join(late) == (bad("no"),)
    assert patched(Snapshot(), late.patches[0]).routes == (RouteSpec("r", Respond()),)
    feed.leave(late)
    await feed.publish("s", Snapshot())
    assert len(late.patches) == 1
    assert len(workers[0].patches) == 2


async def test_an_object_that_cannot_be_handed_over_is_refused_and_its_last_version_stays() -> None:
    feed, worker = Feed(lambda applied: None), Worker()
    await feed.join(worker)
    good = RouteSpec("r", Respond())
    await feed.publish("s", Snapshot((good,)))
    unfit = RouteSpec("r", Respond(), priority="high")  # type: ignore[arg-type]
    beyond = RouteSpec("q", Respond(status=2**70))
    applied = await feed.publish("s", Snapshot((unfit, beyond, RouteSpec("n", Respond()))))
    errors = {status.name: status.error for status in applied.objects}
    assert errors["r"].startswith("cannot be handed to workers: Expected `int`, got `str` - at `$.priority`")
    assert errors["r"].endswith("; the version from before stays in use")
    assert errors["q"].startswith("cannot be handed to workers: ")
    assert errors["n"] == ""
    snapshot = Snapshot()
    for patch in worker.patches:
        snapshot = patched(snapshot, patch)
    assert snapshot.routes == (good, RouteSpec("n", Respond()))


# --- back-off ---


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_until_one_lives() -> None:
    backoff = Backoff()
    assert [backoff.pause_seconds(1) for _ in range(4)] == [0, 0.1, 0.2, 0.4]
    for _ in range(10):
        backoff.pause_seconds(1)
    assert backoff.pause_seconds(29) == 30
    assert [backoff.pause_seconds(30), backoff.pause_seconds(1)] == [0, 0.1]


# --- who accepts next ---


class Idle:
    """A connection that does nothing."""

    on_drain = None


async def test_who_has_more_connections_lets_the_others_go_first() -> None:
    board = Board()
    first, second = (Connections() for _ in range(2))
    one, other = (Turn(board, index, 2, connections) for index, connections in enumerate((first, second)))
    assert await one.wait() > 1  # nobody else accepts yet
    other.note()
    assert await one.wait() == 2
    for _ in range(40):
        first.add(Idle())  # type: ignore[arg-type]
    before = anyio.current_time()
    assert 1 <= await one.wait() < 10
    assert anyio.current_time() > before
    assert await other.wait() > 40
    other.leave()
    other.note()
    assert await one.wait() > 10
    board.close()


async def test_the_board_is_the_same_in_every_process() -> None:
    board = Board()
    same = Board(os.dup(board.descriptor))
    board.write(3, 17)
    assert same.least(0, 4) == 17
    assert same.least(3, 4) is None
    assert same.least(0, 3) is None
    same.leave(3)
    assert board.least(0, 4) is None
    same.close()
    board.close()
