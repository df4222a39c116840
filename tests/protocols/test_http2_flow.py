"""Flow control: each stream goes as fast as its own reader, whatever its neighbours on the connection do."""

from __future__ import annotations

import hashlib

import anyio
import pytest
from hyperframe.frame import DataFrame, SettingsFrame, WindowUpdateFrame

from daemun.testing import CutOff, Http2Scene, Http2Wire, Scene, StreamReset, eventually, proxying2

pytestmark = pytest.mark.anyio

KIB, MIB = 1024, 1024 * 1024
WINDOW = 65_535
PIECE = hashlib.shake_256(b"flow").digest(16 * KIB)
INITIAL_WINDOW_SIZE = SettingsFrame.INITIAL_WINDOW_SIZE
FLOW_CONTROL_ERROR = 3


class Source:
    """An upstream that sends as many pieces as the target says, on as many streams at once as it is asked for."""

    def __init__(self) -> None:
        self.sent: dict[bytes, int] = {}

    async def script1(self, scene: Scene) -> None:
        while message := await scene.request():
            target = message.split(b" ")[1]
            pieces = int(target.split(b"/")[2])
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (pieces * len(PIECE)))
            self.sent[target] = 0
            for _ in range(pieces):
                await scene.send(PIECE)
                self.sent[target] += len(PIECE)

    async def script2(self, scene: Http2Scene) -> None:
        async def serve(stream: int) -> None:
            target = scene.asked(stream).target
            await scene.respond(stream, ended=False)
            self.sent[target] = 0
            try:
                for _ in range(int(target.split(b"/")[2])):
                    await scene.content(stream, PIECE)
                    self.sent[target] += len(PIECE)
                await scene.content(stream, b"", ended=True)
            except (CutOff, StreamReset):
                pass

        async with anyio.create_task_group() as tasks:
            while stream := await scene.request():
                tasks.start_soon(serve, stream)


async def quiet(wire: Http2Wire) -> None:
    """Gives what should not come the time to come."""
    for _ in range(3):
        await wire.round_trip()
        await anyio.sleep(0.01)


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_stream_that_nobody_reads_stalls_no_neighbour_and_holds_little(upstream: str) -> None:
    source = Source()
    async with proxying2(source.script1 if upstream == "http1" else None, source.script2) as proxy:
        wire = await proxy.connect2(crediting=False)
        await wire.credit(0, 64 * MIB)
        stalled = await wire.ask(target=b"/stalled/2000")
        await wire.until(lambda: wire.hear(stalled).window == 0, "a full window")
        for _ in range(3):
            stream = await wire.ask(target=b"/quick/64")
            await wire.credit(stream, 2 * MIB)
            assert (await wire.answer(stream)).body == PIECE * 64
        assert wire.hear(stalled).body == (PIECE * 4)[:WINDOW]
        assert source.sent[b"/stalled/2000"] < 8 * MIB
        await wire.credit(stalled, WINDOW)
        await wire.until(lambda: wire.hear(stalled).window == 0, "a full window")
        assert len(wire.hear(stalled).body) == 2 * WINDOW
        await wire.cancel(stalled)


@pytest.mark.parametrize("client", ["http1", "http2"])
async def test_an_upload_that_the_upstream_does_not_read_stalls_no_neighbour(client: str) -> None:
    async def picky(scene: Http2Scene) -> None:
        await scene.credit(0, 64 * MIB)
        while stream := await scene.request():
            await scene.respond(stream, 200, (), b"%d" % len(scene.hear(stream).body))

    async with proxying2(None, picky, upstream_crediting=False, http2={"max_window_bytes": 64 * KIB}) as proxy:
        stalled = await proxy.connect2()
        stream = await stalled.ask(b"POST", ended=False)
        sent = 0
        async with anyio.create_task_group() as tasks:

            async def upload() -> None:
                nonlocal sent
                while True:
                    await stalled.content(stream, PIECE)
                    sent += len(PIECE)

            tasks.start_soon(upload)
            await eventually(lambda: len(proxy.upstream.scenes[0].streams) == 1 if proxy.upstream.scenes else False)
            heard = proxy.upstream.scenes[0].hear(1)
            await eventually(lambda: heard.window == 0, "a full window")
            for _ in range(3):
                if client == "http1":
                    message = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc"
                    assert (await proxy.ask(message)).body == b"3"
                else:
                    assert (await stalled.exchange(b"POST", content=b"abc")).body == b"3"
            assert sent <= WINDOW + 2 * 64 * KIB + len(PIECE)  # what was passed on, a window, and as much in hand
            assert proxy.upstream.connections == 1
            tasks.cancel_scope.cancel()
        await stalled.cancel(stream)


async def test_the_window_of_an_upload_grows_with_a_reader_that_keeps_up_and_not_beyond_the_limit() -> None:
    async def eat(scene: Scene) -> None:
        while await scene.request():
            await scene.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with proxying2(eat, http2={"window_bytes": 64 * KIB, "max_window_bytes": 256 * KIB}) as proxy:
        wire = await proxy.connect2()
        assert wire.settings[INITIAL_WINDOW_SIZE] == 64 * KIB
        for _ in range(20):  # many streams, one after the other: what they take is given back
            stream = await wire.ask(b"POST", ended=False)
            most, length = 0, 0
            while most <= 128 * KIB and length < 16 * MIB:
                await wire.content(stream, PIECE)
                length += len(PIECE)
                most = max(most, wire.room(stream))
            assert 128 * KIB < most <= 256 * KIB
            await wire.content(stream, b"", ended=True)
            assert (await wire.answer(stream)).status == 200
            assert len(proxy.upstream.asked[-1].body) == length


async def test_the_window_of_an_upload_stays_small_where_nobody_reads() -> None:
    async def deaf(scene: Http2Scene) -> None:
        await scene.gone()

    http2 = {"window_bytes": 16 * KIB, "max_window_bytes": 64 * KIB}
    async with proxying2(None, deaf, upstream_crediting=False, http2=http2) as proxy:
        wire = await proxy.connect2()
        stream = await wire.ask(b"POST", ended=False)
        async with anyio.create_task_group() as tasks:

            async def upload() -> None:
                while True:
                    await wire.content(stream, PIECE)

            tasks.start_soon(upload)
            scenes = proxy.upstream.scenes
            await eventually(lambda: bool(scenes) and len(scenes[0].hear(1).body) == WINDOW, "a full window")
            for _ in range(50):  # in which more could be granted
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
        updates = [one for one in wire.frames if isinstance(one, WindowUpdateFrame) and one.stream_id == stream]
        granted = 16 * KIB + sum(update.window_increment for update in updates)
        assert granted <= WINDOW + 2 * 64 * KIB  # what was passed on, a window, and as much in hand
        await wire.cancel(stream)


async def test_content_beyond_the_window_resets_its_stream_and_nothing_else() -> None:
    async def deaf(scene: Http2Scene) -> None:
        await scene.gone()

    async with proxying2(None, deaf, upstream_crediting=False, http2={"window_bytes": 16 * KIB}) as proxy:
        wire = await proxy.connect2()
        neighbour, stream = await wire.ask(b"POST", ended=False), await wire.ask(b"POST", ended=False)
        await wire.send(*(DataFrame(stream, PIECE) for _ in range(8)))
        assert await wire.code_of(stream) == FLOW_CONTROL_ERROR
        await wire.round_trip()
        assert wire.hear(neighbour).code is None


@pytest.mark.parametrize("upstream", ["http1", "http2"])
async def test_a_window_of_nothing_lets_heads_through_and_content_byte_by_byte(upstream: str) -> None:
    source = Source()
    async with proxying2(source.script1 if upstream == "http1" else None, source.script2) as proxy:
        wire = await proxy.connect2({INITIAL_WINDOW_SIZE: 0}, crediting=False)
        stream = await wire.ask(target=b"/one/1")
        empty = await wire.ask(target=b"/none/0")
        assert (await wire.answer(empty)).body == b""
        heard = wire.hear(stream)
        await wire.until(lambda: bool(heard.heads), "the head")
        await quiet(wire)
        assert heard.body == b""
        for size in range(1, 20):
            await wire.credit(stream, 1)
            await wire.until(lambda size=size: len(heard.body) == size, "a byte")  # type: ignore[misc]
        await wire.credit(stream, len(PIECE))
        assert (await wire.answer(stream)).body == PIECE


async def test_settings_change_the_windows_of_streams_that_send_even_below_nothing() -> None:
    source = Source()
    async with proxying2(source.script1) as proxy:
        wire = await proxy.connect2(crediting=False)
        await wire.credit(0, 16 * MIB)
        stream = await wire.ask(target=b"/many/40")
        heard = wire.hear(stream)
        await wire.until(lambda: len(heard.body) == WINDOW, "a full window")
        await wire.set({INITIAL_WINDOW_SIZE: 1000})
        await wire.round_trip()
        assert heard.window == 1000 - WINDOW
        await wire.credit(stream, WINDOW - 1000)  # nothing, again
        await quiet(wire)
        assert len(heard.body) == WINDOW
        await wire.credit(stream, 10)
        await wire.until(lambda: len(heard.body) == WINDOW + 10, "ten bytes")
        await wire.set({INITIAL_WINDOW_SIZE: 3000})
        await wire.until(lambda: len(heard.body) == WINDOW + 2010, "two thousand bytes")
        await quiet(wire)
        assert heard.window == 0
        await wire.set({INITIAL_WINDOW_SIZE: MIB})
        assert (await wire.answer(stream)).body == PIECE * 40


async def test_an_upstream_changes_the_windows_of_uploads_even_below_nothing() -> None:
    sizes: list[int] = []

    async def narrow(scene: Http2Scene) -> None:
        await scene.credit(0, 16 * MIB)
        stream = await scene.begun()
        heard = scene.hear(stream)
        await scene.until(lambda: len(heard.body) == WINDOW, "a full window")
        await scene.set({INITIAL_WINDOW_SIZE: 1000})
        await scene.credit(stream, WINDOW - 1000)
        await scene.round_trip()
        sizes.append(len(heard.body))
        await scene.credit(stream, 10)
        await scene.until(lambda: len(heard.body) == WINDOW + 10, "ten bytes")
        await scene.set({INITIAL_WINDOW_SIZE: MIB})
        await scene.end_of(stream)
        await scene.respond(stream, 200, (), b"%d" % len(heard.body))
        await scene.gone()

    async with proxying2(None, narrow, upstream_crediting=False) as proxy:
        wire = await proxy.connect2()
        assert (await wire.exchange(b"POST", content=PIECE * 20)).body == b"%d" % (20 * len(PIECE))
        assert sizes == [WINDOW]


async def test_streams_share_the_window_of_the_connection_and_none_starves() -> None:
    source = Source()
    async with proxying2(source.script1) as proxy:
        wire = await proxy.connect2({INITIAL_WINDOW_SIZE: MIB}, crediting=False)
        streams = [await wire.ask(target=b"/%d/40" % number) for number in range(4)]
        heard = [wire.hear(stream) for stream in streams]
        await wire.until(lambda: wire.may_come == 0, "a full window")
        await wire.until(lambda: all(one.heads for one in heard), "all heads")
        await quiet(wire)
        assert sum(len(one.body) for one in heard) == WINDOW
        for _ in range(40):
            await wire.credit(0, 16 * KIB)
            await wire.until(lambda: wire.may_come == 0, "a full window")
        assert all(one.body for one in heard)
        await wire.credit(0, 16 * MIB)
        for stream in streams:
            assert (await wire.answer(stream)).body == PIECE * 40


@pytest.mark.parametrize("frame_bytes", [16_384, 40_000, 1_000_000])
async def test_frames_are_no_longer_than_the_client_takes(frame_bytes: int) -> None:
    source = Source()
    async with proxying2(source.script1) as proxy:
        settings = {SettingsFrame.MAX_FRAME_SIZE: frame_bytes, INITIAL_WINDOW_SIZE: 4 * MIB}
        wire = await proxy.connect2(settings)
        assert (await wire.exchange(target=b"/one/40")).body == PIECE * 40
        sizes = [frame.body_len for frame in wire.frames if isinstance(frame, DataFrame)]
        assert 0 < max(sizes) <= frame_bytes


async def test_a_client_that_reads_nothing_of_its_connection_holds_little() -> None:
    source = Source()
    async with proxying2(source.script1) as proxy:
        wire = await proxy.connect2({INITIAL_WINDOW_SIZE: 2**31 - 1}, crediting=False)
        await wire.credit(0, 2**31 - 1 - WINDOW)
        for number in range(4):
            await wire.ask(target=b"/%d/10000" % number)
        before, turns = -1, 0
        while turns < 15:
            await anyio.sleep(0.01)
            now = sum(source.sent.values())
            turns = turns + 1 if now == before and now else 0
            before = now
        assert before < 4 * 16 * MIB
        await wire.reset()
