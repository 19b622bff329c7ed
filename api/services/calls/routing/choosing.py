"""In which order the targets of a route are tried: the strategies."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api.models.cost import TokenCounts
from api.models.model_models import ModelWithKey
from api.models.route_models import Route, Strategy
from api.services.calls.routing.history import CallHistory
from llm_sdks.profiles.known import known

# Four bytes are about one token.
_BYTES_PER_TOKEN = 4
# The answer of a model that has not answered yet.
_USUAL_OUTPUT_TOKENS = 256
# Nothing is faster, or cheaper, by more than this counts.
_SHORTEST_SECONDS, _LOWEST_PRICE = 0.01, 1


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, as far as a choice depends on it.

    `output_tokens` is what it allows the answer, if it says so.
    """

    input_bytes: int = 0
    output_tokens: int | None = None
    has_images: bool = False
    has_tools: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A target whose model exists."""

    model: ModelWithKey
    weight: int = 1
    # The longest request that it is known to take, in tokens.
    window: int | None = None

    @property
    def model_id(self) -> str:
        """The model's id."""
        return self.model.model_id


Candidates = Sequence[Candidate]


class Choosing:
    """Puts targets in order; one a process, safe in any thread."""

    def __init__(
        self,
        history: CallHistory,
        *,
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.history = history
        self._chance = chance
        self._wall = wall
        self._lock = threading.Lock()
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._orders: dict[
            Strategy, Callable[[Route, Candidates, Question], Candidates]
        ] = {
            Strategy.WEIGHTED: self._weighted,
            Strategy.ROUND_ROBIN: self._round_robin,
            Strategy.CHEAPEST: self._cheapest,
            Strategy.FASTEST: self._fastest,
            Strategy.AUTO: self._auto,
        }

    def order(
        self, route: Route, candidates: Candidates, question: Question
    ) -> Candidates:
        """Return all candidates, the one to be tried first in front."""
        order = self._orders.get(route.strategy)
        if order is None or len(candidates) < 2:  # noqa: PLR2004 - nothing to choose
            return candidates
        return order(route, candidates, question)

    def _weighted(
        self, _route: Route, candidates: Candidates, _question: Question
    ) -> Candidates:
        """Draw one after the other, each by its share of those left.

        By one key for each: P. Efraimidis, P. Spirakis, Weighted random
        sampling with a reservoir (2006).
        """

        def key(candidate: Candidate) -> float:
            if not candidate.weight:
                return -1.0
            return float((1.0 - self._chance()) ** (1.0 / candidate.weight))

        return sorted(candidates, key=key, reverse=True)

    def _round_robin(
        self, route: Route, candidates: Candidates, _question: Question
    ) -> Candidates:
        with self._lock:
            turn = self._turns[route.route_id]
            self._turns[route.route_id] = turn + 1
        first = turn % len(candidates)
        return [*candidates[first:], *candidates[:first]]

    def _cheapest(
        self, _route: Route, candidates: Candidates, question: Question
    ) -> Candidates:
        prices = self._prices(candidates, question)
        return sorted(
            candidates,
            key=lambda each: prices.get(each.model_id, float("inf")),
        )

    def _fastest(
        self, _route: Route, candidates: Candidates, _question: Question
    ) -> Candidates:
        def key(each: Candidate) -> tuple[bool, float]:
            record = self.history.of(each.model_id)
            seconds = record.seconds
            unknown = float("inf")
            return record.has_failed, unknown if seconds is None else seconds

        return self._probed(sorted(candidates, key=key))

    def _auto(
        self, _route: Route, candidates: Candidates, question: Question
    ) -> Candidates:
        """Take what fits the request, then by quality, cost and speed.

        The score is quality^2 / sqrt(cost x time), cost and time relative
        to the lowest; what is not known counts as the lowest.
        """
        prices = self._prices(candidates, question)
        cheapest = min(prices.values(), default=1)
        times = {
            each.model_id: max(seconds, _SHORTEST_SECONDS)
            for each in candidates
            if (seconds := self.history.of(each.model_id).seconds) is not None
        }
        quickest = min(times.values(), default=1.0)

        def score(each: Candidate) -> float:
            price = prices.get(each.model_id, cheapest) / cheapest
            seconds = times.get(each.model_id, quickest) / quickest
            quality = self.history.of(each.model_id).quality
            return float(quality**2 / (price * seconds) ** 0.5)

        fitting = [each for each in candidates if self._fits(each, question)]
        others = [each for each in candidates if each not in fitting]
        best = sorted(
            fitting,
            key=lambda each: (
                self.history.of(each.model_id).has_failed,
                -score(each),
            ),
        )
        return [*self._probed(best), *others]

    def _probed(self, candidates: Candidates) -> Candidates:
        """Put what was not measured for long in front, for one call."""
        probe = self.history.take_probe([each.model_id for each in candidates])
        if probe is None:
            return candidates
        return sorted(candidates, key=lambda each: each.model_id != probe)

    def _fits(self, candidate: Candidate, question: Question) -> bool:
        """Tell whether nothing is known that speaks against a target."""
        model = candidate.model
        said = known(model.deployment or model.name, model.endpoint)
        if model.profile is not None:
            said = model.profile.profile.over(said)
        if question.has_images and said.supports_images is False:
            return False
        if question.has_tools and said.supports_tools is False:
            return False
        tokens = -(-question.input_bytes // _BYTES_PER_TOKEN)
        if candidate.window is not None and tokens > candidate.window:
            return False
        history = self.history
        return history.of(model.model_id).takes(
            question.input_bytes, history.now()
        )

    def _prices(
        self, candidates: Candidates, question: Question
    ) -> dict[str, int]:
        """Estimate the price of the request in units, by model.

        Of several currencies, only the first one's prices count.
        """
        prices: dict[str, int] = {}
        currency = None
        for each in candidates:
            cost = each.model.cost
            if cost is None or currency not in (None, cost.currency):
                continue
            currency = cost.currency
            paid = cost.table.price(
                self._counts(each, question), at=self._wall()
            )
            prices[each.model_id] = max(sum(paid), _LOWEST_PRICE)
        return prices

    def _counts(self, candidate: Candidate, question: Question) -> TokenCounts:
        usual = self.history.of(candidate.model_id).output_tokens
        output = _USUAL_OUTPUT_TOKENS if usual is None else round(usual)
        if question.output_tokens is not None:
            output = min(output, question.output_tokens)
        asked = -(-question.input_bytes // _BYTES_PER_TOKEN)
        return TokenCounts(asked, 0, 0, output, 0)
