"""What settings are refused, and with which words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from daemun import SettingsError
from daemun_accesslog import AccessLogSettings
from daemun_accesslog.names import DEFAULT_FIELDS, FIELDS

if TYPE_CHECKING:
    from tests.contrib.accesslog.conftest import Desk

SECRET = [
    "authorization",
    "proxy-authorization",
    "www-authenticate",
    "cookie",
    "set-cookie",
    "cookie2",
    "x-api-key",
    "apikey",
    "x-auth-request-access-token",
    "x-amz-security-token",
    "x-csrftoken",
    "x-xsrf-value",
    "x-session-id",
    "session",
    "x-password",
    "passphrase",
    "x-client-secret",
    "signature",
    "x-sig",
    "sid",
    "x_otp",
    "x-jwt-assertion",
    "x-forwarded-access-credentials",
    "sec-websocket-key",
    "sec-websocket-protocol",
]
HARMLESS = [
    "user-agent",
    "referer",
    "host",
    "x-request-id",
    "traceparent",
    "x-forwarded-for",
    "content-type",
    "content-length",
    "accept-language",
    "x-inside",
    "x-signal",
    "cf-ray",
    "x-residence",
]


@pytest.mark.anyio
async def test_a_field_that_may_hold_a_secret_is_refused_at_start(desk: Desk) -> None:
    with pytest.raises(SettingsError) as caught:
        async with desk.open(fields=["time", "request.Cookie"]):
            pass
    assert str(caught.value) == (
        "$.observers[0]: fields[1]: `request.Cookie` may hold a secret and is never logged; name another field"
    )
    assert not desk.file.exists()


@pytest.mark.parametrize("side", ["request", "response"])
@pytest.mark.parametrize("header", SECRET)
def test_whatever_may_hold_a_secret_is_refused(side: str, header: str) -> None:
    for spelling in (header, header.title(), header.upper()):
        with pytest.raises(msgspec.ValidationError, match="may hold a secret and is never logged"):
            msgspec.convert({"fields": [f"{side}.{spelling}"]}, AccessLogSettings)


@pytest.mark.parametrize("header", HARMLESS)
def test_other_fields_are_not(header: str) -> None:
    settings = msgspec.convert({"fields": [f"request.{header}"]}, AccessLogSettings)
    assert settings.fields == (f"request.{header}",)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("durration_seconds", "; did you mean `duration_seconds`?"),
        ("request.", ""),
        ("request.a b", ""),
        ("header.host", ""),
        ("", ""),
    ],
)
async def test_an_unknown_field_is_refused_with_those_that_are_known(desk: Desk, name: str, hint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        async with desk.open(fields=[name]):
            pass
    assert str(caught.value) == (
        f"$.observers[0]: fields[0]: unknown field `{name}`{hint}"
        f" (accepted: {', '.join(FIELDS)}, request.HEADER, response.HEADER)"
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"fields": ["path", "status", "path"]}, r"fields\[2\]: `path` stands twice"),
        ({"fields": ["request.a", "request.A"]}, r"fields\[1\]: `request.A` stands twice"),
        ({"fields": []}, r"\$.observers\[0\].fields: "),
        ({"fields": ["path"], "format": "common"}, "common has fixed fields, only json takes a list"),
        ({"query": True}, "json takes `query` among its fields"),
        ({"format": "xml"}, r"\$.observers\[0\].format: "),
        ({"sample": 1.5}, r"\$.observers\[0\].sample: "),
        ({"max_pending_lines": 0}, r"\$.observers\[0\].max_pending_lines: "),
        ({"flie": "a"}, "did you mean `file`"),
        ({"file": ""}, r"\$.observers\[0\].file: "),
        ({"file": "no/such/folder.log"}, "no/such/folder.log cannot be opened: no such file or directory, expected "),
        ({"file": "."}, "cannot be opened: is a directory"),
    ],
)
async def test_settings_that_cannot_be_used_are_refused(desk: Desk, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        async with desk.open(**settings):
            pass


def test_the_default_fields_are_accepted_ones() -> None:
    assert {name for name in DEFAULT_FIELDS if "." not in name} <= set(FIELDS)
    assert "query" not in DEFAULT_FIELDS
