"""`fewshot`: finds the worked examples that help most.

After BootstrapFewShotWithRandomSearch of DSPy (Khattab et al. 2023): random
sets of training items that the model answers right. Other than there, a
first set is raced against the prompt without examples, and the others are
compared by successive halving (Jamieson and Talwalkar 2016): all of them on
a few validation items, the better half on more of them, and only the last
ones on all.
"""

from collections.abc import Generator, Sequence
from typing import Any, ClassVar

from llm_optimizers.strategies.examples import (
    Example,
    example,
    in_form,
    joined,
    shows_all,
)
from llm_optimizers.strategies.protocol import (
    RIGHT,
    Candidate,
    Results,
    Stop,
    Wave,
    Waves,
)
from llm_optimizers.strategies.race import race
from llm_optimizers.strategies.search import Search
from utilities import payload

# Training items whose answers become examples.
_BOOTSTRAPPED = 24
# Of 16, half: small models need many, and others lose nothing by them.
_SIZES = (16, 12, 16, 8)
_FEWEST_ITEMS = 8
_SETS = 12
_ROUNDS_MOST = 8
# Longer examples would fill a model's context, and so would many of them.
_LONGEST = 4_000
_LONGEST_SET = 16_000


class FewShot:
    """Bootstrapping, then random search with successive halving."""

    name: ClassVar[str] = "fewshot"

    def waves(self, search: Search) -> Waves:
        """Search sets of examples, each time for the best prompt so far."""
        limits, stale = search.limits, 0
        for _ in range(min(limits.max_iterations, _ROUNDS_MOST)):
            if (reason := search.must_stop()) is not None:
                return reason
            best = search.pool.best()
            sources = yield from self._sources(search, best)
            if not sources:
                return Stop.NO_FAILURES
            first = yield from self._first(search, best, sources)
            if (reason := search.must_stop()) is not None:
                return reason
            best = search.pool.best()
            sets = _sets(search, best, sources)
            better = yield from self._halve(search, best, sets)
            stale = 0 if better or first else stale + 1
            if stale >= limits.patience or not sets:
                return Stop.PATIENCE
            yield from search.confirm_target()
        return search.must_stop() or Stop.MAX_ITERATIONS

    def _sources(
        self, search: Search, best: int
    ) -> Generator[Wave, Results, list[Example]]:
        """Make examples of what the model answers right.

        What it answers wrong is an example too where the right answer is
        known as the item's `expected`: those are the most instructive ones.
        Where that is all of an answer, nothing is paid to see answers.
        """
        items = [search.items[each] for each in search.train_order]
        answers = _right(search, best)
        expected = [each.expected for each in items]
        if not shows_all(expected, list(answers.values())):
            ids = search.train_order[:_BOOTSTRAPPED]
            yield from search.measure([(best, ids)])
            answers = _right(search, best)
        found = []
        for item in items:
            if item.item_id in answers:
                found.append(example(item, answers[item.item_id]))
            elif item.expected is not None:
                shown = in_form(item.expected, list(answers.values()))
                found.append(example(item, shown))
        return [each for each in found if len(each.text) <= _LONGEST]

    def _first(
        self, search: Search, best: int, sources: Sequence[Example]
    ) -> Generator[Wave, Results, bool]:
        """Try one large set where there are no examples yet.

        Almost any examples are better than none, and the sets that follow
        are compared with a prompt that has some.
        """
        candidate = search.pool.candidates[best]
        if candidate.examples:
            return False
        made = _proposed(search, best, sources, _SIZES[0])
        winners = yield from race(search, [made.number] if made else [], best)
        yield from search.confirm_target()
        return bool(winners)

    def _halve(
        self, search: Search, best: int, sets: Sequence[Candidate]
    ) -> Generator[Wave, Results, bool]:
        """Leave the better half, on twice the items, until one is left."""
        items, left = search.validation, [each.number for each in sets]
        count = min(max(_FEWEST_ITEMS, len(items) // 8), len(items))
        while len(left) > 1 and search.must_stop() is None:
            tried = items[:count]
            yield from search.measure((each, tried) for each in left)
            ranked = sorted(left, key=lambda each: -_mean(search, each, tried))
            left = ranked[: len(left) // 2]
            count = min(2 * count, len(items))
        winners = yield from race(search, left, best)
        return bool(winners)


def _right(search: Search, number: int) -> dict[str, Any]:
    """Give the answers of a candidate that are known to be right."""
    return {
        item_id: outcome.answer
        for item_id, outcome in search.pool.known(number).items()
        if outcome.score >= RIGHT and outcome.answer is not None
    }


def _mean(search: Search, number: int, items: Sequence[str]) -> float:
    known = search.pool.known(number)
    scores = [known[each].score for each in items if each in known]
    return sum(scores) / len(scores) if scores else 0.0


def _sets(
    search: Search, best: int, sources: Sequence[Example]
) -> list[Candidate]:
    """Draw sets of examples, each with all kinds of answers in it."""
    each = 2 * _FEWEST_ITEMS * search.limits.per_item
    count = max(search.affordable(each, _SETS), 2)
    sizes = [_SIZES[index % len(_SIZES)] for index in range(count)]
    made = [_proposed(search, best, sources, size) for size in sizes]
    return [each for each in made if each is not None]


def _proposed(
    search: Search, best: int, sources: Sequence[Example], size: int
) -> Candidate | None:
    """Propose a set of examples for the instruction of the best."""
    chosen = _balanced(search, sources, size)
    texts = search.pool.candidates[best].texts
    words = f"{len(chosen)} examples"
    return search.propose(texts, [best], words, joined(chosen))


def _balanced(
    search: Search, sources: Sequence[Example], size: int
) -> list[Example]:
    """Draw examples, of each expected answer as many as of the others."""
    shuffled = list(sources)
    search.chance.shuffle(shuffled)
    kinds: dict[str, int] = {}
    ranked = []
    for position, each in enumerate(shuffled):
        kind = payload.dump(search.items[each.item_id].expected)
        kinds[kind] = kinds.get(kind, 0) + 1
        ranked.append((kinds[kind], position, each))
    chosen = [each for *_, each in sorted(ranked, key=lambda r: r[:2])[:size]]
    while len(chosen) > 1 and _length(chosen) > _LONGEST_SET:
        chosen.pop()
    search.chance.shuffle(chosen)
    return chosen


def _length(examples: Sequence[Example]) -> int:
    return sum(len(each.text) for each in examples)
