"""The README says what the settings are, and its example works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml

import daemun_static
from daemun_static import StaticSettings

README = (Path(daemun_static.__file__).parent / "README.md").read_text()


def test_the_table_lists_every_setting_with_default_and_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", README, re.MULTILINE)
    schema = msgspec.json.schema(StaticSettings)["$defs"]["StaticSettings"]["properties"]
    expected = [
        (
            name,
            f"`{json.dumps(entry['default'])}`" if "default" in entry else "required",
            entry["description"],
        )
        for name, entry in schema.items()
    ]
    assert rows == expected


def test_the_example_decodes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    settings = msgspec.convert(yaml.safe_load(example)["backends"]["site"]["settings"], StaticSettings)
    assert settings.root == "./public"
    assert settings.fallback == "index.html"


@pytest.mark.parametrize("name", ["root", "index", "cache_control", "content_types"])
def test_ill_typed_settings_name_their_place(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"\$\.{name}"):
        msgspec.convert({"root": "a", name: 5}, StaticSettings)
