"""Which training items are asked, and how they are shown."""

from typing import Any

import pytest

from llm_optimizers.strategies.examples import in_form, shows_all
from llm_optimizers.strategies.protocol import (
    Candidate,
    Evaluate,
    Item,
    Outcome,
    Results,
)
from llm_optimizers.strategies.search import Limits, Task
from llm_optimizers.strategies.session import Session

VALIDATION = [f"v{n}" for n in range(10)]


class Searched:
    """A search in which every answer is the same, and every other right."""

    def __init__(
        self, expected: Any, answer: Any, text: str = "", items: int = 30
    ) -> None:
        self.asked: list[str] = []
        train = [
            Item(f"t{n}", {"n": n, "text": text}, expected)
            for n in range(items)
        ]
        limits = Limits(max_iterations=1)
        session = Session(
            Task(("Answer.",), train, VALIDATION, limits), ["m"], "fewshot"
        )
        while session.proposed is not None:
            outcomes = {
                (each.candidate, item): Outcome(int(item[1:]) % 2, answer)
                for each in session.proposed.wave
                if isinstance(each, Evaluate)
                for item in each.items
            }
            self.asked += [item for _, item in outcomes if item[0] == "t"]
            session.accept(Results(outcomes))
        self.sets: list[Candidate] = session.candidates()[1:]


@pytest.mark.parametrize(
    ("expected", "answer"),
    [
        ({"label": "spam"}, {"label": "spam"}),
        ("spam", "spam"),
        ("spam", {"text": "spam"}),
    ],
)
def test_nothing_is_asked_where_all_of_an_answer_is_known(
    expected: Any, answer: Any
) -> None:
    searched = Searched(expected, answer)
    assert not searched.asked
    assert len(searched.sets) == 13


@pytest.mark.parametrize("expected", [None, "spam", {"label": "spam"}])
def test_items_are_asked_where_answers_hold_more(expected: Any) -> None:
    answer = {"label": "spam", "reason": "It sells something."}
    searched = Searched(expected, answer)
    assert len(searched.asked) == 24
    assert any("reason" in each.examples for each in searched.sets)


def test_a_bare_label_is_shown_as_the_model_answers_it() -> None:
    searched = Searched("spam", {"label": "spam"})
    for each in searched.sets:
        answers = each.examples.splitlines()[3::3]
        assert set(answers) == {'{"label":"spam"}'}


def test_sets_have_up_to_16_examples() -> None:
    sizes = {each.change for each in Searched("spam", "spam").sets}
    assert sizes == {f"{size} examples" for size in (16, 12, 8)}


def test_a_large_set_is_raced_before_others_are_drawn() -> None:
    searched = Searched("spam", "spam")
    assert searched.sets[0].change == "16 examples"
    assert searched.sets[0].parents == (0,)


def test_long_examples_are_fewer() -> None:
    searched = Searched("spam", "spam", text="x" * 3_000)
    assert searched.sets
    assert all(len(each.examples) < 17_000 for each in searched.sets)


@pytest.mark.parametrize(
    ("expected", "answers", "shown"),
    [
        ("spam", [{"label": "a"}, {"label": "b"}], {"label": "spam"}),
        ("spam", [{"text": "a"}], "spam"),
        ("spam", [{"label": "a"}, {"kind": "b"}], "spam"),
        ("spam", [{"label": "a", "reason": "b"}], "spam"),
        ("spam", [], "spam"),
        ({"x": 1}, [{"label": "a"}], {"x": 1}),
    ],
)
def test_expected_answers_take_the_form_of_right_ones(
    expected: Any, answers: list[Any], shown: Any
) -> None:
    assert in_form(expected, answers) == shown


def test_expected_answers_show_all_if_none_is_missing() -> None:
    assert shows_all(["a", "b"], ["a", {"text": "b"}])
    assert shows_all(["a"], [])
    assert not shows_all(["a", None], ["a"])
    assert not shows_all(["a"], [{"label": "a"}])
