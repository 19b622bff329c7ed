"""Routes: one name for several models."""

import re
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field

from api.models.base import (
    ID_PATTERN,
    ApiModel,
    Name,
    StoredModel,
    example,
)
from api.models.job_fields import ModelName
from api.models.tried_models import Fallback

MOST_TARGETS = 10
MOST_WEIGHT = 1000


class Strategy(StrEnum):
    """In which order the targets of a route are tried."""

    PRIORITY = "priority"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "roundRobin"
    CHEAPEST = "cheapest"
    FASTEST = "fastest"
    AUTO = "auto"


def _refuse_id(name: str) -> str:
    # It would hide the model with that id.
    if re.match(ID_PATTERN, name):
        raise ValueError("must not look like an id")
    return name


RouteName = Annotated[
    Name,
    AfterValidator(_refuse_id),
    Field(description="What jobs and calls name in place of a model."),
]
Weight = Annotated[
    int,
    Field(
        ge=0,
        le=MOST_WEIGHT,
        description="Its share of calls, for `weighted`; with 0 it is only "
        "taken after the others.",
    ),
]


class TargetInput(ApiModel):
    """A model that a route leads to."""

    model: ModelName
    weight: Weight = 1


class Target(TargetInput):
    """The same, with the id by which it is known if it gets another name."""

    model_id: str


def _different(kinds: tuple[Fallback, ...]) -> tuple[Fallback, ...]:
    return tuple(dict.fromkeys(kinds))


Targets = Annotated[
    tuple[TargetInput, ...],
    Field(
        min_length=1,
        max_length=MOST_TARGETS,
        description="The models, each once; in this order for `priority`.",
    ),
]
FallbackOn = Annotated[
    tuple[Fallback, ...],
    AfterValidator(_different),
    Field(
        max_length=len(Fallback),
        description="For which failures the next target is tried.",
    ),
]
# Those for which nothing was paid.
USUAL_FALLBACK = (
    Fallback.OUTAGE,
    Fallback.RATE_LIMIT,
    Fallback.CONTEXT_TOO_LONG,
    Fallback.SUSPENDED,
)


class RouteCreate(ApiModel):
    """`POST /routes`."""

    model_config = example(
        name="chat",
        strategy="priority",
        targets=[{"model": "gpt-4o-mini"}, {"model": "claude-haiku"}],
        fallbackOn=["outage", "rateLimit", "suspended"],
    )

    name: RouteName
    strategy: Strategy = Strategy.PRIORITY
    targets: Targets
    fallback_on: FallbackOn = USUAL_FALLBACK


class RouteUpdate(ApiModel):
    """`PATCH /routes/{routeId}`; other fields are kept."""

    model_config = example(strategy="cheapest")

    name: RouteName | None = None
    strategy: Strategy | None = None
    targets: Targets | None = None
    fallback_on: FallbackOn | None = None


class Route(StoredModel):
    """A route."""

    id_field: ClassVar[str] = "routeId"

    route_id: str
    name: str
    strategy: Strategy
    targets: tuple[Target, ...]
    fallback_on: tuple[Fallback, ...] = ()

    def falls_over(self, kind: Fallback | None) -> bool:
        """Tell whether the next target is tried after such a failure."""
        return kind in self.fallback_on

    def with_names(self, names: dict[str, str]) -> Self:
        """Show its models by their names of today; `names` are by id."""
        return self.model_copy(
            update={
                "targets": tuple(
                    each.model_copy(
                        update={"model": names.get(each.model_id, each.model)}
                    )
                    for each in self.targets
                )
            }
        )
