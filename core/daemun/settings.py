"""Start-time settings: a YAML or TOML file, decoded strictly, with errors that say what would be accepted."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from msgspec import Meta, Struct, field

from daemun.errors import SettingsError
from daemun.extend.failure import DisableAfter, FailurePolicy
from daemun.strict import convert

__all__ = [
    "BlockingSettings",
    "DrainSettings",
    "ForwardedSettings",
    "ListenerSettings",
    "PluginSettings",
    "Settings",
    "SupervisorSettings",
    "TlsSettings",
    "load_settings",
    "read_document",
]


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The certificate of a listener. Those that sources publish are chosen by the name that a client asks for (SNI)."""

    certificate: str = ""
    """PEM file with the chain, for names that no source has a certificate for; "": their handshake fails."""
    key: str = ""
    """PEM file with its key, unencrypted."""
    client_ca: str = ""
    """PEM file of the authorities of client certificates; "": none is asked for."""
    handshake_timeout_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """From the accepted connection to the end of the handshake; then it is closed."""


class ForwardedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a listener tells the upstream about the client, and whom it believes."""

    trusted_hops: Annotated[int, Meta(ge=0, le=32)] = 0
    """Proxies in front of the gateway whose `X-Forwarded-*` and `Forwarded` are kept; 0: a client's are dropped."""
    x_forwarded: bool = True
    """Whether `X-Forwarded-For`, `-Proto` and `-Host` are sent upstream."""
    forwarded: bool = False
    """Whether `Forwarded` (RFC 7239) is sent upstream."""
    via: str = "daemun"
    """Pseudonym in `Via` (RFC 9110 §7.6.3); "": none."""


class ListenerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """A socket that accepts connections."""

    name: str
    """Unique; routes, logs and start-up output use it."""
    bind: str
    """`host:port`, `[v6]:port`, `unix:/path`, `fd:N` (inherited) or `systemd:NAME` (of a socket unit, by its
    `FileDescriptorName`)."""
    protocols: tuple[str, ...] = ()
    """Wire protocols by name, in the order in which a TLS handshake offers them and the first bytes are shown to them.
    None: all that plugins brought and a handshake can name, HTTP/2 before HTTP/1."""
    tls: TlsSettings | None = None
    """Its certificate; without one it speaks plaintext."""
    forwarded: ForwardedSettings = ForwardedSettings()
    """What the upstream is told about the client."""
    backlog: Annotated[int, Meta(ge=1)] = 4096
    """Connections that the kernel holds until they are accepted."""
    max_connections: Annotated[int, Meta(ge=0)] = 0
    """Connections held at once by each worker; more wait in the kernel. 0: what the descriptor limit leaves."""
    reuse_port: bool = False
    """With several workers: each has a TCP socket of its own (`SO_REUSEPORT`). A new connection costs less, but it
    waits for a worker that hangs or is being replaced, also if another one is idle."""


class DrainSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How the gateway stops."""

    grace_seconds: Annotated[float, Meta(ge=0, description="Running exchanges get it to finish.")] = 30.0
    delay_seconds: Annotated[float, Meta(ge=0, description="Accepts on for it, so that balancers notice.")] = 0.0
    close_seconds: Annotated[float, Meta(gt=0, description="Plugins get it to clean up; then they are cut off.")] = 15.0


class SupervisorSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How several workers are looked after."""

    ping_timeout_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """A worker whose event loop answers no ping for so long is killed and replaced."""
    start_timeout_seconds: Annotated[float, Meta(gt=0)] = 60.0
    """A worker that does not accept after so long is killed."""


class BlockingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What is done about plugins that keep the event loop from turning."""

    warn_seconds: Annotated[float, Meta(ge=0)] = 1.0
    """After so long the log names the plugin, with file and line; 0: never."""
    interrupt_seconds: Annotated[float, Meta(ge=0)] = 5.0
    """After so long an exception is raised where the plugin blocks, if that hurts nothing but what it does: the
    exchange ends by the plugin's fault. 0: never. Ignored without `warn_seconds`."""


class PluginSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Which installed plugins are used."""

    block: tuple[str, ...] = ()
    """Names of plugins that are never imported."""
    only: tuple[str, ...] | None = None
    """Names of the plugins to use; all others are blocked."""
    blocking: BlockingSettings = BlockingSettings()
    """What is done about those that keep the event loop from turning."""
    failure: dict[str, FailurePolicy | DisableAfter] = {}
    """What failures of a filter mean, by its name, over what its author chose: `closed`, `open`, or
    `{faults: 5, within_seconds: 60, rest_seconds: 60}`."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The settings file."""

    listeners: tuple[ListenerSettings, ...] = ()
    """Where connections are accepted; `daemun run` needs one at least."""
    sources: tuple[dict[str, Any], ...] = ()
    """Where routes come from: `{type: NAME, …settings}` each. On equal priority the earlier one wins."""
    observers: tuple[dict[str, Any], ...] = ()
    """Who sees each exchange when it is over: `{type: NAME, …settings}` each."""
    protocols: dict[str, dict[str, Any]] = {}
    """Settings of wire protocols by name."""
    plugins: PluginSettings = PluginSettings()
    """Which installed plugins are used; all of them, unless it says otherwise."""
    drain: DrainSettings = field(default_factory=DrainSettings)
    """How it stops."""
    event_loop: str = "auto"
    """`auto` (uvloop if installed), `asyncio`, `uvloop` or `trio`."""
    workers: Annotated[int, Meta(ge=1, le=256)] | Literal["auto"] = 1
    """Processes that serve; `auto`: one for each CPU that may be used. With 1 there is no supervisor."""
    supervisor: SupervisorSettings = SupervisorSettings()
    """How several workers are looked after."""


def load_settings(file: Path) -> Settings:
    """The settings in `file`. Raises `SettingsError` with file, path and what would be accepted."""
    return convert(read_document(file), Settings, file=str(file))


def read_document(file: Path) -> Any:
    """The document in a YAML, TOML or JSON file. Raises `SettingsError` with line and column."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"cannot be read: {(error.strerror or str(error)).lower()}", file=str(file)) from error
    try:
        if file.suffix == ".toml":
            return tomllib.loads(text.decode())
        if file.suffix == ".json":
            return json.loads(text, object_pairs_hook=_once)
        document = yaml.load(text, _StrictLoader)
        return {} if document is None else document
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        words = ", ".join(part for part in (error.context, error.problem) if part)
        raise SettingsError(where + words, file=str(file)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = " ".join(str(error).split())
        raise SettingsError(words[:1].lower() + words[1:], file=str(file)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, without the parser's silence about a key that stands twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice")
        found[key] = value
    return found


class _StrictLoader(yaml.SafeLoader):
    """The safe loader, without its silence about a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} stands twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)
