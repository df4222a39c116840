"""Back ends and the filter keep the rules of their kinds, with applications and middlewares that do."""

from __future__ import annotations

from typing import Any

import pytest

from daemun.testing.batteries import check_backend, check_filter
from daemun_asgi import daemun_backends, daemun_filters

from .stage import FOLDER, app

pytestmark = pytest.mark.anyio

KINDS = {kind.name: kind for kind in daemun_backends()}
(FILTER,) = daemun_filters()


@pytest.mark.parametrize(("kind", "name"), [("asgi", "hello"), ("asgi", "parrot"), ("wsgi", "plain")])
async def test_a_back_end_keeps_the_rules(kind: str, name: str) -> None:
    await check_backend(KINDS[kind], {"app": app(name)}, base_dir=FOLDER)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (app("Passing"), {}),
        (app("Catching"), {}),
        ("starlette.middleware.cors:CORSMiddleware", {"allow_origins": ["*"]}),
        ("starlette.middleware.sessions:SessionMiddleware", {"secret_key": "not told"}),
        ("asgi_correlation_id:CorrelationIdMiddleware", {}),
        ("brotli_asgi:BrotliMiddleware", {}),
    ],
)
async def test_a_filter_keeps_the_rules(name: str, options: dict[str, Any]) -> None:
    await check_filter(FILTER, {"middleware": name, "options": options}, base_dir=FOLDER)
