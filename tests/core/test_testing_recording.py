"""What the kit remembers: calls of hooks, and what an action leaves behind."""

from __future__ import annotations

import mmap
from typing import Any

import anyio
import pytest

from daemun import FilterSpec, FilterType, Handler, NoSettings, RouteSpec
from daemun.testing import HookRecorder, answer_ok, built, check_leaks, in_memory, make_plugin, running

pytestmark = pytest.mark.anyio
ONLY = ("http1", "file")
SETTINGS: dict[str, Any] = {
    "sources": [
        {"type": "inline", "backends": {"up": {"endpoints": ["http://up:80"]}}, "routes": [{"name": "all", "to": "up"}]}
    ]
}


def unchanged(handler: Handler) -> Handler:
    """A filter that does nothing."""
    return handler


def hooks_of_a_plugin(**more: Any) -> Any:
    """A plugin that adds a filter to every route, and hears of notices."""

    def daemun_route_filters(route: RouteSpec) -> list[FilterSpec]:
        return [FilterSpec("unchanged")]

    def daemun_applied(applied: Any) -> None:
        assert applied.generation > 0

    def daemun_stopped() -> None:
        raise LookupError("on purpose")

    return make_plugin(
        "mine",
        daemun_filters=lambda: [FilterType("unchanged", NoSettings, built(unchanged))],
        daemun_route_filters=daemun_route_filters,
        daemun_applied=daemun_applied,
        daemun_stopped=daemun_stopped,
    )


async def test_calls_are_recorded_with_arguments_and_results(daemun_hooks: HookRecorder) -> None:
    async with in_memory(SETTINGS, plugins=[hooks_of_a_plugin()], only=ONLY, upstreams={"up:80": answer_ok}):
        [call] = daemun_hooks.of("daemun_route_filters")
        assert (call.plugin, call.arguments["route"].name) == ("mine", "all")
        assert call.result == [FilterSpec("unchanged")]
        assert daemun_hooks.of("daemun_sources", "mine") == []
        assert len(daemun_hooks.of("daemun_sources", "file")) == 1
        [applied] = daemun_hooks.of("daemun_applied")
        assert [status.name for status in applied.arguments["applied"].objects] == ["all", "up"]
        daemun_hooks.clear()
    [stopped] = daemun_hooks.calls
    assert (stopped.hook, stopped.arguments, repr(stopped.error)) == (
        "daemun_stopped",
        {},
        "LookupError('on purpose')",
    )


async def test_gateways_on_a_port_are_watched_too_but_only_while_it_is_entered() -> None:
    source = {"type": "inline", "routes": [{"name": "all", "respond": {"status": 204}}]}
    with HookRecorder() as hooks:
        async with running({"sources": [source]}, only=ONLY, extra=[hooks_of_a_plugin()]):
            pass
    assert [call.hook for call in hooks.calls if call.plugin == "mine"] == [
        "daemun_filters",
        "daemun_route_filters",
        "daemun_applied",
        "daemun_stopped",
    ]
    count = len(hooks.calls)
    async with in_memory({"sources": [source]}, only=ONLY, plugins=[hooks_of_a_plugin()]):
        pass
    assert len(hooks.calls) == count


async def test_a_reload_and_a_request_leave_nothing() -> None:
    async with in_memory(SETTINGS, plugins=[hooks_of_a_plugin()], only=ONLY, upstreams={"up:80": answer_ok}) as gateway:

        async def both() -> None:
            await gateway.reload()
            await gateway.ask()
            gateway.upstream["up:80"].requests.clear()

        await check_leaks(both, times=30)


class Kept:
    """What the leaks of these tests consist of."""


async def test_objects_that_stay_are_named_by_their_type() -> None:
    kept: list[Kept] = []

    async def leak() -> None:
        kept.append(Kept())
        await anyio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match=r"after 40 times there are more objects: .*\bKept \+40"):
        await check_leaks(leak, times=40)
    await check_leaks(leak, times=40, ignore=(f"{__name__}.Kept",))


async def test_what_is_filled_once_is_no_leak() -> None:
    cache: dict[int, Kept] = {}
    asked = 0

    async def remember() -> None:
        nonlocal asked
        asked += 1
        cache.setdefault(asked % 8, Kept())
        await anyio.lowlevel.checkpoint()

    await check_leaks(remember, times=40)
    assert len(cache) == 8


async def test_memory_that_stays_is_told_although_no_object_does() -> None:
    kept = mmap.mmap(
        -1, mmap.PAGESIZE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    )  # pages of its own, and none that others gave back before

    async def leak() -> None:
        size = len(kept)
        kept.resize(size + 4 * 1024 * 1024)
        kept[size:] = bytes(range(256)) * 4 * 4096
        await anyio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match=r"after 40 times the process holds \d+\.\d MiB more"):
        await check_leaks(leak, times=20, warm_up=1)
    kept.close()
