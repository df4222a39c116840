"""What README.md shows is accepted, and every setting is in its table."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import yaml

import daemun_knative
from daemun_file import decode
from daemun_knative import KnativeFilesSettings, KnativeSettings

README = (Path(daemun_knative.__file__).parent / "README.md").read_text()


def test_the_settings_are_accepted() -> None:
    texts = re.findall(r"```yaml\n# settings: .*?\n(.*?)```", README, re.DOTALL)
    found = []
    for text in texts:
        (source,) = yaml.safe_load(text)["sources"]
        assert source.pop("type") == "knative_files"
        found.append(decode(source, KnativeFilesSettings))
    assert [bool(one.images) for one in found] == [True, False]
    assert found[1].services


def test_the_settings_in_a_cluster_are_accepted() -> None:
    (text,) = re.findall(r"```text\n(listeners:.*?)```", README, re.DOTALL)
    (source,) = yaml.safe_load(text)["sources"]
    assert source.pop("type") == "knative"
    assert decode(source, KnativeSettings).external_service == "knative-serving/daemun"


def test_every_setting_is_in_the_table() -> None:
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    for settings in (KnativeFilesSettings, KnativeSettings):
        assert {field.encode_name for field in msgspec.structs.fields(settings)} <= named
