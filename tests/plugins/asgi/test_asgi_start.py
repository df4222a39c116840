"""Applications are found, started and stopped, or refused with words that help; and the short form in files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import applications
from .applications import seen
from .stage import app, errors, middleware, serving

pytestmark = pytest.mark.anyio


async def refusal(caplog: pytest.LogCaptureFixture, name: str, **options: Any) -> str:
    """Why the route is refused."""
    async with serving(name, **options) as stage:
        assert (await stage.ask()).status == 404
    return " ".join(record.getMessage() for record in caplog.records if "refused" in record.getMessage())


@pytest.mark.parametrize("lifespan", ["auto", "on"])
async def test_an_application_is_started_and_stopped_and_each_call_sees_what_it_keeps(lifespan: str) -> None:
    async with serving("keeper", lifespan=lifespan) as stage:
        assert seen == ["lifespan.startup"]
        scope = json.loads((await stage.ask()).body)
        assert scope["state"] == {"kept": "from the start"}
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


async def test_an_application_without_a_lifespan_is_fine_unless_it_must_have_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving("early_fault") as stage:
        assert (await stage.ask()).body == b"http only"
    words = await refusal(caplog, "early_fault", lifespan="on")
    assert "applications:early_fault: it raised AssertionError: only http before its start was complete" in words


async def test_a_start_that_fails_refuses_the_route_with_its_words(caplog: pytest.LogCaptureFixture) -> None:
    assert "applications:broken_start: its start failed: no database" in await refusal(caplog, "broken_start")


async def test_a_start_that_does_not_end_refuses_the_route(caplog: pytest.LogCaptureFixture) -> None:
    words = await refusal(caplog, "late_start", startup_timeout_seconds=0.01)
    assert "its start took more than 0.01 s" in words


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("helo", {}, "applications.py) has no attribute 'helo'; did you mean 'hello'?"),
        ("Shop.nothing", {}, "Shop"),
        ("no_application", {}, "is a int; accepted: something that can be called"),
        ("make_nothing", {"factory": True}, "returned a NoneType; accepted: an application"),
        ("make_fault", {"factory": True}, "raised KeyError: 'key'"),
        ("hello", {"app_dir": "nowhere"}, "nowhere is no folder; accepted: one that holds the module"),
        ("hello", {"root_path": "shop"}, "root_path"),
        ("hello", {"threads": 3}, "threads"),
    ],
)
async def test_a_wrong_setting_is_refused_with_what_would_do(
    name: str, options: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert words in await refusal(caplog, name, **options)


@pytest.mark.parametrize(
    ("file", "name", "words"),
    [
        ("", "broken_shop:app", "there is no module 'broken_shop'; accepted: one in "),
        ("import nowhere_at_all\n", "broken_a:app", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0\n", "broken_b:app", "raised ZeroDivisionError: division by zero ("),
        ("def\n", "broken_c:app", "raised SyntaxError"),
        ("app = 1\n", "json:app", "the module 'json' is already there from"),
        (
            "app = 1\n",
            "broken app",
            "$.backends.it.settings: app: 'broken app' is no `module:attribute`, for it names no",
        ),
        ("app = 1\n", ":app", "app: ':app' is no `module:attribute`; accepted: such as shop:app"),
    ],
)
async def test_a_module_that_cannot_be_had_says_which_and_where(
    file: str, name: str, words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if file:
        (tmp_path / f"{name.partition(':')[0]}.py").write_text(file)
    backend = {"type": "asgi", "settings": {"app": name, "app_dir": str(tmp_path)}}
    assert words in await refusal(caplog, "hello", backend=backend)


async def test_a_factory_and_an_attribute_of_an_attribute_are_found() -> None:
    for name, factory in (("make", True), ("Shop.app", False)):
        async with serving(name, factory=factory) as stage:
            assert (await stage.ask()).body == b"hello"


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_the_short_form_in_files(kind: str) -> None:
    name = {"asgi": "hello", "wsgi": "written"}[kind]
    async with serving(name, backend={kind: app(name), "settings": {"root_path": "/shop"}}) as stage:
        assert (await stage.ask()).status == {"asgi": 200, "wsgi": 201}[kind]


@pytest.mark.parametrize(
    ("beside", "words"),
    [
        ({"type": "static"}, "$.backends.it.type: 'asgi' is the type already; accepted beside 'asgi': 'settings'"),
        ({"endpoints": ["http://a:1"]}, "$.backends.it.endpoints: an application of 'asgi' answers by itself"),
        ({"activator": "process"}, "$.backends.it.activator: an application of 'asgi' answers by itself"),
        ({"wsgi": "a:b"}, "$.backends.it.wsgi: an application of 'asgi' answers by itself"),
        ({"settings": {"app": "a:b"}}, "$.backends.it.settings.app: is there twice"),
    ],
)
async def test_the_short_form_says_what_cannot_stand_beside_it(
    beside: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert words in await refusal(caplog, "hello", backend={"asgi": app("hello"), **beside})


async def test_a_middleware_that_cannot_be_made_or_started_refuses_the_route(caplog: pytest.LogCaptureFixture) -> None:
    words = await refusal(caplog, "hello", filters=[middleware("Changing", wrod="x")])
    assert f"middleware {applications.__name__}:Changing raised TypeError" in words
    caplog.clear()
    words = await refusal(caplog, "hello", filters=[middleware("RefusesToStart")])
    assert "RefusesToStart: its start failed: no key" in words
    assert not errors(caplog)
