"""Options, the event loop that all benchmarks share, and the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .host import Host, hosted
from .results import Results, write

_RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("overhead")
    group.addoption("--full", action="store_true", help="every scenario, more rounds (about ten minutes)")
    group.addoption("--results", type=Path, metavar="FOLDER", help="write overhead.md and overhead.json there")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = Results()
    config.addinivalue_line("markers", "loopback: scenarios on real sockets")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "scenario" in metafunc.fixturenames:
        from .scenarios import FULL, SHORT

        loopback = metafunc.definition.get_closest_marker("loopback") is not None
        chosen = FULL if metafunc.config.getoption("--full", False) else SHORT
        cases = [one for one in chosen if (one.transport == "loopback") == loopback]
        metafunc.parametrize("scenario", cases, ids=[one.name for one in cases])


@pytest.fixture(scope="session")
def results(pytestconfig: pytest.Config) -> Results:
    """What was measured so far."""
    return pytestconfig.stash[_RESULTS]


@pytest.fixture(scope="session")
def rounds(pytestconfig: pytest.Config) -> int:
    """How many rounds a scenario gets."""
    return 40 if pytestconfig.getoption("--full", False) else 10


@pytest.fixture(scope="session")
def starts(pytestconfig: pytest.Config) -> int:
    """How often a process is started."""
    return 20 if pytestconfig.getoption("--full", False) else 5


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The event loop that lanes live in."""
    with hosted() as one:
        yield one


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[_RESULTS]
    if not results.rows and not results.facts:
        return
    terminalreporter.section("overhead")
    terminalreporter.write_line(results.markdown())
    folder = config.getoption("--results", None)
    if folder is not None:
        for file in write(results, folder):
            terminalreporter.write_line(f"written: {file}")
