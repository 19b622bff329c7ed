"""The queries of routes, on every server we can have."""

import asyncio

import pytest

from api.core.errors import ConflictError, RuleError
from api.models.model_models import CostInput, ModelCreate, ModelUpdate
from api.models.route_models import (
    Route,
    RouteCreate,
    RouteUpdate,
    TargetInput,
)
from api.services.calls.catalog import Catalog
from api.services.calls.routing.route_book import RouteBook
from api.services.calls.routing.router import Router, Routing
from api.services.routes.route_names import NameTakenError
from api.services.shared.paging import PageRequest
from tests.support.store import Store


def a_route(store: Store, name: str = "route") -> RouteCreate:
    return RouteCreate(name=name, targets=(TargetInput(model=store.model),))


def a_model(name: str) -> ModelCreate:
    cost = CostInput(input=1, output=1)
    return ModelCreate(name=name, sdk="test", max_token=5, cost=cost)


def another_process(store: Store) -> RouteBook:
    return RouteBook(store.application.shared.documents("routes"))


async def test_another_process_learns_of_a_route(store: Store) -> None:
    services, book = store.application.services, another_process(store)
    made = await services.routes.create(a_route(store))
    # This one knows it at once, the other one when it looks.
    assert store.application.shared.routes.find("route") is not None
    assert book.find("route") is None
    assert await book.look("none") is None
    for reference in ("route", made.route_id):
        found = await book.look(reference)
        assert found is not None
        assert found.route_id == made.route_id
        catalog = Catalog(services.models, services.prompts)
        named = await Router(Routing(book), catalog).named(reference)
        assert isinstance(named, Route)
    await book.refresh()
    assert book.find(made.route_id) == book.find("route") == book.all()[0]
    await services.routes.delete(made.route_id)
    assert await book.look("route") is None
    await book.refresh()
    assert book.all() == []


async def test_one_broken_route_does_not_hide_the_others(store: Store) -> None:
    services, book = store.application.services, another_process(store)
    for name in ("good", "broken"):
        await services.routes.create(a_route(store, name))
    documents = store.application.shared.documents("routes")
    await documents.update_many({"name": "broken"}, {"strategy": "gone"})
    await book.refresh()
    assert [each.name for each in book.all()] == ["good"]
    listed = await services.routes.page(PageRequest())
    assert [each.name for each in listed.items] == ["good"]


async def test_a_target_cannot_be_deleted(store: Store) -> None:
    services = store.application.services
    made = await services.routes.create(a_route(store))
    model_id = made.targets[0].model_id
    with pytest.raises(ConflictError, match="'route'"):
        await services.models.delete(model_id)
    other = await services.models.create(a_model("other"))
    targets = (TargetInput(model="other"),)
    await services.routes.update(made.route_id, RouteUpdate(targets=targets))
    await services.models.delete(model_id)
    with pytest.raises(ConflictError):
        await services.models.delete(other.model_id)


async def test_of_two_with_one_name_at_most_one_stays(store: Store) -> None:
    services = store.application.services
    for number in range(8):
        name = f"both-{number}"
        done = await asyncio.gather(
            services.routes.create(a_route(store, name)),
            services.models.create(a_model(name)),
            return_exceptions=True,
        )
        refused = [each for each in done if isinstance(each, NameTakenError)]
        assert refused
        routes = await services.routes.page(PageRequest())
        models = await services.models.page(PageRequest())
        names = [each.name for each in routes.items]
        names += [each.name for each in models.items]
        assert names.count(name) == 2 - len(refused)


async def test_of_two_renamed_at_once_at_most_one_gets_it(
    store: Store,
) -> None:
    services = store.application.services
    route = await services.routes.create(a_route(store))
    model = await services.models.create(a_model("model"))
    for number in range(8):
        name = f"both-{number}"
        done = await asyncio.gather(
            services.routes.update(route.route_id, RouteUpdate(name=name)),
            services.models.update(model.model_id, ModelUpdate(name=name)),
            return_exceptions=True,
        )
        assert any(isinstance(each, NameTakenError) for each in done)
        shown = await services.routes.get(route.route_id)
        other = await services.models.get(model.model_id)
        assert shown.name != other.name


async def test_names_of_routes_are_unique(store: Store) -> None:
    services = store.application.services
    await services.routes.create(a_route(store))
    with pytest.raises(RuleError, match="already exists"):
        await services.routes.create(a_route(store))
    (made,) = (await services.routes.page(PageRequest())).items
    update = RouteUpdate.model_validate({"strategy": None})
    with pytest.raises(RuleError, match="null"):
        await services.routes.update(made.route_id, update)
