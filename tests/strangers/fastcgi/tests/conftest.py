"""Tests run on virtual time, on every event loop."""

from __future__ import annotations

from typing import Any

import pytest

from daemun.testing import virtual_backends


@pytest.fixture(params=virtual_backends)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param
