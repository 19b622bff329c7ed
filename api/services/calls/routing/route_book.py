"""All routes, as this process knows them: looked up without a wait."""

from collections.abc import Mapping, Sequence

import structlog

from api.models.route_models import Route
from api.services.routes.route_names import named
from api.services.shared.paging import read_all
from utilities.cosmos_connector import Documents, StoreError
from utilities.tasks import Loop

_EVERY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class RouteBook:
    """The routes by name and by id; safe in any thread.

    A change by another process reaches this one within a second. A route
    that is not known yet is looked for in the database.
    """

    def __init__(self, documents: Documents | None) -> None:
        self._documents = documents
        self._routes: Mapping[str, Route] = {}

    def find(self, reference: str) -> Route | None:
        """Return the route of that name or id, if it is known."""
        return self._routes.get(reference)

    def all(self) -> Sequence[Route]:
        """Return every route once."""
        routes = self._routes
        return [each for name, each in routes.items() if name == each.name]

    async def look(self, reference: str) -> Route | None:
        """Return the route of that name or id, also if it is new."""
        if self._documents is None:
            return None
        document = await self._documents.find_one(named([reference]))
        return None if document is None else Route.from_document(document)

    async def refresh(self) -> None:
        """Read all routes anew."""
        if self._documents is None:
            return
        found = await self._documents.find({}, sort=[("_id", 1)])
        routes = await read_all(Route.from_document, found)
        self._routes = {
            reference: route
            for route in routes
            for reference in (route.route_id, route.name)
        }


NO_ROUTES = RouteBook(None)


class RouteWatcher(Loop):
    """Keeps the book up to date."""

    name = "routes"
    vital = False

    def __init__(self, book: RouteBook, every: float = _EVERY_SECONDS) -> None:
        super().__init__()
        self._book = book
        self._every = every

    async def run(self) -> None:
        """Watch until stopped."""
        self.attach()
        while not self.stopping:
            await self._look()
            await self.pause(self._every)

    async def _look(self) -> None:
        try:
            await self._book.refresh()
            self.complaint = None
        except StoreError as error:
            self.complaint = f"not up to date: {type(error).__name__}"
            log.warning("routes_not_read", error=type(error).__name__)
