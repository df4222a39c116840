"""One state of all routes, with what it opened. Exchanges lease it; once replaced it drains, then gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from daemun.errors import ExchangeError, Reason
from daemun.message import Request, Response
from daemun.routing.compile import CompiledRoute
from daemun.routing.match import Index

__all__ = ["Generation"]


class Generation:
    """The routes that traffic runs on, from one swap to the next."""

    __slots__ = ("_index", "_on_drained", "leases", "number", "retired", "routes")

    def __init__(self, number: int, routes: Sequence[CompiledRoute], on_drained: Callable[[Generation], None]) -> None:
        """`routes` in order of precedence. `on_drained` is called once, when it is retired and nothing runs."""
        self.number = number
        self.routes = routes
        self.leases = 0
        """Exchanges that run on it."""
        self.retired = False
        self._index = Index([(route.spec, route) for route in routes])
        self._on_drained = on_drained

    def handle(self, request: Request) -> Awaitable[Response]:
        """Runs the chain of the route that wins. Raises `ExchangeError` (no route)."""
        route = self._index.find(request)
        if route is None:
            raise ExchangeError(Reason.NO_ROUTE, "no route matches")
        request.exchange.route = route.spec.name
        return route.handler(request)

    def winner(self, request: Request) -> CompiledRoute | None:
        """The route that would run."""
        return self._index.find(request)

    def leave(self) -> None:
        """Ends one lease."""
        self.leases -= 1
        if self.retired and self.leases == 0:
            self._on_drained(self)

    def retire(self) -> None:
        """It was replaced: closes what it opened as soon as nothing runs on it."""
        self.retired = True
        if self.leases == 0:
            self._on_drained(self)
