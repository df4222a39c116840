"""Every test of asynchronous code runs on uvloop, and with `--other-loops` on trio and on asyncio's own loop. No property
has a time limit of its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes, or the making of one, says more of what else the machine does than of the code.
settings.register_profile("unhurried", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


_ASYNCIO = ("asyncio", {"use_uvloop": False})
_TRIO: tuple[str, dict[str, bool]] = ("trio", {})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--other-loops", action="store_true", help="run on trio and asyncio's own loop what ran on uvloop")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The two passes share nothing."""
    others = config.getoption("--other-loops")
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        spec = getattr(item, "callspec", None)
        on_another = spec is not None and spec.params.get("anyio_backend") in (_ASYNCIO, _TRIO)
        (kept if on_another == others else left).append(item)
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


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
