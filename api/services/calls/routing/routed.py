"""One call whose client waits for it, to the models of a route."""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from api.models.metrics import Metrics
from api.models.tried_models import Tries
from api.services.calls.model_call import (
    CallProgress,
    FailedCallError,
    ModelAnswer,
)
from api.services.calls.routing.choosing import Question
from api.services.calls.routing.fallback import fallback_of
from api.services.calls.routing.router import Plan, Router, Target
from utilities.cosmos_connector import Document

_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"

Attempt = Callable[[Target], Awaitable[ModelAnswer]]


class RoutedCall:
    """Goes through a plan, and knows what was tried."""

    def __init__(
        self,
        router: Router,
        plan: Plan,
        question: Callable[[], Question] = Question,
    ) -> None:
        self._router = router
        self._plan = plan
        self._question = question
        self.tries = Tries()
        # The model that was called last.
        self.model = plan.models[0]
        self._is_first = True

    async def run(
        self, attempt: Attempt, progress: CallProgress
    ) -> ModelAnswer:
        """Make one pass; `progress` is that of the latest call.

        Raises:
            FailedCallError: no model has given an answer.
            MissingModelKeyError: the same, and no call could be made.
        """

        async def once(target: Target) -> ModelAnswer:
            if not self._is_first:
                progress.begin_anew()
            self._is_first = False
            self.model = target.model
            answer = await attempt(target)
            if self._goes_on_after(answer, target, progress):
                raise _as_failed(answer)
            return answer

        return await self._router.answer(
            self._plan,
            once,
            self.tries,
            has_begun=lambda: progress.has_begun,
            question=self._question,
        )

    def record(self, *, has_answer: bool) -> Document:
        """Give what a record says of the route."""
        if self._plan.route is None:
            return {}
        tried = [
            each.model_dump(mode="json", by_alias=True)
            for each in self.tries.made
        ]
        return {
            "tried": tried or None,
            "answeredBy": self.model.name if has_answer else None,
        }

    @property
    def cost_before(self) -> Metrics:
        """What the calls before the latest one have cost."""
        return self.tries.cost

    def _goes_on_after(
        self, answer: ModelAnswer, target: Target, progress: CallProgress
    ) -> bool:
        """Tell whether an answer that is not whole is to be another's."""
        if answer.cut is None or not target.has_next or progress.has_begun:
            return False
        return self._plan.falls_over(fallback_of(_as_failed(answer)))


def shown_name(name: str) -> str:
    """Give a model's name as a header can carry it."""
    return quote(name, safe=_PLAIN)


def _as_failed(answer: ModelAnswer) -> FailedCallError:
    assert answer.cut is not None  # noqa: S101 - its callers have looked
    return FailedCallError(
        answer.cut, answer.model, answer.metrics, is_outage=False
    )
