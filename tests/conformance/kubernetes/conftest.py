"""One cluster for all tests here: raised when the first of them needs it, ended with the last, even after Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .cluster import Cluster


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The cluster. One that somebody raised by hand (`python -m tests.conformance.kubernetes up`) is used, and stays."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")

    def tell(line: str) -> None:
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(line)

    one = Cluster(tell)
    if one.is_kept:
        yield one
        return
    try:
        one.raise_up()
        yield one
    finally:
        one.lower()
