"""From the name that a job or a call gives to the models that are called."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import structlog

from api.core.errors import NotFoundError
from api.models.model_models import ModelWithKey
from api.models.route_models import Route, Strategy
from api.models.tried_models import Fallback, Tried, Tries
from api.services.calls.model_call import FailedCallError, ModelCall
from api.services.calls.routing.choosing import (
    Candidate,
    Choosing,
    Question,
)
from api.services.calls.routing.fallback import (
    TargetError,
    cost_of,
    deciding,
    fallback_of,
    is_unsuitable,
    kind_of,
    with_cost,
)
from api.services.calls.routing.history import CallHistory
from api.services.calls.routing.route_book import RouteBook
from api.services.limits.prices import known_window
from config import MissingModelKeyError
from llm_sdks.errors import ContextTooLongError
from utilities import payload
from utilities.clock import Clock, now_ms, to_datetime
from utilities.log_summary import LogSummary

T = TypeVar("T")
log = structlog.get_logger(__name__)
# For the whole process: an outage must not fill the log.
_FAILURES = LogSummary()
_LONGEST_MESSAGE = 500
_MOST_WINDOWS = 1000


@dataclass(frozen=True, slots=True)
class Routing:
    """What all routers of a process share."""

    book: RouteBook
    choosing: Choosing = field(default_factory=lambda: Choosing(CallHistory()))
    clock: Clock = now_ms

    @property
    def history(self) -> CallHistory:
        """How calls have gone."""
        return self.choosing.history


@dataclass(frozen=True, slots=True)
class Target:
    """A model to call; `gives_way` if another one would be called next.

    Then it is not waited for as long as it is busy.
    """

    model: ModelWithKey
    gives_way: bool = False
    # The name of the route that it is a target of.
    route: str = ""
    # Whether another one is left, and may be tried after withheld answers.
    has_next: bool = False
    leaves_filtered: bool = False

    def call(self, call: ModelCall) -> ModelCall:
        """Give a call to this model; one of a plain plan is for it."""
        if not self.route:
            return call
        key, patience = call.key, call.patience
        if key is not None:
            # Two targets may have one account.
            key = f"{key}-{self.model.model_id}"
        if self.gives_way:
            patience = 0.0
        return replace(
            call,
            model=self.model,
            key=key,
            patience=patience,
            gives_way=self.gives_way,
            account=replace(call.account, route=self.route),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The models to try, in order; `route` is None for a plain model."""

    models: tuple[ModelWithKey, ...]
    route: Route | None = None

    @property
    def name(self) -> str:
        """The route's name; empty for a plain model."""
        return "" if self.route is None else self.route.name

    @property
    def targets(self) -> list[Target]:
        """The same as targets."""
        busy = self.falls_over(Fallback.RATE_LIMIT)
        filtered = self.falls_over(Fallback.CONTENT_FILTER)
        last = len(self.models) - 1
        return [
            Target(
                model,
                gives_way=busy and place < last,
                route=self.name,
                has_next=place < last,
                leaves_filtered=filtered and place < last,
            )
            for place, model in enumerate(self.models)
        ]

    def falls_over(self, kind: Fallback | None) -> bool:
        """Tell whether the next model is tried after such a failure."""
        return self.route is not None and self.route.falls_over(kind)

    def without(self, names: Collection[str]) -> "Plan":
        """Leave out models by their names, if others are left."""
        left = tuple(m for m in self.models if m.name not in names)
        return replace(self, models=left or self.models)

    def first(self, name: str | None) -> "Plan":
        """Put a model in front, if it is one of them."""
        models = sorted(self.models, key=lambda model: model.name != name)
        return replace(self, models=tuple(models))


class Finds(Protocol):
    """Finds models: a catalog, mostly."""

    async def model(self, reference: str) -> ModelWithKey:
        """Return the model of that name or id.

        Raises:
            NotFoundError: there is none.
        """


class Router:
    """Makes plans in one event loop, with its catalog."""

    def __init__(self, routing: Routing, catalog: Finds) -> None:
        self._book = routing.book
        self._choosing = routing.choosing
        self._clock = routing.clock
        self._catalog = catalog
        self._windows: dict[tuple[str, str, str], int | None] = {}

    @property
    def history(self) -> CallHistory:
        """How calls have gone."""
        return self._choosing.history

    async def named(self, reference: str) -> Route | ModelWithKey:
        """Return the route or the model of that name or id.

        Raises:
            NotFoundError: there is none.
        """
        if (route := self._book.find(reference)) is not None:
            return route
        try:
            return await self._catalog.model(reference)
        except NotFoundError:
            # Another process may have made it just now.
            route = await self._book.look(reference)
            if route is None:
                raise
            return route

    async def plan(
        self,
        reference: str,
        question: Callable[[], Question] = Question,
    ) -> Plan:
        """Return the models to try for what somebody names.

        `question` is only asked where the order depends on it.

        Raises:
            NotFoundError: there is no such route or model.
        """
        return await self.plan_of(await self.named(reference), question)

    async def plan_of(
        self,
        found: Route | ModelWithKey,
        question: Callable[[], Question] = Question,
    ) -> Plan:
        """Return the models to try for a route, or a model.

        Raises:
            NotFoundError: all models of the route are gone.
        """
        if not isinstance(found, Route):
            return Plan((found,))
        candidates = await self._candidates(found)
        if not candidates:
            raise NotFoundError(f"A model of the route {found.name!r}")
        asked = Question()
        if found.strategy in (Strategy.CHEAPEST, Strategy.AUTO):
            asked = question()
        ordered = self._choosing.order(found, candidates, asked)
        return Plan(tuple(each.model for each in ordered), found)

    async def _candidates(self, route: Route) -> list[Candidate]:
        found: list[Candidate] = []
        for target in route.targets:
            try:
                model = await self._catalog.model(target.model_id)
            except NotFoundError:
                continue
            window = None
            if route.strategy is Strategy.AUTO:
                window = await self._window(model)
            found.append(Candidate(model, target.weight, window))
        return found

    async def answer(
        self,
        plan: Plan,
        attempt: Callable[[Target], Awaitable[T]],
        tries: Tries,
        *,
        has_begun: Callable[[], bool] = lambda: False,
        question: Callable[[], Question] = Question,
    ) -> T:
        """Make one pass: try each model once, until one gives an answer.

        Nothing is tried again that `has_begun` to reach its reader.

        Raises:
            FailedCallError: none has given one; with the cost of all calls.
            MissingModelKeyError: the same, and no call could be made.
        """
        if plan.route is None:
            return await attempt(Target(plan.models[0]))
        failures: list[TargetError] = []
        for target in plan.targets:
            if failures:
                tries.cost += cost_of(failures[-1])
            try:
                return await attempt(target)
            except (FailedCallError, MissingModelKeyError) as error:
                failures.append(error)
                kind = self._note(target.model, error, tries, question)
                _tell(plan.route, target.model, error)
                goes_on = plan.falls_over(kind) or is_unsuitable(error)
                if has_begun() or not goes_on:
                    # Another target is not to be asked for this.
                    raise with_cost(error, failures) from error
        last = deciding(failures)
        raise with_cost(last, failures) from last

    def _note(
        self,
        model: ModelWithKey,
        error: TargetError,
        tries: Tries,
        question: Callable[[], Question],
    ) -> Fallback | None:
        kind = fallback_of(error)
        if _proves_its_length(error) and question is not Question:
            size = question().input_bytes
            self.history.too_long(model.model_id, size)
        tries.add(
            Tried(
                model=model.name,
                fallback=kind,
                error_type=kind_of(error),
                message=payload.printable(str(error))[:_LONGEST_MESSAGE],
                at=to_datetime(self._clock()),
            )
        )
        return kind

    async def _window(self, model: ModelWithKey) -> int | None:
        key = model.sdk, model.endpoint, model.deployment or model.name
        if key not in self._windows:
            if len(self._windows) > _MOST_WINDOWS:
                self._windows.clear()
            # The first one reads a large table.
            self._windows[key] = await asyncio.to_thread(known_window, *key)
        return self._windows[key]


def _tell(route: Route, model: ModelWithKey, error: TargetError) -> None:
    kind = kind_of(error)
    _FAILURES.tell(
        (route.name, model.name, kind),
        lambda count: log.warning(
            "target_failed",
            route=route.name,
            model=model.name,
            errorType=kind,
            count=count,
        ),
    )


def _proves_its_length(error: TargetError) -> bool:
    failed = error.error if isinstance(error, FailedCallError) else None
    return isinstance(failed, ContextTooLongError) and failed.is_proven
