"""What README.md shows can be used as it stands, and names every key."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
import yaml

import daemun_file
from daemun_file import Document, FileSettings, InlineSettings, Reader, decode
from daemun_file.objects import Specs, decode_object, split_document

README = (Path(daemun_file.__file__).parent / "README.md").read_text()
BLOCKS = re.findall(r"```yaml\n# (\w+): .*?\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "document"])
def test_documents_are_read_without_a_fault(tmp_path: Path, text: str) -> None:
    (tmp_path / "routes.yaml").write_text(text)
    reader: Reader[Specs] = Reader(["routes.yaml"], tmp_path, split=split_document, decode=decode_object)
    reading = reader.read()
    assert reading is not None
    assert reading.refused == ()
    assert reading.entries


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "settings"])
def test_settings_are_accepted(text: str) -> None:
    kinds: dict[str, type[msgspec.Struct]] = {"file": FileSettings, "inline": InlineSettings}
    sources = yaml.safe_load(text)["sources"]
    assert [source["type"] for source in sources] == ["inline", "file"]
    for source in sources:
        decode({key: value for key, value in source.items() if key != "type"}, kinds[source["type"]])


def test_every_key_is_named() -> None:
    keys = {key for definition in daemun_file.document_schema()["$defs"].values() for key in definition["properties"]}
    keys |= {field.encode_name for field in msgspec.structs.fields(FileSettings)}
    keys |= {field.encode_name for field in msgspec.structs.fields(Document)}
    assert [key for key in sorted(keys) if not re.search(rf"\b{re.escape(key.strip('$'))}\b", README)] == []
