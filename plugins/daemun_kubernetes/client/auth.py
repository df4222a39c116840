"""Who the gateway is for the API server: credentials that change while it runs.

Files are read again once a minute, as tokens and certificates are rotated; an exec plugin is run again when what it
gave expires. What the server refuses with 401 is renewed at once. No secret is in a message, a log line or a `repr`.
"""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from math import inf
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
import msgspec
from anyio.abc import ByteReceiveStream
from msgspec import Struct

from daemun import SettingsError
from daemun_kubernetes.client.config import ExecPlugin, Target

__all__ = ["Credentials", "Grant"]

log = logging.getLogger("daemun.kubernetes")

_REREAD_SECONDS = 60.0
_EARLY_SECONDS = 10.0
_SHORTEST_SECONDS = 1.0
_REST_SECONDS = 2.0
_PLUGIN_SECONDS = 60.0
_MAX_OUTPUT_BYTES = 1024 * 1024
_MAX_FILE_BYTES = 1024 * 1024
_EXEC_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Grant(Struct, frozen=True):
    """What a request is sent with: fields of its head, and what proves both ends of the connection. PEM; not shown."""

    fields: tuple[tuple[str, str], ...] = ()
    authority: bytes = b""
    certificate: bytes = b""
    key: bytes = b""

    @property
    def connection(self) -> tuple[bytes, bytes, bytes]:
        """What connections are made with: if it changes, the old ones are of no use."""
        return self.authority, self.certificate, self.key

    def __repr__(self) -> str:
        return "Grant(…)"


class _ExecStatus(Struct, frozen=True, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _ExecCredential(Struct, frozen=True, rename="camel"):
    api_version: str
    kind: str
    status: _ExecStatus | None = None


class Credentials:
    """The credentials of `target`: `grant` gives those that are good now.

    Raises `SettingsError` for a user that cannot be used, when made or when asked.
    """

    def __init__(self, target: Target, *, clock: Callable[[], float] = time.time) -> None:
        user = target.user
        if user.auth_provider is not None:
            name = user.auth_provider.get("name", "")
            raise SettingsError(
                f"{target.who}: auth-provider {name!r} is no longer part of Kubernetes; accepted: exec, token, "
                "tokenFile, client-certificate, username and password"
            )
        if user.exec is not None:
            _check_plugin(user.exec, target.who)
        self._target = target
        self._clock = clock
        self._lock = anyio.Lock()
        self._grant: Grant | None = None
        self._good_until = -inf
        self._status: _ExecStatus | None = None
        self._status_until = -inf
        self._failure = ""
        self._rest_until = -inf

    async def grant(self) -> Grant:
        """What is good now. Raises `SettingsError` if there is nothing to be had: a file, a plugin that fails."""
        if self._grant is not None and self._clock() < self._good_until:
            return self._grant
        async with self._lock:
            if self._grant is not None and self._clock() < self._good_until:
                return self._grant
            return await self._read()

    async def renewed(self, refused: Grant) -> Grant:
        """What to try after the server has answered `refused` with 401; `refused` itself if there is nothing else."""
        async with self._lock:
            if self._grant is not refused:
                return await self._read() if self._grant is None else self._grant
            self._status_until = -inf
            return await self._read()

    async def _read(self) -> Grant:
        now = self._clock()
        if now < self._rest_until and self._failure:
            raise SettingsError(self._failure)
        try:
            grant = await self._gathered(now)
        except SettingsError as error:
            said, self._failure, self._rest_until = self._failure, str(error), now + _REST_SECONDS
            expired = self._status is not None and now >= self._status_until + _EARLY_SECONDS
            if self._grant is None or expired:
                raise
            if said != self._failure:
                log.warning("%s; what there was before is used on", error)
            self._good_until = self._rest_until
            return self._grant
        self._failure = ""
        if grant != self._grant:
            self._grant = grant
        assert self._grant is not None
        self._good_until = now + _REREAD_SECONDS
        if self._status is not None:  # which may have expired before it was given
            self._good_until = min(self._good_until, max(self._status_until, now + _SHORTEST_SECONDS))
        return self._grant

    async def _gathered(self, now: float) -> Grant:
        target = self._target
        if target.user.exec is not None and now >= self._status_until:
            self._status = await _run_plugin(target.user.exec, target)
            expiry = self._status.expiration_timestamp
            self._status_until = expiry.timestamp() - _EARLY_SECONDS if expiry else inf
        return await anyio.to_thread.run_sync(_read_files, target, self._status)


def _read_files(target: Target, status: _ExecStatus | None) -> Grant:
    cluster, user = target.cluster, target.user
    certificate = user.client_certificate_data or _content(user.client_certificate, target.who)
    key = user.client_key_data or _content(user.client_key, target.who)
    token = user.token
    if user.token_file:
        token = _content(user.token_file, target.who).decode("latin-1").strip()
        if not token:
            raise SettingsError(f"{target.who}: {user.token_file} holds no token")
    if status is not None:
        token = status.token or token
        certificate = (status.client_certificate_data or "").encode() or certificate
        key = (status.client_key_data or "").encode() or key
    if bool(certificate) != bool(key):
        raise SettingsError(f"{target.who}: client-certificate and client-key go together")
    fields: list[tuple[str, str]] = []
    if token:
        fields.append(("authorization", f"Bearer {token}"))
    elif user.username or user.password:
        pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        fields.append(("authorization", f"Basic {pair}"))
    if user.as_user:
        fields.append(("impersonate-user", user.as_user))
        fields += [("impersonate-uid", user.as_uid)] if user.as_uid else []
        fields += [("impersonate-group", group) for group in user.as_groups]
        fields += [
            (f"impersonate-extra-{quote(name.lower(), safe='')}", value)
            for name, values in user.as_user_extra.items()
            for value in values
        ]
    elif user.as_uid or user.as_groups or user.as_user_extra:
        raise SettingsError(f"{target.who}: as-uid, as-groups and as-user-extra need as")
    for name, value in fields:
        if not value.isascii() or not value.isprintable():
            raise SettingsError(f"{target.who}: what is to be sent as {name} holds characters that cannot be sent")
    authority = cluster.certificate_authority_data or _content(cluster.certificate_authority, target.who)
    return Grant(tuple(fields), authority, certificate, key)


def _content(path: str, who: str) -> bytes:
    if not path:
        return b""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{who}: {path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    if len(content) > _MAX_FILE_BYTES:
        raise SettingsError(f"{who}: {path} is larger than {_MAX_FILE_BYTES} bytes")
    return content


def _check_plugin(plugin: ExecPlugin, who: str) -> None:
    if plugin.api_version not in _EXEC_VERSIONS:
        raise SettingsError(
            f"{who}: exec: apiVersion {plugin.api_version!r} is not known; accepted: {', '.join(_EXEC_VERSIONS)}"
        )
    if plugin.interactive_mode == "Always":
        raise SettingsError(f"{who}: exec: {plugin.command} asks somebody at a terminal, and a gateway has none")
    if plugin.interactive_mode not in ("", "Never", "IfAvailable"):
        raise SettingsError(
            f"{who}: exec: interactiveMode {plugin.interactive_mode!r} is not known; "
            "accepted: Never, IfAvailable, Always"
        )


async def _run_plugin(plugin: ExecPlugin, target: Target) -> _ExecStatus:
    what = f"{target.who}: exec: {plugin.command}"
    command = plugin.command
    if os.sep in command:
        command = str(target.folder / command)
    environment = {**os.environ, **{variable.name: variable.value for variable in plugin.env}}
    environment["KUBERNETES_EXEC_INFO"] = _exec_info(plugin, target)
    output = b""
    try:
        with anyio.fail_after(_PLUGIN_SECONDS):
            process = await anyio.open_process(
                [command, *plugin.args], stdin=subprocess.DEVNULL, stderr=None, env=environment
            )
            async with process:
                assert process.stdout is not None
                output = await _bounded(process.stdout)
                if len(output) > _MAX_OUTPUT_BYTES:
                    process.kill()
                code = await process.wait()
    except TimeoutError:
        raise SettingsError(f"{what} has not ended within {_PLUGIN_SECONDS:g} s") from None
    except (OSError, ValueError) as error:
        words = (getattr(error, "strerror", None) or str(error)).lower()
        hint = f" ({plugin.install_hint.strip()})" if plugin.install_hint else ""
        raise SettingsError(f"{what} cannot be started: {words}{hint}") from None
    if len(output) > _MAX_OUTPUT_BYTES:
        raise SettingsError(f"{what} gave more than {_MAX_OUTPUT_BYTES} bytes")
    if code:
        raise SettingsError(f"{what} ended with status {code}")
    return _read_output(output, plugin, what)


async def _bounded(stream: ByteReceiveStream) -> bytes:
    """All of it, or as much as is too much."""
    output = bytearray()
    async for piece in stream:
        output += piece
        if len(output) > _MAX_OUTPUT_BYTES:
            break
    return bytes(output)


def _read_output(output: bytes, plugin: ExecPlugin, what: str) -> _ExecStatus:
    try:
        credential = msgspec.json.decode(output, type=_ExecCredential)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise SettingsError(f"{what} gave no ExecCredential") from None
    if credential.kind != "ExecCredential" or credential.api_version != plugin.api_version:
        raise SettingsError(f"{what} gave no ExecCredential of {plugin.api_version}")
    status = credential.status
    if status is None or not (status.token or status.client_certificate_data):
        raise SettingsError(f"{what} gave neither a token nor a certificate")
    if bool(status.client_certificate_data) != bool(status.client_key_data):
        raise SettingsError(f"{what} gave one of certificate and key, and not the other")
    return status


def _exec_info(plugin: ExecPlugin, target: Target) -> str:
    spec: dict[str, object] = {"interactive": False}
    if plugin.provide_cluster_info:
        cluster = target.cluster
        authority = cluster.certificate_authority_data or _content(cluster.certificate_authority, target.who)
        about = {
            "server": cluster.server,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "certificate-authority-data": base64.b64encode(authority).decode(),
            "proxy-url": cluster.proxy_url,
        }
        spec["cluster"] = {name: value for name, value in about.items() if value}
    info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    return msgspec.json.encode(info).decode()
