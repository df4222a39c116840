"""KIngress from files, for who has no cluster: as it is today, and as the cluster-scoped `ClusterIngress` of 2019.

A Service is an address in a table there, and a Secret is nothing: certificates are said in the listener's settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from daemun import BackendSpec, EndpointSpec, RouteSpec
from daemun_file import ObjectError, decode, endpoint_of, show_path
from daemun_knative.kingress.defaults import Path, validate, with_defaults
from daemun_knative.kingress.hash import token_of
from daemun_knative.kingress.translate import Doors, references, routes
from daemun_knative.kingress.types import CLUSTER_LOCAL, REDIRECTED, HttpPath, KIngress, Spec

__all__ = [
    "API_VERSION",
    "EVERYWHERE",
    "Surroundings",
    "Written",
    "decode_cluster_ingress",
    "decode_ingress",
    "specs_of",
]

API_VERSION = "networking.internal.knative.dev/v1alpha1"

EVERYWHERE = ("",)
"""In the place of names of listeners: all of them."""


class Written(Struct, frozen=True):
    """A valid KIngress out of a file."""

    ingress: KIngress
    warnings: tuple[str, ...] = ()
    """What was written and means nothing here, or not the same."""


class Surroundings(Struct, frozen=True):
    """What files do not say."""

    services: dict[str, str] = {}
    """The URL that stands for a Service: by `namespace/name:port`, or by `namespace/name` for all of its ports."""
    doors: Doors = Doors(external_http=EVERYWHERE)
    """`EVERYWHERE` is for `external_http` alone."""
    backend_settings: dict[str, Any] = {}


def decode_ingress(data: Mapping[str, Any], namespace: str) -> Written:
    """The KIngress that `data`, which has no nulls, says; in `namespace` unless it names one. Raises `ObjectError`."""
    ingress = _decoded(data)
    if not ingress.metadata.namespace:
        ingress = replace(ingress, metadata=replace(ingress.metadata, namespace=namespace))
    ingress = with_defaults(ingress)
    validate(ingress)
    unknown = _unknown(data.get("spec", {}), Spec, ("spec",))
    warnings = [f"{show_path(path, '')} is not known and ignored" for path in unknown]
    return Written(ingress, (*warnings, *_without_secrets(ingress)))


def decode_cluster_ingress(data: Mapping[str, Any]) -> Written:
    """The KIngress that a `ClusterIngress` stands for, in the namespace of its Services. Raises `ObjectError`.

    Its visibility was that of all rules, and its paths were regular expressions.
    """
    old = _decoded(data)
    spec = data.get("spec", {})
    visibility = spec.get("visibility", "")
    if not isinstance(visibility, str):
        raise ObjectError(("spec", "visibility"), "expected a string")
    warnings = ["ClusterIngress is of 2019; write Ingress of the same apiVersion"]
    rules = []
    for number, rule in enumerate(old.spec.rules):
        where = ("spec", "rules", number)
        if rule.http is not None:
            paths = tuple(
                _literal(path, (*where, "http", "paths", index), warnings) for index, path in enumerate(rule.http.paths)
            )
            rule = replace(rule, http=replace(rule.http, paths=paths))
        rules.append(replace(rule, visibility=rule.visibility or visibility))
    ingress = with_defaults(
        replace(
            old,
            metadata=replace(old.metadata, namespace=_namespace(old)),
            spec=replace(old.spec, rules=tuple(rules)),
        )
    )
    validate(ingress)
    for path in _unknown(spec, Spec, ("spec",)):
        if path not in (("spec", "visibility"), ("spec", "generation")):
            why = _NO_MORE.get(str(path[-1]), "not known and ignored")
            warnings.append(f"{show_path(path, '')} is {why}")
    return Written(ingress, (*warnings, *_without_secrets(ingress)))


def specs_of(
    written: Written, surroundings: Surroundings, origin: str
) -> tuple[tuple[BackendSpec, ...], tuple[RouteSpec, ...]]:
    """The back ends and the routes. Raises `ObjectError` for a Service that the table does not have.

    Two that refer to one Service give equal back ends: a snapshot takes one of them.
    """
    ingress, doors = written.ingress, surroundings.doors
    _refuse_without_doors(ingress, doors)
    backends = tuple(
        BackendSpec(
            _backend_name(namespace, name, port),
            settings=surroundings.backend_settings,
            endpoints=(_endpoint(namespace, name, port, surroundings.services),),
        )
        for namespace, name, port in references(ingress).services
    )
    found = routes(ingress, token_of(ingress), doors, _backend_name, lambda host: True)
    return backends, tuple(
        replace(route, origin=origin, listeners=() if EVERYWHERE[0] in route.listeners else route.listeners)
        for route in found
    )


_NO_MORE = {
    "timeout": "ignored: the gateway sets no limit, who answers does",
    "retries": "ignored: the gateway does not send a request again that was answered",
}
_PLAIN = re.compile(r"(?:/[A-Za-z0-9/_.~%@:!,;=&-]*)?")


def _decoded(data: Mapping[str, Any]) -> KIngress:
    """What can be used of it. Times and managed fields of its metadata are of no use here."""
    written = data.get("metadata", {})
    if not isinstance(written, dict):
        raise ObjectError(("metadata",), "expected a mapping")
    metadata = {key: written[key] for key in ("name", "namespace", "annotations") if key in written}
    return decode({"metadata": metadata, "spec": data.get("spec", {})}, KIngress)


def _without_secrets(ingress: KIngress) -> tuple[str, ...]:
    words = "spec.tls is ignored: files have no Secret; certificates are said in the settings of a listener"
    return (words,) if ingress.spec.tls else ()


def _literal(path: HttpPath, where: Path, warnings: list[str]) -> HttpPath:
    """The same with a prefix, which says what the regular expression said or, with a warning, somewhat more."""
    plain = path.path.removesuffix(".*")
    if not _PLAIN.fullmatch(plain):
        words = (
            f"{path.path!r} is a regular expression; accepted: a plain prefix that begins with /, with or without .*"
        )
        raise ObjectError((*where, "path"), words)
    if path.path == plain != "":
        warnings.append(f"{show_path((*where, 'path'), '')} is taken as a prefix: {plain} and all that begins with it")
    return replace(path, path=plain)


def _namespace(ingress: KIngress) -> str:
    """The one of all Services, as it was for every Route."""
    found: dict[str, Path] = {}
    for number, rule in enumerate(ingress.spec.rules):
        for index, path in enumerate(rule.paths):
            for place, split in enumerate(path.splits):
                where = ("spec", "rules", number, "http", "paths", index, "splits", place, "serviceNamespace")
                found.setdefault(split.service_namespace, where)
    if len(found) > 1:
        first, second = list(found)[:2]
        raise ObjectError(found[second], f"{second!r} is not {first!r}; accepted: one namespace for all Services")
    return next(iter(found), "") or "default"


def _unknown(data: Any, kind: Any, path: Path) -> Iterator[Path]:
    """Paths of keys that the structs do not have."""
    struct = next((one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, Struct)), None)
    if struct is None:
        return
    if isinstance(data, list):
        items: Iterable[tuple[str | int, Any]] = enumerate(data)
    elif get_origin(kind) is dict:
        items = data.items()
    else:
        known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
        for key, value in data.items():
            if key not in known:
                yield (*path, key)
            else:
                yield from _unknown(value, known[key], (*path, key))
        return
    for name, value in items:
        yield from _unknown(value, struct, (*path, name))


def _refuse_without_doors(ingress: KIngress, doors: Doors) -> None:
    """A rule that nobody could reach, or that would lead round and round."""
    for number, rule in enumerate(ingress.spec.rules):
        if rule.visibility == CLUSTER_LOCAL and not doors.internal:
            words = "needs a listener that only insiders reach; name it in 'local_listeners' of the source"
            raise ObjectError(("spec", "rules", number, "visibility"), words)
    if ingress.spec.http_option == REDIRECTED and (doors.external_http == EVERYWHERE or not doors.external_https):
        words = (
            "needs to know which listeners speak https; name them in 'https_listeners' and the others in 'listeners'"
        )
        raise ObjectError(("spec", "httpOption"), words)


def _backend_name(namespace: str, name: str, port: int | str) -> str:
    return f"{namespace}/{name}:{port}"


def _endpoint(namespace: str, name: str, port: int | str, services: Mapping[str, str]) -> EndpointSpec:
    for key in (_backend_name(namespace, name, port), f"{namespace}/{name}"):
        if key in services:
            try:
                return endpoint_of(services[key])
            except ValueError as error:
                raise ObjectError((), f"'services' of the source: {error}") from None
    accepted = ", ".join(services) or "nothing, the table is empty"
    words = f"Service {namespace}/{name} has no entry in 'services' of the source; accepted: {accepted}"
    raise ObjectError(("spec",), words)
