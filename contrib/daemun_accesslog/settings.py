"""What may be set for an access log, and which settings contradict each other."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from daemun_accesslog.names import DEFAULT_FIELDS, parse_field

__all__ = ["AccessLogSettings"]


class AccessLogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the observer `accesslog`."""

    file: Annotated[
        str,
        Meta(
            min_length=1,
            description="File that lines are appended to, relative to the settings file; `-` or `stdout`, `stderr`.",
        ),
    ] = "-"
    format: Annotated[
        Literal["json", "common", "combined"],
        Meta(description="One JSON object a line, the Common Log Format, or that with referer and user agent."),
    ] = "json"
    fields: Annotated[
        tuple[str, ...],
        Meta(min_length=1, max_length=64, description="What a line of `json` holds, in this order."),
    ] = DEFAULT_FIELDS
    query: Annotated[
        bool,
        Meta(description="Whether `common` and `combined` write the query, which may hold secrets."),
    ] = False
    sample: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of the exchanges that is logged, chosen at random; 1: all."),
    ] = 1.0
    min_status: Annotated[
        int, Meta(ge=0, le=999, description="Exchanges with a lower status are not logged; 0: all are.")
    ] = 0
    skip_routes: Annotated[
        tuple[str, ...],
        Meta(description="Names of routes whose exchanges are not logged, such as health checks."),
    ] = ()
    keep_errors: Annotated[
        bool,
        Meta(description="Logs what failed (a reason, or a status of 500 and above) in spite of the three above."),
    ] = True
    max_value_bytes: Annotated[
        int,
        Meta(ge=64, le=65_536, description="Longer values that a client chose are cut and end in `...`."),
    ] = 1024
    max_pending_lines: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Lines that wait for a slow disk; more are lost and counted."),
    ] = 10_000
    close_timeout_seconds: Annotated[
        float,
        Meta(ge=0, le=600, description="How long the end of the gateway waits for the last lines to be written."),
    ] = 5.0

    def __post_init__(self) -> None:
        seen = set()
        for position, name in enumerate(self.fields):
            try:
                field = parse_field(name)
            except ValueError as error:
                raise ValueError(f"fields[{position}]: {error}") from None
            if field in seen:
                raise ValueError(f"fields[{position}]: `{name}` stands twice")
            seen.add(field)
        if self.format != "json" and self.fields != DEFAULT_FIELDS:
            raise ValueError(f"fields: the format {self.format} has fixed fields, only json takes a list")
        if self.format == "json" and self.query:
            raise ValueError("query: is for common and combined, json takes `query` among its fields")
