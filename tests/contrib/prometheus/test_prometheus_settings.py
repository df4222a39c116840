"""Settings: what is accepted, what is refused in which words, and what is said without prometheus-client."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun import SettingsError
from daemun_prometheus import PrometheusSettings
from daemun_prometheus.families import FAMILIES
from daemun_prometheus.settings import parse_bind


@pytest.mark.parametrize(
    ("where", "parsed"),
    [
        ("127.0.0.1:9090", ("127.0.0.1", 9090)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("unix:/run/metrics.sock", "/run/metrics.sock"),
        ("unix:metrics.sock", "metrics.sock"),
    ],
)
def test_an_address_is_taken_apart(where: str, parsed: object) -> None:
    assert parse_bind(where) == parsed


@pytest.mark.parametrize(
    "where",
    ["", "9090", ":9090", "host:", "host:http", "host:65536", "host:-1", "host:９", "::1:9090", "[host]:80", "[]:1"],
)
def test_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_bind(where)


@pytest.mark.parametrize("where", ["unix:", "unix:/a\0b"])
def test_what_is_no_path_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match="names no path"):
        parse_bind(where)


@given(st.one_of(st.text(), st.from_regex(r"\[?[a-z0-9.:]*\]?:[0-9]*"), st.text().map("unix:{}".format)))
def test_any_text_is_an_address_or_refused(where: str) -> None:
    try:
        parsed = parse_bind(where)
    except ValueError as error:
        assert repr(where) in str(error)
        return
    if isinstance(parsed, str):
        assert where == f"unix:{parsed}"
        return
    host, port = parsed
    assert host
    assert 0 <= port <= 65535
    assert where.rpartition(":")[0] == (f"[{host}]" if ":" in host else host)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"bind": "9090"}, "is not host:port"),
        ({"path": "metrics"}, "path"),
        ({"path": "/metrics?x"}, "path"),
        ({"path": "/metrics\n"}, "path"),
        ({"duration_buckets_seconds": []}, "duration_buckets_seconds"),
        ({"duration_buckets_seconds": [0.5, 0.1]}, "must be finite and ascending"),
        ({"duration_buckets_seconds": [0.5, 0.5]}, "must be finite and ascending"),
        ({"duration_buckets_seconds": [0.0, 0.5]}, "duration_buckets_seconds"),
        ({"cold_start_buckets_seconds": [1.0, float("inf")]}, "must be finite and ascending"),
        ({"cold_start_buckets_seconds": [float(n) for n in range(1, 66)]}, "cold_start_buckets_seconds"),
        ({"max_label_sets": 0}, "max_label_sets"),
        ({"idle_timeout_seconds": 0}, "idle_timeout_seconds"),
        ({"adress": "127.0.0.1:1"}, "adress"),
    ],
)
def test_settings_that_cannot_be_are_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(raw, PrometheusSettings)


def test_without_settings_only_this_machine_is_served() -> None:
    assert PrometheusSettings().bind.startswith("127.0.0.1:")


@pytest.mark.anyio
async def test_without_prometheus_client_the_extra_is_named(metering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in ("service", "exposition", "gauges", "admin"):
        monkeypatch.delitem(sys.modules, f"daemun_prometheus.{name}", raising=False)
    with pytest.raises(SettingsError, match=r"needs the module prometheus_client.*pip install 'daemun\[prometheus\]'"):
        async with metering():
            pass


def test_names_follow_the_naming_guide() -> None:
    for family in FAMILIES:
        assert family.name.startswith(("daemun_", "process_"))
        assert not family.name.endswith("_total")
        assert family.words.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_every_metric_stands_in_the_readme() -> None:
    import daemun_prometheus

    readme = (Path(daemun_prometheus.__file__).parent / "README.md").read_text()
    for family in FAMILIES:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in family.labels)
        assert f"| `{name}` | {family.type} | {labels} | {family.words.rstrip('.')}".replace("|  |", "||") in readme, (
            name
        )
