"""Every test of asynchronous code runs on uvloop and on trio, and with `--asyncio` on asyncio's own loop. No property has
a time limit of its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, says more of what else the machine does than of the code.
settings.register_profile("unhurried", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


_PLAIN = ("asyncio", {"use_uvloop": False})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--asyncio", action="store_true", help="run on asyncio's own loop what has not run on it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The two passes share nothing: with `--asyncio` only what runs on asyncio's own loop, without it all else."""
    plain = config.getoption("--asyncio")
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        spec = getattr(item, "callspec", None)
        on_plain = spec is not None and spec.params.get("anyio_backend") == _PLAIN
        (kept if on_plain == plain else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


@pytest.fixture(
    params=[
        pytest.param(_PLAIN, id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=["plain", "h11"])
def codec(request: pytest.FixtureRequest) -> str:
    """The codec of HTTP/1 heads."""
    name: str = request.param
    return name
