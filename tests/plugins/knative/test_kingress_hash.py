"""The token of a version: what real Go computes (`kingress_tokens.json`), and the rules said a second time."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemun_knative.kingress.defaults import with_defaults
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.types import KINGRESS, HttpPath, HttpRule, KIngress, Rule, Spec

VECTORS = json.loads((Path(__file__).parent / "kingress_tokens.json").read_text())


def read(data: Any) -> KIngress:
    return KINGRESS.decode(json.dumps(data).encode())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["why"] for vector in VECTORS])
def test_the_token_is_what_knative_computes(vector: dict[str, Any]) -> None:
    assert token_of(with_defaults(read(vector["object"]))) == vector["token"]


def test_another_name_and_another_namespace_have_another_token() -> None:
    base = read(VECTORS[0]["object"])
    others = [
        msgspec.structs.replace(base, metadata=msgspec.structs.replace(base.metadata, **change))
        for change in ({"namespace": "other"}, {"name": "other"})
    ]
    assert len({token_of(base), *map(token_of, others)}) == 3


def test_half_a_surrogate_pair_is_what_go_reads_it_as() -> None:
    def token(path: str) -> str:
        return token_of(KIngress(spec=Spec(rules=(Rule(http=HttpRule(paths=(HttpPath(path=path),))),))))

    assert token("/\ud800x") == token("/\ufffdx")


# --- the rules, said in another way: as text, piece by piece ---


def go_string(text: str) -> str:
    short = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
    pieces = []
    for character in text:
        if character in short:
            pieces.append(short[character])
        elif character < " " or character in "<>&\u2028\u2029":
            pieces.append(f"\\u{ord(character):04x}")
        else:
            pieces.append(character)
    return '"' + "".join(pieces) + '"'


def go_map(fields: dict[str, Any], value: Any) -> str:
    order = sorted(fields, key=lambda name: name.encode())
    return "{" + ",".join(f"{go_string(name)}:{value(fields[name])}" for name in order) + "}"


def go_list(items: list[Any], item: Any) -> str:
    return "[" + ",".join(map(item, items)) + "]"


def go_struct(*fields: tuple[str, Any, Any, bool]) -> str:
    """Each field: its name, its value, how it is written, whether it is left out when it is empty."""
    return "{" + ",".join(f'"{name}":{write(value)}' for name, value, write, omit in fields if value or not omit) + "}"


def go_split(split: dict[str, Any]) -> str:
    return go_struct(
        ("serviceNamespace", split.get("serviceNamespace", ""), go_string, False),
        ("serviceName", split.get("serviceName", ""), go_string, False),
        (
            "servicePort",
            split.get("servicePort", 0),
            lambda port: go_string(port) if isinstance(port, str) else str(port),
            False,
        ),
        ("percent", split.get("percent", 0), str, True),
        ("appendHeaders", split.get("appendHeaders"), lambda fields: go_map(fields, go_string), True),
    )


def go_path(path: dict[str, Any]) -> str:
    return go_struct(
        ("path", path.get("path"), go_string, True),
        ("rewriteHost", path.get("rewriteHost"), go_string, True),
        (
            "headers",
            path.get("headers"),
            lambda fields: go_map(fields, lambda match: go_struct(("exact", match["exact"], go_string, False))),
            True,
        ),
        ("splits", path.get("splits", []), lambda splits: go_list(splits, go_split), False),
        ("appendHeaders", path.get("appendHeaders"), lambda fields: go_map(fields, go_string), True),
    )


def go_rule(rule: dict[str, Any]) -> str:
    return go_struct(
        ("hosts", rule.get("hosts"), lambda hosts: go_list(hosts, go_string), True),
        ("visibility", rule.get("visibility"), go_string, True),
        ("http", rule.get("http"), lambda http: '{"paths":' + go_list(http["paths"], go_path) + "}", True),
    )


def go_spec(spec: dict[str, Any]) -> str:
    return go_struct(
        ("tls", spec.get("tls"), lambda entries: go_list(entries, lambda tls: go_struct(
            ("hosts", tls.get("hosts"), lambda hosts: go_list(hosts, go_string), True),
            ("secretName", tls.get("secretName"), go_string, True),
            ("secretNamespace", tls.get("secretNamespace"), go_string, True),
        )), True),
        ("rules", spec.get("rules"), lambda rules: go_list(rules, go_rule), True),
        ("httpOption", spec.get("httpOption"), go_string, True),
    )  # fmt: skip


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


texts = st.text(
    st.one_of(
        st.sampled_from('<>&\u2028\u2029"\\\b\f\n\x00\x1f\x7f\ufffd😀'), st.characters(exclude_categories=["Cs"])
    ),
    max_size=5,
)
texts_by_name = st.dictionaries(texts, texts, max_size=3)
splits = some(
    serviceNamespace=texts,
    serviceName=texts,
    servicePort=st.one_of(st.integers(0, 65535), texts),
    percent=st.integers(-1, 100),
    appendHeaders=texts_by_name,
)
paths = some(
    path=texts,
    rewriteHost=texts,
    headers=st.dictionaries(texts, st.fixed_dictionaries({"exact": texts}), max_size=3),
    splits=st.lists(splits, max_size=2),
    appendHeaders=texts_by_name,
)
rules = some(
    hosts=st.lists(texts, max_size=2),
    visibility=texts,
    http=st.fixed_dictionaries({"paths": st.lists(paths, max_size=2)}),
)
entries = some(hosts=st.lists(texts, max_size=2), secretName=texts, secretNamespace=texts)
specs = some(tls=st.lists(entries, max_size=2), rules=st.lists(rules, max_size=2), httpOption=texts)


@given(specs, texts, texts)
def test_every_spec_is_written_as_go_writes_it(spec: dict[str, Any], namespace: str, name: str) -> None:
    ingress = read({"metadata": {"namespace": namespace, "name": name}, "spec": spec})
    assert token_of(ingress) == sha256((go_spec(spec) + namespace + name).encode()).hexdigest()
