"""The candidates of one model, what is known of them, and the best."""

from collections.abc import Iterable, Mapping, Sequence

from llm_optimizers.strategies.protocol import RIGHT, Candidate, Outcome


class Pool:
    """Candidates with their outcomes.

    A candidate that was admitted after a race has been tried on the items
    that decide, not on all: `score_on` takes what it does not know from
    the parents, and `confirmed` tells whether there is nothing unknown.
    """

    def __init__(self, validation: Sequence[str]) -> None:
        self.validation = tuple(validation)
        self.candidates: dict[int, Candidate] = {}
        self.admitted: list[int] = []
        self._known: dict[int, dict[str, Outcome]] = {}
        # By item: what `score_on` has found out.
        self._scores: dict[str, dict[int, float]] = {}
        self._texts: dict[tuple[str, ...], int] = {}

    def add(self, candidate: Candidate) -> None:
        """Take a candidate in, with nothing known of it."""
        self.candidates[candidate.number] = candidate
        self._known[candidate.number] = {}
        self._texts[candidate.parts] = candidate.number

    def with_parts(self, parts: tuple[str, ...]) -> int | None:
        """Return the candidate with these texts, if there is one."""
        return self._texts.get(parts)

    def admit(self, number: int) -> None:
        """Let a candidate be a parent, and the best."""
        if number not in self.admitted:
            self.admitted.append(number)

    def note(self, number: int, item_id: str, outcome: Outcome) -> None:
        """Keep what an evaluation has shown."""
        self._known[number][item_id] = outcome
        self._scores.pop(item_id, None)

    def known(self, number: int) -> Mapping[str, Outcome]:
        """Return the outcomes of a candidate by item."""
        return self._known[number]

    def score_on(self, number: int, item_id: str) -> float:
        """Give the score on an item, measured or as its parents have it."""
        if (known := self._scores.get(item_id, {}).get(number)) is not None:
            return known
        # Not by recursion: lineages are long, and meet again and again.
        scores, left = self._scores.setdefault(item_id, {}), [number]
        while left:
            each = left[-1]
            outcome = self._known[each].get(item_id)
            parents = self.candidates[each].parents
            missing = [p for p in parents if p not in scores]
            if outcome is None and missing:
                left += missing
                continue
            scores[each] = (
                max((scores[p] for p in parents), default=0.0)
                if outcome is None
                else outcome.score
            )
            left.pop()
        return scores[number]

    def lineage(self, number: int) -> list[int]:
        """Return a candidate and all before it, the newest first."""
        found, left = {number}, [number]
        while left:
            for parent in self.candidates[left.pop()].parents:
                if parent not in found:
                    found.add(parent)
                    left.append(parent)
        return sorted(found, reverse=True)

    def score(self, number: int) -> float:
        """Give the mean on validation, as far as it is known."""
        scores = [self.score_on(number, each) for each in self.validation]
        return sum(scores) / len(scores) if scores else 0.0

    def confirmed(self, number: int) -> bool:
        """Tell whether every validation item was measured."""
        return not self.unknown(number, self.validation)

    def unknown(self, number: int, items: Iterable[str]) -> tuple[str, ...]:
        """Return those of the items that were not measured."""
        known = self._known[number]
        return tuple(each for each in items if each not in known)

    def failing(self, number: int, items: Iterable[str]) -> list[str]:
        """Return the items without a right answer, the worst first."""
        wrong = [
            (self.score_on(number, each), each)
            for each in items
            if self.score_on(number, each) < RIGHT
        ]
        # By the score alone: the order of equals is the caller's.
        return [each for _, each in sorted(wrong, key=lambda pair: pair[0])]

    def best(self) -> int:
        """Return the best admitted candidate; of equals, the first."""
        return max(self.admitted, key=lambda each: (self.score(each), -each))

    def front(self) -> dict[int, int]:
        """Return who is best on how many items, dominated ones left out.

        The Pareto front over items of Agrawal et al. 2025 (GEPA): a
        candidate counts if on some item nobody is better.
        """
        wins: dict[int, int] = {}
        for item in self.validation:
            scores = {
                each: self.score_on(each, item) for each in self.admitted
            }
            top = max(scores.values(), default=0.0)
            leaders = [each for each, score in scores.items() if score >= top]
            if top > 0 and len(leaders) < len(self.admitted):
                for each in leaders:
                    wins[each] = wins.get(each, 0) + 1
        best = self.best()
        wins.setdefault(best, 1)
        return {
            each: count
            for each, count in wins.items()
            if each == best or not self._covers(best, each)
        }

    def _covers(self, one: int, other: int) -> bool:
        """Tell whether `one` is nowhere worse than `other`."""
        return all(
            self.score_on(one, item) >= self.score_on(other, item)
            for item in self.validation
        )
