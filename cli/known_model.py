"""What is known of a run's model before any call: price, window, limits."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.models.cost import Cost
from api.services.limits.prices import known_cost, known_window
from cli.rest_client import Json, RestClient
from cli.setup import ModelOptions
from cli.spending import CallPrice, price_of


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model as plans need it.

    `window` is the longest request that it takes, in tokens. `limits` are
    those of a server, by their names there.
    """

    name: str
    price: CallPrice | None
    output_tokens: int | None
    window: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


def from_options(options: ModelOptions) -> KnownModel:
    """Tell what is known of a model that the command describes."""
    cost = options.cost or _published(
        options.sdk, options.endpoint, options.deployment or options.name
    )
    price = price_of({}, cost, options.max_tokens)
    window = known_window(
        options.sdk, options.endpoint, options.deployment or options.name
    )
    return KnownModel(options.name, price, options.max_tokens, window)


def from_server(api: RestClient, name: str) -> KnownModel | None:
    """Tell what a server knows of a model; None if it is a route."""
    for model in api.pages("/models"):
        if model["name"] == name:
            return _described(model)
    return None


def _described(model: Json) -> KnownModel:
    where = model["sdk"], model["endpoint"]
    provider_model = model["deployment"] or model["name"]
    given = model.get("cost")
    cost = (
        _published(*where, provider_model)
        if given is None
        else Cost.model_validate(given)
    )
    limits: dict[str, Any] = model.get("limits") or {}
    return KnownModel(
        model["name"],
        price_of(model, cost),
        model.get("maxCompletionToken") or model.get("maxToken"),
        known_window(*where, provider_model),
        {name: value for name, value in limits.items() if value},
    )


def _published(sdk: str, endpoint: str, provider_model: str) -> Cost | None:
    return known_cost(sdk, endpoint, provider_model, time.time())
