"""A pass through a route: whatever fails, in order, once, and recorded."""

import asyncio
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.core.errors import NotFoundError
from api.models.metrics import Metrics
from api.models.model_models import ModelWithKey
from api.models.route_models import Strategy
from api.models.tried_models import Fallback, Tries
from api.services.calls.model_call import FailedCallError
from api.services.calls.routing.fallback import (
    TargetError,
    UnsuitableTargetError,
    fallback_of,
    is_unsuitable,
)
from api.services.calls.routing.route_book import NO_ROUTES
from api.services.calls.routing.router import Plan, Router, Routing, Target
from api.services.limits.admission import NotAdmittedError, WaitKind
from api.services.limits.budgets import BudgetExhaustedError
from api.services.limits.suspension import ModelSuspendedError
from config import MissingModelKeyError
from llm_sdks import errors
from tests.support.routes import Shelf, a_model, a_route

NAMES = "abcdef"
BY_KIND: dict[Fallback | None, list[errors.LLMError]] = {
    Fallback.OUTAGE: [
        errors.CannotConnectError("x"),
        errors.CallTimeoutError("x"),
        errors.OverloadedError("x"),
        errors.ProviderError("x"),
        errors.UnreadableAnswerError("x"),
        errors.PluginError("x"),
    ],
    Fallback.RATE_LIMIT: [
        errors.RateLimitedError("x", retry_after=3),
        errors.ModelUnavailableError("x", retry_after=2),
        NotAdmittedError(WaitKind.LIMIT, "x", 1),
    ],
    Fallback.CONTEXT_TOO_LONG: [errors.ContextTooLongError("x")],
    Fallback.CONTENT_FILTER: [errors.ContentFilteredError("x")],
    Fallback.UNUSABLE_ANSWER: [
        errors.TruncatedError("x"),
        errors.ToolCalledError("x"),
        errors.FailedGenerationError("x"),
        errors.UnknownEndingError("x"),
    ],
    Fallback.SUSPENDED: [
        errors.NotAuthorizedError("x", http_status=401),
        errors.NotAuthorizedError("x", http_status=403),
        errors.AccountExhaustedError("x"),
        errors.QuotaExhaustedError("x"),
        errors.ModelNotFoundError("x"),
        errors.ConfigurationError("x"),
        ModelSuspendedError("x"),
        BudgetExhaustedError("x"),
        NotAdmittedError(WaitKind.SUSPENDED, "x", 30),
        NotAdmittedError(WaitKind.BUDGET, "x", 60),
    ],
    None: [errors.BadRequestError("x"), UnsuitableTargetError("x")],
}
KINDS = [(kind, error) for kind, found in BY_KIND.items() for error in found]


def failed(
    error: errors.LLMError,
    model: ModelWithKey | None = None,
    *,
    tokens: int = 0,
    is_outage: bool = False,
) -> FailedCallError:
    model = model or a_model("a")
    return FailedCallError(
        error, model, Metrics(tokens, tokens), is_outage=is_outage
    )


@pytest.mark.parametrize(("kind", "error"), KINDS)
def test_every_failure_has_its_kind(
    kind: Fallback | None, error: errors.LLMError
) -> None:
    assert fallback_of(failed(error)) is kind


def test_a_gate_that_is_closed_for_failures_is_an_outage() -> None:
    error = errors.ModelUnavailableError("x", retry_after=2)
    assert fallback_of(failed(error, is_outage=True)) is Fallback.OUTAGE
    assert fallback_of(MissingModelKeyError("K")) is Fallback.SUSPENDED


def test_a_model_that_lacks_an_option_is_unsuitable() -> None:
    error = errors.ConfigurationError("no images")
    error.param = "messages"
    assert fallback_of(failed(error)) is None
    assert is_unsuitable(failed(error))


@dataclass
class World:
    """A route whose targets fail as they are told."""

    fails: list[errors.LLMError | None]
    kinds: tuple[Fallback, ...] = tuple(Fallback)
    begins_at: int | None = None

    def __post_init__(self) -> None:
        models = [a_model(name) for name in NAMES[: len(self.fails)]]
        self.router = Router(
            Routing(NO_ROUTES, clock=lambda: 5), Shelf(*models)
        )
        route = a_route(*(m.name for m in models), fallback_on=self.kinds)
        self.plan = Plan(tuple(models), route)
        self.asked: list[Target] = []
        self.tries = Tries()

    def run(self) -> str | TargetError:
        async def main() -> str | TargetError:
            try:
                return await self.router.answer(
                    self.plan,
                    self._attempt,
                    self.tries,
                    has_begun=lambda: len(self.asked) == self.begins_at,
                )
            except (FailedCallError, MissingModelKeyError) as error:
                return error

        return asyncio.run(main())

    async def _attempt(self, target: Target) -> str:
        self.asked.append(target)
        error = self.fails[NAMES.index(target.model.name)]
        if error is not None:
            raise failed(error, target.model, tokens=1)
        return target.model.name

    @property
    def names(self) -> str:
        return "".join(each.model.name for each in self.asked)

    def goes_on_after(self, place: int) -> bool:
        error = self.fails[place]
        if error is None or place + 1 == self.begins_at:
            return False
        kind = fallback_of(failed(error))
        return kind in self.kinds or is_unsuitable(failed(error))


SOME = st.none() | st.sampled_from([error for _, error in KINDS])


@given(
    st.lists(SOME, min_size=1, max_size=6),
    st.sets(st.sampled_from(Fallback)),
    st.none() | st.integers(1, 6),
)
def test_whatever_fails_each_is_tried_once_in_order_and_recorded(
    fails: list[errors.LLMError | None],
    kinds: set[Fallback],
    begins_at: int | None,
) -> None:
    world = World(fails, tuple(kinds), begins_at)
    last = 0
    while last < len(fails) - 1 and world.goes_on_after(last):
        last += 1
    got = world.run()
    assert world.names == NAMES[: last + 1]
    error = fails[last]
    in_vain = last if error is None else last + 1
    assert [each.model for each in world.tries.made] == list(NAMES[:in_vain])
    for each, why in zip(world.tries.made, fails, strict=False):
        assert why is not None
        assert each.error_type == why.kind
        assert each.fallback is fallback_of(failed(why))
    # What the calls before the last one have cost is not lost.
    assert world.tries.cost == Metrics(last, last)
    if error is None:
        assert got == NAMES[last]
        return
    assert isinstance(got, FailedCallError)
    assert got.metrics == Metrics(last + 1, last + 1)
    if last < len(fails) - 1 or not world.goes_on_after(last):
        assert got.error is error


def test_only_the_last_target_is_waited_for() -> None:
    world = World([errors.RateLimitedError("x"), errors.RateLimitedError("x")])
    world.run()
    assert [each.gives_way for each in world.asked] == [True, False]
    world = World([errors.OverloadedError("x"), None], (Fallback.OUTAGE,))
    world.run()
    assert [each.gives_way for each in world.asked] == [False, False]


@pytest.mark.parametrize(
    ("fails", "decides"),
    [
        # To wait for the soonest is better than to give up.
        (["RateLimited", "BadKey"], 0),
        (["BadKey", "Busy", "RateLimited"], 1),
        (["TooLong", "Outage"], 1),
        (["Outage", "RateLimited"], 1),
        (["Suspended", "Outage"], 0),
        (["TooLong", "Filtered"], 0),
    ],
)
def test_a_pass_is_judged_by_what_promises_most(
    fails: list[str], decides: int
) -> None:
    known = {
        "RateLimited": errors.RateLimitedError("x", retry_after=9),
        "Busy": NotAdmittedError(WaitKind.LIMIT, "x", 1),
        "BadKey": errors.ConfigurationError("x"),
        "TooLong": errors.ContextTooLongError("x"),
        "Outage": errors.CannotConnectError("x"),
        "Suspended": NotAdmittedError(WaitKind.SUSPENDED, "x", 30),
        "Filtered": errors.ContentFilteredError("x"),
    }
    got = World([known[each] for each in fails]).run()
    assert isinstance(got, FailedCallError)
    assert got.error is known[fails[decides]]


class TestPlans:
    def router(self, *names: str) -> Router:
        return Router(
            Routing(NO_ROUTES), Shelf(*(a_model(name) for name in names))
        )

    async def test_a_model_is_a_plan_of_one(self) -> None:
        plan = await self.router("a").plan("a")
        assert [each.name for each in plan.models] == ["a"]
        assert plan.route is None
        assert not plan.falls_over(Fallback.OUTAGE)

    async def test_models_that_are_gone_are_left_out(self) -> None:
        router = self.router("b")
        plan = await router.plan_of(a_route("a", "b"))
        assert [each.name for each in plan.models] == ["b"]
        with pytest.raises(NotFoundError, match="route"):
            await router.plan_of(a_route("a"))
        with pytest.raises(NotFoundError):
            await router.plan("route")

    async def test_the_question_is_asked_only_where_it_matters(self) -> None:
        def question() -> None:
            raise AssertionError

        router = self.router("a", "b")
        for strategy in (Strategy.PRIORITY, Strategy.FASTEST):
            route = a_route("a", "b", strategy=strategy)
            await router.plan_of(route, question)  # type: ignore[arg-type] # never asked

    def test_a_plan_can_be_continued(self) -> None:
        plan = Plan(tuple(map(a_model, "abc")), a_route(*"abc"))
        left = plan.without({"a"}).first("c")
        assert [each.name for each in left.models] == ["c", "b"]
        assert len(plan.without({"a", "b", "c"}).models) == 3
