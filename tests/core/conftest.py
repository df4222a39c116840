"""The command line in the test's own process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from daemun.cli.main import main


@pytest.fixture
def cli() -> Iterator[Callable[..., Result]]:
    """Runs `daemun` with the given arguments. What it does to the log is undone."""
    log = logging.getLogger("daemun")
    before = log.handlers, log.level, log.propagate

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(one) for one in arguments])

    yield run
    log.handlers, log.level, log.propagate = before
