"""What may be set for applications in the gateway's process, and for middlewares in front of any back end."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

__all__ = ["AsgiSettings", "Dotted", "MiddlewareSettings", "WsgiSettings", "check_dotted"]

_PATTERN = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$(?!\n)"
Dotted = Annotated[str, Meta(max_length=500, extra_json_schema={"pattern": _PATTERN})]
"""`module:attribute`, both with dots or without; `check_dotted` says in words what is none."""

_RootPath = Annotated[str, Meta(pattern=r"^(/[!-\"$&->@-~]*[!-\"$&-.0->@-~])?$(?!\n)", max_length=1000)]


_Factory = Annotated[bool, Meta(description="The attribute is called without arguments to get the application.")]
_AppDir = Annotated[str, Meta(description='Folder that modules are found in too; "": that of the settings file.')]
_Lifespan = Annotated[
    Literal["auto", "on", "off"],
    Meta(description="Whether it is told of start and stop; `auto`: if it can be, `on`: it must."),
]
_StartupSeconds = Annotated[float, Meta(gt=0, le=600, description="Limit of its start.")]
_ShutdownSeconds = Annotated[
    float, Meta(gt=0, le=600, description="What calls that still run, and then its stop, may take at the end.")
]
_MaxMessageBytes = Annotated[
    int, Meta(ge=1, le=1_073_741_824, description="The longest message of a WebSocket; 1009 above.")
]
_CloseSeconds = Annotated[
    float, Meta(gt=0, le=600, description="What a client has to answer the close of a WebSocket.")
]


def check_dotted(key: str, name: str, example: str) -> None:
    """Raises `ValueError` if `name`, which the setting `key` holds, is no `module:attribute`."""
    if re.match(_PATTERN, name) is None:
        missing = "" if ":" in name else ", for it names no attribute"
        raise ValueError(f"{key}: {name!r} is no `module:attribute`{missing}; accepted: such as {example}")


class AsgiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the back end `asgi`."""

    app: Annotated[Dotted, Meta(description="The application, as `module:attribute`.")]
    factory: _Factory = False
    app_dir: _AppDir = ""
    root_path: Annotated[
        _RootPath,
        Meta(description="Where the application is mounted; in front of a path that does not begin with it."),
    ] = ""
    lifespan: _Lifespan = "auto"
    startup_timeout_seconds: _StartupSeconds = 30.0
    shutdown_timeout_seconds: _ShutdownSeconds = 10.0
    disconnect_grace_seconds: Annotated[
        float, Meta(ge=0, le=600, description="What a call may still take after its client left; then it is cancelled.")
    ] = 5.0
    max_running: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Calls at once, work after the response included; 503 above.")
    ] = 10_000
    max_message_bytes: _MaxMessageBytes = 16_777_216
    close_timeout_seconds: _CloseSeconds = 10.0

    def __post_init__(self) -> None:
        check_dotted("app", self.app, "shop:app")


class WsgiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the back end `wsgi`."""

    app: Annotated[Dotted, Meta(description="The application, as `module:attribute`.")]
    factory: _Factory = False
    app_dir: _AppDir = ""
    root_path: Annotated[_RootPath, Meta(description="`SCRIPT_NAME`: where the application is mounted.")] = ""
    threads: Annotated[int, Meta(ge=1, le=1000, description="Calls that run at once; more wait.")] = 16
    shutdown_timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="What calls that still run may take at the end.")
    ] = 10.0
    max_running: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls that run or wait; 503 above.")] = 1000

    def __post_init__(self) -> None:
        check_dotted("app", self.app, "shop:app")


class MiddlewareSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the filter `asgi`."""

    middleware: Annotated[
        Dotted, Meta(description="The class, as `module:attribute`; it is called with an application and the options.")
    ]
    options: Annotated[dict[str, Any], Meta(description="Keyword arguments.")] = {}
    app_dir: _AppDir = ""
    lifespan: _Lifespan = "auto"
    startup_timeout_seconds: _StartupSeconds = 30.0
    shutdown_timeout_seconds: _ShutdownSeconds = 10.0
    max_running: Annotated[int, Meta(ge=1, le=1_000_000, description="Calls at once; 503 above.")] = 10_000
    max_message_bytes: _MaxMessageBytes = 16_777_216
    close_timeout_seconds: _CloseSeconds = 10.0

    def __post_init__(self) -> None:
        check_dotted("middleware", self.middleware, "starlette.middleware.gzip:GZipMiddleware")
