"""Every test of asynchronous code runs on uvloop, and with `--other-loops` on trio and on asyncio's own loop. No property
has a time limit of its own, and a machine that stands still for a second decides nothing."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, says more of what else the machine does than of the code; how many
# examples are thrown away is a matter of chance.
settings.register_profile(
    "unhurried",
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile("unhurried")


_ASYNCIO = ("asyncio", {"use_uvloop": False})
_TRIO: tuple[str, dict[str, bool]] = ("trio", {})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-loops", action="store_true", help="run on trio and asyncio's own loop what ran on uvloop")


def on_another_loop(item: pytest.Item) -> bool:
    """Whether `--other-loops` has it: in this process or in one that the test starts."""
    spec = getattr(item, "callspec", None)
    return spec is not None and (
        spec.params.get("anyio_backend") in (_ASYNCIO, _TRIO) or spec.params.get("loop") in ("asyncio", "trio")
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The two passes share nothing."""
    others = config.getoption("--other-loops")
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if on_another_loop(item) == others else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Thousands of tests are objects that stay: no collection of garbage need look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(
    params=[
        pytest.param(_ASYNCIO, id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(_TRIO, id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["plain", "h11"])
def codec(request: pytest.FixtureRequest) -> str:
    """The codec of HTTP/1 heads."""
    name: str = request.param
    return name


class Clock:
    """What the gateway's timers take for the time. It stands still, however long the machine takes, unless the test
    moves it. Scopes with a deadline (`anyio.move_on_after`) go by the event loop's own."""

    def __init__(self) -> None:
        self._now = monotonic()

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """So much has passed."""
        self._now += seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the context lasts, time passes: a second with each turn of a loop that rests a little in between."""

        async def run() -> None:
            while True:
                await anyio.sleep(0.005)
                self._now += 1.0

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield
            tasks.cancel_scope.cancel()


_ASK_THE_CLOCK = (
    "daemun.exchange",
    "daemun.transport.timers",
    "daemun_http1.bodies",
    "daemun_http1.watch",
    "daemun_http2.asked",
    "daemun_http2.patience",
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time of the gateways in this test."""
    clock = Clock()
    for module in _ASK_THE_CLOCK:
        monkeypatch.setattr(f"{module}.monotonic", clock)
    return clock
