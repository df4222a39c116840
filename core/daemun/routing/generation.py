"""One state of all routes, with what it opened. Exchanges lease it; once replaced it drains, then gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter

from daemun.errors import ExchangeError, Reason
from daemun.message import Request, Response
from daemun.routing.compiled import CompiledRoute
from daemun.routing.content import first_match
from daemun.routing.index import Index
from daemun.routing.publish import Published

__all__ = ["Generation"]


class Generation:
    """The routes that traffic runs on, from one swap to the next."""

    __slots__ = (
        "__weakref__",
        "_on_drained",
        "_published",
        "_routes",
        "gone",
        "index",
        "leases",
        "number",
        "retired",
        "winner",
    )

    def __init__(
        self,
        number: int,
        index: Index[CompiledRoute],
        published: Iterable[Published],
        on_drained: Callable[[Generation], None],
    ) -> None:
        """`published`, by all sources, is what `index` was made of. `on_drained` is called once, when it is retired
        and nothing runs."""
        self.number = number
        self.index = index
        self._published = tuple(published)
        self._routes: list[CompiledRoute] | None = None
        self.winner = index.find
        """The route that would run for a request, or None."""
        self.leases = 0
        """Exchanges that run on it."""
        self.retired = False
        self.gone: list[CompiledRoute] = []
        """Routes that it is the last to hold of those that have not drained."""
        self._on_drained = on_drained

    @property
    def routes(self) -> Sequence[CompiledRoute]:
        """Those of all sources, in order of precedence."""
        if self._routes is None:
            routes = [route for published in self._published for route in published.routes]
            routes.sort(key=attrgetter("spec.priority"), reverse=True)
            self._routes = routes
        return self._routes

    def handle(self, request: Request) -> Awaitable[Response]:
        """Runs the chain of the route that wins. Raises `ExchangeError` (no route)."""
        route = self.winner(request)
        if route is None:
            raise ExchangeError(Reason.NO_ROUTE, "no route matches")
        if route.matchers:
            return self._handle_by_content(request)
        request.exchange.route = route.spec.name
        return route.handler(request)

    async def _handle_by_content(self, request: Request) -> Response:
        found = await first_match(request, self.index.every(request))
        if found is None:
            raise ExchangeError(Reason.NO_ROUTE, "no route matches")
        route, request = found
        request.exchange.route = route.spec.name
        return await route.handler(request)

    def leave(self) -> None:
        """Ends one lease."""
        self.leases -= 1
        if self.retired and self.leases == 0:
            self._on_drained(self)

    def retire(self, gone: Iterable[CompiledRoute]) -> None:
        """It was replaced by one without the routes in `gone`: gives them back as soon as nothing runs on it."""
        self.gone += gone
        self.retired = True
        if self.leases == 0:
            self._on_drained(self)
