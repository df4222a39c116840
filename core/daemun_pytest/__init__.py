"""The pytest plugin of daemun's testing kit: fixtures for authors of plugins, and `--daemun-conformance`.

It is loaded in every run of pytest where daemun is installed. Nothing of daemun is imported until a fixture or an
option asks for it, which is why this package is none of its.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from daemun.testing import HookRecorder, VirtualClock

__all__ = [
    "daemun_clock",
    "daemun_gateway",
    "daemun_hooks",
    "daemun_leaks",
    "daemun_random",
    "pytest_addoption",
    "pytest_collection",
]

_MAX_SEED = 2**32


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("daemun", "plugins of daemun")
    group.addoption(
        "--daemun-seed",
        type=int,
        metavar="N",
        help="what `daemun_random` follows; a test that failed says which it was",
    )
    group.addoption(
        "--daemun-conformance",
        action="append",
        default=[],
        metavar="KIND:NAME",
        help="run what each plugin of its kind must do on an installed one, such as filter:basic_auth; may be repeated",
    )
    group.addoption(
        "--daemun-settings",
        metavar="FILE",
        help="YAML, TOML or JSON file with the settings of the plugin that --daemun-conformance names",
    )
    group.addoption(
        "--daemun-header",
        action="append",
        default=[],
        metavar="FIELD",
        help="`name: value`: a field of every request of --daemun-conformance, by which a filter lets it pass",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> bool | None:
    """With `--daemun-conformance` what is asked for is all that runs, but for what `-k` or `--deselect` leave out."""
    config, hook = session.config, session.config.hook
    if not config.getoption("--daemun-conformance"):
        for option in ("--daemun-settings", "--daemun-header"):
            if config.getoption(option):
                raise pytest.UsageError(f"{option} does nothing without --daemun-conformance")
        return None
    from daemun.testing.batteries.collecting import collect

    session.items = list(collect(session))
    for item in session.items:
        hook.pytest_itemcollected(item=item)
    report = pytest.CollectReport("", "passed", None, list(session.items))
    hook.pytest_collectreport(report=report)
    hook.pytest_collection_modifyitems(session=session, config=config, items=session.items)
    session.testscollected = len(session.items)
    hook.pytest_collection_finish(session=session)
    return True


@pytest.fixture
def daemun_gateway() -> Callable[..., Any]:
    """`daemun.testing.in_memory`: `async with daemun_gateway(settings, plugins=…, upstreams=…) as gateway`."""
    from daemun.testing import in_memory

    return in_memory


@pytest.fixture
def daemun_clock(anyio_backend: Any) -> VirtualClock:
    """The clock of a test on virtual time; its fixture `anyio_backend` gives one of `virtual_backends`."""
    from daemun.testing import VirtualClock, virtual_backends

    if anyio_backend not in virtual_backends:
        pytest.fail(
            "daemun_clock needs virtual time: let the fixture `anyio_backend` have `params=virtual_backends` of"
            " daemun.testing",
            pytrace=False,
        )
    return VirtualClock()


@pytest.fixture
def daemun_random(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    """A generator of chance; `random` itself follows the same seed during the test. A failure tells the seed."""
    from daemun.testing.chance import seeded

    seed = request.config.getoption("--daemun-seed")
    if seed is None:
        seed = random.SystemRandom().randrange(_MAX_SEED)
    request.node.add_report_section("setup", "seed", f"--daemun-seed {seed} repeats it")
    with seeded(seed) as generator:
        yield generator


@pytest.fixture
def daemun_hooks() -> Iterator[HookRecorder]:
    """Records the calls of hooks in every gateway that the test makes."""
    from daemun.testing import HookRecorder

    with HookRecorder() as recorder:
        yield recorder


@pytest.fixture
def daemun_leaks() -> Callable[..., Any]:
    """`daemun.testing.check_leaks`: `await daemun_leaks(gateway.reload, times=100)`."""
    from daemun.testing import check_leaks

    return check_leaks
