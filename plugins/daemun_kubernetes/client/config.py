"""Finding a cluster: in a Pod by its ServiceAccount, elsewhere by kubeconfig files."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Struct, field

from daemun import SettingsError
from daemun_kubernetes.client.nulls import without_nulls
from daemun_kubernetes.settings import ClusterSettings

__all__ = ["SERVICE_ACCOUNT", "ClusterEntry", "ExecPlugin", "ExecVariable", "Target", "UserEntry", "find_target"]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a Pod has what its ServiceAccount needs."""
_MAX_FILE_BYTES = 4 * 1024 * 1024
_T = TypeVar("_T")


class ExecVariable(Struct, frozen=True):
    """A variable for an exec plugin; its value is not shown."""

    name: str
    value: str = ""

    def __repr__(self) -> str:
        return f"ExecVariable({self.name})"


class ExecPlugin(Struct, frozen=True, rename="camel"):
    """A program that gives credentials."""

    command: str
    api_version: str
    args: tuple[str, ...] = ()
    env: tuple[ExecVariable, ...] = ()
    install_hint: str = ""
    interactive_mode: str = ""
    provide_cluster_info: bool = False


class UserEntry(Struct, frozen=True, rename="kebab"):
    """Who the gateway is for the cluster. What is secret is not shown by `repr`."""

    token: str = ""
    token_file: str = field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    client_certificate: str = ""
    client_certificate_data: bytes = b""
    client_key: str = ""
    client_key_data: bytes = b""
    exec: ExecPlugin | None = None
    auth_provider: dict[str, Any] | None = None
    as_user: str = field(default="", name="as")
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: dict[str, tuple[str, ...]] = {}

    @property
    def secret(self) -> bool:
        """Whether something is sent that nobody else may see."""
        return bool(self.token or self.token_file or self.password or self.exec)

    def __repr__(self) -> str:
        return f"UserEntry({', '.join(name for name in self.__struct_fields__ if getattr(self, name))})"


class ClusterEntry(Struct, frozen=True, rename="kebab"):
    """Where an API server is, and how it proves that."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: bytes = b""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _Context(Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(Struct, frozen=True):
    name: str
    cluster: ClusterEntry = ClusterEntry()


class _NamedUser(Struct, frozen=True):
    name: str
    user: UserEntry = UserEntry()


class _NamedContext(Struct, frozen=True):
    name: str
    context: _Context = _Context()


class _Kubeconfig(Struct, frozen=True):
    clusters: tuple[_NamedCluster, ...] = ()
    users: tuple[_NamedUser, ...] = ()
    contexts: tuple[_NamedContext, ...] = ()
    current_context: str = field(default="", name="current-context")


class Target(Struct, frozen=True):
    """A cluster that was found: all paths are absolute."""

    cluster: ClusterEntry
    user: UserEntry
    namespace: str
    who: str
    """Where the credentials are from, for messages."""
    folder: Path = Path()
    """What the commands of exec plugins are relative to."""


def find_target(settings: ClusterSettings, base_dir: Path, environment: Mapping[str, str] = os.environ) -> Target:
    """The cluster that `settings` mean. Reads files. Raises `SettingsError` that says what was looked for."""
    listed = [Path(name).absolute() for name in environment.get("KUBECONFIG", "").split(os.pathsep) if name]
    home = Path(environment.get("HOME", "") or "/") / ".kube" / "config"
    if settings.kubeconfig:
        target = _from_files([(base_dir / settings.kubeconfig).absolute()], settings.context, required=True)
    elif listed:
        target = _from_files(listed, settings.context)
    elif "KUBERNETES_SERVICE_HOST" in environment and not settings.context:
        target = _from_pod(environment)
    elif home.is_file():
        target = _from_files([home], settings.context)
    else:
        raise SettingsError(
            "there is no cluster: no setting kubeconfig, no $KUBECONFIG, no ~/.kube/config, "
            "and the variables of a Pod are not set"
        )
    return msgspec.structs.replace(target, namespace=settings.namespace) if settings.namespace else target


def _from_pod(environment: Mapping[str, str]) -> Target:
    host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    for path in (token, authority):
        if not path.is_file():
            raise SettingsError(f"{path} is not there: the Pod needs automountServiceAccountToken, or set kubeconfig")
    try:
        namespace = (SERVICE_ACCOUNT / "namespace").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        namespace = ""
    return Target(
        cluster=ClusterEntry(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}", certificate_authority=str(authority)
        ),
        user=UserEntry(token_file=str(token)),
        namespace=namespace or "default",
        who="the Pod's ServiceAccount",
    )


def _from_files(paths: list[Path], wanted: str, *, required: bool = False) -> Target:
    """The first file that says a thing is believed; files that are not there are skipped unless `required`."""
    clusters: dict[str, tuple[ClusterEntry, Path]] = {}
    users: dict[str, tuple[UserEntry, Path]] = {}
    contexts: dict[str, _Context] = {}
    current = ""
    read = 0
    for path in paths:
        config = _read(path, required=required)
        if config is None:
            continue
        read += 1
        current = current or config.current_context
        for cluster in config.clusters:
            clusters.setdefault(cluster.name, (cluster.cluster, path.parent))
        for user in config.users:
            users.setdefault(user.name, (user.user, path.parent))
        for named in config.contexts:
            contexts.setdefault(named.name, named.context)
    where = os.pathsep.join(map(str, paths))
    if not read:
        raise SettingsError("no such kubeconfig", file=where)
    name = wanted or current
    if not name:
        raise SettingsError(f"no current-context; accepted: one of {_names(contexts)}", file=where)
    context = _pick(contexts, name, "context", where)
    cluster_entry, cluster_folder = _pick(clusters, context.cluster, "cluster", where)
    user_entry, user_folder = _pick(users, context.user, "user", where) if context.user else (UserEntry(), Path())
    _check(cluster_entry, context.cluster, user_entry, where)
    return Target(
        cluster=msgspec.structs.replace(
            cluster_entry, certificate_authority=_absolute(cluster_folder, cluster_entry.certificate_authority)
        ),
        user=msgspec.structs.replace(
            user_entry,
            token_file=_absolute(user_folder, user_entry.token_file),
            client_certificate=_absolute(user_folder, user_entry.client_certificate),
            client_key=_absolute(user_folder, user_entry.client_key),
        ),
        namespace=context.namespace or "default",
        who=f"user {context.user!r} of context {name!r} in {where}",
        folder=user_folder,
    )


def _read(path: Path, *, required: bool) -> _Kubeconfig | None:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if required:
            raise SettingsError("no such kubeconfig", file=str(path)) from None
        return None
    except OSError as error:
        raise SettingsError(f"cannot be read: {(error.strerror or str(error)).lower()}", file=str(path)) from error
    if len(text) > _MAX_FILE_BYTES:
        raise SettingsError(f"is larger than {_MAX_FILE_BYTES} bytes", file=str(path))
    try:
        value = without_nulls(yaml.load(text, _Loader))
        return msgspec.convert(value if value is not None else {}, _Kubeconfig)
    except msgspec.ValidationError as error:
        raise SettingsError(f"is no kubeconfig: {error}", file=str(path)) from None
    except yaml.MarkedYAMLError as error:  # whose words may be a secret
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise SettingsError(f"is no YAML, or YAML with aliases{line}", file=str(path)) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SettingsError("is no YAML", file=str(path)) from None


class _Loader(yaml.SafeLoader):
    """Without aliases, of which a short text can make a very long one."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem_mark=mark)
        return super().compose_node(parent, index)


def _pick(known: Mapping[str, _T], name: str, what: str, where: str) -> _T:
    if name not in known:
        raise SettingsError(f"there is no {what} {name!r}; accepted: one of {_names(known)}", file=where)
    return known[name]


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known)) or "(there is none)"


def _absolute(folder: Path, name: str) -> str:
    return str(folder / name) if name else ""


def _check(cluster: ClusterEntry, name: str, user: UserEntry, where: str) -> None:
    try:
        parts = urlsplit(cluster.server)
        good = cluster.server.isascii() and parts.scheme in ("http", "https") and bool(parts.hostname)
        good = good and parts.username is None and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"cluster {name!r}: server is no URL; accepted: https://host:port", file=where)
    if parts.scheme == "http" and user.secret and not _on_this_machine(parts.hostname or ""):
        raise SettingsError(f"cluster {name!r}: credentials are not sent over http; accepted: https", file=where)
    if cluster.insecure_skip_tls_verify and (cluster.certificate_authority or cluster.certificate_authority_data):
        words = "insecure-skip-tls-verify and a certificate-authority exclude each other"
        raise SettingsError(f"cluster {name!r}: {words}", file=where)


def _on_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
