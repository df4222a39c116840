"""One cluster for all tests here: raised when the first of them needs it, ended with the last, even after Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .cluster import Cluster


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster. One that somebody raised by hand (`python -m tests.conformance.kubernetes up`) is used, and stays."""
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")

    def tell(line: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{line}", flush=True)

    one = Cluster(tell)
    if one.is_kept:
        yield one
        return
    try:
        one.raise_up()
        yield one
    finally:
        one.lower()
