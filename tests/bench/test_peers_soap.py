"""SOAP in the suite: what is posted, how daemun is set up for it, and what is judged."""

from __future__ import annotations

import email
import json
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
from bench.peers import load
from bench.peers.figures import METRICS
from bench.peers.interpreted import daemun
from bench.peers.measure import MEASURES, Desk
from bench.peers.peers import PEERS
from bench.peers.place import Place, Setup
from bench.peers.process import free_port, started
from bench.peers.results import Machine, Measured, Options, PeerInfo, Result, Round
from bench.peers.soap import ENVELOPE, Posted, mtom
from bench.peers.targets import judge
from bench.peers.workloads import WORKLOADS, Workload, lua
from hypothesis import given
from hypothesis import strategies as st

_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_PLAIN = Workload("soap-plain", "an envelope", "soap", "cpu", "/upload", 4, 1, 10 * 1024, "envelope")
_MATCHED = msgspec.structs.replace(_PLAIN, name="soap-matched", setup=Setup(brings="matcher soap"))


def test_the_envelope_is_one_of_ten_kib_that_names_its_operation() -> None:
    content = ENVELOPE.content
    assert len(content) == ENVELOPE.length == 10 * 1024
    head, body = ElementTree.fromstring(content)
    assert (head.tag, body.tag) == (_SOAP + "Header", _SOAP + "Body")
    assert [child.tag for child in body] == ["{urn:stock}GetPrices"]
    assert len(body[0]) > 100
    assert f'"{head[0].text}"' == ENVELOPE.fields["SOAPAction"]


@given(more=st.integers(0, 3 * 262144))
def test_a_message_with_an_attachment_is_as_long_as_asked(more: int) -> None:
    least = len(mtom(0).start) + len(mtom(0).end)
    posted = mtom(least + more)
    assert sum(map(len, posted.pieces())) == posted.length == least + more
    message = email.message_from_bytes(f"Content-Type: {posted.fields['Content-Type']}\n\n".encode() + posted.content)
    parts: Any = message.get_payload()
    root, attachment = parts
    assert root.get_content_type() == "application/xop+xml"
    assert root["Content-ID"] == message.get_param("start")
    assert ElementTree.fromstring(root.get_payload()).find(f"{_SOAP}Body/{{urn:stock}}GetPrices") is not None
    assert len(attachment.get_payload()) == more


def test_other_uploads_are_x() -> None:
    posted = msgspec.structs.replace(_PLAIN, soap="", upload_bytes=300_000).posted
    assert posted == Posted({}, b"", b"", 300_000)
    assert posted.content == b"x" * 300_000


def test_wrk_is_told_the_envelope() -> None:
    script = lua(_PLAIN)
    assert 'wrk.headers["SOAPAction"] = "\\"urn:stock/GetPrices\\""' in script
    assert json.dumps(ENVELOPE.content.decode()) in script


def test_without_wrk_the_envelope_is_left_out_and_the_large_message_is_not() -> None:
    asked = {one.name: load.cannot(one, None, None) for one in WORKLOADS}
    assert "wrk is not installed" in asked["soap-plain"]
    assert asked["mtom-plain"] == ""


def _configured(folder: Path, setup: Setup, origin: int = 2) -> tuple[Place, list[str]]:
    place = Place(sys.executable, folder, free_port(), origin, setup, Path(), Path())
    return place, daemun(place).argv


@pytest.mark.parametrize(
    ("brings", "key"), [("matcher soap", "match"), ("filter soap", "filters"), ("filter ws_log", "filters")]
)
def test_the_route_has_what_the_workload_wants(tmp_path: Path, brings: str, key: str) -> None:
    _configured(tmp_path, msgspec.convert({"brings": brings}, Setup))
    route = json.loads((tmp_path / "daemun.json").read_text())["sources"][0]["routes"][0]
    assert sorted(route) == sorted(["name", "to", key])
    assert f'"type": "{brings.split()[1]}"' in json.dumps(route[key])


def test_a_plugin_that_is_not_installed_leaves_daemun_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.interpreted._brings", lambda: frozenset({"filter soap"}))
    assert PEERS[0].lacks(Setup(brings="filter soap")) == ""
    assert PEERS[0].lacks(Setup(brings="matcher soap")) == "this checkout has no matcher soap"


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_envelopes_and_attachments_pass_daemun(tmp_path: Path) -> None:
    origin = free_port()
    script = str(Path(load.__file__).with_name("plain_origin.py"))
    large = Workload("m", "large", "soap-mtom", "huge", "/sink", 1, 1, 3 * 1024**2, "mtom")
    desk = Desk(seconds=1.0, wrk=shutil.which("wrk"), h2load=None, folder=tmp_path, descriptors=1000)
    with started([sys.executable, script, str(origin)], port=origin, log=tmp_path / "origin.log"):
        place, argv = _configured(tmp_path, Setup(), origin)
        with started(argv, port=place.port, log=tmp_path / "log") as running:
            posted = MEASURES["cpu"](desk, _PLAIN, "daemun", running)
            assert posted.requests > 20
            assert posted.failed == 0
            took = MEASURES["huge"](desk, large, "daemun", running)
            assert METRICS["huge"][1].of(took) > 10


@pytest.mark.parametrize(("matched", "state"), [(200.0, "met"), (90.0, "met"), (260.0, "not met")])
def test_what_is_learnt_of_an_envelope_costs_so_much_more_than_a_post(matched: float, state: str) -> None:
    costs = {_PLAIN: 100.0, _MATCHED: matched}
    measured = [
        Measured(workload, {"daemun": [Round(0.1, requests=1000, user_seconds=cost / 1000)]})
        for workload, cost in costs.items()
    ]
    result = Result(
        date="2026-01-02T03:04:05+00:00",
        machine=Machine("a CPU", 2, 8 * 1024**3, "Linux 6.1", "3.11.7"),
        options=Options(1, 1.0, False, "wrk", "nginx"),
        load_before=0.0,
        load_after=0.0,
        commit="abc1234",
        peers=[PeerInfo("daemun", "ours", "0.1.0", "all")],
        skipped=[],
        measured=measured,
    )
    verdict = next(one for one in judge(result) if one.target.workload == "soap-matched")
    assert verdict.target.words == "≤ 150 µs over its plain POST"
    assert verdict.value == pytest.approx(matched - 100)
    assert verdict.state == state
