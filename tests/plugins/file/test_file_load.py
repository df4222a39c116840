"""Files to objects: a bad object hurts no other, a bad file nothing that was read before, and nothing is done
twice."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_file import RawObject, Reader
from daemun_file.load import Reading
from daemun_file.objects import Specs, decode_object, split_document


class Files:
    """A folder of files, and a reader of it that counts what it decodes."""

    def __init__(self, folder: Path, *paths: str, **options: Any) -> None:
        self.folder = folder
        self.decoded: list[str] = []
        self.reader: Reader[Specs] = Reader(
            paths or (".",), folder, split=split_document, decode=self._decode, **options
        )

    def _decode(self, item: RawObject, origin: str) -> Specs:
        self.decoded.append(item.name)
        return decode_object(item, origin)

    def write(self, name: str, content: str | bytes, *, age_seconds: float = 10.0) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        then = path.stat().st_mtime_ns - int(age_seconds * 1e9)
        os.utime(path, ns=(then, then))

    def read(self, **options: bool) -> Reading[Specs]:
        self.decoded.clear()
        reading = self.reader.read(**options)
        assert reading is not None
        return reading

    def names(self) -> list[str]:
        return [entry.name for entry in self.read().entries]

    def faults(self) -> list[tuple[str, str]]:
        return [(status.name, status.error) for status in self.read().refused]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def routes(*names: str) -> str:
    return json.dumps({"routes": [{"name": name, "to": "b"} for name in names]})


def test_a_folder_means_its_documents_by_name_without_hidden_ones_and_folders(files: Files) -> None:
    files.write("b.json", routes("b"))
    files.write("a.yaml", "routes: [{name: a, to: b}]")
    files.write("c.toml", "[[routes]]\nname = 'c'\nto = 'b'\n")
    files.write("d.yml", "backends: {d: {endpoints: ['http://d']}}")
    files.write("notes.txt", "no document")
    files.write(".hidden.yaml", "not: read")
    files.write("inner/e.yaml", "not: read")
    files.write("folder.yaml/e.yaml", "not: read")
    assert files.names() == ["a", "b", "c", "d"]
    assert files.faults() == []


def test_folders_in_folders_are_read_if_asked_for(tmp_path: Path) -> None:
    files = Files(tmp_path, ".", recursive=True)
    files.write("z.json", routes("z"))
    files.write("inner/deep/a.json", routes("a"))
    files.write(".git/b.json", routes("b"))
    assert files.names() == ["z", "a"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.json", ["a"]),
        ("*/*.json", ["b", "c"]),
        ("**/*.json", ["a", "b", "c", "d"]),
        ("one", ["b"]),
        ("o[mn]*", ["b"]),
        ("tw?/c.json", ["c"]),
        ("no*where", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, names: list[str]) -> None:
    files = Files(tmp_path, pattern)
    for name, path in (("a", "a.json"), ("b", "one/b.json"), ("c", "two/c.json"), ("d", "two/three/d.json")):
        files.write(path, routes(name))
        files.write(path.replace("json", "txt"), "no document")
    assert files.names() == names
    assert files.faults() == []


def test_a_file_that_two_paths_lead_to_is_read_once(tmp_path: Path) -> None:
    files = Files(tmp_path, "a.json", "*.json", ".")
    files.write("a.json", routes("a"))
    assert files.names() == ["a"]


def test_one_bad_object_hurts_no_other_and_its_fault_has_line_and_path(files: Files) -> None:
    files.write("r.yaml", "routes:\n- {name: a, to: b}\n- name: bad\n  match:\n    pth: /\n- {name: c, to: b}\n- 7\n")
    assert files.names() == ["a", "c"]
    ((name, words), (unnamed, other)) = files.faults()
    assert name == "bad"
    assert words.startswith("line 4, $.routes[1].match: unknown key 'pth'; accepted: path, ")
    assert (unnamed, other) == ("routes[3]", "line 7, $.routes[3]: expected a mapping, got an integer")


def test_a_route_that_is_made_worse_keeps_the_version_from_before(files: Files) -> None:
    files.write("r.yaml", "routes: [{name: a, to: b}, {name: c, to: b}]")
    before = files.read().entries
    files.write("r.yaml", "routes: [{name: a, to: b, hots: []}, {name: c, to: d}]")
    after = files.read()
    assert after.entries[0].value is before[0].value
    assert after.entries[1].value != before[1].value
    assert [status.name for status in after.refused] == ["a"]
    assert after.refused[0].error.endswith("did you mean 'hosts'; kept the version from before")
    files.write("r.yaml", "routes: [{name: a, to: x}]")
    assert files.names() == ["a"]
    assert files.faults() == []


def test_an_object_that_is_taken_away_is_gone(files: Files) -> None:
    files.write("r.json", routes("a", "b"))
    assert files.names() == ["a", "b"]
    files.write("r.json", routes("b"))
    assert files.names() == ["b"]
    (files.folder / "r.json").unlink()
    assert files.names() == []


def test_a_file_that_is_half_written_leaves_what_was_read_before(files: Files) -> None:
    files.write("r.yaml", "routes: [{name: a, to: b}]")
    files.write("s.json", routes("s"))
    assert files.names() == ["a", "s"]
    files.write("r.yaml", "routes: [{name: a, to:")
    assert files.names() == ["a", "s"]
    ((name, words),) = files.faults()
    assert name == "r.yaml"
    assert re.match(r"line \d+, column \d+: ", words)
    assert words.endswith("; what was read from it before stays in use")
    files.write("r.yaml", "")
    assert files.names() == ["a", "s"]
    assert files.faults() == [("r.yaml", "the file is empty; what was read from it before stays in use")]
    files.write("r.yaml", "routes: []")
    assert files.names() == ["s"]
    assert files.faults() == []


def test_a_file_that_was_never_good_is_just_refused(files: Files) -> None:
    files.write("r.yaml", "routes: [")
    files.write("s.json", routes("s"))
    assert files.names() == ["s"]
    ((_, words),) = files.faults()
    assert "stays in use" not in words


@pytest.mark.parametrize("section", ["route: []", "routes: {}", "routes: []\nextra: 1", "- a"])
def test_a_fault_that_may_hide_objects_takes_none_away(files: Files, section: str) -> None:
    files.write("r.yaml", "routes: [{name: a, to: b}]")
    assert files.names() == ["a"]
    files.write("r.yaml", section)
    assert files.names() == ["a"]
    ((name, words),) = files.faults()
    assert name == "r.yaml"
    assert "accepted: " in words or "expected a list" in words


def test_an_unknown_section_hurts_no_object_beside_it(files: Files) -> None:
    files.write("r.yaml", "backend: {}\nroutes: [{name: a, to: b}]")
    assert files.names() == ["a"]
    assert files.faults() == [
        (
            "r.yaml",
            "line 1, $.backend: unknown key 'backend'; accepted: $schema, backends, routes; did you mean 'backends'",
        )
    ]


def test_names_are_unique_in_a_file_and_over_files(files: Files) -> None:
    files.write("a.yaml", "routes: [{name: a, to: one}, {name: a, to: two}]")
    files.write("b.yaml", "routes: [{name: a, to: three}]\nbackends: {a: {endpoints: ['http://a']}}")
    assert files.names() == ["a", "a"]
    assert files.faults() == [
        ("a", "line 1, $.routes[1]: the name is taken by $.routes[0]"),
        ("a", "the name is taken in a.yaml"),
    ]


def test_what_did_not_change_is_neither_read_nor_decoded_and_stays_the_same_object(files: Files) -> None:
    files.write("r.json", routes("a", "b"))
    files.write("s.json", routes("s"))
    before = files.read().entries
    assert files.decoded == ["a", "b", "s"]
    again = files.read().entries
    assert files.decoded == []
    files.write("r.json", routes("a", "c"), age_seconds=5)
    after = files.read().entries
    assert files.decoded == ["c"]
    assert [entry.name for entry in after] == ["a", "c", "s"]
    assert before[0].value is again[0].value is after[0].value
    assert before[2].value is after[2].value


def test_a_file_whose_status_does_not_betray_a_change_is_read_by_a_distrustful_reader(files: Files) -> None:
    files.write("r.json", routes("a"))
    status = os.stat(files.folder / "r.json")
    assert files.names() == ["a"]
    files.write("r.json", routes("b"))
    os.utime(files.folder / "r.json", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert [entry.name for entry in files.read(distrustful=True).entries] == ["b"]


def test_a_file_that_was_just_written_is_read_again_though_its_status_is_the_same(files: Files) -> None:
    files.write("r.json", routes("a"), age_seconds=0)
    status = os.stat(files.folder / "r.json")
    assert files.names() == ["a"]
    files.write("r.json", routes("b"))
    os.utime(files.folder / "r.json", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert files.names() == ["b"]


def test_a_patient_reader_waits_for_who_still_writes_and_for_what_vanished(files: Files) -> None:
    files.write("r.json", routes("a"))
    files.write("s.json", routes("s"))
    assert files.reader.read(patient=True) is not None
    files.write("r.json", routes("b"), age_seconds=0)
    assert files.reader.read(patient=True) is None
    files.write("r.json", routes("b"))
    assert files.reader.read(patient=True) is not None
    (files.folder / "s.json").unlink()
    assert files.reader.read(patient=True) is None
    assert files.names() == ["b"]
    assert files.reader.read(patient=True) is not None


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing.yaml", "cannot be read: no such file or directory"),
        ("missing", "no such file or folder"),
        ("notes.txt", "the name does not tell what it is; accepted: .yaml, .yml, .toml, .json, or a folder"),
        ("pipe.yaml", "this is no regular file"),
        ("big.yaml", "the file is larger than 1000 bytes"),
        ("loop.yaml", "cannot be read: too many levels of symbolic links"),
    ],
)
def test_paths_that_lead_to_nothing_readable_are_refused(tmp_path: Path, path: str, words: str) -> None:
    files = Files(tmp_path, path, "good.json", max_file_bytes=1000)
    files.write("notes.txt", "no document")
    files.write("big.yaml", "#" * 2000)
    files.write("good.json", routes("good"))
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert files.names() == ["good"]
    assert files.faults() == [(path, words)]


def test_a_named_file_that_vanishes_leaves_what_was_read_before(tmp_path: Path) -> None:
    files = Files(tmp_path, "r.json", "inner")
    files.write("r.json", routes("a"))
    files.write("inner/s.json", routes("s"))
    assert files.names() == ["a", "s"]
    (tmp_path / "r.json").rename(tmp_path / "r.old")
    (tmp_path / "inner").rename(tmp_path / "outer")
    assert files.reader.read(patient=True) is None
    assert files.names() == ["a", "s"]
    assert [name for name, _ in files.faults()] == ["inner", "r.json", "inner/s.json"]
    assert files.reader.read(patient=True) is not None
    (tmp_path / "r.old").rename(tmp_path / "r.json")
    (tmp_path / "outer").rename(tmp_path / "inner")
    assert files.names() == ["a", "s"]
    assert files.faults() == []


def test_origins_are_relative_to_the_settings_and_hold_no_line(files: Files, tmp_path: Path) -> None:
    files.write("conf/r.yaml", "routes: [{name: a, to: b}]")
    reader = Files(tmp_path, "conf")
    (entry,) = reader.read().entries
    assert isinstance(entry.value, tuple)
    assert entry.value[0].origin == "conf/r.yaml#a"


ROUTE = st.sampled_from(
    [{"name": name, "to": to} for name in "abc" for to in "xy"] + [{"name": "a"}, {"name": "b", "to": 1}, 3, {}]
)


@given(st.lists(st.lists(ROUTE, max_size=4) | st.just("half"), max_size=5))
def test_whatever_is_written_each_good_object_is_in_use_and_each_bad_one_is_told(
    tmp_path_factory: pytest.TempPathFactory, versions: list[list[Any] | str]
) -> None:
    files = Files(tmp_path_factory.mktemp("files"))
    good: dict[str, str] = {}
    for version in versions:
        files.write("r.json", "{" if isinstance(version, str) else json.dumps({"routes": version}))
        reading = files.read()
        seen: set[str] = set()
        if isinstance(version, list):
            before, good = good, {}
            for route in version:
                name = route.get("name", "") if isinstance(route, dict) else ""
                if not name or name in seen:
                    continue
                seen.add(name)
                if isinstance(route.get("to"), str):
                    good[name] = route["to"]
                elif name in before:
                    good[name] = before[name]
        found = {
            spec.name: spec.action.splits[0].backend  # type: ignore[union-attr]
            for entry in reading.entries
            for spec in entry.value  # type: ignore[union-attr]
        }
        assert found == good
        assert bool(reading.refused) == (isinstance(version, str) or len(version) != len(as_written(version)))


def as_written(version: list[Any]) -> set[str]:
    """Names of the routes of a version that are good and come first."""
    firsts: dict[str, Any] = {}
    for route in version:
        if isinstance(route, dict) and "name" in route:
            firsts.setdefault(route["name"], route)
    return {name for name, route in firsts.items() if isinstance(route.get("to"), str)}
