"""Lanes: what they run is what a gateway runs, and what they count is exact."""

from __future__ import annotations

import gc
import sys

import pytest

from daemun import FilterSpec, FilterType, Handler, NoSettings, PluginError, Request, Response, SettingsError
from daemun.testing import built, make_plugin
from daemun.testing.alternating import alternate, figure
from daemun.testing.measuring import ANSWER, REFUSAL, UPSTREAM, Message, Wire, open_lane, settled_collector
from daemun.testing.yardsticks import YARDSTICKS, CountedBody, yardsticks

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(180)]


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was frozen when the tests were collected stays so: measuring would thaw it, and look through it."""
    monkeypatch.setattr(gc, "unfreeze", lambda: None)


@pytest.mark.parametrize("backend", [ANSWER, UPSTREAM], ids=["answer", "upstream"])
async def test_a_request_runs_through_protocol_and_route(codec: str, backend: object) -> None:
    async with open_lane(backend=backend, wire=Wire(settings={"codec": codec})) as lane:  # type: ignore[arg-type]
        status, data = await lane.answer()
        assert status == 200
        assert data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\ncontent-length: 13\r\n" in data.lower()
        assert data.endswith(b"\r\n\r\nhello, world\n")
        assert await lane.run(50) > 0
        assert await lane.waits() == 0


async def test_a_refusal_is_rendered_as_an_error(codec: str) -> None:
    async with open_lane(backend=REFUSAL, wire=Wire(settings={"codec": codec})) as lane:
        status, data = await lane.answer()
        assert status == 502
        assert b"upstream_closed" in data


async def test_calls_are_counted_and_the_same_each_time() -> None:
    """But for a timer that is put into another bucket, once in many requests."""
    async with open_lane(yardsticks) as bare, open_lane(yardsticks, filters=[FilterSpec("yard_noop")] * 3) as three:
        with settled_collector():  # or what other tests left behind is finished, and counted, in between
            first = await bare.calls()
            assert await bare.calls() == pytest.approx(first, abs=0.2)
            assert first > 5
            assert await three.calls() == pytest.approx(first + 3, abs=0.2)
        assert sys.getprofile() is None


async def test_memory_is_exact_and_grows_with_each_layer() -> None:
    async with (
        open_lane(yardsticks) as bare,
        open_lane(yardsticks, filters=[FilterSpec("yard_noop")]) as one,
        open_lane(yardsticks, filters=[FilterSpec("yard_noop")] * 2) as two,
    ):
        found = [await lane.memory() for lane in (bare, one, two)]
        grown = found[1].inside.bytes - found[0].inside.bytes
        assert grown > 0
        assert found[2].inside.bytes - found[1].inside.bytes == grown
        assert found[2].inside.blocks - found[0].inside.blocks == 2 * (found[1].inside.blocks - found[0].inside.blocks)
        assert all(memory.kept_blocks < 0.1 for memory in found)
        assert all(memory.peak_bytes >= memory.inside.bytes for memory in found)


async def test_what_a_filter_keeps_is_seen() -> None:
    kept: list[object] = []

    def hoarder(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            kept.append(object())
            return await handler(request)

        return handle

    plugin = make_plugin("hoarder", daemun_filters=lambda: [FilterType("hoarder", NoSettings, built(hoarder))])
    async with open_lane(plugin, filters=[FilterSpec("hoarder")]) as lane:
        assert (await lane.memory()).kept_blocks > 0.8  # one each, but for what else is freed meanwhile


@pytest.mark.parametrize("name", YARDSTICKS)
async def test_every_yardstick_answers_as_without_it(name: str) -> None:
    async with open_lane(yardsticks, filters=[FilterSpec(f"yard_{name}")]) as lane:
        status, data = await lane.answer()
        assert (status, data.endswith(b"hello, world\n")) == (200, True)
        assert lane.chain == [f"filter yard_{name}", "forward answer"]


async def test_the_header_yardstick_changes_the_request_and_the_body_one_counts() -> None:
    seen: list[Request] = []
    bodies: list[object] = []

    def look(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            seen.append(request)
            response = await handler(request)
            bodies.append(response.body)
            return response

        return handle

    plugin = make_plugin("look", daemun_filters=lambda: [FilterType("look", NoSettings, built(look))])
    filters = [FilterSpec("yard_header"), FilterSpec("look"), FilterSpec("yard_body")]
    async with open_lane(yardsticks, plugin, filters=filters) as lane:
        await lane.answer()
    assert seen[0].header(b"x-measured") == b"yes"
    assert isinstance(bodies[0], CountedBody)
    assert (bodies[0].count, bodies[0].length) == (13, 13)


async def test_content_of_request_and_answer_has_the_size_that_was_asked_for() -> None:
    message = Message("POST", content_bytes=1000, answer_bytes=2000)
    async with open_lane(message=message) as lane:
        status, data = await lane.answer()
        assert status == 200
        assert len(data.partition(b"\r\n\r\n")[2]) == 2000


async def test_what_cannot_be_compiled_or_loaded_is_raised() -> None:
    with pytest.raises(SettingsError, match="unknown filter 'nobody'"):
        async with open_lane(filters=[FilterSpec("nobody")]):
            pass
    with pytest.raises(PluginError, match="not installed"):
        async with open_lane(only=["nobody"]):
            pass


async def test_lanes_take_turns_until_the_time_is_over_or_the_figures_are_sharp() -> None:
    shares: list[float] = []
    async with open_lane() as one, open_lane() as other:
        rounds = await alternate([one, other], 0.1, progress=shares.append)
        assert len(rounds[0]) == len(rounds[1]) == len(shares) >= 2
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len((await alternate([one], 0.0001))[0]) == 2
        sharp = await alternate([one], 60, [(0, 0)])
        assert len(sharp[0]) == 15


def test_a_figure_is_the_median_and_its_spread() -> None:
    found = figure([1.0, 2.0, 3.0, 4.0, 100.0])
    assert found.ns == 3
    assert found.spread_ns > 0
    assert 0 < found.error_ns < found.spread_ns
    assert figure([5.0, 7.0, 9.0], [1.0, 3.0, 5.0]).ns == 4
    assert figure([5.0]).spread_ns == 0


def test_the_collector_is_as_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    gc.unfreeze()
    before = gc.get_threshold(), gc.get_freeze_count()
    with settled_collector():
        assert gc.get_threshold() != before[0]
        assert gc.get_freeze_count() > before[1]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before
    gc.freeze()
