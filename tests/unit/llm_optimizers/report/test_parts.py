"""The tree, the models compared, and iterations as steps."""

from typing import Any

import pytest

from llm_optimizers.report.contract import score_of
from llm_optimizers.report.models_compared import compare_models
from llm_optimizers.report.tree import branches
from llm_optimizers.report.values import TriedPrompt, Used
from tests.unit.llm_optimizers.report.test_words import report, scores


def candidate(
    number: int, *parents: int, cost: float | None = None
) -> TriedPrompt:
    return TriedPrompt(
        number,
        "m",
        parents,
        "change",
        ("p",),
        ("text",),
        0.5,
        accepted=True,
        confirmed=True,
        used=Used(10, 100, 5.0, cost, "USD"),
    )


def test_candidates_stand_below_their_first_parents() -> None:
    made = [
        candidate(0),
        candidate(1, 0),
        candidate(2, 0),
        candidate(3, 1, 2),
        candidate(4, 9),
    ]
    found = [(each.candidate.number, each.depth) for each in branches(made)]
    assert found == [(0, 0), (1, 1), (3, 2), (2, 1), (4, 0)]


def test_a_long_chain_and_a_circle_end() -> None:
    chain = [candidate(0), *(candidate(n, n - 1) for n in range(1, 5000))]
    assert branches(chain)[-1].depth == 4999
    assert len(branches([candidate(1, 2), candidate(2, 1)])) == 2


def test_the_front_has_what_nothing_beats() -> None:
    results = [
        {
            "model": name,
            "baseline": scores(n, low),
            "best": scores(n + 1, high),
        }
        for name, n, low, high in (("a", 0, 0.5, 0.9), ("b", 2, 0.4, 0.8))
    ]
    run = report(datasetId="d", modelResults=results).run
    costs = (2.0, 2.0, 3.0, 1.0)
    known = {n: candidate(n, cost=cost) for n, cost in enumerate(costs)}
    found = compare_models(run, known)
    assert [each.on_front for each in found] == [False, True, False, True]
    assert [each.cost for each in found] == [200, 200, 300, 100]
    assert found[0].seconds == 0.5
    # Where costs are not known, quality decides.
    found = compare_models(run, {})
    assert [each.on_front for each in found] == [False, True, False, False]


@pytest.mark.parametrize(
    ("evaluation", "score"),
    [
        (0.5, 0.5),
        ({"score": 7, "length": 3}, 7),
        ({"text": "good", "Rating": 4}, 4),
        ({"a": 1, "b": 2}, None),
        ({"only": 2.5}, 2.5),
        ({"score": True}, None),
        ("9", None),
        (True, None),
        (10**400, None),
        (None, None),
    ],
)
def test_the_number_of_an_evaluation(
    evaluation: Any, score: float | None
) -> None:
    assert score_of(evaluation) == score
