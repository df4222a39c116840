"""Settings are checked where they are read, documented as they are, and registered by name."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import daemun_process
from daemun_process import ProcessSettings, Readiness
from daemun_process.backoff import Backoff
from daemun_process.place import Place, take_place

README = Path(daemun_process.__file__).with_name("README.md").read_text()


def test_it_registers_the_activator() -> None:
    (activator,) = daemun_process.daemun_activators()
    assert activator.name == "process"
    assert activator.settings is ProcessSettings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "missing required field `command`"),
        ({"command": []}, r"length >= 1 - at `\$.command`"),
        ({"command": "python app.py"}, r"Expected `array`, got `str` - at `\$.command`"),
        ({"command": [""]}, "command names no program"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"command": ["a"], "environment": {"A=B": "c"}}, "'A=B' is not the name of a variable"),
        ({"command": ["a"], "port": 80, "socket": True}, "port and socket exclude each other"),
        ({"command": ["a"], "min_instances": 2}, "min_instances 2 is above max_instances 1"),
        ({"command": ["a"], "max_instances": 2, "capacity": 1, "port": 80}, "cannot share a port"),
        ({"command": ["a"], "max_instances": 2}, "needs capacity"),
        ({"command": ["a"], "idle_timeout_seconds": -1}, r"`\$.idle_timeout_seconds`"),
        ({"command": ["a"], "idle": 1}, "unknown field `idle`"),
        ({"command": ["a"], "readiness": {"path": "/a\r\nx: y"}}, r"`\$.readiness.path`"),
        ({"command": ["a"], "readiness": {"statuses": [300, 200]}}, "not a range within 200..599"),
    ],
)
def test_what_is_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(settings, ProcessSettings)


@pytest.mark.parametrize(("struct", "prefix"), [(ProcessSettings, ""), (Readiness, "readiness.")])
def test_the_readme_has_every_setting_with_its_default(struct: type[msgspec.Struct], prefix: str) -> None:
    rows = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in README.splitlines() if row[:3] == "| `"}
    documented = {
        name.strip("`").removeprefix(prefix): default
        for name, default in rows.items()
        if name.strip("`").startswith(prefix) and ("." in name) is bool(prefix)
    }
    actual = {}
    for field in msgspec.structs.fields(struct):
        if isinstance(field.default, Readiness):
            continue
        default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        actual[field.name] = "required" if field.required else f"`{msgspec.json.encode(default).decode()}`"
    assert documented == actual


def test_the_example_in_the_readme_can_be_read() -> None:
    example = yaml.safe_load(README.partition("```yaml\n")[2].partition("```")[0])
    backend = example["backends"]["shop"]
    assert backend["activator"] == "process"
    settings = msgspec.convert(backend["activation"], ProcessSettings)
    assert settings.readiness.kind == "http"


@given(st.text(alphabet="${}PORTSCKE_ a"), st.integers(1, 65535))
def test_only_whole_names_are_filled_in(text: str, port: int) -> None:
    filled = Place(port=port).fill_in(text)
    assert "${PORT}" not in filled
    if "$PORT" not in text and "${PORT}" not in text:
        assert filled == text
    assert Place(port=port).fill_in(f"{{{text}").startswith("{")


@given(st.text(), st.text())
def test_what_surrounds_a_variable_stays(before: str, after: str) -> None:
    place = Place(path="/run/x/s")
    assert place.fill_in("${SOCKET}") == "/run/x/s"
    safe = before.replace("$", ""), after.replace("$", "")
    assert place.fill_in(f"{safe[0]}${{SOCKET}}{safe[1]}") == f"{safe[0]}/run/x/s{safe[1]}"
    assert place.fill_in(f"{safe[0]}$PORT {safe[1]}") == f"{safe[0]}$PORT {safe[1]}"


def test_places_differ_until_they_are_given_back() -> None:
    places = [take_place() for _ in range(200)]
    try:
        assert len({place.port for place in places}) == 200
    finally:
        for place in places:
            place.give_back()


def test_back_off_grows_and_ends() -> None:
    backoff = Backoff()
    assert backoff.remaining_seconds == 0
    for longest in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0):
        before = monotonic()
        backoff.failed()
        assert backoff.remaining_seconds <= longest
        assert longest / 2 <= backoff.remaining_seconds + monotonic() - before
    assert backoff.failures == 11
    backoff.recovered()
    assert backoff.remaining_seconds == 0
    backoff.failed()
    assert backoff.remaining_seconds <= 0.1
