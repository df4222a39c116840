"""The token of a version of a KIngress: what a probe expects back, and what Knative computes for itself.

It is the SHA-256 of what Go's `encoding/json` writes for the spec, so every habit of that encoder is here: the order of
fields, which of them are left out when empty, keys of maps in the order of their bytes, and its escapes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from daemun_knative.kingress.types import BackendSplit, HttpPath, KIngress, Rule, Spec, Tls

__all__ = ["token_of"]


def token_of(ingress: KIngress) -> str:
    """The token in lower-case hex, of a KIngress after `with_defaults`."""
    metadata = ingress.metadata
    return sha256(_as_go_writes(ingress.spec) + f"{metadata.namespace}{metadata.name}".encode()).hexdigest()


_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


def _as_go_writes(spec: Spec) -> bytes:
    text = json.dumps(_spec(spec), ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)
    return _HALF_A_PAIR.sub("\ufffd", text).encode()  # Go has read half a surrogate pair as U+FFFD


def _spec(spec: Spec) -> dict[str, Any]:
    return _filled(
        tls=[_tls(tls) for tls in spec.tls],
        rules=[_rule(rule) for rule in spec.rules],
        httpOption=spec.http_option,
    )


def _tls(tls: Tls) -> dict[str, Any]:
    return _filled(hosts=tls.hosts, secretName=tls.secret_name, secretNamespace=tls.secret_namespace)


def _rule(rule: Rule) -> dict[str, Any]:
    written = _filled(hosts=rule.hosts, visibility=rule.visibility)
    if rule.http is not None:
        written["http"] = {"paths": [_path(path) for path in rule.http.paths]}
    return written


def _path(path: HttpPath) -> dict[str, Any]:
    headers = {name: {"exact": match.exact} for name, match in path.headers.items()}
    written = _filled(path=path.path, rewriteHost=path.rewrite_host, headers=_sorted(headers))
    written["splits"] = [_split(split) for split in path.splits]
    return written | _filled(appendHeaders=_sorted(path.append_headers))


def _split(split: BackendSplit) -> dict[str, Any]:
    return {
        "serviceNamespace": split.service_namespace,
        "serviceName": split.service_name,
        "servicePort": split.service_port,
    } | _filled(percent=split.percent, appendHeaders=_sorted(split.append_headers))


def _filled(**fields: Any) -> dict[str, Any]:
    """Those that `omitempty` lets stand."""
    return {name: value for name, value in fields.items() if value}


def _sorted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same in the order of the names' code points, which is that of their UTF-8 too."""
    return dict(sorted(fields.items()))
