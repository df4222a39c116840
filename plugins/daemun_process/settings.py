"""What a process-activated back end can be told."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

__all__ = ["ProcessSettings", "Readiness"]


class Readiness(Struct, frozen=True, forbid_unknown_fields=True):
    """How it is known that a process answers."""

    kind: Annotated[
        Literal["tcp", "http"],
        Meta(description="`tcp`: it accepts a connection. `http`: it answers GET with a good status."),
    ] = "tcp"
    path: Annotated[str, Meta(pattern=r"^/[!-~]*$", description="Target of the GET.")] = "/"
    host: Annotated[str, Meta(pattern=r"^[!-~]+$", description="`Host` of the GET.")] = "localhost"
    statuses: Annotated[tuple[int, int], Meta(description="Lowest and highest status that means ready.")] = (
        200,
        399,
    )
    timeout_seconds: Annotated[
        float, Meta(gt=0, description="How long the first probe waits; doubled each time that was too short.")
    ] = 1.0

    def __post_init__(self) -> None:
        low, high = self.statuses
        if not 200 <= low <= high <= 599:
            raise ValueError(f"statuses {low}..{high} are not a range within 200..599")


class ProcessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the activator `process`."""

    command: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Program and arguments; no shell. `$PORT` and `$SOCKET` are filled in."),
    ]
    environment: Annotated[
        dict[str, str], Meta(description="Variables of the process. `$PORT` and `$SOCKET` are filled in.")
    ] = {}
    inherit_environment: Annotated[
        bool | tuple[str, ...],
        Meta(
            description="What it gets of the gateway's own variables: those named and a few harmless ones "
            "(`PATH`, `HOME`, `LANG`, `TZ`, …); `false`: none; `true`: all, with every secret among them."
        ),
    ] = ()
    directory: Annotated[
        str, Meta(description="Where it runs; relative to the settings file, which is the default.")
    ] = ""
    port: Annotated[
        int,
        Meta(ge=0, le=65535, description="Port on 127.0.0.1 that it listens on; 0: a free one each time."),
    ] = 0
    socket: Annotated[
        bool,
        Meta(description="It listens on the Unix socket `$SOCKET`, in a private folder, and not on a port."),
    ] = False
    protocol: Annotated[str, Meta(min_length=1, description="Wire protocol that it speaks.")] = "http1"
    readiness: Readiness = Readiness()
    """How it is known that it answers."""
    start_timeout_seconds: Annotated[
        float, Meta(gt=0, description="From the request that starts it to its first answer.")
    ] = 60.0
    start_attempts: Annotated[
        int,
        Meta(ge=1, description="Failed starts in a row, from which on requests are told instead of held on."),
    ] = 5
    stop_grace_seconds: Annotated[float, Meta(ge=0, description="From SIGTERM to SIGKILL.")] = 10.0
    idle_timeout_seconds: Annotated[
        float, Meta(ge=0, description="Without a request for so long it is stopped; 0: never.")
    ] = 60.0
    capacity: Annotated[int, Meta(ge=0, description="Exchanges that one process takes at once; 0: no limit.")] = 0
    min_instances: Annotated[int, Meta(ge=0, description="Processes that are kept running.")] = 0
    max_instances: Annotated[
        int, Meta(ge=1, description="Processes at most, those that are being stopped included.")
    ] = 1
    log_file: Annotated[
        str, Meta(description='File that its output is appended to; "": the logger `daemun.process.BACKEND`.')
    ] = ""
    log_lines_per_second: Annotated[
        int,
        Meta(ge=0, description="Lines that are logged at most, others are counted; 0: output is thrown away."),
    ] = 500

    def __post_init__(self) -> None:
        if not self.command[0]:
            raise ValueError("command names no program")
        for word in (*self.command, self.directory, self.log_file, *self.environment.values()):
            if "\0" in word:
                raise ValueError("command, environment, directory and log_file may not hold a NUL character")
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                raise ValueError(f"environment: {name!r} is not the name of a variable")
        if self.socket and self.port:
            raise ValueError("port and socket exclude each other")
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances {self.min_instances} is above max_instances {self.max_instances}")
        if self.max_instances > 1 and self.port:
            raise ValueError("max_instances above 1 needs port 0 or socket: two processes cannot share a port")
        if self.max_instances > 1 and not self.capacity:
            raise ValueError("max_instances above 1 needs capacity: without it one process is never full")
