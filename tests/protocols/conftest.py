"""A connection that fails inside of the gateway is a fault of ours, even if the client saw nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


class Faults:
    """What the gateway logged as an error."""

    def __init__(self) -> None:
        self.expected = False
        """Set by a test whose plugins fail on purpose."""


@pytest.fixture(autouse=True)
def faults(caplog: pytest.LogCaptureFixture) -> Iterator[Faults]:
    """Fails the test in which the gateway logged an error that nobody expected."""
    found = Faults()
    yield found
    logged = [record.getMessage() for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert bool(logged) == found.expected, logged


@pytest.fixture(params=["plain", "h2"])
def http2_codec(request: pytest.FixtureRequest) -> str:
    """The codec of HTTP/2 connections."""
    name: str = request.param
    return name
