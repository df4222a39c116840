"""Hosts to match and URLs of endpoints: text, parsed once into what the core compares and connects to."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from daemun import EndpointSpec, HostKind, HostMatch

__all__ = ["endpoint_of", "host_match", "host_name"]

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_SCHEMES = {"http": (80, "http1", False), "https": (443, "http1", True), "h2c": (80, "http2", False)}
_URLS = "http://host:port, https://host:port, h2c://host:port, unix:/path"


def host_match(text: str) -> HostMatch:
    """`host`, `*.host` (one label), `**.host` (any depth) or `*`. Raises `ValueError` in words."""
    if text == "*":
        return HostMatch(HostKind.ANY)
    for mark, kind in (("**.", HostKind.ANY_DEPTH), ("*.", HostKind.ONE_LABEL)):
        if text.startswith(mark):
            return HostMatch(kind, host_name(text.removeprefix(mark)))
    return HostMatch(HostKind.EXACT, host_name(text))


def host_name(text: str) -> str:
    """A name or address as requests carry it: lower-case, no root dot. Raises `ValueError` in words."""
    name = text.lower().removesuffix(".")
    if name.startswith("["):
        try:
            return f"[{ipaddress.IPv6Address(name[1:].removesuffix(']'))}]"
        except ValueError:
            raise ValueError(f"{text!r} is no IPv6 address in brackets") from None
    if not name.isascii():
        raise ValueError(f"{text!r} is not ASCII; accepted: the form that starts with xn--{_punycode(name)}")
    if "*" in name:
        raise ValueError(
            f"{text!r}: * stands alone, or for what comes before a dot; accepted: host, *.host, **.host, *"
        )
    if re.search(r":[0-9]*$", name):
        raise ValueError(f"{text!r} has a port, and ports are not compared; name a listener under 'listeners'")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise ValueError(f"{text!r} is no host name; accepted: labels of letters, digits, - and _ with dots between")
    return name


def _punycode(name: str) -> str:
    try:
        return f" ({name.encode('idna').decode()})"
    except UnicodeError:
        return ""


def endpoint_of(url: str) -> EndpointSpec:
    """The endpoint that a URL names. Raises `ValueError` in words."""
    if url.startswith("unix:"):
        path = url.removeprefix("unix:")
        path = path.removeprefix("//") if path.startswith("///") else path
        if not path.startswith("/"):
            raise ValueError(f"{url!r} names no absolute path; accepted: unix:/path")
        return EndpointSpec(f"unix:{path}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{url!r} is no URL; accepted: {_URLS}") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise ValueError(f"{url!r} is not accepted; accepted: {_URLS}")
    _refuse_more_than_a_place(url, parts)
    default_port, protocol, tls = _SCHEMES[parts.scheme]
    if port == 0:
        raise ValueError(f"{url!r} has port 0; accepted: 1 to 65535")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return EndpointSpec(f"{host_name(host)}:{port or default_port}", protocol, tls)


def _refuse_more_than_a_place(url: str, parts: SplitResult) -> None:
    if "@" in parts.netloc:
        raise ValueError("a URL of an endpoint holds no user and password; set a header under 'request_headers'")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} has more than scheme, host and port; a path goes to 'rewrite' of the route")
