"""Routes: made by the administrator, used by every client."""

from collections.abc import Sequence

from api.core.errors import RuleError
from api.models.model_models import Model
from api.models.route_models import (
    Route,
    RouteCreate,
    RouteUpdate,
    TargetInput,
)
from api.services.calls.routing.route_book import RouteBook
from api.services.models.model_service import ModelService
from api.services.routes.route_names import NameTakenError, RouteNames
from api.services.shared.paging import Page, PageRequest, fetch_page
from api.services.shared.repository import Repository
from utilities.cosmos_connector import Document, Documents

# A snapshot of all of them is read each second.
MOST_ROUTES = 1000


class RouteService:
    """Rules of routes."""

    def __init__(
        self, documents: Documents, models: ModelService, book: RouteBook
    ) -> None:
        self._documents = documents
        self._models = models
        self._book = book
        self._names = RouteNames(documents)
        self._routes = Repository(documents, Route, "Route")

    async def create(self, request: RouteCreate) -> Route:
        """Store a route; its name must be free, also among models.

        Raises:
            NameTakenError: a model has its name.
            RuleError: another route has it, or a target is not a model.
        """
        await self._check_name(request.name)
        fields = {
            **request.model_dump(mode="json", by_alias=True),
            **await self._targets(request.targets),
            "liveKey": request.name,
        }
        known = await self._documents.find(
            {}, limit=MOST_ROUTES, fields=["_id"]
        )
        if len(known) >= MOST_ROUTES:
            raise RuleError(f"There may be {MOST_ROUTES} routes at most")
        route = await self._routes.add(fields)
        try:
            await self._check_name(request.name)
            await self._check_targets(route)
        except (NameTakenError, RuleError):
            await self._remove(route.route_id)
            raise
        await self._book.refresh()
        return (await self._shown([route]))[0]

    async def page(self, page: PageRequest) -> Page[Route]:
        """List all routes."""
        found = await fetch_page(
            self._documents, {}, page, Route.from_document
        )
        return Page(await self._shown(found.items), found.next_cursor)

    async def get(self, route_id: str) -> Route:
        """Return one.

        Raises:
            NotFoundError: there is none.
        """
        route = await self._routes.get(route_id, {})
        return (await self._shown([route]))[0]

    async def update(self, route_id: str, request: RouteUpdate) -> Route:
        """Change what is given.

        Raises:
            ConflictError: others changed it meanwhile, or its new name is
                a model's.
            NotFoundError: there is none.
            RuleError: the change is not allowed.
        """
        changes = await self._changes(request)
        if request.name is None:
            changed = await self._routes.change(
                route_id, {}, lambda _: changes
            )
        else:
            changed = await self._renamed(route_id, request.name, changes)
        await self._book.refresh()
        return (await self._shown([changed]))[0]

    async def delete(self, route_id: str) -> None:
        """Delete a route; its name is free again.

        Raises:
            NotFoundError: there is none.
        """
        await self._remove(route_id)
        await self._book.refresh()

    async def _remove(self, route_id: str) -> None:
        await self._routes.remove(
            route_id, {}, {"liveKey": f"deleted:{route_id}"}
        )

    async def _renamed(
        self, route_id: str, name: str, changes: Document
    ) -> Route:
        await self._check_name(name)
        before = await self._routes.get(route_id, {})
        changed = await self._routes.change(route_id, {}, lambda _: changes)
        try:
            await self._check_name(name)
        except NameTakenError:
            old = {"name": before.name, "liveKey": before.name}
            await self._routes.change(route_id, {}, lambda _: old)
            raise
        return changed

    async def _changes(self, request: RouteUpdate) -> Document:
        changes: Document = request.model_dump(
            mode="json", by_alias=True, exclude_unset=True
        )
        for name, value in changes.items():
            if value is None:
                raise RuleError(f"{name} must not be null")
        if request.targets is not None:
            changes |= await self._targets(request.targets)
        if request.name is not None:
            changes["liveKey"] = request.name
        return changes

    async def _targets(self, targets: Sequence[TargetInput]) -> Document:
        """Give targets as they are stored; the models must exist.

        Raises:
            RuleError: one does not exist, or is there twice.
        """
        ids = await self._models.ids({each.model for each in targets})
        routes = await self._names.among({t.model for t in targets})
        stored: list[Document] = []
        for each in targets:
            model_id = ids.get(each.model)
            if model_id is None:
                raise _not_a_model(each.model, is_route=each.model in routes)
            if any(known["modelId"] == model_id for known in stored):
                raise RuleError(f"the model {each.model!r} is there twice")
            stored.append(
                {
                    "model": each.model,
                    "modelId": model_id,
                    "weight": each.weight,
                }
            )
        return {
            "targets": stored,
            # By these, a model is found to be in use.
            "modelIds": [each["modelId"] for each in stored],
        }

    async def _check_targets(self, route: Route) -> None:
        """Refuse a target that was deleted at the same time."""
        ids = [each.model_id for each in route.targets]
        found = {model.model_id for model in await self._models.by_ids(ids)}
        for each in route.targets:
            if each.model_id not in found:
                raise _not_a_model(each.model, is_route=False)

    async def _check_name(self, name: str) -> None:
        if name in await self._models.ids({name}):
            raise NameTakenError(name, "model")

    async def _shown(self, routes: Sequence[Route]) -> list[Route]:
        ids = {each.model_id for route in routes for each in route.targets}
        models: list[Model] = await self._models.by_ids(ids) if ids else []
        names = {model.model_id: model.name for model in models}
        return [route.with_names(names) for route in routes]


def _not_a_model(reference: str, *, is_route: bool) -> RuleError:
    if is_route:
        return RuleError(
            f"the target {reference!r} is a route; targets must be models"
        )
    return RuleError(f"the model {reference!r} was not found")
