"""What an operator wants otherwise in the settings of a gateway: what is kept, replaced, added and taken away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daemun import SettingsError
from daemun_kubernetes.install.overlay import overlaid, read_overlay

BELOW: dict[str, Any] = {
    "listeners": [{"name": "http", "bind": ":80"}, {"name": "https", "bind": ":443", "tls": {}}],
    "sources": [{"type": "knative", "lease": "l"}],
    "observers": [{"type": "prometheus", "bind": ":9"}],
    "drain": {"delay_seconds": 5, "grace_seconds": 30},
}


def over(*assignments: str) -> dict[str, Any]:
    return overlaid(BELOW, read_overlay(None, assignments))


def test_nothing_said_is_nothing_changed() -> None:
    assert over() == BELOW


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("workers=2", "workers", 2),
        ("drain.grace_seconds=60", "drain", {"delay_seconds": 5, "grace_seconds": 60}),
        ("drain.delay_seconds=null", "drain", {"grace_seconds": 30}),
        ("drain=null", "drain", None),
        ("plugins.block=[soap, grpc]", "plugins", {"block": ["soap", "grpc"]}),
        ("protocols.http1.max_fields=50", "protocols", {"http1": {"max_fields": 50}}),
        ("observers.prometheus=null", "observers", []),
        ("observers.nobody=null", "observers", BELOW["observers"]),
        ("observers.accesslog={}", "observers", [*BELOW["observers"], {"type": "accesslog"}]),
        ("sources.knative.lease=l", "sources", BELOW["sources"]),
        ("sources.inline.routes=[]", "sources", [*BELOW["sources"], {"type": "inline", "routes": []}]),
        ("sources.knative.cluster_domain=a=b", "sources", [{**BELOW["sources"][0], "cluster_domain": "a=b"}]),
        (
            "listeners=[{name: http, backlog: 9}]",
            "listeners",
            [{**BELOW["listeners"][0], "backlog": 9}, BELOW["listeners"][1]],
        ),
    ],
)
def test_one_setting_otherwise(assignment: str, key: str, value: Any) -> None:
    found = over(assignment)
    assert found.get(key) == value
    assert {other: found[other] for other in BELOW if other != key} == {
        other: BELOW[other] for other in BELOW if other != key
    }


def test_what_is_said_last_is_what_counts(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("workers: 2\nobservers:\n  - {type: accesslog, format: json}\n  - {type: prometheus, path: /m}\n")
    found = overlaid(BELOW, read_overlay(file, ["observers.accesslog.format=text", "workers=4", "workers=3"]))
    assert found["workers"] == 3
    assert found["observers"] == [
        {"type": "prometheus", "bind": ":9", "path": "/m"},
        {"type": "accesslog", "format": "text"},
    ]


@pytest.mark.parametrize("text", ["[]", "words", "a: {", "sources: [1]"])
def test_a_file_that_holds_no_settings_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError):
        read_overlay(file, ())


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("# later\n")
    assert read_overlay(file, ()) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["sources", "observers", "listeners", "drain", "workers", "x"]), VALUES))
def test_whatever_is_said_below_stays_or_it_is_refused(wanted: dict[str, Any]) -> None:
    """Also: what is said twice is no other than what is said once, and nothing of `BELOW` is changed in place."""
    before = yaml.safe_dump(BELOW)
    try:
        overlay = read_overlay(None, [f"{key}={yaml.safe_dump(value)}" for key, value in wanted.items()])
        found = overlaid(BELOW, overlay)
        again = overlaid(found, overlay)
    except SettingsError:
        return
    finally:
        assert yaml.safe_dump(BELOW) == before
    assert [one["name"] for one in found["listeners"]] == ["http", "https"]
    assert {one["bind"] for one in found["listeners"]} == {":80", ":443"}
    assert found["sources"][0]["lease"] == "l"
    assert again == found


@given(st.text(max_size=20))
def test_any_assignment_is_read_or_refused(text: str) -> None:
    try:
        read_overlay(None, [text])
    except SettingsError as error:
        assert "--set" in str(error) or str(error).startswith("$.")
