"""The pytest plugin as an author has it: in a run of its own, in an empty folder."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from daemun.testing.chance import seeded

_MODULE = """
import random
import pytest
from daemun.testing import answer_ok, check_leaks, virtual_backends

SETTINGS = {"sources": [{
    "type": "inline",
    "backends": {"up": {"endpoints": ["http://up:80"]}},
    "routes": [{"name": "all", "to": "up"}],
}]}


@pytest.fixture(params=virtual_backends[:1])
def anyio_backend(request):
    return request.param


@pytest.mark.anyio
async def test_all_fixtures(daemun_gateway, daemun_clock, daemun_random, daemun_hooks, daemun_leaks):
    async with daemun_gateway(SETTINGS, only=["http1", "file"], upstreams={"up:80": answer_ok}) as gateway:
        assert (await gateway.ask()).status == 200
        await daemun_clock.advance(60)
    assert daemun_leaks is check_leaks
    assert daemun_hooks.of("daemun_sources")


def test_fails(daemun_random):
    assert daemun_random.random() + random.random() < 0, "drew"


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_without_virtual_time(daemun_clock):
    pass
"""


def test_its_fixtures_are_found_and_a_seed_is_followed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_MODULE)
    plugins = [f"-p{name}" for name in ("anyio.pytest_plugin", "daemun_pytest", "no:cacheprovider")]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "--daemun-seed", "7"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    said = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, check=False).stdout
    assert "1 failed, 1 passed, 1 error" in said, said
    assert "daemun_clock needs virtual time: let the fixture `anyio_backend` have `params=virtual_backends`" in said
    with seeded(7) as generator:
        assert f"({generator.random()} + {random.random()}) < 0" in said
    assert "--daemun-seed 7 repeats it" in said


def test_without_an_option_each_test_has_a_seed_of_its_own(
    daemun_random: random.Random, request: pytest.FixtureRequest
) -> None:
    [seed] = [content for _, name, content in request.node._report_sections if name == "seed"]
    drawn = daemun_random.random(), random.random()
    with seeded(int(seed.split()[1])) as generator:
        assert (generator.random(), random.random()) == drawn


def test_nothing_of_daemun_is_imported_before_it_is_asked_for() -> None:
    code = """
        import sys
        import daemun_pytest
        names = {name.partition(".")[0] for name in sys.modules}
        print(sorted(names & {"daemun", "anyio", "msgspec", "trio", "pluggy"} - {"pluggy"}))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
