"""Virtual time: when it jumps and when it does not, and what the product makes of it."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import from_thread, to_thread

from daemun import Exchange, Peer
from daemun.testing import Scene, VirtualClock, answer_ok, eventually, in_memory, make_plugin, slow, virtual_backends
from daemun.testing.chance import seeded
from daemun.transport import timers

pytestmark = pytest.mark.anyio
ONLY = ("http1", "file")
TICK_SECONDS = 0.16
"""By so much a timer of the gateway may be late (two ticks)."""


@pytest.fixture(params=virtual_backends)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


def forwarding(route: dict[str, Any] | None = None, backend: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a gateway with one route."""
    backends = {"up": {"endpoints": ["http://up:80"], "settings": backend or {}}}
    routes = [{"name": "all", "to": "up", **(route or {})}]
    return {"sources": [{"type": "inline", "backends": backends, "routes": routes}]}


def product_monotonic() -> Callable[[], float]:
    """What stands for `time.monotonic` in a module of the core."""
    clock: Callable[[], float] = vars(timers)["monotonic"]
    return clock


async def silent(scene: Scene) -> None:
    """The script that takes a request and says nothing."""
    await scene.request()
    await scene.gone()


async def test_time_jumps_to_the_next_timer_when_everything_waits(daemun_clock: VirtualClock) -> None:
    woken: list[tuple[float, float]] = []

    async def wait(seconds: float) -> None:
        await anyio.sleep(seconds)
        woken.append((seconds, daemun_clock.now()))

    async with anyio.create_task_group() as tasks:
        for seconds in (86_400.0, 0.5, 30.0):
            tasks.start_soon(wait, seconds)
        await daemun_clock.advance(30)
        assert (woken, daemun_clock.now()) == ([(0.5, 0.5), (30.0, 30.0)], 30.0)
        assert daemun_clock.jumps == 2
    assert daemun_clock.now() == 86_400


async def test_who_runs_holds_time_and_a_deadline_passes_exactly(daemun_clock: VirtualClock) -> None:
    for _ in range(1000):
        await anyio.lowlevel.checkpoint()
    assert daemun_clock.now() == 0
    with anyio.move_on_after(12.5) as scope:
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert daemun_clock.now() == 12.5


async def test_time_waits_for_threads_but_not_for_those_that_wait_for_it(daemun_clock: VirtualClock) -> None:
    seen: list[float] = []

    def work() -> None:
        time.sleep(0.05)
        seen.append(daemun_clock.now())
        from_thread.run(anyio.sleep, 10)
        time.sleep(0.05)
        seen.append(daemun_clock.now())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(to_thread.run_sync, work)
        await anyio.sleep(3)
        seen.append(daemun_clock.now())
        await anyio.sleep(1000)
    assert seen == [0, 3, 10]


async def test_modules_of_daemun_read_it_and_others_do_not(
    daemun_clock: VirtualClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, real = product_monotonic()(), time.monotonic()
    assert Exchange(Peer()).started == began
    (tmp_path / "daemun_born_later.py").write_text(
        "import time\nfrom time import monotonic as now, time as wall\n\ndef times():\n"
        "    return now(), wall(), time.monotonic(), time.time_ns(), time.sleep\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import daemun_born_later  # type: ignore[import-not-found]

    await daemun_clock.advance(1)
    before = daemun_born_later.times()
    await daemun_clock.advance(3600)
    after = daemun_born_later.times()
    assert [late - early for early, late in zip(before[:3], after[:3], strict=True)] == [3600, 3600, 3600]
    assert after[3] - before[3] == 3600 * 10**9
    assert after[4] is time.sleep
    assert product_monotonic()() - began == 3601
    assert Exchange(Peer()).started - began == 3601
    assert time.monotonic() - real < 3600
    del sys.modules["daemun_born_later"]


def test_afterwards_the_clocks_are_the_real_ones() -> None:
    assert product_monotonic() is time.monotonic
    assert abs(Exchange(Peer()).started - time.monotonic()) < 60


async def test_a_route_timeout_of_thirty_seconds(daemun_clock: VirtualClock) -> None:
    settings = forwarding({"timeout_seconds": 30}, {"response_timeout_seconds": 0})
    async with in_memory(settings, only=ONLY, upstreams={"up:80": silent}) as gateway:
        began = daemun_clock.now()
        answer = await gateway.ask()
        assert (answer.status, answer.field(b"x-daemun-reason")) == (504, b"route_timeout")
        assert daemun_clock.now() - began == pytest.approx(30, abs=TICK_SECONDS)


async def test_an_answer_in_time_is_no_timeout_however_long_it_takes(daemun_clock: VirtualClock) -> None:
    settings = forwarding({"timeout_seconds": 300}, {"response_timeout_seconds": 0})
    async with in_memory(settings, only=ONLY, upstreams={"up:80": slow(answer_ok, 299)}) as gateway:
        assert (await gateway.ask()).status == 200
        assert daemun_clock.now() == pytest.approx(299, abs=1)


async def test_idle_connections_of_a_pool_are_closed_after_their_timeout(daemun_clock: VirtualClock) -> None:
    async with in_memory(
        forwarding(None, {"idle_timeout_seconds": 60}), only=ONLY, upstreams={"up:80": answer_ok}
    ) as gateway:
        upstream = gateway.upstream["up:80"]
        assert (await gateway.ask()).status == 200
        await daemun_clock.advance(59)
        assert upstream.open == 1
        await daemun_clock.advance(7)  # pools are swept every five seconds
        assert upstream.open == 0


async def test_an_idle_client_is_sent_away_after_its_timeout(daemun_clock: VirtualClock) -> None:
    settings = {**forwarding(), "protocols": {"http1": {"keep_alive_seconds": 60}}}
    async with in_memory(settings, only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
        wire = await gateway.connect()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.answer()
        began = daemun_clock.now()
        assert await wire.rest() == b""
        assert daemun_clock.now() - began == pytest.approx(60, abs=TICK_SECONDS)


async def test_health_is_looked_after_in_its_interval(daemun_clock: VirtualClock) -> None:
    check = {"type": "http", "interval_seconds": 10, "unhealthy_threshold": 3}
    settings = forwarding(None, {"health_check": {**check, "when_none_healthy": "refuse"}})
    with seeded(7):
        async with in_memory(settings, only=ONLY, upstreams={"up:80": answer_ok}) as gateway:
            upstream = gateway.upstream["up:80"]
            await daemun_clock.advance(100)
            assert upstream.connections in range(9, 13)
            assert (await gateway.ask()).status == 200
            upstream.script = None
            await daemun_clock.advance(35)
            assert (await gateway.ask()).status == 503


async def test_waiting_for_a_condition_takes_no_real_time(daemun_clock: VirtualClock) -> None:
    began = time.perf_counter()
    with pytest.raises(AssertionError, match="the moon did not come about within 3600 s"):
        await eventually(lambda: False, "the moon")
    assert daemun_clock.now() == 3600
    assert time.perf_counter() - began < 60
    await eventually(lambda: daemun_clock.now() > 4000)


async def test_chance_in_the_product_follows_the_seed(daemun_clock: VirtualClock) -> None:
    times: list[list[float]] = []
    for _ in range(2):
        seen: list[float] = []

        async def note(scene: Scene, seen: list[float] = seen) -> None:
            seen.append(daemun_clock.now())
            await answer_ok(scene)

        settings = forwarding(None, {"health_check": {"type": "http", "interval_seconds": 10}})
        began = daemun_clock.now()
        with seeded(42):
            async with in_memory(settings, only=ONLY, upstreams={"up:80": note}):
                await daemun_clock.advance(50)
        times.append([round(at - began, 6) for at in seen])
    assert times[0] == times[1]
    assert len(times[0]) > 3


async def test_a_plugin_of_the_test_reads_it_too(daemun_clock: VirtualClock) -> None:
    plugin = make_plugin("a_plugin", daemun_started=lambda: None)
    sys.modules["a_plugin"] = plugin
    try:
        exec("from time import monotonic", vars(plugin))
        async with in_memory(forwarding(), plugins=[plugin], only=ONLY, upstreams={"up:80": answer_ok}):
            before = plugin.monotonic()
            await daemun_clock.advance(500)
            assert plugin.monotonic() - before == 500
    finally:
        del sys.modules["a_plugin"]


def test_a_seed_is_followed_and_what_was_before_comes_back() -> None:
    before = random.getstate()
    with seeded(3) as generator:
        first = random.random(), generator.random()
    with seeded(3) as generator:
        assert (random.random(), generator.random()) == first
    assert first[0] != first[1]
    assert random.getstate() == before
