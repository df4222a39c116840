"""What README.md shows is accepted, and every setting is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

import daemun_knative
from daemun_file import decode
from daemun_knative import KnativeFilesSettings

README = (Path(daemun_knative.__file__).parent / "README.md").read_text()


def test_the_settings_are_accepted() -> None:
    (text,) = re.findall(r"```yaml\n# settings: .*?\n(.*?)```", README, re.DOTALL)
    (source,) = yaml.safe_load(text)["sources"]
    assert source.pop("type") == "knative_files"
    assert decode(source, KnativeFilesSettings).images


def test_every_setting_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert {field.encode_name for field in msgspec.structs.fields(KnativeFilesSettings)} <= named
