"""Settings files: read strictly, with faults that say where, what, and what would do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from daemun import SettingsError
from daemun.settings import DrainSettings, ListenerSettings, Settings, load_settings, read_document
from daemun.strict import convert

FULL = {
    "listeners": [
        {
            "name": "http",
            "bind": "127.0.0.1:8080",
            "protocols": ["http1"],
            "tls": {"certificate": "a.pem", "key": "a.key"},
            "forwarded": {"trusted_hops": 1, "via": ""},
        }
    ],
    "sources": [{"type": "inline", "routes": []}],
    "protocols": {"http1": {"codec": "h11"}},
    "plugins": {"block": ["static"]},
    "drain": {"grace_seconds": 2.5},
    "event_loop": "trio",
}

TOML = """
event_loop = "trio"
[[listeners]]
name = "http"
bind = "127.0.0.1:8080"
protocols = ["http1"]
tls = {certificate = "a.pem", key = "a.key"}
forwarded = {trusted_hops = 1, via = ""}
[[sources]]
type = "inline"
routes = []
[protocols.http1]
codec = "h11"
[plugins]
block = ["static"]
[drain]
grace_seconds = 2.5
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", yaml.safe_dump(FULL)),
        ("s.yml", yaml.safe_dump(FULL, default_flow_style=True)),
        ("s.json", json.dumps(FULL)),
        ("tabs.json", json.dumps(FULL, indent="\t")),
        ("s.toml", TOML),
        ("s", yaml.safe_dump(FULL)),
    ],
)
def test_yaml_toml_and_json_say_the_same(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert load_settings(tmp_path / name) == msgspec.convert(FULL, Settings)


def test_numbers_and_texts_of_json_are_those_of_json(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"number": 1e1, "text": "\\ud83d\\ude00\\/", "on": "on"}')
    assert read_document(tmp_path / "s.json") == {"number": 10.0, "text": "😀/", "on": "on"}


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    for name in ("a.yaml", "a.toml"):
        (tmp_path / name).write_text("")
        assert load_settings(tmp_path / name) == Settings()
    (tmp_path / "a.yaml").write_text("# only words\n---\n")
    assert load_settings(tmp_path / "a.yaml") == Settings()


@pytest.mark.parametrize("text", ["[]", "0", "false", "''", "- a", "words"])
def test_a_document_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SettingsError, match=r"s\.yaml: \$: expected `object`"):
        load_settings(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (
            {"listener": []},
            "s.yaml: $: unknown key `listener`; did you mean `listeners`? (accepted: listeners, sources, observers, "
            "protocols, plugins, drain, event_loop, workers, supervisor)",
        ),
        (
            {"listeners": [{"name": "a", "bind": "b", "tls": {"certifcate": "x", "key": "y"}}]},
            "s.yaml: $.listeners[0].tls: unknown key `certifcate`; did you mean `certificate`? "
            "(accepted: certificate, key, client_ca, handshake_timeout_seconds)",
        ),
        (
            {"listeners": [{"name": "a", "bind": "b"}, {"name": "a", "bnd": "b"}]},
            "s.yaml: $.listeners[1]: unknown key `bnd`; did you mean `bind`? (accepted: name, bind, ",
        ),
        (
            {"drain": {"zzz": 1}},
            "s.yaml: $.drain: unknown key `zzz` (accepted: grace_seconds, delay_seconds, close_seconds)",
        ),
        (
            {"plugins": {"failure": {"ratelimit": "open", "asgi": "opne"}}},
            "s.yaml: $.plugins.failure.asgi: invalid enum value 'opne' (accepted: closed, open)",
        ),
        (
            {"plugins": {"failure": {"ratelimit": "open", "asgi": {"faults": "x"}}}},
            "s.yaml: $.plugins.failure.asgi.faults: expected `int`, got `str`",
        ),
        (
            {"protocols": {"http2": {}, "http1": 7}},
            "s.yaml: $.protocols.http1: expected `object`, got `int`",
        ),
        (
            {"workers": "many"},
            "s.yaml: $.workers: invalid enum value 'many' (accepted: a number, auto)",
        ),
        ({"drain": {"grace_seconds": -1}}, "s.yaml: $.drain.grace_seconds: expected `float` >= 0"),
        ({"drain": {"grace_seconds": "1"}}, "s.yaml: $.drain.grace_seconds: expected `float`, got `str`"),
        ({"listeners": [{"name": "a"}]}, "s.yaml: $.listeners[0]: object missing required field `bind`"),
        ({"sources": {"type": "inline"}}, "s.yaml: $.sources: expected `array`, got `object`"),
        ({"protocols": {"http1": 1}}, "s.yaml: $.protocols.http1: expected `object`, got `int`"),
        ({"drain": {1: 2}}, "s.yaml: $.drain: expected `str` as a key"),
    ],
)
def test_a_fault_is_told_with_file_path_and_what_is_accepted(tmp_path: Path, raw: Any, words: str) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(SettingsError) as raised:
        load_settings(tmp_path / "s.yaml")
    assert str(raised.value).removeprefix(f"{tmp_path}/").startswith(words)
    assert raised.value.file == str(tmp_path / "s.yaml")
    assert raised.value.path.startswith("$")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "drain: {}\nplugins: {}\ndrain: {}\n", "line 3, column 1: key 'drain' stands twice"),
        ("a.yaml", "drain: {grace_seconds: 1, grace_seconds: 2}", "column 27: key 'grace_seconds' stands twice"),
        ("a.json", '{"drain": {}, "drain": {}}', "key 'drain' stands twice"),
        ("a.toml", "[drain]\n[drain]\n", "cannot declare"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_settings(tmp_path / name)


def test_a_merged_key_may_be_overridden(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "sources: [&one {type: inline, routes: []}, {<<: *one, routes: [1]}, {<<: *one, type: other}]"
    )
    assert load_settings(tmp_path / "a.yaml").sources == (
        {"type": "inline", "routes": []},
        {"type": "inline", "routes": [1]},
        {"type": "other", "routes": []},
    )


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.yaml", b"listeners: [\n", r"line 2, column 1: "),
        ("a.yaml", b"a: b: c", r"line 1, column 5: mapping values are not allowed"),
        ("a.yaml", b"a: 'open\n", r"line 2, column 1: .*found unexpected end of stream"),
        ("a.yaml", b"\xff\xfe\xfa", "a.yaml: "),
        ("a.yaml", b"a: \x00", "special characters are not allowed"),
        ("a.yaml", b"a: 1\n---\nb: 2\n", "expected a single document"),
        ("a.yaml", b"a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("a.yaml", b"[" * 1000, "a.yaml: "),
        ("a.json", b'{"drain": {', "line 1 column 12"),
        ("a.json", b"[" * 100_000, "a.json: "),
        ("a.json", b"", "a.json: "),
        ("a.toml", b"[listeners", "a.toml: "),
        ("a.toml", b"a = '\xff'", "a.toml: "),
    ],
)
def test_a_half_written_file_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=words) as raised:
        load_settings(tmp_path / name)
    assert raised.value.file == str(tmp_path / name)
    assert "\n" not in str(raised.value)


@given(st.integers(0, 400), st.sampled_from(["yaml", "json", "toml"]))
def test_any_beginning_of_a_file_is_settings_or_a_fault(tmp_path_factory: Any, size: int, kind: str) -> None:
    text = {"yaml": yaml.safe_dump(FULL), "json": json.dumps(FULL), "toml": TOML}[kind]
    file = tmp_path_factory.getbasetemp() / f"half.{kind}"
    file.write_text(text[:size])
    try:
        assert isinstance(load_settings(file), Settings)
    except SettingsError as error:
        assert error.file == str(file)


@given(st.binary(max_size=60), st.sampled_from(["yaml", "json", "toml"]))
def test_any_bytes_are_a_document_or_a_fault(tmp_path_factory: Any, content: bytes, kind: str) -> None:
    file = tmp_path_factory.getbasetemp() / f"any.{kind}"
    file.write_bytes(content)
    try:
        load_settings(file)
    except SettingsError as error:
        assert error.file == str(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read: no such file or directory"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="cannot be read: is a directory"):
        load_settings(tmp_path)


# --- any data at all ---

names = st.sampled_from(
    [*Settings.__struct_fields__, *ListenerSettings.__struct_fields__, *DrainSettings.__struct_fields__]
)
keys = st.one_of(names, st.text(max_size=8), st.sampled_from(["a`b", "x - at `$.y`", "a.b", "[0]", ""]))
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=4), st.dates()
)
json_like = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(keys, st.integers()), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.one_of(json_like, st.dictionaries(names, json_like, max_size=4))


class Every(Struct, frozen=True, forbid_unknown_fields=True):
    """One field of each shape that settings use."""

    text: str = ""
    number: Annotated[int, Meta(ge=0, le=10)] = 0
    seconds: Annotated[float, Meta(gt=0)] = 1.0
    listeners: tuple[ListenerSettings, ...] = ()
    drain: dict[str, DrainSettings] = {}
    name: ListenerSettings | None = None
    sources: str | dict[str, Any] = ""


@settings(max_examples=200)
@given(documents, st.sampled_from([Settings, Every]))
def test_any_data_is_decoded_or_a_settings_error(raw: Any, kind: type[Struct]) -> None:
    try:
        decoded = convert(raw, kind, file="f", path="$.x")
    except SettingsError as error:
        assert error.file == "f"
        assert error.path.startswith("$.x")
        assert str(error).startswith("f: $.x")
    else:
        assert isinstance(decoded, kind)


@given(documents.filter(lambda raw: isinstance(raw, dict)))
def test_what_is_accepted_is_named_for_every_unknown_key(raw: dict[str, Any]) -> None:
    unknown = {"no-such-key": 1, **{name: value for name, value in raw.items() if name not in Every.__struct_fields__}}
    with pytest.raises(SettingsError) as raised:
        convert({name: value for name, value in unknown.items() if isinstance(name, str)}, Every)
    assert "(accepted: text, number, seconds, listeners, drain, name, sources)" in str(raised.value)


def test_a_fault_deep_inside_a_choice_is_told_with_what_that_takes() -> None:
    with pytest.raises(SettingsError) as raised:
        convert({"drain": {"a": {"grace_second": 1}}}, Every)
    assert str(raised.value) == (
        "$.drain.a: unknown key `grace_second`; did you mean `grace_seconds`? (accepted: grace_seconds, delay_seconds, close_seconds)"
    )
    with pytest.raises(SettingsError) as raised:
        convert({"name": {"bin": 1}}, Every)
    assert "did you mean `bind`?" in str(raised.value)
