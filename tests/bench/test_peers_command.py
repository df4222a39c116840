"""`python -m bench.peers` as a person types it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from bench.peers import results
from bench.peers.__main__ import main
from bench.peers.results import Machine, Measured, Options, PeerInfo, Result, Round, Skipped
from bench.peers.workloads import WORKLOADS
from click.testing import CliRunner


@pytest.fixture
def file(tmp_path: Path) -> Path:
    figures = Round(0.1, requests=100, seconds=1.0, user_seconds=0.001, system_seconds=0.001)
    result = Result(
        date="2026-01-02T03:04:05+00:00",
        machine=Machine("a CPU", 2, 8 * 1024**3, "Linux 6.1", "3.11.7"),
        options=Options(1, 1.0, False, "wrk", "nginx"),
        load_before=0.0,
        load_after=0.0,
        commit="abc1234",
        peers=[PeerInfo("daemun", "ours", "0.1.0", "all")],
        skipped=[Skipped("nginx", "", "not installed (apt-get install nginx)")],
        measured=[Measured(WORKLOADS[0], {"daemun": [figures]})],
    )
    results.write(result, tmp_path / "peers.json")
    return tmp_path / "peers.json"


def test_a_report_is_written_beside_its_result(file: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(file)])
    assert done.exit_code == 0
    written = [Path(line) for line in done.output.split()]
    assert [path.suffix for path in written] == [".md", ".svg", ".html"]
    assert all(path.parent == file.parent for path in written)
    assert "nginx | everything | not installed" in written[0].read_text()


def test_a_report_can_be_printed_and_nothing_written(file: Path) -> None:
    done = CliRunner().invoke(main, ["report", "--stdout", str(file)])
    assert done.output.startswith("# daemun beside other proxies")
    assert sorted(path.name for path in file.parent.iterdir()) == ["peers.json"]


def test_a_file_that_is_no_result_is_refused_with_its_place(file: Path) -> None:
    file.write_text('{"date": 5}')
    done = CliRunner().invoke(main, ["report", str(file)])
    assert done.exit_code == 1
    assert "$.date" in done.output
    assert str(file) in done.output


def test_names_that_are_none_are_usage_errors_that_list_what_there_is() -> None:
    done = CliRunner().invoke(main, ["run", "--peer", "squid"])
    assert done.exit_code == 2
    assert "Envoy" in done.output
    done = CliRunner().invoke(main, ["run", "--workload", "get-33"])
    assert done.exit_code == 2
    assert "get-32" in done.output


def test_workloads_are_listed_by_group() -> None:
    lines = CliRunner().invoke(main, ["workloads"]).output.splitlines()
    assert len(lines) == len(WORKLOADS)
    assert lines[0].split()[:2] == ["plain", "get-32"]


def test_the_schema_describes_a_result() -> None:
    schema = msgspec.json.decode(CliRunner().invoke(main, ["schema"]).output)
    assert "load_average" in schema["$defs"]["Round"]["properties"]
