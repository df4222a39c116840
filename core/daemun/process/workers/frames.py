"""What the supervisor and a worker say to each other: structs, in msgpack, decoded strictly."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from daemun.errors import DaemunError, ExchangeError, PluginError, Reason, SettingsError
from daemun.process.info import GatewayInfo
from daemun.routing.spec import BackendSpec, CertificateSpec, EndpointSpec, ObjectStatus, RouteSpec
from daemun.settings import Settings

__all__ = [
    "FROM_SUPERVISOR",
    "FROM_WORKER",
    "Activate",
    "Activated",
    "Count",
    "CutOff",
    "Drain",
    "Failed",
    "Hold",
    "Holding",
    "Let",
    "Open",
    "Outcome",
    "Patch",
    "Piece",
    "Ping",
    "Pong",
    "Prepared",
    "Ready",
    "Reopen",
    "Start",
    "Usage",
    "Use",
    "decode_from_supervisor",
    "decode_from_worker",
    "encode",
]


class _Frame(Struct, frozen=True, forbid_unknown_fields=True, tag=str.lower):
    """One message."""


class Start(_Frame, frozen=True):
    """To a worker, first of all: who it is, and what it is to serve."""

    index: int
    count: int
    shared_dir: str
    base_dir: str
    settings: Settings
    sockets: tuple[tuple[str, bool], ...]
    """Of each socket that came with the fork: the name of its listener, and whether other workers accept on it."""


class Piece(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A run of objects: `count` of the old ones from `start` on, or the next `count` new ones if it is -1."""

    start: int
    count: int


class Patch(_Frame, frozen=True):
    """To a worker: what a source published, as what is new in it and where it goes."""

    serial: int
    source: str
    routes: tuple[Piece, ...]
    new_routes: tuple[RouteSpec, ...]
    backends: tuple[Piece, ...]
    new_backends: tuple[BackendSpec, ...]
    certificates: tuple[Piece, ...] = ()
    new_certificates: tuple[CertificateSpec, ...] = ()


class Open(_Frame, frozen=True):
    """To a worker: accept."""


class Ping(_Frame, frozen=True):
    """To a worker: are you there?"""


class Drain(_Frame, frozen=True):
    """To a worker: accept no more, finish what runs, and end."""


class CutOff(_Frame, frozen=True):
    """To a worker that drains: end now."""


class Reopen(_Frame, frozen=True):
    """To a worker: observers open their files anew."""


class Failed(_Frame, frozen=True):
    """From either: what was asked for cannot be had, with the error taken apart."""

    message: str
    file: str = ""
    path: str = ""
    plugin: str = ""
    reason: str = ""
    status: int = 0
    retry_after_seconds: int | None = None

    @staticmethod
    def of(error: Exception) -> Failed:
        """For an error of ours; of any other the type is told too."""
        match error:
            case SettingsError():
                return Failed(error.message, error.file, error.path)
            case PluginError():
                return Failed(str(error).removeprefix(f"plugin {error.plugin}: "), plugin=error.plugin)
            case ExchangeError():
                return Failed(
                    error.message,
                    reason=error.reason.value,
                    status=error.status,
                    retry_after_seconds=error.retry_after_seconds,
                )
        return Failed(f"{type(error).__name__}: {error}")

    def error(self) -> DaemunError:
        """The error again."""
        if self.reason:
            reason = next(one for one in Reason if one.value == self.reason)
            return ExchangeError(reason, self.message, status=self.status, retry_after_seconds=self.retry_after_seconds)
        if self.plugin:
            return PluginError(self.message, plugin=self.plugin)
        return SettingsError(self.message, file=self.file, path=self.path)


class Prepared(_Frame, frozen=True):
    """From a worker: its settings can be used; it is ready for routes."""


class Ready(_Frame, frozen=True):
    """From a worker: it accepts."""

    info: GatewayInfo


class Pong(_Frame, frozen=True):
    """From a worker: its event loop runs."""


class Outcome(_Frame, frozen=True):
    """From a worker: new requests run on a patch."""

    serial: int
    generation: int
    routes: int
    refused: tuple[ObjectStatus, ...]


class Hold(_Frame, frozen=True):
    """From a worker: a back end of it needs an activator."""

    number: int
    """The worker's own number of the back end, used in all that follows."""
    activator: str
    backend: str
    settings: bytes


class Let(_Frame, frozen=True):
    """From a worker: a back end of it is closed."""

    number: int


class Activate(_Frame, frozen=True):
    """From a worker: requests wait for an endpoint."""

    number: int


class Count(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Exchanges that run on one endpoint."""

    endpoint: int
    active: int


class Usage(_Frame, frozen=True):
    """From a worker: what its back end has to do now."""

    number: int
    version: int
    """Of the last `Use` that it took over."""
    waiting: int
    in_flight: int
    idle_since: float
    """On the clock of the machine, `time.monotonic()`."""
    active: tuple[Count, ...]


class Holding(_Frame, frozen=True):
    """To a worker: the activator of its back end is open, or why it is not."""

    number: int
    failed: Failed | None = None


class Use(_Frame, frozen=True):
    """To a worker: the endpoints of its back end from now on, each with its number."""

    number: int
    version: int
    endpoints: tuple[tuple[int, EndpointSpec], ...]


class Activated(_Frame, frozen=True):
    """To a worker: the activation that it asked for is over."""

    number: int
    failed: Failed | None = None


FROM_SUPERVISOR = Start | Patch | Open | Ping | Drain | CutOff | Reopen | Holding | Use | Activated
FROM_WORKER = Prepared | Ready | Failed | Pong | Outcome | Hold | Let | Activate | Usage

encode = msgspec.msgpack.Encoder().encode
"""A frame as bytes. Raises what msgspec raises for data that msgpack cannot hold."""
decode_from_supervisor = msgspec.msgpack.Decoder(FROM_SUPERVISOR).decode
decode_from_worker = msgspec.msgpack.Decoder(FROM_WORKER).decode
