"""The candidates of a run as a tree, told as a list; pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from llm_optimizers.report.values import TriedPrompt


@dataclass(frozen=True, slots=True)
class Branch:
    """A candidate and its place: 0 for those without a parent."""

    candidate: TriedPrompt
    depth: int


def branches(candidates: Sequence[TriedPrompt]) -> list[Branch]:
    """Give the candidates so that each follows its first known parent.

    One that was made of several stands below the first of them.
    """
    known = {each.number for each in candidates}
    children: dict[int | None, list[TriedPrompt]] = {}
    for each in candidates:
        # Parents are older; anything else in the store makes no tree.
        parent = next(
            (p for p in each.parents if p in known and p < each.number), None
        )
        children.setdefault(parent, []).append(each)
    found: list[Branch] = []
    # A list, not recursion: a chain may be as long as a run.
    waiting = [(each, 0) for each in reversed(children.get(None, []))]
    while waiting:
        candidate, depth = waiting.pop()
        found.append(Branch(candidate, depth))
        below = children.get(candidate.number, [])
        waiting += [(each, depth + 1) for each in reversed(below)]
    return found
