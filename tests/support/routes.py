"""Models, targets and routes as values, for tests of routing."""

from datetime import UTC, datetime

from api.core.errors import NotFoundError
from api.models.model_models import CostInput, ModelWithKey
from api.models.route_models import Route, Strategy, Target
from api.models.tried_models import Fallback
from api.services.calls.routing.choosing import Candidate

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
META = {"createdAt": MOMENT, "updatedAt": MOMENT}
EVERY_KIND = tuple(Fallback)


def a_model(
    name: str, price: tuple[float, float] | None = (1, 1), **fields: object
) -> ModelWithKey:
    """Make a model; `price` is that of a million tokens in and out."""
    cost = price and CostInput(input=price[0], output=price[1])
    return ModelWithKey.model_validate(
        {
            "model_id": f"id-{name}",
            "name": name,
            "sdk": "test",
            "key": "K",
            "cost": cost or None,
            "_metadata": META,
            **fields,
        }
    )


def a_candidate(
    name: str,
    weight: int = 1,
    price: tuple[float, float] | None = (1, 1),
    **fields: object,
) -> Candidate:
    """Make a target whose model exists."""
    return Candidate(a_model(name, price, **fields), weight)


def a_route(
    *names: str,
    strategy: Strategy = Strategy.PRIORITY,
    fallback_on: tuple[Fallback, ...] = EVERY_KIND,
) -> Route:
    """Make a route to models of these names."""
    return Route.model_validate(
        {
            "routeId": "id-route",
            "name": "route",
            "strategy": strategy,
            "targets": [
                Target(model=name, model_id=f"id-{name}") for name in names
            ],
            "fallbackOn": fallback_on,
            "_metadata": META,
        }
    )


class Shelf:
    """Finds models by their ids and names."""

    def __init__(self, *models: ModelWithKey) -> None:
        self.models = {each.model_id: each for each in models}
        self.models |= {each.name: each for each in models}

    async def model(self, reference: str) -> ModelWithKey:
        """Return the model of that name or id."""
        if reference not in self.models:
            raise NotFoundError("Model")
        return self.models[reference]
