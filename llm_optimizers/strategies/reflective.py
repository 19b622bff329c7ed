"""`reflective`: reflection on failures, many proposals at once.

After GEPA (Agrawal et al. 2025): candidates form a Pareto pool over items,
a model reflects on a minibatch's traces and writes a complete new prompt,
and lineages are merged. What is different is what is paid for:

- One round asks about several groups of failures at once, and each proposal
  is first tried on the few failures that it was made of. What does not help
  there is paid no further.
- All proposals that help are merged into one candidate, line by line where
  that is possible, by the model otherwise: one validation decides about
  them together.
- Validation is a race against the incumbent (see `race`): items that cannot
  change the outcome are not evaluated. The best is confirmed in full.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from llm_optimizers.strategies import asking
from llm_optimizers.strategies.failures import Failures
from llm_optimizers.strategies.protocol import (
    Candidate,
    Results,
    Stop,
    Wave,
    Waves,
)
from llm_optimizers.strategies.race import race
from llm_optimizers.strategies.search import Search
from llm_optimizers.strategies.text_merge import merge

# Failures that one ask shows, and how many of them a proposal is tried on.
_GROUP = 3
# Proposals that are raced by themselves where their merger has lost.
_ALONE = 2
# A proposal takes about so much of a race: one in so many items.
_RACED_OF = 4


@dataclass(frozen=True, slots=True)
class _Proposal:
    """A candidate and the failures that it was made of."""

    candidate: Candidate
    shown: tuple[str, ...]


Found = Generator[Wave, Results, list[_Proposal]]
Better = Generator[Wave, Results, bool]


class Reflective:
    """Reflection, screening, merging, racing; round after round."""

    name: ClassVar[str] = "reflective"

    def waves(self, search: Search) -> Waves:
        """Run rounds until a limit, or until nothing better is found."""
        limits = search.limits
        failures = Failures(search, batch=2 * limits.proposals)
        stale = 0
        for _ in range(limits.max_iterations):
            if (reason := search.must_stop()) is not None:
                return reason
            found = yield from self._proposals(search, failures, stale)
            if found is None:
                return Stop.NO_FAILURES
            better = yield from self._take_up(search, found)
            if not better and stale:
                better = yield from self._cross(search)
            stale = 0 if better else stale + 1
            if stale >= limits.patience:
                return search.must_stop() or Stop.PATIENCE
            yield from search.confirm_target()
        return search.must_stop() or Stop.MAX_ITERATIONS

    def _proposals(
        self, search: Search, failures: Failures, stale: int
    ) -> Generator[Wave, Results, list[_Proposal] | None]:
        """Ask about failures of the parents, all at once.

        Returns None if no parent fails on any training item.
        """
        parents = _parents(search, stale)
        share = max(_affordable(search) // len(parents), 1)
        asked: list[tuple[int, tuple[str, ...]]] = []
        for parent in parents:
            shown = yield from failures.of(parent, share * _GROUP)
            search.chance.shuffle(shown)
            asked += [(parent, group) for group in _groups(shown, share)]
        if not asked:
            return None
        asks = [asking.reflect(search, each, shown) for each, shown in asked]
        texts = yield from search.measure(asks=asks)
        proposals = []
        for (parent, shown_), text in zip(asked, texts, strict=False):
            child = _child(search, parent, text)
            if child is not None:
                proposals.append(_Proposal(child, shown_))
        return proposals

    def _take_up(self, search: Search, found: list[_Proposal]) -> Better:
        """Screen the proposals, and race what is left of them."""
        yield from search.measure(
            (each.candidate.number, each.shown) for each in found
        )
        better = False
        helpful = [each for each in found if _helps(search, each)]
        for each in found:
            if each not in helpful:
                _reject(search, each.candidate)
        for parent in dict.fromkeys(e.candidate.parents[0] for e in helpful):
            own = [
                e.candidate
                for e in helpful
                if e.candidate.parents[0] == parent
            ]
            won = yield from self._race_merged(search, parent, own)
            better = better or won
        return better

    def _race_merged(
        self, search: Search, parent: int, children: list[Candidate]
    ) -> Better:
        """Race the merger of all; where it loses, the best by themselves."""
        before = search.pool.score(search.pool.best())
        merged = yield from _merged(search, parent, children)
        if merged is not None:
            yield from race(search, [merged.number], parent)
        if search.pool.score(search.pool.best()) > before:
            return True
        alone = [each.number for each in children[:_ALONE]]
        yield from race(search, alone, parent)
        for each in children:
            if each.number not in search.pool.admitted:
                _reject(search, each)
        return search.pool.score(search.pool.best()) > before

    def _cross(self, search: Search) -> Better:
        """Merge the best with who is better than it on other items."""
        pool = search.pool
        best = pool.best()
        others = [each for each in pool.front() if each != best]
        if not others:
            return False
        other = search.chance.choice(others)
        base = _ancestor(search, best, other)
        pair = [pool.candidates[best], pool.candidates[other]]
        child = yield from _merged(search, base, pair)
        if child is None:
            return False
        winners = yield from race(search, [child.number], best)
        return bool(winners)


def _parents(search: Search, stale: int) -> list[int]:
    """Choose the best, and beside it a specialist once nothing helps."""
    best = search.pool.best()
    front = {k: n for k, n in search.pool.front().items() if k != best}
    if not stale or not front or search.limits.proposals < 2:  # noqa: PLR2004 - one for each
        return [best]
    names, weights = list(front), list(front.values())
    return [best, *search.chance.choices(names, weights)]


def _affordable(search: Search) -> int:
    """Give how many proposals may be made: asked, screened and raced."""
    raced = len(search.validation) // _RACED_OF
    each = 1 + search.limits.per_item * (_GROUP + raced)
    return search.affordable(each, search.limits.proposals)


def _groups(shown: Sequence[str], most: int) -> list[tuple[str, ...]]:
    """Deal failures out to asks: few failures, few asks."""
    count = min(most, -(-len(shown) * 2 // _GROUP))
    count = min(count, len(shown))
    groups = [tuple(shown[at::count][:_GROUP]) for at in range(count)]
    return [each for each in groups if each]


def _child(
    search: Search, parent: int, answer: str | None
) -> Candidate | None:
    text = asking.new_text(answer)
    if text is None:
        return None
    examples = search.pool.candidates[parent].examples
    return search.propose((text,), [parent], "reflection", examples)


def _helps(search: Search, proposal: _Proposal) -> bool:
    """Compare with the parent on the failures that were shown."""
    pool, child = search.pool, proposal.candidate
    known = pool.known(child.number)
    (parent,) = child.parents
    return (
        sum(
            known[item].score - pool.score_on(parent, item)
            for item in proposal.shown
            if item in known
        )
        > 0
    )


def _reject(search: Search, child: Candidate) -> None:
    parent = search.pool.candidates[child.parents[0]]
    search.reject(parent.number, _difference(parent, child))


def _difference(parent: Candidate, child: Candidate) -> str:
    """Give the lines that a child has added; all of it if it is another."""
    old = set(parent.instruction.splitlines())
    new = [line for line in child.instruction.splitlines() if line not in old]
    return "\n".join(new)


def _merged(
    search: Search, parent: int, children: Sequence[Candidate]
) -> Generator[Wave, Results, Candidate | None]:
    """Join the changes of several children in one candidate."""
    if len(children) == 1:
        return children[0]
    base = search.pool.candidates[parent]
    texts = [each.instruction for each in children]
    joined = merge(base.instruction, texts)
    text: str | None = joined.text
    if len(joined.included) < len(children):
        ask = asking.join(base.instruction, texts, parent)
        answers = yield from search.measure(asks=[ask])
        text = asking.new_text(answers[0]) if answers else None
    if text is None:
        return None
    numbers = [each.number for each in children]
    examples = children[0].examples
    return search.propose((text,), numbers, "merger", examples)


def _ancestor(search: Search, one: int, other: int) -> int:
    """Return the last common ancestor; the first prompt if there is none."""
    mine = search.pool.lineage(one)
    return next(
        (each for each in search.pool.lineage(other) if each in mine),
        search.pool.admitted[0],
    )
