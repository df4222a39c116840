"""Every test of asynchronous code runs on asyncio, on uvloop and on trio."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
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
