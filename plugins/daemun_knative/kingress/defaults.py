"""What Knative's webhook fills in and refuses, done here too: it may be absent or passed by.

Beside its own rules, with the same paths of fields, everything is refused that could not be served as it is meant:
hosts that are none, visibilities that nobody knows, headers that would break a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from msgspec.structs import replace

from daemun_file import ObjectError
from daemun_knative.kingress.types import (
    CLUSTER_LOCAL,
    ENABLED,
    EXTERNAL_IP,
    REDIRECTED,
    BackendSplit,
    HttpPath,
    KIngress,
    Rule,
    Tls,
)

__all__ = ["Path", "validate", "with_defaults"]

Path = tuple[str | int, ...]
"""Keys and indices that lead to a field."""


def with_defaults(ingress: KIngress) -> KIngress:
    """The same with what Knative fills in: visibility `ExternalIP`, 100 percent for a lone split.

    An absent `httpOption` stays absent: it means `Enabled`, and the token of the version knows the difference.
    """
    rules = tuple(map(_rule_with_defaults, ingress.spec.rules))
    if rules == ingress.spec.rules:
        return ingress
    return replace(ingress, spec=replace(ingress.spec, rules=rules))


def _rule_with_defaults(rule: Rule) -> Rule:
    if not rule.visibility:
        rule = replace(rule, visibility=EXTERNAL_IP)
    if rule.http is None:
        return rule
    return replace(rule, http=replace(rule.http, paths=tuple(map(_path_with_defaults, rule.http.paths))))


def _path_with_defaults(path: HttpPath) -> HttpPath:
    if len(path.splits) != 1 or path.splits[0].percent:
        return path
    return replace(path, splits=(replace(path.splits[0], percent=100),))


def validate(ingress: KIngress) -> None:
    """Raises `ObjectError` for what cannot be served, with its path: `spec.rules[0].http.paths[0].splits`."""
    for key, name in (("name", ingress.metadata.name), ("namespace", ingress.metadata.namespace)):
        if not name:
            _missing("metadata", key)
        if not _OBJECT.fullmatch(name):
            _refuse(name, "metadata", key, accepted=_OBJECTS)
    spec = ingress.spec
    if not spec.rules:
        raise ObjectError(("spec", "rules") if spec.tls or spec.http_option else ("spec",), "missing field")
    for index, rule in enumerate(spec.rules):
        _validate_rule(rule, ingress.metadata.namespace, ("spec", "rules", index))
    for index, tls in enumerate(spec.tls):
        _validate_tls(tls, ("spec", "tls", index))
    if spec.http_option not in ("", ENABLED, REDIRECTED):
        _refuse(spec.http_option, "spec", "httpOption", accepted=f"{ENABLED}, {REDIRECTED}")


_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\.?\Z){_LABEL}(?:\.{_LABEL})*\.?")
_AUTHORITY = re.compile(rf"(?=.{{1,259}}\Z){_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile("[\t -~\u0080-\ud7ff\ue000-\U0010ffff]*")
_OBJECT = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_PORT_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PATH = re.compile("(?:/[!-~\u0080-\ud7ff\ue000-\U0010ffff]*)?")
_OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding")
) | {"upgrade"}
_NAMES = "a host name without port and *"
_OBJECTS = "a name of lower-case letters, digits, - and ."


def _refuse(value: object, *path: str | int, accepted: str) -> NoReturn:
    raise ObjectError(path, f"invalid value {_shown(value)}; accepted: {accepted}")


def _shown(value: object) -> str:
    shown = ascii(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"


def _missing(*path: str | int) -> NoReturn:
    raise ObjectError(path, "missing field")


def _validate_rule(rule: Rule, namespace: str, path: Path) -> None:
    for index, host in enumerate(rule.hosts):
        if not _NAME.fullmatch(host):
            _refuse(host, *path, "hosts", index, accepted=_NAMES)
    if rule.visibility not in ("", EXTERNAL_IP, CLUSTER_LOCAL):
        _refuse(rule.visibility, *path, "visibility", accepted=f"{EXTERNAL_IP}, {CLUSTER_LOCAL}")
    if rule.http is None:
        _missing(*path, "http")
    if not rule.http.paths:
        _missing(*path, "http", "paths")
    for index, http_path in enumerate(rule.http.paths):
        _validate_path(http_path, namespace, (*path, "http", "paths", index))


def _validate_path(path: HttpPath, namespace: str, where: Path) -> None:
    if not _PATH.fullmatch(path.path):
        _refuse(path.path, *where, "path", accepted="nothing, or / and what follows, without spaces")
    if path.rewrite_host and not _AUTHORITY.fullmatch(path.rewrite_host):
        _refuse(path.rewrite_host, *where, "rewriteHost", accepted="host, host:port")
    _validate_edits({name: match.exact for name, match in path.headers.items()}, *where, "headers")
    _validate_edits(path.append_headers, *where, "appendHeaders")
    if not path.splits:
        _missing(*where, "splits")
    for index, split in enumerate(path.splits):
        _validate_split(split, namespace, (*where, "splits", index))
    total = sum(split.percent for split in path.splits)
    if total != 100 and (len(path.splits) > 1 or total):
        raise ObjectError((*where, "splits"), f"traffic split percentage must total to 100, but was {total}")


def _validate_split(split: BackendSplit, namespace: str, path: Path) -> None:
    if not 0 <= split.percent <= 100:
        _refuse(split.percent, *path, "percent", accepted="0 to 100")
    if not split.service_namespace:
        _missing(*path, "serviceNamespace")
    if split.service_namespace != namespace:
        words = f"service namespace must match ingress namespace; accepted: {_shown(namespace)}"
        raise ObjectError((*path, "serviceNamespace"), words)
    if not split.service_name:
        _missing(*path, "serviceName")
    if not _OBJECT.fullmatch(split.service_name):
        _refuse(split.service_name, *path, "serviceName", accepted=_OBJECTS)
    port = split.service_port
    if port in (0, ""):
        _missing(*path, "servicePort")
    if not (1 <= port <= 65535 if isinstance(port, int) else _PORT_NAME.fullmatch(port)):
        _refuse(port, *path, "servicePort", accepted="1 to 65535, or the name of a port")
    _validate_edits(split.append_headers, *path, "appendHeaders")


def _validate_edits(fields: Mapping[str, str], *path: str | int) -> None:
    _validate_headers(fields, *path)
    for name in fields:
        if name.lower() in _OF_THE_CONNECTION:
            raise ObjectError((*path, name), "the header belongs to the gateway's connections and cannot be set")


def _validate_headers(fields: Mapping[str, str], *path: str | int) -> None:
    """Nothing that would end a field and begin another."""
    for name, value in fields.items():
        if not _TOKEN.fullmatch(name):
            raise ObjectError(path, f"{_shown(name)} is no name of a header; accepted: letters, digits and -")
        if not _VALUE.fullmatch(value):
            words = "the value holds what a header cannot carry; accepted: text without control characters"
            raise ObjectError((*path, name), words)


def _validate_tls(tls: Tls, path: Path) -> None:
    for index, host in enumerate(tls.hosts):
        if not _NAME.fullmatch(host.removeprefix("*.")):
            _refuse(host, *path, "hosts", index, accepted=f"{_NAMES} but before the first dot")
    for key, name in (("secretName", tls.secret_name), ("secretNamespace", tls.secret_namespace)):
        if not name:
            _missing(*path, key)
        if not _OBJECT.fullmatch(name):
            _refuse(name, *path, key, accepted=_OBJECTS)
