"""The result file and the report that is made of it."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from bench.peers import results
from bench.peers.chart import svg
from bench.peers.place import Setup
from bench.peers.report import markdown, table, write_report
from bench.peers.results import Machine, Measured, Options, PeerInfo, Result, Round, Skipped
from bench.peers.targets import TARGETS, judge
from bench.peers.workloads import Workload
from hypothesis import given
from hypothesis import strategies as st

_GET = Workload("get-32", "small GET, keep-alive, 32 connections", "plain")
_DOWN = Workload("down-1m", "1 MiB down, 32 connections", "bodies", path="/1m")


def _rounds(*microseconds: float) -> list[Round]:
    return [
        Round(1.5, requests=1000, seconds=1.0, user_seconds=one * 6e-4, system_seconds=one * 4e-4)
        for one in microseconds
    ]


def _result(measured: list[Measured], skipped: list[Skipped] | None = None) -> Result:
    kinds = {"daemun": "ours", "nginx": "compiled", "Envoy": "compiled", "aiohttp": "python"}
    names = [name for name in kinds if any(name in one.rounds for one in measured)]
    return Result(
        date="2026-01-02T03:04:05+00:00",
        machine=Machine("a <fast> CPU", 2, 8 * 1024**3, "Linux 6.1", "3.11.7"),
        options=Options(3, 2.0, False, "wrk 4.1.0, one thread", "nginx, one worker"),
        load_before=0.5,
        load_after=1.0,
        commit="abc1234",
        peers=[PeerInfo(name, kinds[name], "1.2.3", "routing | all", "X-Forwarded-For") for name in names],
        skipped=skipped or [],
        measured=measured,
    )


@pytest.fixture
def result() -> Result:
    return _result(
        [
            Measured(
                _GET,
                {
                    "daemun": _rounds(50, 40, 60),
                    "nginx": _rounds(25, 25, 26),
                    "Envoy": _rounds(100, 90, 120),
                    "aiohttp": _rounds(200, 210, 190),
                },
            ),
            Measured(_DOWN, {"daemun": _rounds(900, 910, 950), "nginx": _rounds(1000, 990, 1010)}),
        ],
        [
            Skipped("Traefik", "", "not installed (python -m bench.peers install)"),
            Skipped("Envoy", "down-1m", "it answers 503 with 7 bytes; its log ends: <boom>\nlast | line"),
        ],
    )


def _rows(text: str, heading: str) -> list[list[str]]:
    section = text.split(f"# {heading}\n", 1)[1]
    lines = [line for line in section.split("\n#", 1)[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_a_result_file_is_read_as_it_was_written(tmp_path: Path, result: Result) -> None:
    results.write(result, tmp_path / "new" / "peers.json")
    assert results.read(tmp_path / "new" / "peers.json") == result


def test_a_result_file_of_another_schema_or_with_unknown_fields_is_refused(tmp_path: Path, result: Result) -> None:
    file = tmp_path / "peers.json"
    results.write(msgspec.structs.replace(result, schema=99), file)
    with pytest.raises(msgspec.ValidationError, match="schema 99"):
        results.read(file)
    file.write_bytes(msgspec.json.encode(result).replace(b'"commit"', b'"comit"'))
    with pytest.raises(msgspec.ValidationError, match="comit"):
        results.read(file)


def test_tables_show_median_spread_and_ratios(result: Result) -> None:
    head, _, *rows = _rows(markdown(result, "x.svg"), f"{_GET.title}: CPU a request")
    assert head == ["peer", "CPU a request, µs", "least–greatest", "IQR", "user", "system", "× Envoy", "× nginx"]
    assert rows[0] == ["daemun", "50.0", "40.0–60.0", "10.0", "30.0", "20.0", "0.50", "2.00"]
    assert [row[0] for row in rows] == ["daemun", "nginx", "Envoy", "aiohttp"]


def test_what_was_not_measured_has_no_ratio(result: Result) -> None:
    rows = _rows(markdown(result, ""), f"{_DOWN.title}: CPU a request")[2:]
    assert [(row[0], row[-2], row[-1]) for row in rows] == [("daemun", "–", "0.91"), ("nginx", "–", "1.00")]


def test_every_target_says_met_not_met_or_not_measured(result: Result) -> None:
    rows = _rows(markdown(result, ""), "Targets")[2:]
    assert len(rows) == len(TARGETS)
    states = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    get = "small GET, keep-alive, 32 connections"
    assert states[get, "≤ 0.6 × Envoy"] == ("0.50", "met")
    assert states[get, "≤ 0.2 × the best Python peer"] == ("0.25", "**not met**")
    assert states["1 MiB down", "≤ 0.7 × nginx"] == ("0.91", "**not met**")
    assert states["1 MiB down", "≤ 0.8 × Envoy"] == ("–", "not measured")


def test_a_workload_of_our_own_is_compared_with_another_of_our_own() -> None:
    few = Workload("workers-1", "one worker", "workers")
    more = Workload("workers-2", "two workers", "workers", setup=Setup(workers=2))
    verdicts = judge(_result([Measured(few, {"daemun": _rounds(50)}), Measured(more, {"daemun": _rounds(55)})]))
    found = next(one for one in verdicts if one.target.workload == "workers-2")
    assert found.value == pytest.approx(2 * 50 / 55)
    assert found.state == "met"


def test_a_throughput_is_the_inverse_of_a_time() -> None:
    huge = Workload("h2-huge", "1 GiB", "h2-huge", kind="huge")
    took = {"daemun": [Round(0.1, requests=1, seconds=4.0)], "Envoy": [Round(0.1, requests=1, seconds=1.0)]}
    found = next(one for one in judge(_result([Measured(huge, took)])) if one.target.workload == "h2-huge")
    assert (found.value, found.state) == (0.25, "not met")
    assert found.target.words == "≥ 0.5 × Envoy"


def test_messages_of_a_stream_have_a_cost_each() -> None:
    stream = Workload("grpc-stream", "messages", "grpc", kind="stream")
    result = _result([Measured(stream, {"daemun": _rounds(30), "Envoy": _rounds(20)})])
    assert _rows(markdown(result, ""), "messages: CPU a message")[2][:2] == ["daemun", "30.0"]
    assert next(one for one in judge(result) if one.target.workload == "grpc-stream").state == "met"


def test_who_was_left_out_is_named_with_the_reason(result: Result) -> None:
    rows = _rows(markdown(result, ""), "Left out")[2:]
    assert rows[0] == ["Traefik", "everything", "not installed (python -m bench.peers install)"]
    assert rows[1] == ["Envoy", "down-1m", r"it answers 503 with 7 bytes; its log ends: &lt;boom> last \| line"]
    assert "Traefik, everything: not installed" in table(result)
    assert "Nothing." in markdown(_result([]), "").split("## Left out", 1)[1]


def test_the_terminal_gets_figures_targets_and_the_load(result: Result) -> None:
    lines = table(result).splitlines()
    assert lines[2].split() == ["daemun", "50.0", "40.0", "60.0", "0.50", "2.00"]
    assert any(line.endswith("not met") for line in lines)
    assert lines[-1] == "load average 0.5 before, 1.0 after, on 2 cores"


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.rows: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        if tag == "tr":
            self.rows["tr"] = self.rows.get("tr", 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def test_the_page_needs_nothing_but_itself(tmp_path: Path, result: Result) -> None:
    written = write_report(result, tmp_path / "peers.json")
    assert [path.name for path in written] == ["peers.md", "peers.svg", "peers.html"]
    text = (tmp_path / "peers.html").read_text()
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert page.outside == []
    assert "url(" not in text
    assert "@import" not in text
    assert text.count("<svg") == 1
    assert "<boom>" not in text
    assert "a &lt;fast&gt; CPU" in text
    assert "](peers.svg)" in (tmp_path / "peers.md").read_text()


def _drawn(result: Result) -> ElementTree.Element:
    text = svg(result)
    assert not re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE)
    root = ElementTree.fromstring(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for element in root.iter():
        for name in ("x", "x1", "x2", "y", "y1", "y2", "width", "height"):
            value = float(element.attrib.get(name, 0))
            assert 0 <= value <= (width if name in ("x", "x1", "x2", "width") else height)
    return root


def test_the_chart_has_a_bar_a_peer_with_name_and_number(result: Result) -> None:
    words = [element.text for element in _drawn(result).iter("{http://www.w3.org/2000/svg}text")]
    assert words[0] == "Cost beside Envoy: ratio of medians, less is better"
    assert [word for word in words if word in ("daemun", "nginx", "Envoy", "aiohttp")].count(
        "daemun"
    ) == 2  # legend, bar
    for number in ("0.50×", "0.25×", "1.00×", "2.00×"):
        assert number in words


@given(
    costs=st.dictionaries(
        st.sampled_from(["daemun", "nginx", "Envoy", "aiohttp"]),
        st.lists(st.floats(0, 1e7, allow_nan=False), min_size=1, max_size=5),
        max_size=4,
    ),
    blocks=st.integers(0, 9),
)
def test_the_chart_is_drawn_whatever_was_measured(costs: dict[str, list[float]], blocks: int) -> None:
    measured = [Measured(_GET, {name: _rounds(*values) for name, values in costs.items()})] * blocks
    result = _result(measured)
    _drawn(result)
    assert markdown(result, "x.svg").count("## ") >= 6
    for verdict in judge(result):
        assert verdict.value is None or math.isfinite(verdict.value)
