import random
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.models.metrics import Metrics
from api.models.profile_models import ProfileSettings
from api.models.route_models import Strategy
from api.services.calls.routing.choosing import (
    Candidate,
    Choosing,
    Question,
)
from api.services.calls.routing.history import (
    PROBE_SECONDS,
    CallHistory,
)
from api.services.monitoring.observer import OK, CallEnd
from llm_sdks.errors import CannotConnectError
from tests.support.routes import a_candidate, a_route


class Bench:
    """Chooses among candidates, with a clock of its own."""

    def __init__(self, strategy: Strategy, *candidates: Candidate) -> None:
        self.now = 0.0
        self.history = CallHistory(lambda: self.now)
        self.candidates = candidates
        self.choosing = Choosing(
            self.history, chance=random.Random(7).random, wall=lambda: 0.0
        )
        names = [each.model.name for each in candidates]
        self.route = a_route(*names, strategy=strategy)

    def order(self, question: Question | None = None) -> str:
        found = self.choosing.order(
            self.route, self.candidates, question or Question()
        )
        return "".join(each.model.name for each in found)

    def called(
        self, name: str, seconds: float, kind: str = OK, tokens: int = 10
    ) -> None:
        (found,) = (c for c in self.candidates if c.model.name == name)
        metrics = Metrics(1, tokens)
        self.history.call_ended(CallEnd(found.model, kind, seconds, metrics))

    def all_called(self, seconds: Sequence[float]) -> None:
        for each, time in zip(self.candidates, seconds, strict=True):
            self.called(each.model.name, time)


def some(*names: str) -> list[Candidate]:
    return [a_candidate(name) for name in names]


class TestEvery:
    @given(
        st.sampled_from(Strategy),
        st.lists(st.integers(0, 5), min_size=1, max_size=6),
        st.lists(
            st.tuples(st.integers(0, 5), st.sampled_from([OK, "TIMEOUT"])),
            max_size=10,
        ),
        st.integers(0, 10**6),
    )
    def test_each_target_is_there_once(
        self,
        strategy: Strategy,
        weights: list[int],
        calls: list[tuple[int, str]],
        size: int,
    ) -> None:
        names = "abcdef"[: len(weights)]
        bench = Bench(
            strategy,
            *(a_candidate(n, w) for n, w in zip(names, weights, strict=True)),
        )
        for number, (place, kind) in enumerate(calls):
            bench.called(names[place % len(names)], number, kind)
            order = bench.order(Question(size))
            assert sorted(order) == list(names)
        assert sorted(bench.order()) == list(names)


def test_priority_is_the_order_of_the_targets() -> None:
    bench = Bench(Strategy.PRIORITY, *some("a", "b", "c"))
    assert [bench.order() for _ in range(3)] == ["abc"] * 3


def test_round_robin_gives_each_its_turn() -> None:
    bench = Bench(Strategy.ROUND_ROBIN, *some("a", "b", "c"))
    orders = [bench.order() for _ in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]


class TestWeighted:
    def test_each_gets_its_share(self) -> None:
        bench = Bench(
            Strategy.WEIGHTED,
            *(
                a_candidate(n, w)
                for n, w in zip("abc", (6, 3, 1), strict=True)
            ),
        )
        orders = [bench.order() for _ in range(20_000)]
        first = Counter(each[0] for each in orders)
        # Within four standard deviations.
        for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
            deviation = (20_000 * share * (1 - share)) ** 0.5
            assert abs(first[name] - 20_000 * share) < 4 * deviation
        # The second is drawn from those left, by their shares.
        second = Counter(each[1] for each in orders if each[0] == "a")
        total = second.total()
        deviation = (total * 0.75 * 0.25) ** 0.5
        assert abs(second["b"] - 0.75 * total) < 4 * deviation

    def test_without_weight_it_is_only_a_fallback(self) -> None:
        bench = Bench(
            Strategy.WEIGHTED, a_candidate("a", 0), a_candidate("b", 1)
        )
        assert {bench.order() for _ in range(200)} == {"ba"}


class TestCheapest:
    def test_it_is_the_price_of_this_request(self) -> None:
        bench = Bench(
            Strategy.CHEAPEST,
            # Cheap to ask, and expensive to listen to.
            a_candidate("a", price=(1, 40)),
            a_candidate("b", price=(10, 1)),
        )
        bench.all_called([1, 1])
        short = Question(input_bytes=400, output_tokens=1000)
        long = Question(input_bytes=400_000)
        assert bench.order(short) == "ab"
        for _ in range(50):
            bench.called("a", 1, tokens=2000)
            bench.called("b", 1, tokens=2000)
        # By now, answers are known to be long.
        assert bench.order(short) == "ba"
        assert bench.order(long) == "ab"
        assert bench.order(Question(400, output_tokens=1)) == "ab"

    def test_what_has_no_price_comes_last(self) -> None:
        bench = Bench(
            Strategy.CHEAPEST,
            a_candidate("a", price=None),
            a_candidate("b", price=(90, 90)),
            a_candidate("c", price=(0, 0)),
        )
        assert bench.order() == "cba"


class TestFastest:
    def test_it_is_the_measured_time(self) -> None:
        bench = Bench(Strategy.FASTEST, *some("a", "b", "c"))
        bench.all_called([0.3, 0.1, 0.2])
        assert bench.order() == "bca"
        for _ in range(20):
            bench.called("b", 5.0)
        assert bench.order() == "cab"

    def test_each_is_measured_at_first(self) -> None:
        bench = Bench(Strategy.FASTEST, *some("a", "b", "c"))
        assert [bench.order()[0] for _ in range(4)] == ["a", "b", "c", "a"]

    def test_what_gets_no_calls_is_measured_again(self) -> None:
        bench = Bench(Strategy.FASTEST, *some("a", "b"))
        bench.all_called([1, 9])
        bench.now = PROBE_SECONDS - 1
        bench.called("a", 1)
        assert bench.order() == "ab"
        bench.now = PROBE_SECONDS
        # One call finds out; the others do not wait for it.
        assert [bench.order() for _ in range(3)] == ["ba", "ab", "ab"]

    def test_who_fails_quickly_is_not_fast(self) -> None:
        bench = Bench(Strategy.FASTEST, *some("a", "b"))
        bench.all_called([1, 2])
        bench.called("a", 0.001, CannotConnectError.kind)
        assert bench.order() == "ba"
        bench.called("a", 1)
        assert bench.order() == "ab"


class TestAuto:
    def bench(self, *candidates: Candidate) -> Bench:
        bench = Bench(Strategy.AUTO, *candidates)
        bench.all_called([1.0] * len(candidates))
        return bench

    def test_it_takes_what_the_request_needs(self) -> None:
        blind = ProfileSettings(supports_images=False)
        handless = ProfileSettings(supports_tools=False)
        bench = self.bench(
            a_candidate("a", profile=blind, price=(1, 1)),
            a_candidate("b", profile=handless, price=(2, 2)),
            a_candidate("c", price=(3, 3)),
        )
        assert bench.order() == "abc"
        assert bench.order(Question(has_images=True)) == "bca"
        assert bench.order(Question(has_tools=True)) == "acb"
        both = Question(has_images=True, has_tools=True)
        assert bench.order(both)[0] == "c"

    def test_a_request_may_be_too_long(self) -> None:
        small = Candidate(a_candidate("a", price=(1, 1)).model, window=1000)
        bench = self.bench(small, a_candidate("b", price=(5, 5)))
        assert bench.order(Question(4000)) == "ab"
        assert bench.order(Question(4100)) == "ba"

    def test_it_learns_what_is_too_long(self) -> None:
        bench = self.bench(*some("a", "b"))
        bench.history.too_long("id-a", 50_000)
        bench.history.too_long("id-a", 60_000)
        assert bench.order(Question(49_999)) == "ab"
        assert bench.order(Question(50_000)) == "ba"

    @pytest.mark.parametrize("kind", ["TRUNCATED", "TIMEOUT", "unusable"])
    def test_quality_counts(self, kind: str) -> None:
        bench = self.bench(*some("a", "b"))
        for _ in range(10):
            if kind == "unusable":
                bench.called("a", 1)
                bench.history.unusable("id-a")
            else:
                bench.called("a", 1, kind)
        bench.called("b", 1)
        assert bench.order() == "ba"

    def test_cost_and_speed_count(self) -> None:
        bench = self.bench(
            a_candidate("a", price=(8, 8)), a_candidate("b", price=(2, 2))
        )
        assert bench.order() == "ba"
        for _ in range(40):
            bench.called("b", 10)
        # Four times the price, for a tenth of the time.
        assert bench.order() == "ab"

    def test_what_does_not_tell_of_the_model_is_not_learnt(self) -> None:
        bench = self.bench(*some("a", "b"))
        before = bench.history.of("id-a")
        for kind in ("CANCELED", "RATE_LIMITED", "BAD_REQUEST"):
            bench.called("a", 9, kind)
        assert bench.history.of("id-a") == before
